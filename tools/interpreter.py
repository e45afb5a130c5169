"""Print the Python to build the environment with: the newest of the versions we are tested with, in its fastest build.

A distribution compiles CPython with profile-guided optimisation; one compiled by hand often is not. Ours ran with a ninth
less processor time on the former, and with a tenth less again on a newer one (docs/performance.md). Builds do not reliably say
how they were made, so they are timed. `EXPEDITE_SYSTEM_PYTHON=1` leaves it at the version of `make`'s `PYTHON`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import newer_python

MARGIN = 0.95  # as fast as the default within noise: the default
SLOWER = 1.25  # a newer version that is so much slower is a bad build; on a machine that starts up, less says nothing
_OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
VERSIONS = (_OWN,) if os.environ.get("EXPEDITE_SYSTEM_PYTHON") else ("3.11", "3.13")
_TIMED = """
import sys, time
class Point:
    def __init__(self, x): self.x = x
    def moved(self): return Point(self.x + 1)
def work():
    found = {}
    for n in range(40_000):
        found[str(n)] = (n, Point(n).moved().x)
    return sum(b for a, b in found.values())
def timed():
    started = time.process_time(); work(); return time.process_time() - started
import venv
print("%d.%d" % sys.version_info[:2], min(timed() for _ in range(5)))
"""


def candidates() -> list[str]:
    """Interpreters on the path that bear a version's name and what was put beside them, this one first."""
    folders = [*os.get_exec_path(), str(newer_python.python().parent)]
    found = [sys.executable, *(str(Path(folder, f"python{version}")) for folder in folders for version in VERSIONS)]
    return [path for path in dict.fromkeys(found) if os.access(path, os.X_OK)]


def seconds(python: str) -> float | None:
    """Processor time of a piece of work; None for what is no usable interpreter of these versions."""
    try:
        told = subprocess.run([python, "-c", _TIMED], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    version, _, text = told.strip().partition(" ")
    return float(text) if version in VERSIONS else None


def best() -> str:
    """The newest version, in its fastest build, unless it is much slower than this one; of this one's version
    another only when it is faster by more than noise."""
    timed = {path: taken for path in candidates() if (taken := seconds(path)) is not None}
    own = timed.get(sys.executable, 1.0)
    for version in reversed(VERSIONS):
        builds = [path for path in timed if Path(path).name == f"python{version}" and path != sys.executable]
        quickest = min(builds, key=timed.__getitem__, default=sys.executable)
        if timed.get(quickest, own) < own * (MARGIN if version == _OWN else SLOWER):
            return quickest
    return sys.executable


if __name__ == "__main__":
    print(best())
