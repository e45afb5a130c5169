"""The disk under the servers: what a bench's own preparation wrote is not to be measured."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

SLOW_S = 0.03
"""A flush of a page takes a millisecond or less; this long it takes on a disk that is busy, or paid back for having been."""
QUIET_S = 5.0
MOST_S = 60.0
_EVERY_S = 0.01
_PAGE = 8_192


def quieted(folder: Path, quiet_s: float = QUIET_S, most_s: float = MOST_S) -> tuple[float, int, float]:
    """Write and flush a page over and over, until for `quiet_s` no flush was slow, for `most_s` seconds at the longest: how long
    that took, how many flushes were slow, and the slowest (both in seconds)."""
    slow, slowest = 0, 0.0
    with tempfile.TemporaryFile(dir=folder) as file:
        began = calm_since = time.monotonic()
        while (now := time.monotonic()) - calm_since < quiet_s and now - began < most_s:
            os.pwrite(file.fileno(), os.urandom(_PAGE), 0)
            before = time.monotonic()
            os.fdatasync(file.fileno())
            took = time.monotonic() - before
            slowest = max(slowest, took)
            if took > SLOW_S:
                slow, calm_since = slow + 1, time.monotonic()
            time.sleep(_EVERY_S)
    return time.monotonic() - began, slow, slowest
