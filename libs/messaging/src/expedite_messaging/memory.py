"""The in-memory twin of PostgreSQL and Kafka: the same engine, handlers and decisions without I/O.

It proves the logic of sagas under reordering, redelivery and crashes, thousands per minute. What it cannot prove: SQL,
locks between processes, the wire format of Kafka and PostgreSQL. The behaviour suite in `tests/` runs against both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from msgspec.structs import replace

from expedite_events import Lane, Value, from_json, to_json
from expedite_events.decision import CancelTimer
from expedite_events.envelope import Envelope, decode
from expedite_messaging.bundles import bundled
from expedite_messaging.bus import MemoryBus
from expedite_messaging.cause import EffectCall, EffectResult, Fired, GaveUp, ParkedEvent, RawRecord
from expedite_messaging.collection import Collection, Key
from expedite_messaging.engine import DeliverySession, Engine
from expedite_messaging.handlers import Handlers
from expedite_messaging.masters import Masters
from expedite_messaging.repair import Dropped, Repair
from expedite_messaging.repair_memory import MemoryRepair, Parked
from expedite_messaging.tx import Closing, EffectRow, TimerRow, Tx, Where, as_json

S = TypeVar("S", bound=Value)


@dataclass
class Database:
    """Everything a service has committed."""

    rows: dict[str, dict[Key, Value]] = field(default_factory=lambda: defaultdict(dict))
    inbox: set[UUID] = field(default_factory=set)
    ledger: list[Envelope] = field(default_factory=list)
    outbox: list[Envelope] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    timers: dict[tuple[str, str, int], tuple[TimerRow, int]] = field(default_factory=dict)  # row, epoch
    effects: dict[tuple[str, str], tuple[EffectRow, bool]] = field(default_factory=dict)  # row, finished
    results: dict[tuple[str, str], tuple[EffectResult, str | None]] = field(default_factory=dict)  # kept, why
    postponed: dict[tuple[str, str, int], tuple[datetime, str]] = field(default_factory=dict)  # until, why
    parked: dict[str, list[Parked]] = field(default_factory=dict)
    dropped: dict[UUID, tuple[Parked, Dropped]] = field(default_factory=dict)
    repairs: list[Repair] = field(default_factory=list)
    places: int = 0  # given to parked events
    epoch: int = 0


class MemorySession(MemoryRepair, DeliverySession):
    """Collects writes over a database and applies them at commit; a crash before that leaves nothing behind."""

    def __init__(self, db: Database, now: datetime) -> None:
        self.db, self.now = db, now
        self._writes: dict[str, dict[Key, Value]] = defaultdict(dict)
        self._later: list[Callable[[], None]] = []

    def _rows(self, collection: Collection[S]) -> dict[Key, S]:
        return {**self.db.rows[collection.name], **self._writes[collection.name]}  # type: ignore[dict-item]

    async def fetch(self, collection: Collection[S], keys: Sequence[Key], lock: bool) -> dict[Key, S]:
        pending, stored = self._writes[collection.name], self.db.rows[collection.name]
        found = {key: pending.get(key) or stored.get(key) for key in keys}
        return {key: state for key, state in found.items() if state is not None}  # type: ignore[misc]

    async def reserve(self, collection: Collection[S], states: Sequence[S]) -> None:
        await self.add(collection, states)

    async def find(
        self, collection: Collection[S], where: Where, order_by: Sequence[str], limit: int | None, offset: int
    ) -> list[S]:
        rows = [row for row in self._rows(collection).values() if matches(collection.column_values(row), where)]
        for name in reversed(order_by):
            field_name = name.removeprefix("-")
            rows.sort(
                key=lambda row: _nulls_last(collection.column_values(row)[field_name]), reverse=name.startswith("-")
            )
        return rows[offset : None if limit is None else offset + limit]

    async def count(self, collection: Collection[S], where: Where, limit: int | None = None) -> int:
        return len(await self.find(collection, where, (), limit, 0))

    async def save(self, collection: Collection[S], states: Sequence[S]) -> None:
        for state in states:
            # A round trip through JSON, so that what cannot be stored fails here as it would in PostgreSQL.
            stored = from_json(collection.model, to_json(state))
            self._writes[collection.name][collection.key_of(state)] = stored

    async def update(self, collection: Collection[S], states: Sequence[S]) -> None:
        rows = self._rows(collection)
        if missing := [key for key in map(collection.key_of, states) if key not in rows]:
            raise AssertionError(f"rows of {collection.name} are updated that are not there: {missing}")
        await self.save(collection, states)

    async def add(self, collection: Collection[S], states: Sequence[S]) -> None:
        known = self._rows(collection)
        await self.save(collection, [s for s in states if collection.key_of(s) not in known])

    async def emit(self, envelopes: Sequence[Envelope]) -> None:
        bundled(envelopes)  # refuses what is too large to be published

        def write() -> None:
            for envelope in envelopes:
                self.db.sequences[envelope.key] += 1
                numbered = replace(envelope, sequence=self.db.sequences[envelope.key])
                self.db.ledger.append(numbered)
                self.db.outbox.append(numbered)

        known = {e.id for e in self.db.ledger[-2000:]}
        if any(e.id in known for e in envelopes):
            raise AssertionError("an event id was emitted twice")
        self._later.append(write)

    async def close(self, closings: Sequence[Closing]) -> None:
        for closing in closings:
            await closing.twin(self)

    async def timers(self, set_: Sequence[TimerRow], cancel: Sequence[CancelTimer]) -> None:
        def write() -> None:
            for order in cancel:
                for identity in [i for i in self.db.timers if i[:2] == (order.kind, order.subject)]:
                    if order.level in (None, identity[2]):
                        self._drop_timer(identity)
            for row in set_:
                self.db.epoch += 1
                self.db.postponed.pop((row.kind, row.subject, row.level), None)
                self.db.timers[row.kind, row.subject, row.level] = (row, self.db.epoch)

        self._later.append(write)

    async def effects(self, rows: Sequence[EffectRow]) -> None:
        def write() -> None:
            for row in rows:
                self.db.effects.setdefault((row.kind, row.subject), (row, False))

        self._later.append(write)

    async def inbox(self, ids: Sequence[UUID]) -> set[UUID]:
        new = set(ids) - self.db.inbox
        self._later.append(lambda: self.db.inbox.update(new))
        return new

    async def lock(self, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if self.db.parked.get(key)}

    async def park(self, envelopes: Sequence[Envelope], reason: str | None, retry_after_s: float | None) -> None:
        def write() -> None:
            for envelope in envelopes:
                self._park(envelope.key, Parked(envelope, reason, retry_after_s, self.now))

        self._later.append(write)

    async def park_raw(self, record: RawRecord, reason: str) -> None:
        known = {
            p.envelope.event_id for row in self.db.parked.values() for p in row if isinstance(p.envelope, RawRecord)
        }
        if record.event_id not in known:
            parked = Parked(record, reason, None, self.now)
            self._later.append(lambda: self._park(record.lock_key, parked))

    def _park(self, key: str, parked: Parked) -> None:
        self.db.places += 1
        parked.seq = self.db.places
        self.db.parked.setdefault(key, []).append(parked)

    async def take_parked(self, key: str) -> Envelope | None:
        waiting = self.db.parked.get(key, [])
        if not waiting:
            return None
        head = waiting[0].envelope
        envelope = head if isinstance(head, Envelope) else decode(head.topic, head.key, head.value, head.headers)

        def drop() -> None:
            del waiting[0]
            if not waiting:
                self.db.parked.pop(key, None)

        self._later.append(drop)
        return envelope

    async def postpone_parked(self, key: str, reason: str, retry_after_s: float | None) -> None:
        def write() -> None:
            head = self.db.parked[key][0]
            head.reason, head.retry_after_s, head.at, head.attempts = reason, retry_after_s, self.now, head.attempts + 1

        self._later.append(write)

    async def take_timers(self, fired: Sequence[Fired]) -> list[Fired]:
        due = []
        for item in fired:
            found = self.db.timers.get((item.kind, item.subject, item.level))
            if found and found[0].id == item.id and found[0].due_at <= self.now:
                due.append(item)
                self._later.append(partial(self._drop_timer, (item.kind, item.subject, item.level)))
        return due

    async def take_effects(self, results: Sequence[EffectResult]) -> list[EffectResult]:
        taken = []
        for result in results:
            row, finished = self.db.effects[result.kind, result.subject]
            if not finished:
                taken.append(result)

                def finish(row: EffectRow = row) -> None:
                    self.db.effects[row.kind, row.subject] = (row, True)
                    self.db.results.pop((row.kind, row.subject), None)

                self._later.append(finish)
        return taken

    async def keep_results(self, results: Sequence[EffectResult], reason: str | None) -> None:
        def write() -> None:
            for result in results:
                if not self.db.effects[result.kind, result.subject][1]:
                    self.db.results[result.kind, result.subject] = (result, reason)

        self._later.append(write)

    async def postpone_timer(self, fired: Fired, reason: str, retry_after_s: float | None) -> None:
        until = self.now + timedelta(seconds=10.0 if retry_after_s is None else retry_after_s)
        identity = (fired.kind, fired.subject, fired.level)
        self._later.append(lambda: self.db.postponed.update({identity: (until, reason)}))

    def _drop_timer(self, identity: tuple[str, str, int]) -> None:
        self.db.timers.pop(identity, None)
        self.db.postponed.pop(identity, None)

    def commit(self) -> None:
        for name, rows in self._writes.items():
            self.db.rows[name].update(rows)
        for write in self._later:
            write()


class MemoryClock:
    """A business clock that a test moves."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

    def advance(self, by: timedelta) -> None:
        self.now += by


class CrashAfterCommit(Exception):
    """Raised by a test's hook: the transaction is durable, the process dies before it can say so."""


class MemoryEngine(Engine):
    """An engine over a `Database`. Transactions run one after another."""

    def __init__(self, handlers: Handlers, clock: MemoryClock, db: Database | None = None) -> None:
        self.service, self.handlers, self.clock, self.masters = handlers.service, handlers, clock, Masters()
        self.db = db or Database()
        self.before_commit: Callable[[], None] = lambda: None  # a test raises here to crash

    @asynccontextmanager
    async def begin(self, *, write: bool = True) -> AsyncIterator[MemorySession]:
        session = MemorySession(self.db, self.clock.now)
        yield session
        if write:
            self.before_commit()
            session.commit()

    async def backoff(self, attempt: int) -> None:
        if attempt > 3:
            raise RuntimeError("an in-memory transaction does not become possible by waiting")

    def woke(self, tx: Tx) -> None:
        return None

    def due(self) -> list[Fired]:
        """Timers due now whose key is not parked, earliest first."""
        rows = [
            Fired(
                id=row.id, kind=row.kind, subject=row.subject, level=row.level, key=row.key, due_at=row.due_at, data=row.data,
                lane=row.lane, correlation_id=row.correlation_id, traceparent=row.traceparent,
            )
            for row, _ in self.db.timers.values()
            if row.due_at <= self.clock.now and not self.db.parked.get(row.key)
            and self._postponed_until(row) <= self.clock.now
        ]  # fmt: skip
        return sorted(rows, key=lambda f: (f.due_at, f.kind, f.subject, f.level))

    def _postponed_until(self, row: TimerRow) -> datetime:
        return self.db.postponed.get((row.kind, row.subject, row.level), (row.due_at, ""))[0]

    def next_due(self) -> datetime | None:
        """When the next timer is due, if any."""
        return min((row.due_at for row, _ in self.db.timers.values()), default=None)

    def pending_effects(self) -> list[EffectCall]:
        """Effects not yet performed, of keys that are not parked."""
        return [
            EffectCall(
                row.id, row.kind, row.subject, row.key, row.data, 1, row.lane, row.correlation_id, row.traceparent
            )
            for row, finished in self.db.effects.values()
            if not finished and (row.kind, row.subject) not in self.db.results and not self.db.parked.get(row.key)
        ]

    async def conclude_kept(self) -> int:
        """Bring kept results of keys that are not parked any more home again. The number tried."""
        kept = [result for result, _ in self.db.results.values() if not self.db.parked.get(result.key)]
        for result in kept:
            await self.conclude([result])
        return len(kept)

    async def perform(self, call: EffectCall) -> None:
        """Perform one effect with its bound performer and bring the result home."""
        (answer,) = await self.handlers.performers[call.kind]([call])
        if isinstance(answer, Exception) and not isinstance(answer, GaveUp):
            raise answer
        ok, data, error = (False, {}, str(answer)) if isinstance(answer, GaveUp) else (True, as_json(answer), None)
        await self.conclude([
            EffectResult(call.id, call.kind, call.subject, call.key, ok, data, call.data, error, call.attempt, call.lane,
                         call.correlation_id, call.traceparent)
        ])  # fmt: skip

    async def parked(self, limit: int = 200) -> list[ParkedEvent]:
        return [
            ParkedEvent(
                key, p.event_id, p.envelope.topic, p.reason, p.attempts, p.at, p.next_at
            )
            for key in sorted(self.db.parked)
            for p in self.db.parked[key]
        ][:limit]  # fmt: skip

    def retriable(self) -> list[str]:
        """Parked keys whose first event is to be tried again by now."""
        now = self.clock.now
        return [
            key for key, row in self.db.parked.items() if row and row[0].next_at is not None and row[0].next_at <= now
        ]


def matches(values: dict[str, Any], where: Where) -> bool:
    """The meaning of `Session.find`'s conditions."""
    for name, wanted in where.items():
        column, _, operator = name.partition("__")
        value = values[column]
        if operator:
            if value is None or not _COMPARE[operator](value, wanted):
                return False
        elif isinstance(wanted, list | tuple | set | frozenset):
            if value not in wanted:
                return False
        elif value != wanted:
            return False
    return True


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "lte": lambda a, b: a <= b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "gt": lambda a, b: a > b,
    "ne": lambda a, b: a != b,
    "contains": lambda a, b: b in a,
}


def _nulls_last(value: Any) -> tuple[bool, Any]:
    return (value is None, 0 if value is None else value)


__all__ = ["CrashAfterCommit", "Database", "Lane", "MemoryBus", "MemoryClock", "MemoryEngine", "MemorySession"]
