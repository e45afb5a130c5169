"""CloudEvents 1.0 in Kafka binary mode: attributes are headers, the value is the JSON of the data alone."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from expedite_events.base import Event
from expedite_events.catalogue import Lane, Row, row_of, row_of_topic

CONTENT_TYPE = "application/json"
_VARIANT = 0x8000_0000_0000_0000


class Undecodable(Exception):
    """A record that is not one of our events: it is parked, never dropped."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One event on the wire. `id` is its identity for every inbox; `sequence` counts the emissions of one service for
    one key; `correlation_id` is the id of the root cause; `causation_id` the id of the direct one."""

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

    @property
    def topic(self) -> str:
        return self.row.topic_on(self.lane)

    @property
    def value(self) -> bytes:
        return self.event.model_dump_json(exclude_none=True).encode()

    def headers(self) -> list[tuple[str, bytes]]:
        pairs = [
            ("ce_specversion", "1.0"),
            ("ce_id", str(self.id)),
            ("ce_source", f"/expedite/{self.service}"),
            ("ce_type", self.row.ce_type(self.service)),
            ("ce_time", self.time.isoformat()),
            ("ce_subject", self.key),
            ("ce_dataschema", f"/schemas/{self.row.topic}.v{self.row.version}.json"),
            ("ce_correlationid", str(self.correlation_id)),
            ("ce_causationid", str(self.causation_id)),
            ("ce_sequence", str(self.sequence)),
            ("content-type", CONTENT_TYPE),
        ]
        if self.traceparent:
            pairs.append(("traceparent", self.traceparent))
        return [(name, text.encode()) for name, text in pairs]


def encode(envelope: Envelope) -> tuple[str, bytes, bytes, list[tuple[str, bytes]]]:
    """(topic, key, value, headers) as Kafka takes them."""
    return envelope.topic, envelope.key.encode(), envelope.value, envelope.headers()


def decode(topic: str, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> Envelope:
    """The envelope of a record; raises `Undecodable` with the reason. The source must be an owner of the topic."""
    try:
        row = row_of_topic(topic)
    except KeyError:
        raise Undecodable(f"topic {topic} is not in the catalogue") from None
    attributes = {name: raw.decode("utf-8", "replace") for name, raw in headers}
    try:
        event_id = UUID(attributes["ce_id"])
        service = attributes["ce_source"].removeprefix("/expedite/")
        if service not in row.owners:
            raise Undecodable(f"{service} does not own {row.topic}")
        if attributes["ce_type"] != row.ce_type(service):
            raise Undecodable(f"unknown type {attributes['ce_type']} on {topic}")
        event = row.event.model_validate_json(value or b"")
        return Envelope(
            id=event_id,
            service=service,
            row=row,
            key=(key or b"").decode("utf-8", "replace"),
            lane=Lane.EXPRESS if topic.endswith(".express") else Lane.STANDARD,
            event=event,
            time=datetime.fromisoformat(attributes["ce_time"]),
            correlation_id=UUID(attributes["ce_correlationid"]),
            causation_id=UUID(attributes["ce_causationid"]),
            sequence=int(attributes.get("ce_sequence", "0")),
            traceparent=attributes.get("traceparent"),
        )
    except (KeyError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        raise Undecodable(f"{type(error).__name__}: {error}") from error


def uuid7() -> UUID:
    """A time-ordered id for a root cause (HTTP request, webhook, job, snapshot); RFC 9562."""
    ms = time.time_ns() // 1_000_000
    raw = int.from_bytes(os.urandom(10), "big")
    high = (ms << 16) | 0x7000 | (raw >> 68)
    return UUID(int=(high << 64) | _VARIANT | (raw & 0x3FFF_FFFF_FFFF_FFFF))


def uuid8(ms: int, *parts: str) -> UUID:
    """A deterministic, time-ordered id: 48 bits of the cause's time in ms, then a hash of the parts; RFC 9562. The same
    decision taken again gives the same id, so that inboxes recognise it."""
    digest = int.from_bytes(hashlib.blake2b("\x1f".join(parts).encode(), digest_size=10).digest(), "big")
    high = (ms << 16) | 0x8000 | (digest >> 68)
    return UUID(int=(high << 64) | _VARIANT | (digest & 0x3FFF_FFFF_FFFF_FFFF))


def millis(event_id: UUID) -> int:
    """The 48-bit time of a version 7 or 8 id."""
    return event_id.int >> 80


def event_id_for(cause_id: UUID, service: str, event: Event, lane: Lane) -> UUID:
    """The id of an event that `cause_id` makes `service` emit: time of the cause, hash of cause, emitter, type, key and
    the identity fields of the catalogue."""
    row = row_of(event)
    identity = [row.key_of(event)]
    for path in row.identity:
        value: object = event
        for name in path.split("."):
            value = getattr(value, name)
        identity.append(repr(value))
    return uuid8(millis(cause_id), str(cause_id), service, row.topic, lane.value, *identity)
