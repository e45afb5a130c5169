"""CloudEvents 1.0 in Kafka binary mode: attributes are headers, the value is the JSON of the data alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import astuple

from expedite_events.base import Event
from expedite_events.catalogue import Lane, Row, row_of, row_of_topic
from expedite_events.ids import millis, parsed, uuid8
from expedite_events.value import Unreadable, to_json

CONTENT_TYPE = "application/json"


class Undecodable(Exception):
    """A record that is not one of our events: it is parked, never dropped."""


class Envelope(Struct, frozen=True):
    """One event on the wire. `id` is its identity for every inbox; `sequence` rises with every emission of one service
    for one key; `correlation_id` is the id of the root cause; `causation_id` the id of the direct one; `raw` the JSON it
    came with, which is neither compared nor shown."""

    id: UUID
    service: str
    row: Row
    key: str
    lane: Lane
    event: Event
    time: datetime
    correlation_id: UUID
    causation_id: UUID
    sequence: int = 0
    traceparent: str | None = None
    raw: bytes | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Envelope) and astuple(self)[:-1] == astuple(other)[:-1]

    def __ne__(self, other: object) -> bool:  # a struct's own compares all fields
        return not self == other

    def __repr__(self) -> str:
        return f"Envelope{astuple(self)[:-1]}"

    @property
    def topic(self) -> str:
        return self.row.topic_on(self.lane)

    @property
    def value(self) -> bytes:
        return self.raw if self.raw is not None else to_json(self.event)

    @property
    def hearers(self) -> tuple[str, ...]:
        """The services that take this very event."""
        if not self.row.hears:
            return self.row.hearers
        headers = dict(self.emission())
        return tuple(service for service in self.row.hearers if self.row.heard(service, headers))

    def headers(self) -> list[tuple[str, bytes]]:
        return [*self.emission(), (SEQUENCE, str(self.sequence).encode())]

    def emission(self) -> list[tuple[str, bytes]]:
        """The headers but the sequence number, which only its storing gives."""
        return [
            *zip(_own(self.row, bool(self.traceparent)), self._values(), strict=True),
            *_common(self.row, self.service),
        ]

    def packed(self) -> bytes:
        """`emission` in short: what events of a kind have in common, two NULs, then the values of each of its own headers with
        a NUL between them; our own headers hold none."""
        return b"\0".join([_kind_packed(self.row, self.service, bool(self.traceparent)), b"", *self._values()])

    def _values(self) -> list[bytes]:
        """The values of the headers that differ from event to event, as `_own` names them."""
        values = [
            str(self.id).encode(), to_json(self.time)[1:-1], self.key.encode(),
            str(self.correlation_id).encode(), str(self.causation_id).encode(),
        ]  # fmt: skip
        for _, path in self.row.attribute_paths:
            values.append(str(_at(self.event, path)).encode())
        if self.traceparent:
            values.append(self.traceparent.encode())
        return values


SEQUENCE = "ce_sequence"


@lru_cache(maxsize=1024)
def _own(row: Row, traced: bool) -> tuple[str, ...]:
    """The names of the headers that differ from event to event."""
    names = ["ce_id", "ce_time", "ce_subject", "ce_correlationid", "ce_causationid", *dict(row.attribute_paths)]
    return (*names, "traceparent") if traced else tuple(names)


@lru_cache(maxsize=1024)
def _common(row: Row, service: str) -> list[tuple[str, bytes]]:
    """The headers that every event of this kind from this service has."""
    pairs = {
        "ce_specversion": "1.0",
        "ce_source": f"/expedite/{service}",
        "ce_type": row.ce_type(service),
        "ce_dataschema": f"/schemas/{row.topic}.v{row.version}.json",
        "content-type": CONTENT_TYPE,
    }
    return [(name, text.encode()) for name, text in pairs.items()]


@lru_cache(maxsize=1024)
def _kind_packed(row: Row, service: str, traced: bool) -> bytes:
    """Names of its own headers, then names and values of those in common, in turn."""
    own = ",".join(_own(row, traced)).encode()
    return b"\0".join([own, *(part for name, value in _common(row, service) for part in (name.encode(), value))])


@lru_cache(maxsize=1024)
def _kind(packed: bytes) -> tuple[tuple[str, ...], list[tuple[str, bytes]]]:
    own, _, common = packed.partition(b"\0")
    return tuple(own.decode().split(",")), _pairs(common)


def _pairs(packed: bytes) -> list[tuple[str, bytes]]:
    parts = packed.split(b"\0")
    return [(name.decode(), value) for name, value in zip(parts[::2], parts[1::2], strict=True)]


def unpacked(packed: bytes) -> list[tuple[str, bytes]]:
    """The headers of `Envelope.packed`, or of names and values in turn."""
    end = packed.find(b"\0\0")
    if end < 0:
        return _pairs(packed)
    own, common = _kind(packed[:end])
    return [*zip(own, packed[end + 2 :].split(b"\0"), strict=True), *common]


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = getattr(value, name)
    return value


def encode(envelope: Envelope) -> tuple[str, bytes, bytes, list[tuple[str, bytes]]]:
    """(topic, key, value, headers) as Kafka takes them."""
    return envelope.topic, envelope.key.encode(), envelope.value, envelope.headers()


def decode(topic: str, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> Envelope:
    """The envelope of a record; raises `Undecodable` with the reason. The source must be an owner of the topic, and the key
    that of its event: consumers lock the key and decide on what the event names."""
    try:
        row = row_of_topic(topic)
    except KeyError:
        raise Undecodable(f"topic {topic} is not in the catalogue") from None
    attributes = dict(headers)
    try:
        service = _sender(row, attributes["ce_source"], attributes["ce_type"])
        traceparent = attributes.get("traceparent")
        raw = value or b""
        event = row.read(raw)
        told = (key or b"").decode("utf-8", "replace")
        if told != row.key_of(event):
            raise Undecodable(f"its key is {told!r}, its event is about {row.key_of(event)!r}")
        return Envelope(  # by place: names take twice as long
            parsed(attributes["ce_id"]),
            service,
            row,
            told,
            Lane.EXPRESS if topic.endswith(".express") else Lane.STANDARD,
            event,
            datetime.fromisoformat(attributes["ce_time"].decode()),
            _common_id(attributes["ce_correlationid"]),
            _common_id(attributes["ce_causationid"]),
            int(attributes.get(SEQUENCE, b"0")),
            traceparent.decode("utf-8", "replace") if traceparent is not None else None,
            raw,
        )
    except (KeyError, ValueError, TypeError, AttributeError, Unreadable) as error:  # None: a header without a value
        raise Undecodable(f"{type(error).__name__}: {error}") from error


def heard(row: Row, service: str, headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether a consumer takes the record with these headers; most rows are taken whole, without a look."""
    choice = row.hears_of(service)
    if choice is not None:
        wanted = choice.header
        for name, value in headers:
            if name == wanted:
                return choice.takes((value or b"").decode("utf-8", "replace"))
    return True


@lru_cache(maxsize=1024)
def _sender(row: Row, source: bytes, kind: bytes) -> str:
    """The service that emitted; raises `Undecodable` when it may not, or says another type than the topic's."""
    service = source.decode("utf-8", "replace").removeprefix("/expedite/")
    if service not in row.owners:
        raise Undecodable(f"{service} does not own {row.topic}")
    said = kind.decode("utf-8", "replace")
    if said != row.ce_type(service):
        raise Undecodable(f"unknown type {said} on {row.topic}")
    return service


_common_id = lru_cache(maxsize=4096)(parsed)
"""An id that several events have: all of an order the same correlation, what one decision emits the same cause."""


def event_id_for(cause_id: UUID, service: str, event: Event, lane: Lane) -> UUID:
    """The id of an event that `cause_id` makes `service` emit: time of the cause, hash of cause, emitter, type, key and
    the identity fields of the catalogue."""
    row = row_of(event)
    identity = [repr(_at(event, path)) for path in row.identity_paths]
    return uuid8(millis(cause_id), str(cause_id), service, row.topic, lane._value_, row.key_of(event), *identity)
