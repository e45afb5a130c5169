"""The engine over PostgreSQL: transactions on a small pool, commits that cancellation cannot tear, and what the loops of a
worker ask of the messaging tables."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import structlog

from expedite_events import Lane
from expedite_messaging.cause import EffectCall, EffectResult, Fired, ParkedEvent
from expedite_messaging.connection import Connections, abandon, calling, lost, to_the_end
from expedite_messaging.engine import Engine, Transient
from expedite_messaging.handlers import Handlers
from expedite_messaging.handoff import Handoff
from expedite_messaging.masters import Masters
from expedite_messaging.session import Newness, PostgresSession
from expedite_messaging.tx import Tx
from expedite_messaging.wake import TIMERS, Wake, effects_hint, outbox_hint

log = structlog.get_logger(__name__)

# Writers reach rows by key and nothing else. A table that was small when its plan was made (a new database) must not be
# read whole for ever after: plans are cached, and statistics come late. One plan serves all: made for given arrays it would
# be no other, and making it reads the arrays once more.
_BY_KEY = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}
_BEGIN_WRITE = "; ".join(["BEGIN", *(f"SET LOCAL {name} = {value}" for name, value in _BY_KEY.items())])
# What became of a transaction by its number, and whether numbers can be believed: a server that recovered from a crash has
# given those that never reached its log to others.
_OUTCOME = "SELECT pg_xact_status($1::text::xid8), pg_last_wal_replay_lsn() IS NULL"
_UNPARKED = "NOT EXISTS (SELECT FROM parked p WHERE p.key = t.key)"
_DUE = f"""
SELECT id, kind, subject, level, key, due_at, data, lane, correlation_id, traceparent FROM timer t
WHERE due_at <= business_now() AND (retry_at IS NULL OR retry_at <= clock_timestamp()) AND {_UNPARKED}
ORDER BY due_at LIMIT $1
"""
# Real seconds until the earliest timer, by the present speed; NULL when there is none or the clock stands still.
_NEXT_DUE = """
SELECT extract(epoch FROM min(due_at) - business_now())
  / nullif(coalesce((SELECT speed FROM clock_anchor ORDER BY id DESC LIMIT 1), 1), 0)
FROM timer WHERE due_at > business_now()
"""
_CLAIM = f"""
WITH free AS MATERIALIZED (
  SELECT kind, subject FROM effect t WHERE state = 'wanted' AND kind = $4 AND lane = ANY($1::text[]) AND {_UNPARKED}
    AND next_at <= clock_timestamp() - CASE WHEN lane = $5 THEN interval '0' ELSE interval '5 s' END
  ORDER BY lane, next_at LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE effect e SET next_at = clock_timestamp() + make_interval(secs => $3), attempts = attempts + 1
FROM free WHERE e.kind = free.kind AND e.subject = free.subject
RETURNING e.id, e.kind, e.subject, e.key, e.data, e.attempts, e.lane, e.correlation_id, e.traceparent
"""
_KEPT = f"""
SELECT id, kind, subject, key, ok, result, data, error, attempts, lane, correlation_id, traceparent FROM effect t
WHERE state = 'performed' AND lane = ANY($1::text[]) AND next_at <= clock_timestamp() AND {_UNPARKED}
ORDER BY next_at LIMIT 100
"""
_RETRIABLE = """
SELECT key FROM parked p WHERE next_at <= clock_timestamp()
  AND seq = (SELECT min(seq) FROM parked q WHERE q.key = p.key) ORDER BY next_at LIMIT 100
"""
_PARKED = "SELECT key, event_id, topic, reason, attempts, at, next_at FROM parked ORDER BY key, seq LIMIT $1"
_FAILED_EFFECTS = """
UPDATE effect e SET next_at = clock_timestamp() + make_interval(secs => f.after_s), error = f.error
FROM unnest($1::text[], $2::text[], $3::float8[], $4::text[]) AS f(kind, subject, after_s, error)
WHERE e.kind = f.kind AND e.subject = f.subject AND e.state = 'wanted'
"""


class PostgresEngine(Engine):
    """Transactions of one service on its own database. `by_key`: this process asks no questions of its own, its sessions
    plan for writers always; else each writing transaction says so itself. `ready`: sessions that are there before they are
    needed."""

    session_type = PostgresSession

    def __init__(
        self,
        handlers: Handlers,
        url: str,
        *,
        pool_size: int = 5,
        application: str | None = None,
        by_key: bool = False,
        ready: int = 0,
    ) -> None:
        self.service, self.handlers, self.masters = handlers.service, handlers, Masters()
        settings = _BY_KEY if by_key else {}
        self.connections = Connections(url, application or handlers.service, pool_size, settings, ready)
        self._begin_write = "BEGIN" if by_key else _BEGIN_WRITE
        self.wake = Wake(self.connections)
        self.handoff = Handoff()
        self.newness = Newness()
        self.transactions = 0
        self.retries = 0

    @asynccontextmanager
    async def begin(self, *, write: bool = True) -> AsyncIterator[PostgresSession]:
        async with self.connections.connection() as raw:
            session = self.session_type(raw, self.handoff, self.newness)
            try:
                if write:
                    await calling(raw.execute, self._begin_write)
                else:
                    await calling(raw.execute, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    await session.look()
                yield session
            except BaseException:
                await to_the_end(_rollback(raw))
                raise
            await to_the_end(self._commit(raw, session))
            self.transactions += 1
            self.handoff.give(session.taken)

    async def _commit(self, raw: Any, session: PostgresSession) -> None:
        xact = session.xact
        try:
            said = await raw.execute("; ".join(session.ending))
        except Exception as error:
            if not lost(error):
                await _rollback(raw)
                await calling(_raising, error)
            abandon(raw)
            # The answer was lost, not the commit: ask what became of it (P39).
            if xact is None or not await self._committed(xact, session.proof):
                raise Transient(f"the commit failed: {error}") from error
            return
        if said != "COMMIT":  # a statement had failed and somebody went on all the same: nothing of it was kept
            raise RuntimeError(f"the transaction had failed before: the server answered {said} to its commit")

    async def _committed(self, xact: str, proof: tuple[str, UUID] | None, within_s: float = 60.0) -> bool:
        """What became of a transaction whose connection broke. Raises `Transient` when the database stays away.

        A row that it left proves its commit; its number does as long as the server never recovered from a crash. Else it
        counts as not committed: what is done again then left no event, and finds what it had done."""
        deadline, attempt = time.monotonic() + within_s, 0
        while True:
            try:
                ((status, believed),) = await self.connections.fetch(_OUTCOME, xact)
                if status != "in progress":
                    if proof is None:
                        return believed and bool(status == "committed")
                    table, event_id = proof
                    # A statement of its own: one that began before the commit would not see the row.
                    found = await self.connections.fetch(f"SELECT FROM {table} WHERE event_id = $1", event_id)
                    return bool(found)
            except asyncpg.InvalidParameterValueError:
                return False  # a number the server has not reached again: it was never committed
            except Transient:
                if time.monotonic() > deadline:
                    raise
            attempt += 1
            await self.backoff(attempt)

    async def backoff(self, attempt: int) -> None:
        self.retries += 1
        await asyncio.sleep(min(0.01 * 2 ** min(attempt, 7), 1.0) * random.uniform(0.5, 1.5))

    def woke(self, tx: Tx) -> None:
        for lane in {e.lane for e in tx.emitted}:
            self.wake.hint(outbox_hint(lane))
        for lane, kind in tx.effects_wanted:
            self.wake.hint(effects_hint(lane, kind))
        if tx.timers_soon:
            self.wake.hint(TIMERS)

    async def ping(self) -> float:
        """Real seconds one round trip to the database takes. Raises `Transient` when it is away."""
        started = time.monotonic()
        await self.connections.fetch("SELECT 1")
        return time.monotonic() - started

    async def parked(self, limit: int = 200) -> list[ParkedEvent]:
        return [ParkedEvent(*row) for row in await self.connections.fetch(_PARKED, limit)]

    async def retriable(self) -> list[str]:
        """Keys whose first parked event is to be tried again by now."""
        return [row[0] for row in await self.connections.fetch(_RETRIABLE)]

    async def due(self, limit: int = 200) -> list[Fired]:
        """Timers due now whose key is not parked, earliest first. Candidates: `fire` looks again under the locks."""
        return [
            Fired(
                id=row["id"],
                kind=row["kind"],
                subject=row["subject"],
                level=row["level"],
                key=row["key"],
                due_at=row["due_at"],
                data=orjson.loads(row["data"]),
                lane=Lane(row["lane"]),
                correlation_id=row["correlation_id"],
                traceparent=row["traceparent"],
            )
            for row in await self.connections.fetch(_DUE, limit)
        ]

    async def seconds_to_next_timer(self) -> float | None:
        """Real seconds until the next timer is due at the clock's present speed; None when there is none."""
        (row,) = await self.connections.fetch(_NEXT_DUE)
        return None if row[0] is None else float(row[0])

    async def claim_effects(self, kind: str, lanes: Sequence[Lane], limit: int, lease_s: float) -> list[EffectCall]:
        """Take wanted effects of a kind for `lease_s` real seconds: whoever crashes loses them to the next. Of lanes
        other than the last named only what nobody took for five seconds. Express first."""
        rows = await self.connections.fetch(
            _CLAIM, [lane.value for lane in lanes], limit, lease_s, kind, lanes[-1].value
        )
        calls = [
            EffectCall(
                id=row["id"],
                kind=row["kind"],
                subject=row["subject"],
                key=row["key"],
                data=orjson.loads(row["data"]),
                attempt=row["attempts"],
                lane=Lane(row["lane"]),
                correlation_id=row["correlation_id"],
                traceparent=row["traceparent"],
            )
            for row in rows
        ]
        return sorted(calls, key=lambda call: call.lane.value)  # "express" sorts before "standard"

    async def postpone_effects(self, failed: Sequence[tuple[EffectCall, str | None, float]]) -> None:
        """Note why attempts failed (None: they were not made), and after how many real seconds the next ones are."""
        await self.connections.fetch(
            _FAILED_EFFECTS,
            [call.kind for call, _, _ in failed],
            [call.subject for call, _, _ in failed],
            [after_s for _, _, after_s in failed],
            [error and error[:2000].replace("\x00", "\ufffd") for _, error, _ in failed],
        )

    async def kept_results(self, lanes: Sequence[Lane]) -> list[EffectResult]:
        """Results that could not be decided on before and may be now."""
        return [
            EffectResult(
                id=row["id"],
                kind=row["kind"],
                subject=row["subject"],
                key=row["key"],
                ok=row["ok"],
                data=orjson.loads(row["result"]),
                request=orjson.loads(row["data"]),
                error=row["error"],
                attempts=row["attempts"],
                lane=Lane(row["lane"]),
                correlation_id=row["correlation_id"],
                traceparent=row["traceparent"],
            )
            for row in await self.connections.fetch(_KEPT, [lane.value for lane in lanes])
        ]

    async def close(self) -> None:
        """Close every connection."""
        await self.wake.close()
        await self.connections.close()


async def _rollback(raw: Any) -> None:
    try:
        await asyncio.wait_for(raw.execute("ROLLBACK"), 5)
    except Exception:
        abandon(raw)


async def _raising(error: Exception) -> None:
    raise error
