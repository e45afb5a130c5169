"""What the servers write goes to the disk as it comes."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from expedite_local import writeback
from expedite_local.writeback import Writeback

OLD = time.time() - 3600


def _file(folder: Path, name: str, written: float | None = None) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * 8192)
    if written is not None:
        os.utime(path, (written, written))
    return path


def _round(writeback: Writeback, folders: list[Path]) -> int:
    return sum(count for count, _ in writeback.round(folders))


def test_only_what_was_written_since_the_last_round_is_handed_over(tmp_path: Path) -> None:
    """B4: commits do not wait behind half a minute of other people's pages."""
    seen: list[str] = []
    rounds = Writeback(lambda file: seen.append(str(Path(f"/proc/self/fd/{file}").readlink())))
    old, new = _file(tmp_path, "5/1", OLD), _file(tmp_path, "5/2")
    assert _round(rounds, [tmp_path]) == 1
    assert seen == [str(new)]
    time.sleep(0.05)  # more than the slack of the kernel's clock
    assert _round(rounds, [tmp_path]) == 1  # written within the slack before the first round
    time.sleep(0.05)
    assert _round(rounds, [tmp_path]) == 0
    new.write_bytes(b"y")
    assert _round(rounds, [tmp_path]) == 1
    assert str(old) not in seen


def test_between_two_searches_files_that_were_written_lately_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of files are not looked at twice a second, and what a search finds is handed over though it is a while ago."""
    rounds = Writeback(lambda file: None)
    _file(tmp_path, "5/1")
    _round(rounds, [tmp_path])
    time.sleep(0.05)  # more than the slack
    _round(rounds, [tmp_path])
    _file(tmp_path, "5/2")
    assert _round(rounds, [tmp_path]) == 0
    monkeypatch.setattr(writeback, "SEARCH_S", 0.0)
    time.sleep(0.05)  # neither was written since the last round
    assert _round(rounds, [tmp_path]) == 1


def test_a_file_that_is_gone_or_refused_harms_nobody(tmp_path: Path) -> None:
    """Tables are dropped, a disk may refuse: the next file is handed over all the same."""

    def refuse(file: int) -> None:
        raise OSError(5, "I/O error")

    rounds = Writeback(refuse)
    gone = _file(tmp_path, "5/1")
    (tmp_path / "5" / "2").symlink_to("/etc/passwd")
    assert _round(rounds, [tmp_path]) == 0
    gone.unlink()
    assert _round(rounds, [tmp_path, tmp_path / "never made"]) == 0


@pytest.mark.skipif(writeback.system_call() is None, reason="no sync_file_range on this system")
async def test_the_system_begins_to_write(tmp_path: Path) -> None:
    """The real call takes an open file, one that is read only, and refuses one that is closed."""
    begin = writeback.system_call()
    assert begin is not None
    with _file(tmp_path, "5/1").open("rb") as file:
        begin(file.fileno())
        closed = os.dup(file.fileno())
    os.close(closed)
    with pytest.raises(OSError, match="sync_file_range"):
        begin(closed)


async def test_it_goes_on_until_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are asked for each time: a server may start later."""
    monkeypatch.setattr(writeback, "EVERY_S", 0.01)
    asked = asyncio.Event()
    folders: list[list[Path]] = []

    def current() -> list[Path]:
        folders.append([tmp_path])
        if len(folders) > 2:
            asked.set()
        return folders[-1]

    keeping = asyncio.create_task(writeback.keep(current))
    async with asyncio.timeout(10):
        await asked.wait()
    keeping.cancel()
