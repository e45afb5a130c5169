"""Faults between the database and the topics: relay, consumer, and who may repeat a request."""

from __future__ import annotations

from functools import partial

from expedite_mutants.mutant import MESSAGING
from expedite_mutants.mutant import Mutant as _Mutant

RELAY, SENDING, KAFKA = f"{MESSAGING}/relay.py", f"{MESSAGING}/sending.py", f"{MESSAGING}/kafka.py"
IDEMPOTENCY = "libs/chassis/src/expedite_chassis/idempotency.py"

Mutant = partial(_Mutant, unseen="Kafka")

MUTANTS = (
    Mutant(
        name="relay-newest-first",
        wrong="The relay publishes the newest events first.",
        attacks="I5",
        file=RELAY,
        old="{mine} ORDER BY id LIMIT $3",
        new="{mine} ORDER BY id DESC LIMIT $3",
    ),
    Mutant(
        name="relay-passes-a-refused-event",
        wrong="After the broker refused an event, the later ones of its key are published without it.",
        attacks="I5",
        file=SENDING,
        old="if not self.blocked or not any(event.key in self.blocked for event in bundle.events):",
        new="if not self.blocked or len(bundle.events) == 1:",
    ),
    Mutant(
        name="relay-loses-what-it-takes-apart",
        wrong="Of a bundle with a refused event only the first event keeps a row.",
        attacks="I4",
        file=RELAY,
        old="for one in singles(unpacked(number, shard, body))",
        new="for one in singles(unpacked(number, shard, body))[:1]",
    ),
    Mutant(
        name="relay-deletes-half-sent",
        wrong="A bundle leaves the outbox when one of its partitions has its events.",
        attacks="I4",
        file=SENDING,
        old="return _there(taken, failed), broken",
        new="return _there(taken, set()), broken",
    ),
    Mutant(
        name="relay-forgets-to-delete",
        wrong="What the broker has stays in the outbox and is sent again and again.",
        attacks="I3 I10",
        file=RELAY,
        old='gone = f"WITH gone AS (DELETE FROM {self.table} WHERE id = ANY(ARRAY({sent})))" if acked else ""',
        new='gone = f"WITH gone AS (SELECT FROM {self.table} WHERE id = ANY(ARRAY({sent})))" if acked else ""',
    ),
    Mutant(
        name="relay-shards-shared",
        wrong="Two relays publish the same shards at once.",
        attacks="I5 P25",
        file=RELAY,
        old="WHERE pg_try_advisory_lock($1, s) LIMIT $3",
        new="WHERE $1::int IS NOT NULL LIMIT $3",
    ),
    Mutant(
        name="consumer-commits-what-is-not-ours",
        wrong="A batch that ends after its partitions were taken away moves their offsets.",
        attacks="I4 P15",
        file=KAFKA,
        old="        if self._generation == generation:\n            if self.gathering is not None:",
        new="        if self._generation:\n            if self.gathering is not None:",
    ),
    Mutant(
        name="consumer-forgets-failed-commits",
        wrong="An offset whose commit failed is never committed.",
        attacks="P6",
        file=KAFKA,
        old="self._done = {**offsets, **self._done}",
        new="self._done = {**self._done}",
    ),
    Mutant(
        name="consumer-parks-too-early",
        wrong="A record nobody understands parks its key before the events that came in front of it are decided.",
        attacks="I5",
        file=KAFKA,
        old="            if not await self._deliver_groups(groups, generation):\n                return False\n            groups = {}\n",
        new="",
    ),
    Mutant(
        name="gathering-commits-too-far",
        wrong="Records that were gathered and not decided yet count as read.",
        attacks="I4",
        file=f"{MESSAGING}/gathering.py",
        old="next(iter(self._open[place]), self._read[place])",
        new="self._read[place]",
    ),
    _Mutant(
        name="idempotency-any-body",
        wrong="A known Idempotency-Key answers whatever is asked under it.",
        attacks="I6",
        file=IDEMPOTENCY,
        old="if record.request_hash != request.digest:",
        new="if record.request_hash is None:",
    ),
    _Mutant(
        name="idempotency-forgotten",
        wrong="The answer of an Idempotency-Key is not kept.",
        attacks="I6",
        file=IDEMPOTENCY,
        old="        self._book.put(record)\n",
        new="",
    ),
)
