"""Control groups (version 1): freeze a whole tree at once, cap its memory. They take root and a kernel that has them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def writable(controller: str) -> bool:
    """Whether groups of this controller can be made here."""
    return os.geteuid() == 0 and os.access(_ROOT / controller / "cgroup.procs", os.W_OK)


@contextmanager
def group(controller: str, pids: Iterable[int]) -> Iterator[Path]:
    """A group of its own with these processes in it; afterwards they are back at the root and the group is gone."""
    folder = _ROOT / controller / f"expedite-chaos-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    try:
        _move(folder, pids)
        yield folder
    finally:
        _move(_ROOT / controller, [int(pid) for pid in (folder / "cgroup.procs").read_text().split()])
        with suppress(OSError):
            folder.rmdir()


def _move(folder: Path, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            (folder / "cgroup.procs").write_text(str(pid))


@contextmanager
def frozen(pids: Iterable[int]) -> Iterator[None]:
    """Everything in it stands still, threads and all, for as long as the block lasts. Nobody can tell it from inside."""
    with group("freezer", pids) as folder:
        state = folder / "freezer.state"
        state.write_text("FROZEN")
        try:
            deadline = time.monotonic() + 5.0
            while state.read_text().strip() != "FROZEN" and time.monotonic() < deadline:
                time.sleep(0.01)
            yield
        finally:
            state.write_text("THAWED")
