"""One process of a service: an engine over what is committed, which can die between any two steps and is then replaced by
another one that knows nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from expedite_events.decision import CancelTimer
from expedite_messaging import Fired, Handlers
from expedite_messaging.masters import Masters
from expedite_messaging.memory import Database, MemoryClock, MemoryEngine, MemorySession
from expedite_messaging.tx import TimerRow

STEPS = (
    "inbox", "lock", "fetch", "find", "save", "add", "emit", "close", "timers", "effects", "take_timers", "take_effects",
    "keep_results", "take_parked", "park", "postpone_parked", "postpone_timer",
)  # fmt: skip
COMMIT, AFTER = "commit", "what follows its commit"


class Crash(BaseException):
    """The process dies here. Not an `Exception`: nothing in the process may catch it."""


class Fuse:
    """Lets a process die before its step number `left` (0: the next). What it died before is `burnt`."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.burnt: str | None = None
        self.out = asyncio.Event()

    def at(self, step: str) -> None:
        """The process is about to do this. Raises `Crash` when it does not come to it, nor to anything later."""
        if self.burnt is None:
            self.left -= 1
            if self.left >= 0:
                return
            self.burnt = step
            self.out.set()
        raise Crash(f"before {self.burnt}")


class Watch:
    """What is seen of a world while it runs, because nobody could tell from its rows afterwards: timers that fired or were
    cancelled, and how far each parcel was. `broken` names what must not be (I7, I8)."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.fired: set[UUID] = set()
        self.cancelled: set[UUID] = set()
        self.ranks: dict[str, int] = {}  # parcel -> rank of its phase
        self.late_scanners = 0  # came with a timer that had been cancelled meanwhile

    def fires(self, item: Fired, due_at: datetime, now: datetime) -> None:
        """A firing was committed."""
        name = f"{item.kind} {item.subject} {item.level}"
        if item.id in self.fired:
            self.broken.append(f"I7 a timer fires once: {name}")
        if item.id in self.cancelled:
            self.broken.append(f"I7 a cancelled timer does not fire: {name}")
        if due_at > now:
            self.broken.append(f"I7 a timer never fires early: {name} at {now}, due {due_at}")
        self.fired.add(item.id)

    def reaches(self, parcel_id: str, rank: int) -> None:
        """A parcel is in this phase now."""
        if rank < self.ranks.get(parcel_id, rank):
            self.broken.append(f"I8 a parcel's rank never falls: {parcel_id} from {self.ranks[parcel_id]} to {rank}")
        self.ranks[parcel_id] = rank


class WatchedSession(MemorySession):
    """Notes what becomes of timers."""

    def __init__(self, db: Database, now: datetime, watch: Watch) -> None:
        super().__init__(db, now)
        self._watch = watch

    async def timers(self, set_: Sequence[TimerRow], cancel: Sequence[CancelTimer]) -> None:
        for order in cancel:
            for identity, (row, _) in self.db.timers.items():
                if identity[:2] == (order.kind, order.subject) and order.level in (None, identity[2]):
                    self._later.append(partial(self._watch.cancelled.add, row.id))
        await super().timers(set_, cancel)

    async def take_timers(self, fired: Sequence[Fired]) -> list[Fired]:
        self._watch.late_scanners += sum(item.id in self._watch.cancelled for item in fired)
        taken = await super().take_timers(fired)
        for item in taken:
            row, _ = self.db.timers[item.kind, item.subject, item.level]
            self._later.append(partial(self._watch.fires, item, row.due_at, self.now))
        return taken


class FragileSession(WatchedSession):
    """Asks the fuse before each of its steps."""

    fuse: Fuse


def _fragile(name: str) -> Callable[..., Any]:
    step = getattr(WatchedSession, name)

    async def asked(self: FragileSession, *args: Any, **named: Any) -> Any:
        self.fuse.at(name)
        return await step(self, *args, **named)

    return asked


for _name in STEPS:
    setattr(FragileSession, _name, _fragile(_name))


class Process(MemoryEngine):
    """The engine of one process. Its memory is its own: what the service keeps beside `db` ends with it."""

    def __init__(self, handlers: Handlers, clock: MemoryClock, watch: Watch, db: Database | None = None) -> None:
        super().__init__(handlers, clock, db)
        self.masters = Masters(lambda: clock.now.timestamp())
        self.watch = watch
        self.fuse: Fuse | None = None
        self.dead = False

    @asynccontextmanager
    async def begin(self, *, write: bool = True) -> AsyncIterator[MemorySession]:
        if self.dead:
            raise Crash("it is dead")
        fuse = self.fuse
        if fuse is None:
            session = WatchedSession(self.db, self.clock.now, self.watch)
        else:
            session = FragileSession(self.db, self.clock.now, self.watch)
            session.fuse = fuse
        yield session
        if write:
            if fuse is not None:
                fuse.at(COMMIT)
            self.before_commit()
            session.commit()
            if fuse is not None:
                fuse.at(AFTER)


__all__ = ["AFTER", "COMMIT", "STEPS", "Crash", "Fuse", "Process", "Watch"]
