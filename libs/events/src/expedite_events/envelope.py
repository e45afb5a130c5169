"""CloudEvents 1.0 in Kafka binary mode: attributes are headers, the value is the JSON of the data alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from expedite_events.base import Event
from expedite_events.catalogue import Lane, Row, row_of, row_of_topic
from expedite_events.ids import millis, parsed, uuid8
from expedite_events.value import Unreadable, from_json, to_json

CONTENT_TYPE = "application/json"


class Undecodable(Exception):
    """A record that is not one of our events: it is parked, never dropped."""


@dataclass(slots=True)
class Envelope:
    """One event on the wire; nobody changes one (a frozen dataclass takes four times as long to make). `id` is its identity for every inbox; `sequence` rises with every emission of one service
    for one key; `correlation_id` is the id of the root cause; `causation_id` the id of the direct one; `raw` the JSON it
    came with."""

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
    raw: bytes | None = field(default=None, compare=False, repr=False)

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
        parts = self._own()
        pairs = [(name.decode(), value) for name, value in zip(parts[::2], parts[1::2], strict=True)]
        return pairs + _common(self.row, self.service)

    def packed(self) -> bytes:
        """`emission`, names and values in turn with a NUL between them: our own headers hold none. What events of a kind have
        in common comes last, from `COMMON` on."""
        return b"\0".join([*self._own(), _common_packed(self.row, self.service)])

    def _own(self) -> list[bytes]:
        """Names and values of the headers that differ from event to event, in turn."""
        parts = [
            b"ce_id", str(self.id).encode(), b"ce_time", self.time.isoformat().encode(), b"ce_subject", self.key.encode(),
            b"ce_correlationid", str(self.correlation_id).encode(), b"ce_causationid", str(self.causation_id).encode(),
        ]  # fmt: skip
        for name, path in self.row.attribute_paths:
            parts += name.encode(), str(_at(self.event, path)).encode()
        if self.traceparent:
            parts += b"traceparent", self.traceparent.encode()
        return parts


SEQUENCE = "ce_sequence"
COMMON = b"ce_specversion"
"""The first header that all events of a kind have alike."""


@lru_cache(maxsize=1024)
def _common(row: Row, service: str) -> list[tuple[str, bytes]]:
    """The headers that every event of this kind from this service has."""
    pairs = {
        COMMON.decode(): "1.0",
        "ce_source": f"/expedite/{service}",
        "ce_type": row.ce_type(service),
        "ce_dataschema": f"/schemas/{row.topic}.v{row.version}.json",
        "content-type": CONTENT_TYPE,
    }
    return [(name, text.encode()) for name, text in pairs.items()]


@lru_cache(maxsize=1024)
def _common_packed(row: Row, service: str) -> bytes:
    return b"\0".join([part for name, value in _common(row, service) for part in (name.encode(), value)])


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
        event = from_json(row.event, raw)
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
    except (KeyError, ValueError, Unreadable) as error:
        raise Undecodable(f"{type(error).__name__}: {error}") from error


def heard(row: Row, service: str, headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether a consumer takes the record with these headers; most rows are taken whole, without a look."""
    return row.hears_of(service) is None or row.heard(service, dict(headers))


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
    identity = [row.key_of(event), *(repr(_at(event, path)) for path in row.identity_paths)]
    return uuid8(millis(cause_id), str(cause_id), service, row.topic, lane.value, *identity)
