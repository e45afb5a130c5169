"""No event lost, none doubled, none out of order (I4, I5): ledgers, outboxes, topics and inboxes hold the same ids.

Exact also on a system in motion: offsets are read before the databases, and the topics after them. A record below a
group's commit must be in the group's inbox; one below the ends of then must be in its owner's ledger; a ledger row that
was no longer in the outbox must be on its topic.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from expedite_events.catalogue import CATALOGUE, Row, row_of_topic
from expedite_events.envelope import unpacked as headers
from expedite_local.audit.databases import CHUNK, Snapshot
from expedite_local.audit.finding import Look
from expedite_local.audit.invariants import overtaken
from expedite_local.audit.topics import Places, heard_topics
from expedite_messaging import RawRecord
from expedite_messaging.bundles import unpacked
from expedite_messaging.partitions import INBOX_RETENTION

STUCK_S = 30.0
"""Real seconds after which an outbox row is stuck even while the system works."""
KEPT_ON_TOPICS = timedelta(days=29)
"""Events older than this may have left the topics, which are kept 30 days."""

_NOTIFIED = "CustomerNotified"
COMPACTED = [topic for row in CATALOGUE if row.compacted for topic in row.topics]

NOT_IN_LEDGER = """
SELECT r.id::text AS id, r.at, l.event_id IS NULL AS ghost, l.topic, l.key, l.sequence
FROM unnest($1::text[]::uuid[], $2::text[], $3::text[], $4::bigint[], $5::text[]) AS r(id, topic, key, sequence, at)
LEFT JOIN ledger l ON l.event_id = r.id
WHERE l.event_id IS NULL OR l.topic <> r.topic OR l.key <> r.key OR l.sequence <> r.sequence
"""
_NOT_IN_INBOX = """
SELECT r.id::text AS id, r.at FROM unnest($1::text[]::uuid[], $2::text[]) AS r(id, at)
WHERE NOT EXISTS (SELECT FROM inbox i WHERE i.event_id = r.id)
"""
_OUTBOXES = """
SELECT id, shard, body, clock_timestamp() - at > make_interval(secs => $1) AS stuck FROM outbox
UNION ALL
SELECT id, shard, body, clock_timestamp() - at > make_interval(secs => $1) FROM outbox_express
"""
LEDGER = """
SELECT uuid_send(event_id) AS id, topic, key, sequence FROM ledger
WHERE topic <> ALL($1::text[]) AND at > $2 AND at <= $3
"""


@dataclass(frozen=True, slots=True)
class Said:
    """One record as its headers tell it."""

    id: str
    row: Row
    service: str
    key: str
    sequence: int
    hearers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsent:
    """An event that waits in an outbox; `id` as the bytes of its UUID, `stuck` when it waits too long."""

    id: bytes
    topic: str
    key: str
    stuck: bool


async def unsent_of(shot: Snapshot) -> list[Unsent]:
    """What the outboxes of a service hold."""
    return [
        Unsent(UUID(dict(headers(event.headers))["ce_id"].decode()).bytes, event.topic, event.key, row["stuck"])
        for row in await shot.rows(_OUTBOXES, STUCK_S)
        for event in unpacked(row["id"], row["shard"], row["body"]).events
    ]


@dataclass(slots=True)
class Heard:
    """What reading the topics taught beyond the checks: the announcements of each customer message, by message id."""

    notified: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    redelivered: int = 0


def said(record: RawRecord) -> Said | None:
    """The record's identity, or None when it is no event of ours."""
    headers = dict(record.headers)
    try:
        row = row_of_topic(record.topic)
        service = headers["ce_source"].decode().removeprefix("/expedite/")
        event_id = headers["ce_id"].decode()
        bytes.fromhex(event_id.replace("-", ""))
        if len(event_id) != 36 or service not in row.owners or headers["ce_type"].decode() != row.ce_type(service):
            return None
        hearers = tuple(name for name in row.hearers if row.heard(name, headers))
        return Said(event_id, row, service, (record.key or b"").decode(), int(headers["ce_sequence"]), hearers)
    except (KeyError, ValueError):
        return None


class Events:
    """The check in progress. Memory: one small entry per event, and one per key and topic."""

    def __init__(self, shots: Mapping[str, Snapshot], places: Places, *, rest: bool) -> None:
        self.shots, self.places, self.rest = shots, places, rest
        self.look, self.order = Look("events", "events"), Look("order of events", "keys on topics")
        self.heard = Heard()
        self._seen: set[bytes] = set()
        self._last: dict[tuple[str, str, str], int] = {}
        self._owed: dict[str, list[tuple[str, str, str, int, str]]] = defaultdict(list)  # owner -> not yet compared
        self._taken: dict[str, list[tuple[str, str]]] = defaultdict(list)  # hearer -> not yet compared
        self._groups = {service: heard_topics(service) for service in shots}
        # Inbox partitions are dropped after their retention: younger ids only, a day spared for the edge.
        self._inbox_from = int((time.time() - INBOX_RETENTION.total_seconds() + 86_400) * 1000)

    async def run(self, records: AsyncIterator[RawRecord]) -> Heard:
        """Compare everything; the looks hold what was found."""
        async for record in records:
            self._one(record)
            for service, owed in list(self._owed.items()):
                if len(owed) >= CHUNK:
                    await self._compare_ledger(service)
            for service, taken in list(self._taken.items()):
                if len(taken) >= CHUNK:
                    await self._compare_inbox(service)
        for service in self.shots:
            await self._compare_ledger(service)
            await self._compare_inbox(service)
            await self._compare_topics(service)
        self.look.count, self.order.count = len(self._seen), len(self._last)
        if self.heard.redelivered:
            self.look.note(f"{self.heard.redelivered:,} redeliveries, all recognised by id")
        return self.heard

    def _one(self, record: RawRecord) -> None:
        at = f"{record.topic}[{record.partition}]@{record.offset}"
        event = said(record)
        place = (record.topic, record.partition)
        settled = record.offset < self.places.ends.get(place, 0)
        if event is None:
            self.look.wrong(f"{at} is nobody's event (id {record.event_id})")
            return
        identity = bytes.fromhex(event.id.replace("-", ""))
        if identity in self._seen:
            self.heard.redelivered += 1
            return
        self._seen.add(identity)
        self._in_order(event, record.topic, at)
        if record.topic == _NOTIFIED:
            self.heard.notified[_message_of(record)].append(event.id)
        if settled and event.service in self.shots:
            self._owed[event.service].append((event.id, record.topic, event.key, event.sequence, at))
        young = int.from_bytes(identity[:6], "big") >= self._inbox_from
        for service in event.hearers if young else ():
            if service not in self.shots:
                continue
            group = self._groups[service][record.topic]
            below = self.places.ends.get(place, 0) if self.rest else self.places.committed.get(group, {}).get(place, 0)
            if record.offset < below:
                self._taken[service].append((event.id, at))

    def _in_order(self, event: Said, topic: str, at: str) -> None:
        name = (event.service, event.key, topic)
        before = self._last.get(name)
        if before is not None and overtaken(before, event.sequence):
            self.order.wrong(f"{at}: emission {event.sequence} of {event.key} came after {before} (event {event.id})")
            return
        self._last[name] = event.sequence

    async def _compare_ledger(self, service: str) -> None:
        owed = self._owed.pop(service, [])
        for row in await self.shots[service].rows(NOT_IN_LEDGER, *_columns(owed, 5)) if owed else ():
            if row["ghost"]:
                self.look.wrong(f"{row['at']} is in no ledger of {service} (event {row['id']})")
            else:
                ledger = f"{row['topic']} {row['key']} number {row['sequence']}"
                self.look.wrong(f"{row['at']} is {ledger} in the ledger of {service} (event {row['id']})")
        self._owed[service] = []

    async def _compare_inbox(self, service: str) -> None:
        taken = self._taken.pop(service, [])
        for row in await self.shots[service].rows(_NOT_IN_INBOX, *_columns(taken, 2)) if taken else ():
            self.look.wrong(f"{service} never took in {row['at']} (event {row['id']})")
        self._taken[service] = []

    async def _compare_topics(self, service: str) -> None:
        shot, now = self.shots[service], datetime.now(UTC)
        waiting = await unsent_of(shot)
        unsent = {event.id for event in waiting}
        for event in waiting:
            if self.rest or event.stuck:
                name = f"{event.topic} {event.key}"
                self.look.wrong(f"{name} waits in the outbox of {service} (event {dashed(event.id.hex())})")
        if unsent and not self.rest:
            self.look.note(f"{len(unsent):,} of {service} are on their way to the topics")
        async for row in shot.stream(LEDGER, COMPACTED, now - KEPT_ON_TOPICS, now + timedelta(days=1)):
            if row["id"] not in self._seen and row["id"] not in unsent:
                event_id = str(row["id"].hex())
                self.look.wrong(f"{row['topic']} {row['key']} of {service} is on no topic (event {dashed(event_id)})")


def _message_of(record: RawRecord) -> str:
    try:
        return str(orjson.loads(record.value or b"{}").get("message_id", ""))
    except (orjson.JSONDecodeError, AttributeError):
        return ""


def _columns(rows: list[Any], width: int) -> list[list[Any]]:
    return [[row[n] for row in rows] for n in range(width)]


def dashed(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
