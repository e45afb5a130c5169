"""Effects handed from the transaction that wants them to the worker of the same process, without another look at the
database: leased from their birth, so that whoever crashes loses them to the next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from expedite_events import Lane
from expedite_messaging.cause import EffectCall
from expedite_messaging.tx import EffectRow

LEASE_S = 60.0  # longer than waiting and performing may take: only a crash lets it run out
WAITS_S = 15.0
"""What waited longer in memory is left to its lease: performing it must end before another may begin."""


class Handoff:
    """The queues of one process, by lane and kind. Only what a worker here serves, and only as much as it performs soon,
    is taken; the rest waits in the table for whoever claims it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rooms: dict[tuple[Lane, str], int] = {}
        self._queues: dict[tuple[Lane, str], deque[tuple[float, EffectCall]]] = {}

    def open(self, lane: Lane, kind: str, room: int) -> None:
        """A worker of this process serves a kind, and has room for so many at a time."""
        self._rooms[lane, kind] = room
        self._queues[lane, kind] = deque()

    def close(self, lane: Lane, kind: str) -> list[EffectCall]:
        """The worker ends: what it had not begun."""
        self._rooms.pop((lane, kind), None)
        return [call for _, call in self._queues.pop((lane, kind), ())]

    def takes(self, lane: Lane, kind: str) -> bool:
        """Whether one more of this kind is performed here soon."""
        queue = self._queues.get((lane, kind))
        return queue is not None and len(queue) < self._rooms[lane, kind]

    def give(self, rows: Sequence[EffectRow]) -> None:
        """Effects that are committed now."""
        now = self._clock()
        for row in rows:
            queue = self._queues.get((row.lane, row.kind))
            if queue is not None:  # the worker may have ended meanwhile: the lease runs out
                call = EffectCall(
                    row.id, row.kind, row.subject, row.key, row.data, 1, row.lane, row.correlation_id, row.traceparent
                )
                queue.append((now, call))

    def take(self, lane: Lane, kind: str, limit: int) -> list[EffectCall]:
        """The next to perform, oldest first."""
        queue, calls = self._queues.get((lane, kind)), list[EffectCall]()
        while queue and len(calls) < limit:
            at, call = queue.popleft()
            if self._clock() - at < WAITS_S:
                calls.append(call)
        return calls
