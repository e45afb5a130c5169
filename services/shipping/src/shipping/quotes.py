"""The rates this process heard a moment ago and that hold for other parcels too. They are memory only: whoever has none
asks, so nothing depends on them but the number of questions."""

from __future__ import annotations

import time
from collections.abc import Callable

from shipping.domain.quotes import Lane, Quote, Quotes

KEPT_AT_MOST = 5_000


class KeptQuotes:
    """Quotes for `valid_s` real seconds, the oldest forgotten first. 0: none is kept, every parcel is asked for."""

    def __init__(self, valid_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.valid_s, self._clock = valid_s, clock
        self._kept: dict[tuple[Lane, int, int, str], tuple[float, Quote]] = {}  # oldest first
        self._lanes: dict[Lane, tuple[Quote, ...]] = {}

    def valid(self) -> Quotes:
        """What holds now, by lane."""
        now = self._clock()
        while self._kept:
            oldest = next(iter(self._kept))
            if len(self._kept) <= KEPT_AT_MOST and now - self._kept[oldest][0] < self.valid_s:
                break
            self._forget(oldest)
        return self._lanes

    def keep(self, quote: Quote) -> None:
        """Remember a quote instead of the older one for the same parcels."""
        if self.valid_s <= 0:
            return
        key = (quote.lane, quote.weight_from_g, quote.weight_to_g, quote.postcodes)
        self._forget(key)
        self._kept[key] = (self._clock(), quote)
        self._lanes[quote.lane] = (quote, *self._lanes.get(quote.lane, ()))

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._lanes.clear()

    def _forget(self, key: tuple[Lane, int, int, str]) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        left = tuple(quote for quote in self._lanes[key[0]] if quote is not kept[1])
        if left:
            self._lanes[key[0]] = left
        else:
            del self._lanes[key[0]]


KEPT = KeptQuotes()
"""Those of this process; off until `main.bind` says for how long they are valid."""
