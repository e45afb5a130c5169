"""Repair of parked keys by people: look, edit, drop, restore, retry; each change with its entry in the audit trail.

A change locks the key, looks at what is parked there now, and is written in one transaction with its entry. Events behind
a changed one keep their places: a key is decided in order whatever was done to it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar, cast
from uuid import UUID

from expedite_events import Unreadable, row_of_topic
from expedite_events.envelope import Undecodable, decode
from expedite_messaging.cause import RawRecord

if TYPE_CHECKING:
    from expedite_messaging.engine import Engine
    from expedite_messaging.tx import Tx

R = TypeVar("R")
REPAIRED = "ce_repaired"
"""The header of an edited event: the number of its entry in the audit trail."""
_ID = "ce_id"
_OWN = (_ID, REPAIRED)


@dataclass(frozen=True, slots=True)
class Who:
    """Who repairs and why: the authenticated `client`, and the `person` it acts for as that client says."""

    client: str
    person: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A parked event with everything there is of it. `seq` is its place; `next_at`: tried again by itself then."""

    key: str
    seq: int
    event_id: UUID
    record: RawRecord
    reason: str | None
    attempts: int
    at: datetime
    next_at: datetime | None = None

    @property
    def tag(self) -> str:
        """Changes when somebody edits the event: what an operator looked at must be what is changed."""
        return tag_of(self.event_id, self.record)

    @property
    def repaired(self) -> int | None:
        """The entry of the audit trail that tells how it was edited last."""
        text = dict(self.record.headers).get(REPAIRED)
        return int(text) if text and text.isdigit() else None

    @property
    def trouble(self) -> str | None:
        """Why it cannot be understood; None when it can."""
        try:
            decode(self.record.topic, self.record.key, self.record.value, self.record.headers)
        except Undecodable as error:
            return str(error)
        return None


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key that waits, by its first event. `since`: parked without a pause since then; `events`: how many wait."""

    key: str
    event_id: UUID
    topic: str
    reason: str | None
    attempts: int
    next_at: datetime | None
    since: datetime
    events: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """An event a person took out of its queue."""

    event: Waiting
    dropped_at: datetime
    dropped_by: str
    why: str


@dataclass(frozen=True, slots=True)
class Repair:
    """One entry of the audit trail. `before` and `after` are SHA-256 of the value; `original` is what an edit replaced."""

    action: str  # reveal, edit, retry, drop, restore
    key: str
    who: Who
    event_id: UUID | None = None
    topic: str | None = None
    outcome: str | None = None
    before: str | None = None
    after: str | None = None
    original: RawRecord | None = None
    id: int = 0  # given when it is written
    at: datetime | None = None  # likewise


class NotParked(Exception):
    """Nothing (or not this event) is parked or dropped there: somebody repaired it already, or it never was."""


class ChangedMeanwhile(Exception):
    """The event is not what the operator looked at: somebody edited it in between."""


class RepairSession(ABC):
    """What repair needs of a transaction."""

    @abstractmethod
    async def waiting(self, key: str) -> list[Waiting]:
        """The events parked behind a key, in the order in which they will be decided."""

    @abstractmethod
    async def parked_keys(self, after: str, limit: int) -> list[ParkedKey]:
        """Keys that wait, by key, those beyond `after`."""

    @abstractmethod
    async def rewrite_parked(self, event: Waiting, key: str, record: RawRecord) -> None:
        """Put another record in the place of a parked event; under another key it becomes that key's last."""

    @abstractmethod
    async def set_aside(self, event: Waiting, who: Who) -> None:
        """Move a parked event to the dropped ones."""

    @abstractmethod
    async def dropped(self, *, key: str | None = None, event_id: UUID | None = None, limit: int = 200) -> list[Dropped]:
        """Dropped events, the newest first: all, those of a key, or one."""

    @abstractmethod
    async def bring_back(self, dropped: Dropped) -> None:
        """Park a dropped event again at its old place."""

    @abstractmethod
    async def note(self, repair: Repair) -> int:
        """Write an entry of the audit trail; its number."""

    @abstractmethod
    async def repairs(self, *, key: str | None = None, before: int | None = None, limit: int = 200) -> list[Repair]:
        """Entries of the audit trail, the newest first: all, or those of a key; those with lower numbers than `before`."""


def tag_of(event_id: UUID, record: RawRecord) -> str:
    """A text that is another one for every other content of an event."""
    parts = [event_id.bytes, record.value or b"", *(part for n, v in record.headers for part in (n.encode(), v))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]


def digest(value: bytes | None) -> str:
    """SHA-256 of an event's value."""
    return hashlib.sha256(value or b"").hexdigest()


async def parked_keys(engine: Engine, after: str = "", limit: int = 200) -> list[ParkedKey]:
    """Keys that wait for repair or a later try, by key."""
    return await engine.read(lambda tx: session_of(tx).parked_keys(after, limit))


async def waiting(engine: Engine, key: str) -> list[Waiting]:
    """The events parked behind a key, in order. Raises `NotParked`."""
    found = await engine.read(lambda tx: session_of(tx).waiting(key))
    if not found:
        raise NotParked(key)
    return found


async def reveal(engine: Engine, key: str, who: Who) -> tuple[list[Waiting], dict[UUID, RawRecord]]:
    """The events of a key for somebody who may see personal data, and the originals of those that were edited. That they
    were looked at is noted. Raises `NotParked`."""

    async def work(tx: Tx) -> tuple[list[Waiting], dict[UUID, RawRecord]]:
        session = session_of(tx)
        found = await session.waiting(key)
        if not found:
            raise NotParked(key)
        await session.note(Repair("reveal", key, who, outcome=f"{len(found)} events"))
        edits = [repair for repair in await session.repairs(key=key, limit=1000) if repair.original is not None]
        return found, {
            e.event_id: e.original for e in edits if e.event_id and e.original
        }  # the oldest edit stands last

    return await _changing(engine, [key], work)


async def edit(
    engine: Engine, key: str, event_id: UUID, tag: str, value: bytes, who: Who, headers: Mapping[str, str] | None = None
) -> Waiting:
    """Replace the value (and named headers) of a parked event. Its id stays, so that it counts as taken in; an event that
    came without a key of its own moves to the key it is about. Raises `Undecodable` when it still could not be decided on,
    `NotParked`, `ChangedMeanwhile`."""
    before = await engine.read(lambda tx: _this(session_of(tx), key, event_id, tag))
    repaired = _repaired(before, value, headers or {})
    target = repaired.lock_key

    async def work(tx: Tx) -> Waiting:
        session = session_of(tx)
        event = await _this(session, key, event_id, tag)
        entry = Repair(
            "edit", key, who, event_id, event.record.topic, before=digest(event.record.value), after=digest(value),
            original=event.record, outcome=None if target == key else f"moved to {target}",
        )  # fmt: skip
        marked = replace(repaired, headers=(*repaired.headers, (REPAIRED, b"%d" % await session.note(entry))))
        await session.rewrite_parked(event, target, marked)
        return replace(event, key=target, record=marked)

    return await _changing(engine, sorted({key, target}), work)


def _repaired(event: Waiting, value: bytes, headers: Mapping[str, str]) -> RawRecord:
    """The record with its new value, understood and about its own key. Raises `Undecodable`."""
    old = event.record
    kept = {name: text for name, text in old.headers if name not in _OWN}
    kept |= {name: text.encode() for name, text in headers.items() if name not in _OWN}
    fresh = replace(
        old, key=old.key or _key_in(old.topic, value), value=value,
        headers=((_ID, str(event.event_id).encode()), *kept.items()),
    )  # fmt: skip
    decode(fresh.topic, fresh.key, fresh.value, fresh.headers)
    return fresh


def _key_in(topic: str, value: bytes) -> bytes:
    """What the event is about, for a record that came without a key."""
    try:
        row = row_of_topic(topic)
        return row.key_of(row.read(value)).encode()
    except (KeyError, ValueError, Unreadable) as error:
        raise Undecodable(f"{type(error).__name__}: {error}") from error


async def drop(engine: Engine, key: str, event_id: UUID, tag: str, who: Who) -> int:
    """Take one event out of a key's queue and keep it aside. The number of events that still wait there: they go on, in
    order, at the next retry. Raises `NotParked`, `ChangedMeanwhile`."""

    async def work(tx: Tx) -> int:
        session = session_of(tx)
        event = await _this(session, key, event_id, tag)
        left = len(await session.waiting(key)) - 1
        await session.set_aside(event, who)
        await session.note(
            Repair("drop", key, who, event_id, event.record.topic, f"{left} left", digest(event.record.value))
        )
        return left

    return await _changing(engine, [key], work)


async def restore(engine: Engine, event_id: UUID, who: Who) -> str:
    """Park a dropped event again at its old place; its key. Raises `NotParked`."""
    found = await engine.read(lambda tx: session_of(tx).dropped(event_id=event_id))
    if not found:
        raise NotParked(str(event_id))
    key = found[0].event.key

    async def work(tx: Tx) -> str:
        session = session_of(tx)
        still = await session.dropped(event_id=event_id)
        if not still:
            raise NotParked(str(event_id))
        await session.bring_back(still[0])
        record = still[0].event.record
        await session.note(Repair("restore", key, who, event_id, record.topic, after=digest(record.value)))
        return key

    return await _changing(engine, [key], work)


async def dropped(engine: Engine, key: str | None = None, limit: int = 200) -> list[Dropped]:
    """Events that people dropped, the newest first."""
    return await engine.read(lambda tx: session_of(tx).dropped(key=key, limit=limit))


async def history(
    engine: Engine, key: str | None = None, before: int | None = None, limit: int = 200
) -> Sequence[Repair]:
    """The audit trail, the newest first."""
    return await engine.read(lambda tx: session_of(tx).repairs(key=key, before=before, limit=limit))


async def _this(session: RepairSession, key: str, event_id: UUID, tag: str) -> Waiting:
    for event in await session.waiting(key):
        if event.event_id == event_id:
            if event.tag != tag:
                raise ChangedMeanwhile(str(event_id))
            return event
    raise NotParked(key)


def session_of(tx: Tx) -> RepairSession:
    """The primitives of repair of a transaction."""
    return cast(RepairSession, tx.session)


async def _changing(engine: Engine, keys: Sequence[str], work: Callable[[Tx], Awaitable[R]]) -> R:
    return await engine.transact(keys, work, allow_parked=True)
