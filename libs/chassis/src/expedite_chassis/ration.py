"""So much and no more: what strangers can set off is bounded, whatever they send."""

from __future__ import annotations

import time
from collections.abc import Callable


class Ration:
    """`per_minute` at once, then so many a minute on average (real time). Not for what our own clients need."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._left, self._at = float(per_minute), clock()

    def take(self) -> bool:
        """Whether there is one more."""
        now = self._clock()
        self._left = min(self._per_minute, self._left + (now - self._at) * self._per_minute / 60)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


FORGERIES_PER_MINUTE = 60
"""Rows that webhooks with wrong signatures may add to a delivery log, per process: enough to see an attack and a mistake
of configuration, too few to fill a disk. The metrics count all of them."""
