"""Records that were polled and not decided yet, kept by key: a consumer decides together what happened to a key meanwhile,
instead of loading and saving it for each record.

Who only tells or shows holds nothing back: whoever keeps up finds a few records here and takes them all at once. Only when
more wait than one batch holds, the keys with the most records go first, the oldest of them (keys of orders rise with time), and
those that waited long before all others.

Of a station only what is for `later` is held, and only while much happens: a key waits a few seconds for what else becomes of
it, unless something comes that others wait for.

Each topic has room of its own, so that the first station of a crowd of orders does not fill the place that their later stations
need to meet it.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

LONGEST_S = 10.0
LATER_S = 2.0
"""So long a key waits whose records are all for later: about what a regular order takes under load from reserved to shipped."""
AWAITED = 1_000
"""Room for each topic that others wait for, beside what is for later: what came first goes first, so reading further ahead would
only have the next topic stand behind it."""
Place = tuple[str, int]
"""Topic and partition."""


class Gathering:
    """Up to `capacity` records of each topic of one consumer. Offsets are committed up to the first record still here.
    later: topics that nobody waits for; without any, whatever is here may be taken at any time."""

    def __init__(self, capacity: int, later: Collection[str] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity, self.later, self._clock = capacity, frozenset(later), clock
        self.clear()

    def clear(self) -> None:
        """Forget everything: the partitions are no longer ours, whoever owns them reads it again."""
        self._by_key: dict[bytes, list[Any]] = {}  # in order of their first record
        self._since: dict[bytes, float] = {}  # likewise, so the oldest come first
        self._awaited: dict[bytes, None] = {}  # keys with something others wait for, likewise
        self._open: dict[Place, dict[int, None]] = {}  # offsets that are not decided, in order
        self._read: dict[Place, int] = {}  # the offset after the last one that came
        self._count = 0
        self._by_topic: Counter[str] = Counter()
        self._pressed = False  # what is held stood in the way of what came after it, when last looked at

    def __len__(self) -> int:
        return self._count

    def room(self, topic: str) -> int:
        """How many more records of a topic may come."""
        held = not self.later or topic in self.later
        return (self.capacity if held else min(self.capacity, AWAITED)) - self._by_topic[topic]

    def add(self, polled: Mapping[Any, Sequence[Any]]) -> None:
        """Take in what was polled, by `Place` (a client's `TopicPartition` is one)."""
        now = self._clock()
        for place, records in polled.items():
            self._open.setdefault(place, {}).update(dict.fromkeys([record.offset for record in records]))
            self._read[place] = records[-1].offset + 1
            self._count += len(records)
            self._by_topic[place[0]] += len(records)
            awaited = self.later and place[0] not in self.later
            for record in records:
                # A record without a key is like no other: no key has a NUL.
                key = (
                    record.key
                    if record.key is not None
                    else b"\0%b %d %d" % (place[0].encode(), place[1], record.offset)
                )
                known = self._by_key.get(key)
                if known is None:
                    self._by_key[key], self._since[key] = [record], now
                else:
                    known.append(record)
                if awaited:
                    self._awaited[key] = None

    def patience_s(self, limit: int) -> float | None:
        """How long there will be nothing to `take` unless more comes; None: for ever, nothing is here."""
        if not self._count:
            return None
        if not self.later or self._awaited or self._count <= limit or self._pressed:
            return 0.0
        return max(0.0, next(iter(self._since.values())) + LATER_S - self._clock())

    def take(self, limit: int) -> list[Any]:
        """The records to decide next, all there are of each of their keys: about `limit`. Of what is held and ripe, about as many
        again: neither waits for the other."""
        self._pressed = any(self._by_topic[topic] >= self.capacity for topic in self.later)
        if self._count <= limit:
            keys = list(self._by_key)
        elif self.later:
            old = self._older_than(self._clock() - (0.0 if self._pressed else LATER_S))
            ripe = (key for key in old if key not in self._awaited)
            keys = self._some(self._awaited, limit) + self._some(ripe, limit)
        else:
            keys = self._some(self._due(), limit)
        taken: list[Any] = []
        for key in keys:
            taken += self._by_key.pop(key)
            del self._since[key]
            self._awaited.pop(key, None)
        self._count -= len(taken)
        self._by_topic.subtract(Counter([record.topic for record in taken]))
        return taken

    def _some(self, keys: Iterable[bytes], limit: int) -> list[bytes]:
        """The first of these keys, each once, with about `limit` records together."""
        chosen: dict[bytes, None] = {}
        for key in keys:
            if limit <= 0:
                break
            if key not in chosen:
                chosen[key] = None
                limit -= len(self._by_key[key])
        return list(chosen)

    def _older_than(self, moment: float) -> Iterator[bytes]:
        return (key for key, _ in takewhile(lambda known: known[1] <= moment, self._since.items()))

    def _due(self) -> Iterator[bytes]:
        """All keys, some twice: what waited too long, then those with the most records, the oldest of them first. Only so many
        are sorted as are asked for."""
        yield from self._older_than(self._clock() - LONGEST_S)
        by_count = defaultdict(list)
        for key, records in self._by_key.items():
            by_count[len(records)].append(key)
        for count in sorted(by_count, reverse=True):
            yield from sorted(by_count[count])

    def decided(self, records: Sequence[Any]) -> dict[Place, int]:
        """Note that these are done; per place that moved, the offset to commit."""
        before: dict[Place, int] = {}  # the first offset that was open
        for record in records:
            place = record.topic, record.partition
            # Nothing is open of a partition that was taken away meanwhile.
            if waiting := self._open.get(place):
                if place not in before:
                    before[place] = next(iter(waiting))
                waiting.pop(record.offset, None)
        now = {place: next(iter(self._open[place]), self._read[place]) for place in before}
        return {place: offset for place, offset in now.items() if offset != before[place]}
