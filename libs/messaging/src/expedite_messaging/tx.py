"""One transaction of a service: load, decide, save, emit.

`Tx` is the same over PostgreSQL and in memory; only the `Session` below it differs. Nobody outside this package begins
or commits a transaction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import orjson
from msgspec import Struct

from expedite_events import Decision, Effect, Event, Lane, Value, row_of
from expedite_events.decision import CancelTimer, SetTimer
from expedite_events.envelope import Envelope, event_id_for
from expedite_events.ids import millis, uuid8
from expedite_messaging.cause import Cause
from expedite_messaging.collection import Book, Collection, Key, in_order
from expedite_messaging.jsonable import jsonable
from expedite_messaging.masters import Masters

S = TypeVar("S", bound=Value)
Where = Mapping[str, Any]
_SOON = timedelta(seconds=2)


class TimerRow(Struct, frozen=True):
    """A timer as it is stored, its data as JSON. `id` derives from the cause that set it: the cause of whatever its firing
    emits, and what tells a timer set again from the one it replaced."""

    id: UUID
    kind: str
    subject: str
    level: int
    key: str
    due_at: datetime
    text: str
    lane: Lane
    correlation_id: UUID
    traceparent: str | None = None

    @property
    def data(self) -> dict[str, Any]:
        """What the firing will find."""
        found: dict[str, Any] = orjson.loads(self.text)
        return found


class EffectRow(Struct, frozen=True):
    """An effect as it is stored, its data as JSON."""

    id: UUID
    kind: str
    subject: str
    key: str
    text: str
    lane: Lane
    correlation_id: UUID
    traceparent: str | None

    @property
    def data(self) -> dict[str, Any]:
        """What its performer will find."""
        found: dict[str, Any] = orjson.loads(self.text)
        return found


class Closing(Struct, frozen=True):
    """What a transaction does last: rows that others wait for are locked and written by a function of the service's own
    database, called in one message with the commit. They are held for the database's time alone, whatever becomes of
    this process meanwhile.

    arguments: one PostgreSQL literal's text for each parameter. twin: the same over rows in memory. When what was decided
    does not hold any more, the function raises `serialization_failure`, the twin `Transient`: the transaction is run again.
    """

    function: str
    arguments: tuple[str, ...]
    twin: Callable[[Session], Awaitable[None]]


class Session(ABC):
    """The primitives of one open transaction. Writes are visible to later reads of the same session."""

    now: datetime  # business time, read from the database when the transaction began

    @abstractmethod
    async def lock(self, keys: Sequence[str]) -> set[str]:
        """Lock keys until the transaction ends; the ones that are parked."""

    @abstractmethod
    async def fetch(self, collection: Collection[S], keys: Sequence[Key], lock: bool) -> dict[Key, S]:
        """Rows by key; `lock` takes their row locks in key order, inserting nothing."""

    @abstractmethod
    async def reserve(self, collection: Collection[S], states: Sequence[S]) -> None:
        """Insert missing rows, in key order, so that they can be locked; existing rows stay as they are."""

    @abstractmethod
    async def find(
        self, collection: Collection[S], where: Where, order_by: Sequence[str], limit: int | None, offset: int
    ) -> list[S]:
        """Rows by column values, without locks. A list or tuple value means "any of"; None means IS NULL; a column
        name with the suffix ``__lte``, ``__gte``, ``__lt``, ``__gt``, ``__ne`` or ``__contains`` (of text) compares. ``-name`` sorts descending."""

    @abstractmethod
    async def count(self, collection: Collection[S], where: Where, limit: int | None = None) -> int:
        """How many rows match, counted up to `limit`."""

    @abstractmethod
    async def save(self, collection: Collection[S], states: Sequence[S]) -> None:
        """Insert or replace documents, one statement."""

    async def insert(self, collection: Collection[S], states: Sequence[S]) -> None:
        """Insert documents of rows that were looked for and not found, one statement. One that came meanwhile is replaced, or
        has the transaction run again."""
        await self.save(collection, states)

    async def update(self, collection: Collection[S], states: Sequence[S]) -> None:
        """Replace documents of rows that exist, one statement."""
        await self.save(collection, states)

    @abstractmethod
    async def add(self, collection: Collection[S], states: Sequence[S]) -> None:
        """Insert documents that are written once; an existing key stays as it is."""

    @abstractmethod
    async def emit(self, envelopes: Sequence[Envelope]) -> None:
        """Ledger and outbox rows, in order; numbers each key's `sequence`."""

    @abstractmethod
    async def close(self, closings: Sequence[Closing]) -> None:
        """Have these done right before the commit. Nothing is written afterwards."""

    @abstractmethod
    async def timers(self, set_: Sequence[TimerRow], cancel: Sequence[CancelTimer]) -> None:
        """Cancel, then set."""

    @abstractmethod
    async def effects(self, rows: Sequence[EffectRow]) -> None:
        """Queue effects; a known (kind, subject) stays as it is."""


class Tx:
    """What a handler or an API route works with. Saving and emitting happen when the transaction ends."""

    def __init__(self, service: str, session: Session, masters: Masters | None = None) -> None:
        self.service, self.session, self._masters = service, session, masters or Masters()
        self.saved: set[str] = set()  # names of the collections written
        self._books: dict[str, Book[Any]] = {}
        self._added: dict[str, tuple[Collection[Any], dict[Key, Any]]] = {}
        self._envelopes: dict[UUID, Envelope] = {}
        self._timers: dict[tuple[str, str, int], TimerRow] = {}
        self._cancelled: list[CancelTimer] = []
        self._effects: dict[UUID, EffectRow] = {}
        self._last: list[Closing] = []

    @property
    def now(self) -> datetime:
        """Business time of this transaction."""
        return self.session.now

    async def load(self, collection: Collection[S], keys: Iterable[Key]) -> Book[S]:
        """The documents of these keys, ready to be decided on. Loading more keys later extends the same book."""
        book: Book[S] | None = self._books.get(collection.name)
        if book is None:
            book = self._books[collection.name] = Book(collection, {})
        wanted = in_order({key for key in keys if key not in book})
        if wanted:
            if collection.lock and collection.new is not None:
                await self.session.reserve(collection, [collection.blank(key) for key in wanted])
            book.stored(wanted, await self.session.fetch(collection, wanted, collection.lock))
        return book

    async def lock(self, keys: Iterable[str]) -> set[str]:
        """Lock more keys, before anything of them is read; the ones that are parked. Only for writers that learn the
        keys from rows: whoever knows them beforehand names them to `Engine.transact`."""
        return await self.session.lock(sorted(set(keys)))

    async def masters(self, collection: Collection[S]) -> Mapping[Key, S]:
        """All rows of a small collection of master data, read-only, at most two seconds old (see `Masters`). The same
        object while nothing changed."""
        known = self._masters.whole(collection.name)
        if known is None:
            rows = await self.session.find(collection, {}, (), None, 0)
            known = self._masters.keep_whole(collection.name, {collection.key_of(row): row for row in rows})
        return known

    async def glance(self, collection: Collection[S], keys: Iterable[Key]) -> Mapping[Key, S]:
        """These rows of a large collection of master data, read-only, at most two seconds old. Missing keys are left
        out."""
        known, wanted = self._masters.rows(collection.name), set(keys)
        missing = in_order(key for key in wanted if key not in known)
        if missing:
            known.update(await self.session.fetch(collection, missing, False))
        return {key: known[key] for key in wanted if key in known}

    async def find(
        self,
        collection: Collection[S],
        where: Where | None = None,
        *,
        order_by: Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
    ) -> list[S]:
        """Committed documents by column values, without locks: for lists and for finding what to lock next."""
        return await self.session.find(collection, where or {}, order_by, limit, offset)

    async def count(self, collection: Collection[S], where: Where | None = None, limit: int | None = None) -> int:
        """How many committed documents match; beyond `limit` nobody counts on."""
        return await self.session.count(collection, where or {}, limit)

    def add(self, collection: Collection[S], state: S) -> None:
        """Write a document once (a movement, a log row); an existing key stays as it is."""
        self._added.setdefault(collection.name, (collection, {}))[1].setdefault(collection.key_of(state), state)

    def at_last(self, closing: Closing) -> None:
        """Do this when everything else is written, together with the commit: for rows that others wait for."""
        self._last.append(closing)

    def apply(self, cause: Cause, book: Book[S], decision: Decision[S]) -> None:
        """Put the decision's state into the book and emit what it says."""
        book.put(decision.state)
        self.emit(cause, decision)

    def emit(self, cause: Cause, decision: Decision[Any]) -> None:
        """Register the events, timers and effects of a decision. For decisions over several books: put each state
        yourself, then emit once."""
        lane = cause.lane if decision.express is None else (Lane.EXPRESS if decision.express else Lane.STANDARD)
        for event in decision.events:
            self._emit_event(cause, event, lane)
        for order in decision.timers:
            if isinstance(order, CancelTimer):
                self._cancel(order)
            else:
                self._set(cause, order, lane)
        for effect in decision.effects:
            self._effect(cause, effect, lane)

    def _emit_event(self, cause: Cause, event: Event, lane: Lane) -> None:
        row = row_of(event)
        if self.service not in row.owners:
            raise ValueError(f"{self.service} does not own {row.topic}")
        cause_id = cause.id
        event_id = event_id_for(cause_id, self.service, event, lane)
        if event_id in self._envelopes:
            raise ValueError(f"{row.topic} {row.key_of(event)} emitted twice by one cause: its identity is incomplete")
        self._envelopes[event_id] = Envelope(  # by place: names take twice as long
            event_id,
            self.service,
            row,
            row.key_of(event),
            row.lane_on(lane),
            event,
            self.now,
            cause.correlation_id,
            cause_id,
            0,
            cause.traceparent,
        )

    def _set(self, cause: Cause, order: SetTimer, lane: Lane) -> None:
        identity = (order.kind, order.subject, order.level)
        timer_id = uuid8(millis(cause.id), str(cause.id), self.service, order.kind, order.subject, str(order.level))
        self._timers[identity] = TimerRow(
            timer_id, order.kind, order.subject, order.level, cause.key, order.due_at, _text(order.data), lane,
            cause.correlation_id, cause.traceparent,
        )  # fmt: skip

    def _cancel(self, order: CancelTimer) -> None:
        for identity in [i for i in self._timers if i[:2] == (order.kind, order.subject)]:
            if order.level in (None, identity[2]):
                del self._timers[identity]
        self._cancelled.append(order)

    def _effect(self, cause: Cause, effect: Effect, lane: Lane) -> None:
        effect_id = uuid8(millis(cause.id), self.service, effect.kind, effect.subject)
        self._effects.setdefault(
            effect_id,
            EffectRow(
                effect_id, effect.kind, effect.subject, cause.key, _text(effect.data), lane, cause.correlation_id,
                cause.traceparent,
            ),
        )  # fmt: skip

    async def flush(self) -> None:
        """Write everything: one statement per table. Called by the engine, once, before it commits."""
        self.saved = {name for name, book in self._books.items() if book.changed} | self._added.keys()
        for book in self._books.values():
            replaced, missing, written = book.puts()
            if replaced:
                await self.session.update(book.collection, replaced)
            if missing:
                await self.session.insert(book.collection, missing)
            if written:
                await self.session.save(book.collection, written)
        for collection, rows in self._added.values():
            await self.session.add(collection, [rows[key] for key in in_order(rows)])
        if self._timers or self._cancelled:
            await self.session.timers(list(self._timers.values()), self._cancelled)
        if self._effects:
            await self.session.effects(list(self._effects.values()))
        if self._envelopes:
            await self.session.emit(list(self._envelopes.values()))
        if self._last:
            await self.session.close(self._last)

    @property
    def emitted(self) -> tuple[Envelope, ...]:
        return tuple(self._envelopes.values())

    @property
    def effects_wanted(self) -> set[tuple[Lane, str]]:
        """Lane and kind of the effects this transaction queued."""
        return {(row.lane, row.kind) for row in self._effects.values()}

    @property
    def timers_soon(self) -> bool:
        """Whether a timer was set that is due before the next scan would see it anyway."""
        return any(row.due_at - self.now <= _SOON for row in self._timers.values())


def as_json(data: Mapping[str, Any]) -> dict[str, Any]:
    """Small data as it comes back from storage: times, decimals and ids as text, tuples as lists, models as objects."""
    found: dict[str, Any] = orjson.loads(_text(data))
    return found


def _text(data: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(data), default=jsonable).decode()
