"""Real time, for what must not follow the business clock: signature windows, token lifetimes, back-off.

Business time is never read here: handlers and routes take it from `tx.now`."""

from __future__ import annotations

import time
from collections.abc import Callable

RealClock = Callable[[], float]
"""Real seconds since the epoch; a parameter wherever a test must decide the time."""


def real_now() -> float:
    """Real seconds since the epoch."""
    return time.time()


def within(moment: float, window_s: float, now: float) -> bool:
    """Whether a real moment lies at most `window_s` seconds before or after `now`."""
    return abs(now - moment) <= window_s
