"""The in-memory twin of repair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from expedite_events.envelope import Envelope
from expedite_messaging.cause import RawRecord
from expedite_messaging.records import record_of
from expedite_messaging.repair import Dropped, ParkedKey, Repair, RepairSession, Waiting, Who

if TYPE_CHECKING:
    from expedite_messaging.memory import Database


@dataclass(slots=True)
class Parked:
    """An event that waits behind its key. `seq`: its place; `kept_id`: the id it was parked under, once it was edited."""

    envelope: Envelope | RawRecord
    reason: str | None
    retry_after_s: float | None
    at: datetime
    attempts: int = 0
    seq: int = 0
    kept_id: UUID | None = None

    @property
    def next_at(self) -> datetime | None:
        return None if self.retry_after_s is None else self.at + timedelta(seconds=self.retry_after_s)

    @property
    def event_id(self) -> UUID:
        if self.kept_id is not None:
            return self.kept_id
        return self.envelope.id if isinstance(self.envelope, Envelope) else self.envelope.event_id

    def shown(self, key: str) -> Waiting:
        record = record_of(self.envelope) if isinstance(self.envelope, Envelope) else self.envelope
        return Waiting(key, self.seq, self.event_id, record, self.reason, self.attempts, self.at, self.next_at)


class MemoryRepair(RepairSession):
    """The primitives of repair over a `Database`; written at commit."""

    db: Database
    now: datetime
    _later: list[Callable[[], None]]

    async def waiting(self, key: str) -> list[Waiting]:
        return [parked.shown(key) for parked in self.db.parked.get(key, [])]

    async def parked_keys(self, after: str, limit: int) -> list[ParkedKey]:
        return [
            ParkedKey(
                key, row[0].event_id, row[0].envelope.topic, row[0].reason, row[0].attempts, row[0].next_at,
                min(parked.at for parked in row), len(row),
            )
            for key, row in sorted(self.db.parked.items())
            if row and key > after
        ][:limit]  # fmt: skip

    def _taken(self, event: Waiting) -> Parked:
        waiting = self.db.parked[event.key]
        (parked,) = [one for one in waiting if one.event_id == event.event_id]
        waiting.remove(parked)
        if not waiting:
            del self.db.parked[event.key]
        return parked

    def _put(self, key: str, parked: Parked) -> None:
        self.db.parked[key] = sorted([*self.db.parked.get(key, []), parked], key=lambda one: one.seq)

    async def rewrite_parked(self, event: Waiting, key: str, record: RawRecord) -> None:
        def write() -> None:
            parked = self._taken(event)
            parked.envelope, parked.kept_id = record, event.event_id
            if key != event.key:
                self.db.places += 1
                parked.seq = self.db.places
            self._put(key, parked)

        self._later.append(write)

    async def set_aside(self, event: Waiting, who: Who) -> None:
        def write() -> None:
            self.db.dropped[event.event_id] = (
                self._taken(event),
                Dropped(event, self.now, who.person or who.client, who.why),
            )

        self._later.append(write)

    async def dropped(self, *, key: str | None = None, event_id: UUID | None = None, limit: int = 200) -> list[Dropped]:
        found = [one for _, one in self.db.dropped.values() if key in (None, one.event.key)]
        return [one for one in reversed(found) if event_id in (None, one.event.event_id)][:limit]

    async def bring_back(self, dropped: Dropped) -> None:
        def write() -> None:
            parked, one = self.db.dropped.pop(dropped.event.event_id)
            self._put(one.event.key, parked)

        self._later.append(write)

    async def note(self, repair: Repair) -> int:
        number = len(self.db.repairs) + 1
        self._later.append(lambda: self.db.repairs.append(replace(repair, id=number, at=self.now)))
        return number

    async def repairs(self, *, key: str | None = None, before: int | None = None, limit: int = 200) -> list[Repair]:
        return [
            repair
            for repair in reversed(self.db.repairs)
            if key in (None, repair.key) and (before is None or repair.id < before)
        ][:limit]
