"""Logs rotate, are cut into lines whatever arrives, and can be followed."""

from __future__ import annotations

from pathlib import Path

from expedite_local.logs import LONGEST_LINE, Lines, RotatingFile, follow, last_lines, prefix


def test_a_full_log_is_rotated_and_only_some_are_kept(tmp_path: Path) -> None:
    log = RotatingFile(tmp_path / "x.log", limit=30, kept=2)
    for number in range(10):
        log.write(b"line %d.....\n" % number)
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2"]
    assert (tmp_path / "x.log").read_text().splitlines()[-1] == "line 9....."
    assert all(path.stat().st_size <= 30 for path in tmp_path.iterdir())


def test_lines_are_put_together_from_any_parts() -> None:
    seen: list[bytes] = []
    lines = Lines(seen.append)
    for part in (b"on", b"e\ntwo\r\nth", b"ree"):
        lines.feed(part)
    assert seen == [b"one", b"two"]
    lines.end()
    assert seen == [b"one", b"two", b"three"]


def test_an_endless_line_does_not_grow_for_ever() -> None:
    seen: list[bytes] = []
    lines = Lines(seen.append)
    lines.feed(b"x" * (LONGEST_LINE * 2 + 5))
    assert [len(line) for line in seen] == [LONGEST_LINE, LONGEST_LINE]
    lines.end()
    assert len(seen[-1]) == 5


def test_following_sees_new_lines_and_survives_rotation(tmp_path: Path) -> None:
    log = RotatingFile(tmp_path / "x.log", limit=100, kept=1)
    log.write(b"old\n")
    lines = follow([tmp_path / "x.log"], pause=0.01)
    log.write(b"new\n")
    log.write(b"x" * 95 + b"\n")
    assert next(lines)[1] == "new"
    assert next(lines)[1] == "x" * 95
    log.write(b"after\n")
    assert next(lines) == (tmp_path / "x.log", "after")
    log.close()
    assert last_lines(tmp_path / "x.log", 5)[-1] == "after"


def test_a_prefix_has_one_colour_per_name() -> None:
    assert prefix("a", 3, colour=False) == "a   | "
    assert prefix("a", 3, colour=True) == prefix("a", 3, colour=True) != prefix("b", 3, colour=True)
