"""The two worlds the behaviour suite runs in: in memory and on PostgreSQL, behind one face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from msgspec.structs import replace

from expedite_events import CancelRequested, Event, Lane, ShipmentTracked, TrackingStatus, Units, row_of
from expedite_events.envelope import Envelope, decode, encode
from expedite_events.ids import uuid7
from expedite_messaging import Collection, Engine
from expedite_messaging.bundles import Bundle, Emitted, packed, unpacked
from expedite_messaging.clock import anchor
from expedite_messaging.effects import EffectWorker
from expedite_messaging.memory import MemoryClock, MemoryEngine
from expedite_messaging.parking import retry_parked
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.records import shard_of, wire_headers
from expedite_messaging.testing import create_database, drop_database
from expedite_messaging.timers import scan_timers
from expedite_sample.handlers import World, make
from expedite_sample.store import EPOCH, TALLIES, Tally

T = TypeVar("T")


class Crash(Exception):
    """The process died here."""


class Killed(BaseException):
    """The process died here, and nothing in it could react."""


def tracked(order_id: str, word: str, lane: Lane = Lane.STANDARD, shelf: str = "A") -> Envelope:
    event = ShipmentTracked(
        order_id=order_id, parcel_id=word, tracking_number="t", status=TrackingStatus.IN_TRANSIT, raw_status=shelf,
        occurred_at=EPOCH,
    )  # fmt: skip
    return envelope("shipping", event, lane)


def cancelled(order_id: str, word: str) -> Envelope:
    event = CancelRequested(
        order_id=order_id, request_id=word, units=Units.quantity(1, 1), standing=False, reason="r", requested_by="c",
        requested_at=EPOCH,
    )  # fmt: skip
    return envelope("order-intake", event, Lane.EXPRESS)


def envelope(service: str, event: Event, lane: Lane) -> Envelope:
    row, cause = row_of(event), uuid7()
    made = Envelope(
        id=uuid7(), service=service, row=row, key=row.key_of(event), lane=lane, event=event, time=EPOCH,
        correlation_id=cause, causation_id=cause, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )  # fmt: skip
    return decode(*encode(made))


@dataclass(frozen=True)
class Sent:
    topic: str
    key: str
    sequence: int
    event_id: UUID
    event: Any


E = TypeVar("E", bound=Engine)


class BehaviourWorld(ABC, Generic[E]):
    """One service with its engine; the test moves its clock and says when it crashes."""

    engine: E
    world: World

    async def deliver(self, *envelopes: Envelope) -> None:
        await self.engine.deliver(envelopes)

    async def tally(self, order_id: str) -> Tally:
        rows = await self.rows(TALLIES, {"order_id": order_id})
        return rows[0] if rows else Tally(order_id=order_id)

    async def seen(self, order_id: str) -> tuple[str, ...]:
        return (await self.tally(order_id)).seen

    async def rows(self, collection: Collection[Any], where: dict[str, Any] | None = None) -> list[Any]:
        return await self.engine.read(lambda tx: tx.find(collection, where))

    @abstractmethod
    async def outbox(self) -> list[Sent]: ...
    @abstractmethod
    async def ledger(self) -> list[tuple[str, int]]: ...
    @abstractmethod
    async def advance(self, by: timedelta) -> None: ...
    @abstractmethod
    async def fire_due(self) -> int: ...
    @abstractmethod
    async def perform_all(self) -> None: ...
    @abstractmethod
    async def bring_kept(self) -> None: ...
    @abstractmethod
    async def retry_due(self) -> None: ...
    @abstractmethod
    def crash_before_commit(self, times: int = 1) -> None: ...
    @abstractmethod
    def killed_at_commit(self, number: int) -> None:
        """The process dies before the commit of this number, counted from 1 from now on."""

    @abstractmethod
    async def timers(self) -> list[tuple[str, str, int]]: ...


class InMemory(BehaviourWorld[MemoryEngine]):
    def __init__(self) -> None:
        self.world = World()
        self.clock = MemoryClock(EPOCH)
        self.engine = MemoryEngine(make(self.world), self.clock)

    async def outbox(self) -> list[Sent]:
        return [Sent(e.topic, e.key, e.sequence, e.id, e.event) for e in self.engine.db.outbox]

    async def ledger(self) -> list[tuple[str, int]]:
        return sorted((e.key, e.sequence) for e in self.engine.db.ledger)

    async def advance(self, by: timedelta) -> None:
        self.clock.advance(by)

    async def fire_due(self) -> int:
        due = self.engine.due()
        if due:
            await self.engine.fire(due)
        return len(due)

    async def perform_all(self) -> None:
        for call in self.engine.pending_effects():
            try:
                await self.engine.perform(call)
            except ConnectionError:
                continue

    async def bring_kept(self) -> None:
        await self.engine.conclude_kept()

    async def retry_due(self) -> None:
        for key in self.engine.retriable():
            await self.engine.replay(key)

    def crash_before_commit(self, times: int = 1) -> None:
        left = [times]

        def crash() -> None:
            if left[0]:
                left[0] -= 1
                raise Crash

        self.engine.before_commit = crash

    def killed_at_commit(self, number: int) -> None:
        left = [number]

        def commit() -> None:
            left[0] -= 1
            if not left[0]:
                raise Killed

        self.engine.before_commit = commit

    async def timers(self) -> list[tuple[str, str, int]]:
        return sorted(self.engine.db.timers)


class OnPostgres(BehaviourWorld[PostgresEngine]):
    def __init__(self, url: str) -> None:
        self.world = World()
        self.url = url
        self.engine = _Crashing(make(self.world), url)
        self._now = EPOCH

    async def start(self) -> None:
        await anchor(self.url, 0.0, EPOCH)

    async def sql(self, statement: str, *args: Any) -> list[Any]:
        return await self.engine.connections.fetch(statement, *args)

    async def bundles(self, *tables: str) -> list[Bundle]:
        found = []
        for table in tables or ("outbox", "outbox_express"):
            for *row, events in await self.sql(f"SELECT id, shard, body, events FROM {table} ORDER BY id"):
                found.append(unpacked(*row))
                assert events == len(found[-1].events)
        return found

    async def outbox(self) -> list[Sent]:
        found = []
        for bundle in await self.bundles():
            for event in bundle.events:
                number = bundle.number + event.place
                sent = decode(event.topic, event.key.encode(), event.value, wire_headers(event.headers, number))
                assert sent.sequence == number
                assert shard_of(event.key) == bundle.shard
                found.append(Sent(event.topic, event.key, number, sent.id, sent.event))
        return sorted(found, key=lambda s: (s.topic.endswith(".express"), s.sequence))

    async def alter(self, key: str, value: bytes, topic: str | None = None) -> None:
        """Make what waits of a key on the standard lane something that no broker takes."""
        for bundle in await self.bundles("outbox"):
            events = [
                Emitted(e.place, topic or e.topic, e.key, e.headers, value) if e.key == key else e
                for e in bundle.events
            ]
            body = packed(Bundle(bundle.number, bundle.shard, events))
            await self.sql("UPDATE outbox SET body = $2 WHERE id = $1", bundle.number, body)

    async def ledger(self) -> list[tuple[str, int]]:
        return sorted((row[0], row[1]) for row in await self.sql("SELECT key, sequence FROM ledger"))

    async def advance(self, by: timedelta) -> None:
        self._now += by
        await anchor(self.url, 0.0, self._now)

    async def fire_due(self) -> int:
        # A postponed timer waits in real time: here the wait is over.
        await self.sql(
            "UPDATE timer SET retry_at = NULL WHERE error IS NOT NULL AND due_at < business_now() - interval '1 min'"
        )
        return await scan_timers(self.engine)

    async def perform_all(self) -> None:
        await self.sql("UPDATE effect SET next_at = clock_timestamp() WHERE state = 'wanted'")
        for lane in (Lane.STANDARD, Lane.EXPRESS):
            for kind in self.engine.handlers.performers:
                await EffectWorker(self.engine, lane).perform_some(kind)

    async def bring_kept(self) -> None:
        await self.sql("UPDATE effect SET next_at = clock_timestamp() WHERE state = 'performed'")
        await EffectWorker(self.engine, Lane.STANDARD).bring_kept()

    async def retry_due(self) -> None:
        passed = (self._now - EPOCH).total_seconds()
        await self.sql("UPDATE parked SET next_at = next_at - make_interval(secs => $1)", passed)
        await retry_parked(self.engine)

    def crash_before_commit(self, times: int = 1) -> None:
        self.engine.crashes = times

    def killed_at_commit(self, number: int) -> None:
        self.engine.killed_in = number

    async def timers(self) -> list[tuple[str, str, int]]:
        return sorted((r[0], r[1], r[2]) for r in await self.sql("SELECT kind, subject, level FROM timer"))


class _Crashing(PostgresEngine):
    """Drops its connection instead of committing, as a killed process does."""

    crashes = 0
    killed_in = 0

    async def _commit(self, raw: Any, xact: str | None) -> None:
        self.killed_in -= 1
        if self.killed_in == 0:
            raw.terminate()
            raise Killed
        if self.crashes:
            self.crashes -= 1
            raw.terminate()
            raise Crash
        await super()._commit(raw, xact)


def again(sent: Envelope) -> Envelope:
    """The same record delivered once more."""
    return replace(sent)


def words(envelopes: Sequence[Sent]) -> list[int]:
    return [sent.event.level for sent in envelopes]


@asynccontextmanager
async def on_postgres() -> AsyncIterator[OnPostgres]:
    """The world on a database of its own."""
    url = await create_database("expedite_sample")
    made = OnPostgres(url)
    await made.start()
    yield made
    await made.engine.close()
    await drop_database(url)
