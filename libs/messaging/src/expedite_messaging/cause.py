"""What makes a service decide: a received event, a fired timer, the result of an effect, or a root cause from outside.

Every emitted event is caused by one of these; ids of caused events derive from the cause's id, so a decision taken
again after a crash emits the same ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from msgspec import Struct, field

from expedite_events import Event, Lane
from expedite_events.envelope import Envelope
from expedite_events.ids import uuid7, uuid8

E = TypeVar("E", bound=Event, covariant=True)


class Cause(Protocol):
    """The common face of all causes."""

    @property
    def id(self) -> UUID: ...
    @property
    def key(self) -> str: ...
    @property
    def lane(self) -> Lane: ...
    @property
    def correlation_id(self) -> UUID: ...
    @property
    def traceparent(self) -> str | None: ...


class Received(Struct, Generic[E], frozen=True):
    """An event from a topic, new to this service."""

    envelope: Envelope

    @property
    def event(self) -> E:
        return self.envelope.event  # type: ignore[return-value]

    @property
    def id(self) -> UUID:
        return self.envelope.id

    @property
    def key(self) -> str:
        return self.envelope.key

    @property
    def lane(self) -> Lane:
        return self.envelope.lane

    @property
    def time(self) -> datetime:
        """Business time at which the emitter decided it."""
        return self.envelope.time

    @property
    def sender(self) -> str:
        """The service that emitted it."""
        return self.envelope.service

    @property
    def correlation_id(self) -> UUID:
        return self.envelope.correlation_id

    @property
    def traceparent(self) -> str | None:
        return self.envelope.traceparent


class Fired(Struct, frozen=True):
    """A durable timer whose business time has come. `id` derives from the cause that set it and (kind, subject, level)."""

    id: UUID
    kind: str
    subject: str
    level: int
    key: str  # the order (or entity) whose lock protects it
    due_at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
    lane: Lane = Lane.STANDARD
    correlation_id: UUID = field(default_factory=uuid7)
    traceparent: str | None = None


class EffectCall(Struct, frozen=True):
    """An effect about to be performed outside any transaction. `id` is the provider's idempotency key."""

    id: UUID
    kind: str
    subject: str
    key: str
    data: Mapping[str, Any]
    attempt: int = 1
    lane: Lane = Lane.STANDARD
    correlation_id: UUID = field(default_factory=uuid7)
    traceparent: str | None = None


class EffectResult(Struct, frozen=True):
    """What came of an effect. `ok=False` after it was given up: `error` says why and `data` is empty."""

    id: UUID
    kind: str
    subject: str
    key: str
    ok: bool
    data: Mapping[str, Any]
    request: Mapping[str, Any]  # what was asked
    error: str | None = None
    attempts: int = 1
    lane: Lane = Lane.STANDARD
    correlation_id: UUID = field(default_factory=uuid7)
    traceparent: str | None = None


class Root(Struct, frozen=True):
    """A cause from outside: an HTTP request, a webhook, a job. `key` is the order or entity it is about."""

    key: str
    lane: Lane = Lane.STANDARD
    id: UUID = field(default_factory=uuid7)
    traceparent: str | None = None

    @property
    def correlation_id(self) -> UUID:
        return self.id


C = TypeVar("C", bound=Cause, covariant=True)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as it came from a topic, before anybody understood it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    partition: int = 0
    offset: int = 0

    @property
    def lock_key(self) -> str:
        """The key it is parked under; a record without one blocks nobody but its like."""
        return self.key.decode("utf-8", "replace").replace("\x00", "\ufffd") if self.key else f"?{self.topic}"

    @property
    def event_id(self) -> UUID:
        """Its own id when it has a usable one, else one made of its place in the topic."""
        text = dict(self.headers).get("ce_id", b"").decode("ascii", "replace")
        try:
            found = UUID(text)
        except ValueError:
            found = None
        if found is not None and found.version in (7, 8):
            return found
        return uuid8(0, self.topic, str(self.partition), str(self.offset), text)


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that waits behind its key, as an operator sees it. `reason=None`: it queues behind an earlier one.
    `next_at` (real time): it will be tried again by itself; None: a person decides."""

    key: str
    event_id: UUID
    topic: str
    reason: str | None
    attempts: int
    at: datetime
    next_at: datetime | None


class GaveUp(Exception):
    """Raised by an effect's performer when trying again cannot help; the result is delivered with `ok=False`."""


class Batch(Struct, Generic[C], frozen=True):
    """Causes of one type that one transaction decides, in arrival order."""

    items: tuple[C, ...]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def keys(self) -> tuple[str, ...]:
        """The distinct keys, in arrival order: their locks are held."""
        return tuple(dict.fromkeys(item.key for item in self.items))
