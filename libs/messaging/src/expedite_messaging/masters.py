"""Master data in memory: what every order reads and hardly anybody writes is parsed once, not once a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from expedite_messaging.collection import Key


class Masters:
    """Parsed rows of master data, shared by the transactions of one process: rows that many orders read and few write.

    What another process wrote is seen after `LASTS_S` real seconds, as an event about it could be a second late; what
    this engine wrote, from its commit on. A missing row is not remembered: it may come any moment."""

    LASTS_S = 2.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._whole: dict[str, tuple[float, Mapping[Key, Any]]] = {}
        self._rows: dict[str, tuple[float, dict[Key, Any]]] = {}

    def whole(self, name: str) -> Mapping[Key, Any] | None:
        """All rows of a collection, if they were read not long ago: the same object while they are fresh."""
        at, rows = self._whole.get(name, (-1e9, None))
        return rows if self._clock() - at < self.LASTS_S else None

    def keep_whole(self, name: str, rows: Mapping[Key, Any]) -> Mapping[Key, Any]:
        """Remember all rows; the object of before when they are the same, so that what was derived from it lasts."""
        before = self._whole.get(name, (0.0, None))[1]
        kept = before if before is not None and before == rows else rows
        self._whole[name] = (self._clock(), kept)
        return kept

    def rows(self, name: str) -> dict[Key, Any]:
        """The rows by key that were read not long ago; add to it what is read now."""
        at, rows = self._rows.get(name, (-1e9, {}))
        if self._clock() - at >= self.LASTS_S:
            rows = {}
            self._rows[name] = (self._clock(), rows)
        return rows

    def forget(self, names: Iterable[str]) -> None:
        """These collections were written."""
        for name in names:
            self._whole.pop(name, None)
            self._rows.pop(name, None)
