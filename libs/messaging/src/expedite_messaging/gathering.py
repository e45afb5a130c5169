"""Records that were polled and not decided yet, kept by key: a consumer that falls behind decides together what happened
to a key meanwhile, instead of loading and saving it for each record.

It holds nothing back: whoever keeps up finds a few records here and takes them all at once. Only when more wait than one
batch holds, the keys with the most records go first, the oldest of them (keys of orders rise with time), and those that
waited long before all others. Each topic has room of its own, so that the first station of a crowd of orders does not fill
the place that their later stations need to meet it.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

LONGEST_S = 10.0
Place = tuple[str, int]
"""Topic and partition."""


class Gathering:
    """Up to `capacity` records of each topic of one consumer. Offsets are committed up to the first record still here."""

    def __init__(self, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity, self._clock = capacity, clock
        self.clear()

    def clear(self) -> None:
        """Forget everything: the partitions are no longer ours, whoever owns them reads it again."""
        self._by_key: dict[bytes, list[Any]] = {}  # in order of their first record
        self._since: dict[bytes, float] = {}  # likewise, so the oldest come first
        self._open: dict[Place, deque[int]] = {}  # offsets, in order
        self._decided: defaultdict[Place, set[int]] = defaultdict(set)
        self._count = 0
        self._by_topic: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._count

    def room(self, topic: str) -> int:
        """How many more records of a topic may come."""
        return self.capacity - self._by_topic[topic]

    def add(self, polled: Mapping[Any, Sequence[Any]]) -> None:
        """Take in what was polled, by `Place` (a client's `TopicPartition` is one)."""
        now = self._clock()
        for place, records in polled.items():
            self._open.setdefault(place, deque()).extend([record.offset for record in records])
            self._count += len(records)
            self._by_topic[place[0]] += len(records)
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

    def take(self, limit: int) -> list[Any]:
        """The records to decide next, all there are of each of their keys: about `limit`."""
        if self._count <= limit:
            keys = list(self._by_key)
        else:
            chosen: dict[bytes, int] = {}
            left = limit
            for key in self._due():
                if key not in chosen:
                    chosen[key] = len(self._by_key[key])
                    left -= chosen[key]
                    if left <= 0:
                        break
            keys = list(chosen)
        taken: list[Any] = []
        for key in keys:
            taken += self._by_key.pop(key)
            del self._since[key]
        self._count -= len(taken)
        self._by_topic.subtract(Counter([record.topic for record in taken]))
        return taken

    def _due(self) -> Iterator[bytes]:
        """All keys, some twice: what waited too long, then those with the most records, the oldest of them first. Only so many
        are sorted as are asked for."""
        overdue = self._clock() - LONGEST_S
        yield from (key for key, _ in takewhile(lambda known: known[1] < overdue, self._since.items()))
        by_count = defaultdict(list)
        for key, records in self._by_key.items():
            by_count[len(records)].append(key)
        for count in sorted(by_count, reverse=True):
            yield from sorted(by_count[count])

    def decided(self, records: Sequence[Any]) -> dict[Place, int]:
        """Note that these are done; per place that moved, the offset to commit."""
        moved = set()
        for record in records:
            place = record.topic, record.partition
            self._decided[place].add(record.offset)
            moved.add(place)
        found = {}
        for place in moved:
            # Nothing is open of a partition that was taken away meanwhile.
            waiting, done, reached = self._open.get(place), self._decided[place], None
            while waiting and waiting[0] in done:
                reached = waiting.popleft()
                done.remove(reached)
            if reached is not None:
                found[place] = reached + 1
        return found
