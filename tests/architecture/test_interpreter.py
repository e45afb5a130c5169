"""Which Python runs us: the fastest of the versions we are tested with, or the one that is there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import interpreter
import newer_python


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real one stays as it is."""
    monkeypatch.setattr(newer_python, "PLACE", tmp_path / "tools" / "python")


def test_the_newest_is_taken_unless_it_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs by less than noise decides nothing: a timing on a busy machine must not choose the version."""
    own = f"python{interpreter._OWN}"
    monkeypatch.setattr(interpreter, "VERSIONS", (interpreter._OWN, "3.99"))
    taken = {sys.executable: 1.0, "/new/python3.99": 1.1, "/broken/python3.99": None, f"/other/{own}": 0.97}
    monkeypatch.setattr(interpreter, "candidates", lambda: list(taken))
    monkeypatch.setattr(interpreter, "seconds", taken.get)
    assert interpreter.best() == "/new/python3.99"
    taken["/new/python3.99"] = 1.3
    assert interpreter.best() == sys.executable
    taken[f"/other/{own}"] = 0.9
    assert interpreter.best() == f"/other/{own}"


def test_what_is_no_python_of_our_versions_is_none(tmp_path: Path) -> None:
    (tmp_path / "python3.13").write_text("#!/bin/sh\necho 3.9 0.001\n")
    (tmp_path / "python3.13").chmod(0o755)
    assert interpreter.seconds(str(tmp_path / "python3.13")) is None
    assert interpreter.seconds(str(tmp_path / "nothing")) is None


def test_a_newer_one_is_fetched_once_for_debian_12_and_not_when_nobody_wants_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: release)
    monkeypatch.delenv("EXPEDITE_SYSTEM_PYTHON", raising=False)
    assert newer_python.wanted()
    monkeypatch.setenv("EXPEDITE_SYSTEM_PYTHON", "1")
    assert not newer_python.wanted()
    monkeypatch.delenv("EXPEDITE_SYSTEM_PYTHON")
    release["VERSION_CODENAME"] = "trixie"
    assert not newer_python.wanted()
    release["VERSION_CODENAME"] = "bookworm"
    newer_python.python().parent.mkdir(parents=True)
    newer_python.python().touch()
    assert not newer_python.wanted()


@pytest.mark.parametrize("failing", ["update", "patchelf"])
def test_what_fails_is_said_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def run(command: tuple[str, ...], **options: object) -> SimpleNamespace:
        broken = failing in command
        if command[0] == "dpkg-deb":
            libraries = Path(command[3], "usr/lib/x86_64-linux-gnu")
            libraries.mkdir(parents=True, exist_ok=True)
            for loader in newer_python._LOADERS.values():
                (libraries / loader).touch()
        if "download" in command:
            Path(str(options["cwd"]), "python.deb").touch()
        told = "Packages bookworm http://archive.example/debian/\n" if "indextargets" in command else ""
        return SimpleNamespace(returncode=int(broken), stdout=told, stderr="first\nno such host\n")

    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(newer_python.Unavailable, match="no such host"):
        newer_python.fetch("uv")
    assert not newer_python.PLACE.exists()
    assert list(newer_python.PLACE.parent.iterdir()) == []
