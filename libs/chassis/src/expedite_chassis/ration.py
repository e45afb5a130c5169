"""So much and no more: what strangers can set off is bounded, whatever they send; what one client may ask, too."""

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


class Pace:
    """How fast each client may ask one process: so many requests a second (real time) on average, `BURST_S` seconds' worth
    of them at once. One client that runs wild leaves room for the others; against floods from everywhere stands the
    ingress."""

    BURST_S = 2.0

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """per_s: 0 for no limit."""
        self._per_s, self._clock = per_s, clock
        self._spent: dict[str, float] = {}  # until when a client has spent its share, on this clock (GCRA)

    def wait_s(self, client: str, per_s: float | None = None) -> float:
        """Count a request: 0, or after how many seconds it may come again; it is not counted then. per_s: the client's own
        limit instead of everybody's."""
        rate = self._per_s if per_s is None else per_s
        if not rate:
            return 0.0
        now = self._clock()
        spent = max(self._spent.get(client, now), now)
        if (ahead := spent + 1 / rate - now) > self.BURST_S:
            return ahead - self.BURST_S
        if len(self._spent) >= _REMEMBERED and client not in self._spent:
            self._spent = {name: until for name, until in self._spent.items() if until > now}
        self._spent[client] = spent + 1 / rate
        return 0.0


_REMEMBERED = 10_000
FORGERIES_PER_MINUTE = 60
"""Rows that webhooks with wrong signatures may add to a delivery log, per process: enough to see an attack and a mistake
of configuration, too few to fill a disk. The metrics count all of them."""
