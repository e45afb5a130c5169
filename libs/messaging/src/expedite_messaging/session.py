"""One open PostgreSQL transaction. Every primitive is one statement, whatever the number of rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import accumulate
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import orjson

from expedite_events import Lane, Value
from expedite_events.decision import CancelTimer
from expedite_events.envelope import Envelope, decode
from expedite_messaging import literals
from expedite_messaging.bundles import bundled, packed
from expedite_messaging.cause import EffectResult, Fired, RawRecord
from expedite_messaging.collection import Collection, Key
from expedite_messaging.connection import calling
from expedite_messaging.engine import DeliverySession, Transient
from expedite_messaging.handoff import LEASE_S, Handoff
from expedite_messaging.records import pack_headers, record_of, unpack_headers
from expedite_messaging.repair_postgres import PostgresRepair
from expedite_messaging.schema import NUMBERS
from expedite_messaging.statements import find_statement, sql_of
from expedite_messaging.tx import Closing, EffectRow, TimerRow, Where

S = TypeVar("S", bound=Value)

# Functions of the database (`schema.FUNCTIONS`), because each statement inside them sees what was committed while the
# locks were waited for. Time and transaction id are read after the locks: per key, business time never runs backwards.
LOCK = "SELECT * FROM lock_keys($1::text::text[])"
ARRIVE = "SELECT * FROM arrive($1::text::uuid[], $2::text::text[])"
INBOX = """
INSERT INTO inbox SELECT u FROM unnest($1::uuid[]) AS u ORDER BY u ON CONFLICT DO NOTHING RETURNING event_id
"""
# Keys are locked before numbers are taken, and both outboxes take them from one sequence: per key, order of numbers =
# order of commits.
EMIT = """
WITH taken AS MATERIALIZED (SELECT nextval('emission') AS first),
entered AS (
  INSERT INTO ledger (event_id, key, topic, sequence) SELECT event_id, key, topic, first + place - 1
  FROM taken, unnest($1::text::uuid[], $2::text::text[], $3::text::text[]) WITH ORDINALITY AS e(event_id, key, topic, place)),
bundle AS MATERIALIZED (
  SELECT first + place AS id, shard, express, events, substring($4::bytea FROM at FOR past - at) AS body
  FROM taken, unnest($5::text::int[], $6::text::smallint[], $7::text::bool[], $8::text::int[], $9::text::int[],
                     $10::text::int[]) AS b(place, shard, express, events, at, past)),
express AS (
  INSERT INTO outbox_express (id, shard, events, body) SELECT id, shard, events, body FROM bundle WHERE express)
INSERT INTO outbox (id, shard, events, body) SELECT id, shard, events, body FROM bundle WHERE NOT express
"""
# Rows come in the order of their keys, so that no two writers wait for each other in a circle: to sort them here would copy
# them whole.
TIMERS = f"""
WITH gone AS (
  DELETE FROM timer t USING unnest($11::text::text[], $12::text::text[], $13::text::int[]) AS c(kind, subject, level)
  WHERE t.kind = c.kind AND t.subject = c.subject AND (c.level IS NULL OR t.level = c.level)
    AND NOT EXISTS (SELECT FROM unnest($1::text::text[], $2::text::text[], $3::text::int[]) AS w(kind, subject, level)
                    WHERE w.kind = t.kind AND w.subject = t.subject AND w.level = t.level))
INSERT INTO timer (kind, subject, level, id, key, due_at, data, lane, correlation_id, traceparent)
SELECT kind, subject, level, id, key, due_at, data, lane, correlation_id, traceparent
FROM unnest($1::text::text[], $2::text::text[], $3::text::int[], $4::text::uuid[], $5::text::text[],
            $6::text::timestamptz[], {literals.JOINED.format(7)}, $8::text::text[], $9::text::uuid[], $10::text::text[])
  AS w(kind, subject, level, id, key, due_at, data, lane, correlation_id, traceparent)
ON CONFLICT (kind, subject, level) DO UPDATE SET id = excluded.id, key = excluded.key, due_at = excluded.due_at,
  data = excluded.data, lane = excluded.lane, correlation_id = excluded.correlation_id,
  traceparent = excluded.traceparent, attempts = 0, retry_at = NULL, error = NULL
"""
# `taken`: performed by the very process that wants it, so it is leased from its birth.
NEW_EFFECTS = f"""
INSERT INTO effect (id, kind, subject, key, data, lane, correlation_id, traceparent, attempts, next_at)
SELECT id, kind, subject, key, data, lane, correlation_id, traceparent, taken::int,
  clock_timestamp() + CASE WHEN taken THEN make_interval(secs => $10) ELSE interval '0' END
FROM unnest($1::text::uuid[], $2::text::text[], $3::text::text[], $4::text::text[], {literals.JOINED.format(5)},
            $6::text::text[], $7::text::uuid[], $8::text::text[], $9::text::bool[])
  AS w(id, kind, subject, key, data, lane, correlation_id, traceparent, taken)
"""
EFFECTS = f"{NEW_EFFECTS} ON CONFLICT DO NOTHING RETURNING id"
PARK = """
INSERT INTO parked (key, event_id, topic, record_key, headers, value, reason, next_at)
SELECT key, event_id, topic, record_key, headers, value, $7,
       CASE WHEN $8::float8 IS NULL THEN NULL ELSE clock_timestamp() + make_interval(secs => $8) END
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bytea[], $5::bytea[], $6::bytea[])
  WITH ORDINALITY AS p(key, event_id, topic, record_key, headers, value, ord)
ORDER BY ord ON CONFLICT (event_id) DO NOTHING
"""
# The event behind the removed one gets a next time, so that a crash between two replays does not leave it waiting.
TAKE_PARKED = """
WITH heads AS MATERIALIZED (SELECT seq, row_number() OVER (ORDER BY seq) AS place
                            FROM (SELECT seq FROM parked WHERE key = $1 ORDER BY seq LIMIT 2) AS two),
next AS (UPDATE parked SET next_at = clock_timestamp()
         WHERE key = $1 AND seq = (SELECT seq FROM heads WHERE place = 2) AND reason IS NULL)
DELETE FROM parked WHERE key = $1 AND seq = (SELECT seq FROM heads WHERE place = 1)
RETURNING topic, record_key, value, headers
"""
POSTPONE_PARKED = """
UPDATE parked SET reason = $2, attempts = attempts + 1,
  next_at = CASE WHEN $3::float8 IS NULL THEN NULL ELSE clock_timestamp() + make_interval(secs => $3) END
WHERE key = $1 AND seq = (SELECT min(seq) FROM parked WHERE key = $1)
"""
TAKE_TIMERS = """
DELETE FROM timer t USING unnest($1::text[], $2::text[], $3::int[], $4::uuid[]) AS f(kind, subject, level, id)
WHERE t.kind = f.kind AND t.subject = f.subject AND t.level = f.level AND t.id = f.id AND t.due_at <= $5
RETURNING t.id
"""
POSTPONE_TIMER = """
UPDATE timer SET error = $5, attempts = attempts + 1,
  retry_at = clock_timestamp() + make_interval(secs => coalesce($6::float8, least(10 * 2 ^ least(attempts, 10), 600)))
WHERE kind = $1 AND subject = $2 AND level = $3 AND id = $4
"""
# What was asked and answered lives on in the state it led to; the row stays, so that asking twice performs once.
TAKE_EFFECTS = """
UPDATE effect f SET state = 'done', finished_at = clock_timestamp(), ok = r.ok, data = '{}', result = NULL,
  error = r.error, reason = NULL
FROM unnest($1::text::text[], $2::text::text[], $3::text::bool[], $4::text[]) AS r(kind, subject, ok, error)
WHERE f.kind = r.kind AND f.subject = r.subject AND f.state <> 'done' RETURNING f.kind, f.subject
"""
KEEP_RESULTS = f"""
UPDATE effect f SET state = 'performed', ok = r.ok, result = r.result, error = r.error, attempts = r.attempts,
  reason = coalesce($7, f.reason),
  next_at = clock_timestamp() + make_interval(secs => CASE WHEN $7::text IS NULL THEN 1 ELSE 30 END)
FROM unnest($1::text::text[], $2::text::text[], $3::text::bool[], $4::text[], {literals.JOINED.format(5)}, $6::text::int[])
  AS r(kind, subject, ok, error, result, attempts)
WHERE f.kind = r.kind AND f.subject = r.subject AND f.state <> 'done'
"""


class Newness:
    """Whether rows that are nearly always new are inserted as such. `ON CONFLICT` looks for each beforehand and confirms it
    afterwards, with a record of its own in the log: a fifth to a third of what such a row costs. One that was there undoes its
    transaction, which is run again with `ON CONFLICT`, as are all for a while: duplicates seldom come alone."""

    DOUBT_S = 10.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._doubted_until = clock, 0.0

    @property
    def expected(self) -> bool:
        return self._clock() >= self._doubted_until

    def doubt(self) -> None:
        """A row was there."""
        self._doubted_until = self._clock() + self.DOUBT_S


class PostgresSession(PostgresRepair, DeliverySession):
    """The primitives over a raw asyncpg connection in a transaction. `xact` names the transaction once keys are locked:
    by it the outcome of a commit whose answer was lost can be asked for. `proof`: a table and the id of an event whose row
    is there if and only if it was committed."""

    def __init__(self, connection: Any, handoff: Handoff | None = None, newness: Newness | None = None) -> None:
        self.connection, self._handoff, self._newness = connection, handoff or Handoff(), newness or Newness()
        self.ending = ["COMMIT"]  # sent as one message
        self.taken: list[EffectRow] = []  # effects this process performs itself, once they are committed
        self.xact: str | None = None
        self.proof: tuple[str, UUID] | None = None
        self.now: datetime
        self._locked: set[str] = set()

    async def close(self, closings: Sequence[Closing]) -> None:
        calls = [f"SELECT {c.function}({', '.join(map(literals.quoted, c.arguments))})" for c in closings]
        self.ending = [*calls, "COMMIT"]

    async def _fetch(self, sql: str, *args: Any) -> list[Any]:
        rows: list[Any] = await calling(self.connection.fetch, sql, *args)
        return rows

    async def _execute(self, sql: str, *args: Any) -> None:
        # `fetch`, not `execute`: it keeps the prepared statement.
        await calling(self.connection.fetch, sql, *args)

    async def _insert(self, as_new: str, otherwise: str, *args: Any) -> list[Any] | None:
        """Rows that are nearly always new, see `Newness`; None when all of them were. Raises `Transient` when one was there."""
        if not self._newness.expected:
            return await self._fetch(otherwise, *args)
        try:
            await self._execute(as_new, *args)
        except asyncpg.UniqueViolationError as error:
            self._newness.doubt()
            raise Transient(f"a row was there already: {error}") from error
        return None

    async def look(self) -> None:
        """Read the business time of a transaction that locks nothing."""
        self.now = (await self._fetch("SELECT business_now()"))[0][0]

    async def inbox(self, ids: Sequence[UUID]) -> set[UUID]:
        new = {row[0] for row in await self._fetch(INBOX, list(ids))}
        self._prove("inbox", new)
        return new

    def _prove(self, table: str, ids: Iterable[UUID]) -> None:
        if self.proof is None and (found := next(iter(ids), None)):
            self.proof = table, found

    async def lock(self, keys: Sequence[str]) -> set[str]:
        (row,) = await self._fetch(LOCK, literals.texts(keys))
        parked, self.now, self.xact = row
        self._locked.update(keys)
        return set(parked or ())

    async def arrive(self, envelopes: Sequence[Envelope]) -> tuple[Sequence[Envelope], set[str]]:
        ids, keys = literals.ids([e.id for e in envelopes]), literals.texts([e.key for e in envelopes])
        ((new, parked, self.now, self.xact),) = await self._fetch(ARRIVE, ids, keys)
        if new is not None:
            known = set(new)
            envelopes = list({e.id: e for e in envelopes if e.id in known}.values())
        self._prove("inbox", [e.id for e in envelopes[:1]])
        self._locked.update([e.key for e in envelopes])
        return envelopes, set(parked or ())

    async def fetch(self, collection: Collection[S], keys: Sequence[Key], lock: bool) -> dict[Key, S]:
        sql = sql_of(collection)
        return sql.states(await self._fetch(sql.lock if lock else sql.fetch, *sql.key_arrays(keys)))

    async def reserve(self, collection: Collection[S], states: Sequence[S]) -> None:
        sql = sql_of(collection)
        await self._execute(sql.add, *sql.arrays(states, once=True))

    async def find(
        self, collection: Collection[S], where: Where, order_by: Sequence[str], limit: int | None, offset: int
    ) -> list[S]:
        text, values = find_statement(collection, where, order_by, limit, offset)
        return list(sql_of(collection).states(await self._fetch(text, *values)).values())

    async def count(self, collection: Collection[S], where: Where, limit: int | None = None) -> int:
        text, values = find_statement(collection, where, (), limit, 0, count=True)
        found: int = (await self._fetch(text, *values))[0][0]
        return found

    async def save(self, collection: Collection[S], states: Sequence[S]) -> None:
        sql = sql_of(collection)
        await self._execute(sql.save, *sql.arrays(states))

    async def insert(self, collection: Collection[S], states: Sequence[S]) -> None:
        sql = sql_of(collection)
        await self._insert(sql.insert, sql.save, *sql.arrays(states))

    async def update(self, collection: Collection[S], states: Sequence[S]) -> None:
        sql = sql_of(collection)
        await self._execute(sql.update, *sql.arrays(states))

    async def add(self, collection: Collection[S], states: Sequence[S]) -> None:
        sql = sql_of(collection)
        await self._insert(sql.insert, sql.add, *sql.arrays(states, once=True))

    async def emit(self, envelopes: Sequence[Envelope]) -> None:
        self._prove("ledger", (e.id for e in envelopes))
        unlocked = {e.key for e in envelopes} - self._locked  # of orders just made, or on behalf of another
        if unlocked:
            await self._fetch(LOCK, literals.texts(list(unlocked)))
            self._locked |= unlocked
        for first in range(0, len(envelopes), NUMBERS):
            await self._emit(envelopes[first : first + NUMBERS])

    async def _emit(self, envelopes: Sequence[Envelope]) -> None:
        bundles = bundled(envelopes)
        bodies = [packed(bundle) for _, bundle in bundles]
        places = list(accumulate(map(len, bodies), initial=1))  # where each body begins, and where the last one ends
        await self._execute(
            EMIT,
            literals.ids([e.id for e in envelopes]),
            literals.texts([e.key for e in envelopes]),
            literals.texts([e.topic for e in envelopes]),
            b"".join(bodies),
            literals.numbers([bundle.number for _, bundle in bundles]),
            literals.numbers([bundle.shard for _, bundle in bundles]),
            literals.numbers([lane is Lane.EXPRESS for lane, _ in bundles]),
            literals.numbers([len(bundle.events) for _, bundle in bundles]),
            literals.numbers(places[:-1]),
            literals.numbers(places[1:]),
        )

    async def timers(self, set_: Sequence[TimerRow], cancel: Sequence[CancelTimer]) -> None:
        set_ = sorted(set_, key=attrgetter("kind", "subject", "level"))
        await self._execute(
            TIMERS,
            literals.texts([t.kind for t in set_]),
            literals.texts([t.subject for t in set_]),
            literals.numbers([t.level for t in set_]),
            literals.ids([t.id for t in set_]),
            literals.texts([t.key for t in set_]),
            literals.moments([t.due_at for t in set_]),
            literals.documents([t.text for t in set_]),
            literals.texts([t.lane.value for t in set_]),
            literals.ids([t.correlation_id for t in set_]),
            literals.texts([t.traceparent for t in set_]),
            literals.texts([c.kind for c in cancel]),
            literals.texts([c.subject for c in cancel]),
            literals.numbers([c.level for c in cancel]),
        )

    async def effects(self, rows: Sequence[EffectRow]) -> None:
        rows = sorted(rows, key=attrgetter("kind", "subject"))
        taken = [self._handoff.takes(r.lane, r.kind) for r in rows]
        made = await self._insert(
            NEW_EFFECTS,
            EFFECTS,
            literals.ids([r.id for r in rows]),
            literals.texts([r.kind for r in rows]),
            literals.texts([r.subject for r in rows]),
            literals.texts([r.key for r in rows]),
            literals.documents([r.text for r in rows]),
            literals.texts([r.lane for r in rows]),
            literals.ids([r.correlation_id for r in rows]),
            literals.texts([r.traceparent for r in rows]),
            literals.numbers(taken),
            LEASE_S,
        )
        new = None if made is None else {row[0] for row in made}
        self.taken = [r for r, mine in zip(rows, taken, strict=True) if mine and (new is None or r.id in new)]

    async def park(self, envelopes: Sequence[Envelope], reason: str | None, retry_after_s: float | None) -> None:
        records = [record_of(e) for e in envelopes]
        await self._park([e.key for e in envelopes], [e.id for e in envelopes], records, reason, retry_after_s)

    async def park_raw(self, record: RawRecord, reason: str) -> None:
        await self._park([record.lock_key], [record.event_id], [record], reason, None)

    async def _park(
        self,
        keys: list[str],
        ids: list[UUID],
        records: list[RawRecord],
        reason: str | None,
        retry_after_s: float | None,
    ) -> None:
        await self._execute(
            PARK,
            keys,
            ids,
            [r.topic for r in records],
            [r.key for r in records],
            [pack_headers(r.headers) for r in records],
            [r.value for r in records],
            reason,
            retry_after_s,
        )

    async def take_parked(self, key: str) -> Envelope | None:
        rows = await self._fetch(TAKE_PARKED, key)
        if not rows:
            return None
        topic, record_key, value, headers = rows[0]
        return decode(topic, record_key, value, unpack_headers(headers))

    async def postpone_parked(self, key: str, reason: str, retry_after_s: float | None) -> None:
        await self._execute(POSTPONE_PARKED, key, reason, retry_after_s)

    async def take_timers(self, fired: Sequence[Fired]) -> list[Fired]:
        rows = await self._fetch(
            TAKE_TIMERS,
            [f.kind for f in fired],
            [f.subject for f in fired],
            [f.level for f in fired],
            [f.id for f in fired],
            self.now,
        )
        taken = {row[0] for row in rows}
        return [f for f in fired if f.id in taken]

    async def postpone_timer(self, fired: Fired, reason: str, retry_after_s: float | None) -> None:
        await self._execute(POSTPONE_TIMER, fired.kind, fired.subject, fired.level, fired.id, reason, retry_after_s)

    async def take_effects(self, results: Sequence[EffectResult]) -> list[EffectResult]:
        taken = {(row[0], row[1]) for row in await self._fetch(TAKE_EFFECTS, *_outcomes(results))}
        return [r for r in results if (r.kind, r.subject) in taken]

    async def keep_results(self, results: Sequence[EffectResult], reason: str | None) -> None:
        await self._execute(
            KEEP_RESULTS,
            *_outcomes(results),
            literals.documents([orjson.dumps(dict(r.data)).decode() for r in results]),
            literals.numbers([r.attempts for r in results]),
            reason,
        )


def _outcomes(results: Sequence[EffectResult]) -> list[Any]:
    return [
        literals.texts([r.kind for r in results]),
        literals.texts([r.subject for r in results]),
        literals.numbers([r.ok for r in results]),
        [r.error for r in results],
    ]
