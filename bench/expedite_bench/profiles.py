"""The hottest functions of real service processes while a bench measures. A profiler slows them down: such runs claim
nothing. See bench/profiling/sitecustomize.py for the part inside the processes."""

from __future__ import annotations

import contextlib
import os
import pstats
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

LINES = 45
_WRITTEN_S = 2.0


def environment(folder: Path, sitecustomize: Path) -> dict[str, str]:
    """What processes need to be profiled."""
    path = os.pathsep.join(filter(None, (str(sitecustomize), os.environ.get("PYTHONPATH"))))
    return {"EXPEDITE_PROFILE": str(folder), "PYTHONPATH": path}


@contextlib.contextmanager
def running(pids: Sequence[int]) -> Iterator[None]:
    """Profile these processes for as long as the block lasts."""

    def toggle() -> None:
        for pid in pids:
            os.kill(pid, signal.SIGUSR2)

    toggle()
    try:
        yield
    finally:
        toggle()
        time.sleep(_WRITTEN_S if pids else 0)


def hottest(folder: Path) -> dict[str, dict[str, list[str]]]:
    """By process: the functions with the most time of their own, and with what they call."""
    return {path.stem: _one(path) for path in sorted(folder.glob("*.prof"))}


def _one(path: Path) -> dict[str, list[str]]:
    stats: Any = pstats.Stats(str(path))
    found: dict[str, list[str]] = {}
    for title, place in (("own", 2), ("cumulative", 3)):
        rows = sorted(stats.stats.items(), key=lambda item: -item[1][place])[:LINES]
        found[title] = [
            f"{row[place]:8.3f} s  {row[1]:>9,} calls  {'/'.join(Path(file).parts[-2:])}:{line} {name}"
            for (file, line, name), row in rows
        ]
    return found
