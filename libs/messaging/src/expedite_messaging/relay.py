"""The relay: publishes committed events in order and deletes them once the broker has them.

A row that exists is unsent, and each look begins at the first: what commits late, is given to us or was held back is never
passed over (P21). Hash shards have one owner at a time, by advisory locks of
a live connection (P25, P31); what a frozen owner sends late is known to every inbox. The relay owns retries: any failed
send makes the producer fatal (P1), it is closed, made anew, and the rows are read again. So does a session that stands
still, whatever it waits for: a relay that lives and publishes nothing is noticed by nobody else.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, codec
from aiokafka.errors import KafkaError

from expedite_events import Lane
from expedite_messaging import literals, metrics
from expedite_messaging.access import client_options
from expedite_messaging.admin import MAX_MESSAGE_BYTES
from expedite_messaging.bundles import Bundle, packed, singles, unpacked
from expedite_messaging.cancellation import Interrupted, Standstill, ended, moving, uninterrupted
from expedite_messaging.connection import calling
from expedite_messaging.engine import Transient
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.records import SHARDS
from expedite_messaging.sending import MAX_BATCH_BYTES, ProducerBroken, Sending
from expedite_messaging.wake import outbox_hint

FEWEST, MOST = 64, 1000  # rows read at once: what one round sends, and as much again
SHORTEST_POLL_S, LONGEST_POLL_S = 0.02, 1.0  # commits wake us; a poll only finds what a lost hint was about
BALANCE_EVERY_S = 1.0
ACK_TIMEOUT_S = 60.0
STANDSTILL_S = 30  # without a step beyond the longest that one may take
CLOSE_S = 3.0
# A frozen relay is silent: the server ends its session, which frees its shards. A standard one may only be starved, by all
# that goes before it, for seconds; beginning anew costs it more than it gets done between two such ends.
SILENCE = {Lane.STANDARD: "15s", Lane.EXPRESS: "5s"}
QUIET_S = 2.0  # after so long without a word it says one
_LOCKS = {Lane.STANDARD: 0x45580001, Lane.EXPRESS: 0x45580002}
_PURPOSE = {lane: f"relay {lane.value}" for lane in Lane}
_COUNT_MEMBERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND application_name LIKE '% ' || $1
"""
# The client compresses at level 9, as for files that are read for years: 3 to 7 us a record for an eighth less than level 1
# makes of it in one. It has no setting for that.
codec.lz4_encode.__defaults__ = (1,)
log = structlog.get_logger(__name__)


class Relay:
    """Publishes the outbox of one lane until cancelled."""

    def __init__(
        self, engine: PostgresEngine, bootstrap: str, lane: Lane, *, ack_timeout_s: float = ACK_TIMEOUT_S
    ) -> None:
        self.engine, self.bootstrap, self.lane, self.sending = engine, bootstrap, lane, Sending(ack_timeout_s)
        self.table = "outbox" if lane is Lane.STANDARD else "outbox_express"
        self.published = self.rebuilds = self.waiting = 0
        self.oldest_s = 0.0
        self.shards: set[int] = set()
        self.connected = False
        self.producer_options: dict[str, Any] = {}
        self._said_at = 0.0  # last statement to the server
        self._scans = 0
        self._limit = FEWEST
        self._labels = (engine.service, lane.value)

    @property
    def blocked(self) -> dict[str, float]:
        """Keys whose next event the broker refused, and when they are tried again."""
        return self.sending.blocked

    @property
    def _steps(self) -> int:
        """Scans and sends that came to an end."""
        return self._scans + self.sending.answers

    async def run(self) -> None:
        """Publish for ever. Every failure of connection or producer begins anew with both."""
        hint = outbox_hint(self.lane)
        woken = self.engine.wake.event(hint)
        attempt = 0
        observer = asyncio.create_task(self._observe())
        try:
            while True:
                started = time.monotonic()
                try:
                    longest = int(self.sending.ack_timeout_s) + STANDSTILL_S
                    await moving(self._session(woken), lambda: self._steps, longest, farewell_s=3 * CLOSE_S)
                except* Transient as group:
                    self._told(group)  # the database is away: counted as such where it was missed
                except* (ProducerBroken, Interrupted, Standstill, KafkaError, OSError, TimeoutError) as group:
                    self._told(group)
                    metrics.PRODUCER_REBUILDS.labels(*self._labels).inc()
                except* Exception:
                    log.exception("relay failed and begins anew", lane=self.lane.value)
                    metrics.PRODUCER_REBUILDS.labels(*self._labels).inc()
                self.rebuilds += 1
                attempt = 0 if time.monotonic() - started > 10 else attempt + 1
                await asyncio.sleep(min(0.05 * 2**attempt, 1.0) * random.uniform(0.5, 1.0))
        finally:
            observer.cancel()
            self.engine.wake.forget(hint)

    def _told(self, group: BaseExceptionGroup[Exception]) -> None:
        error = group.exceptions[0]
        log.warning("relay begins anew", lane=self.lane.value, error=f"{type(error).__name__}: {error}")

    async def drained(self, within_s: float) -> bool:
        """Wait until nothing of our shards waits; False when it did not come to that in time."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            rows = await self.engine.connections.fetch(
                f"SELECT EXISTS (SELECT FROM {self.table} WHERE shard = ANY($1::smallint[]))", sorted(self.shards)
            )
            if not rows[0][0]:
                return True
            await asyncio.sleep(0.02)
        return False

    async def _session(self, woken: asyncio.Event) -> None:
        """One connection, its locks and one producer, until something breaks."""
        connection = await self.engine.connections.dedicated(
            "relay starting", idle_session_timeout=SILENCE[self.lane], synchronous_commit="off"
        )
        producer = self._producer()
        sql = asyncio.Lock()
        try:
            await producer.start()
            # From now on it counts as one who shares the work: others give it its part.
            name = f"{self.engine.connections.application} {_PURPOSE[self.lane]}"
            await calling(connection.fetchval, "SELECT set_config('application_name', $1, false)", name)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(uninterrupted(self._keep_alive(connection, sql)))
                tasks.create_task(uninterrupted(self._publish_all(connection, sql, producer, woken)))
        finally:
            self.connected = False
            self.shards = set()
            metrics.SHARDS_OWNED.labels(*self._labels).set(0)
            connection.terminate()  # frees the locks at once
            await _close(producer)

    def _producer(self) -> AIOKafkaProducer:
        express = self.lane is Lane.EXPRESS
        options: dict[str, Any] = client_options() | {
            "bootstrap_servers": self.bootstrap,
            "client_id": f"{self.engine.service}-relay-{self.lane.value}",
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 0 if express else 3,
            "compression_type": "lz4" if codec.has_lz4() and not express else None,
            "max_request_size": MAX_MESSAGE_BYTES,
            "max_batch_size": MAX_BATCH_BYTES,
            "request_timeout_ms": 20_000,
            "metadata_max_age_ms": 60_000,
        }
        return AIOKafkaProducer(**{**options, **self.producer_options})

    async def _keep_alive(self, connection: Any, sql: asyncio.Lock) -> None:
        """Show the server that we are not frozen, also while the broker keeps us waiting; raises when it is gone. Who finds
        nothing to publish looks every second, which says it too."""
        while True:
            await asyncio.sleep(QUIET_S / 2)
            if time.monotonic() - self._said_at > QUIET_S:
                async with sql:
                    await calling(connection.fetchval, "SELECT 1")
                self._said_at = time.monotonic()

    async def _publish_all(
        self, connection: Any, sql: asyncio.Lock, producer: AIOKafkaProducer, woken: asyncio.Event
    ) -> None:
        balanced_at, poll = -1e9, SHORTEST_POLL_S
        acked: list[int] = []
        self.connected = True
        while True:
            now = time.monotonic()
            if now - balanced_at >= BALANCE_EVERY_S:  # between batches only: a shard given away has nothing in flight
                balanced_at = now
                async with sql:
                    await self._balance(connection)
            woken.clear()  # before looking: a commit during the scan wakes us again
            async with sql:
                bundles = await self._scan(connection, acked)
            if bundles:
                acked, broken = await self._send(producer, bundles)
                self._count(bundles, acked)
                if broken is not None or self.sending.torn:
                    async with sql:
                        await self._scan(connection, acked, limit=0)
                        await self._take_apart(connection)
                    acked = []
                if broken is not None:
                    raise broken
                poll = SHORTEST_POLL_S
                continue
            acked = []
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), poll)
            poll = SHORTEST_POLL_S if woken.is_set() else min(poll * 2, LONGEST_POLL_S)

    async def _scan(self, connection: Any, acked: Sequence[int], limit: int | None = None) -> list[Bundle]:
        """Delete what the broker has and read what comes next, in one statement."""
        shards, held = sorted(self.shards), self.sending.held()
        metrics.KEYS_BLOCKED.labels(*self._labels).set(len(self.blocked))
        mine = "" if len(shards) == SHARDS else " AND shard = ANY($4::smallint[])"
        sent = "SELECT unnest($1::text::bigint[])"  # sets: an array would be gone through for every row
        gone = f"WITH gone AS (DELETE FROM {self.table} WHERE id = ANY(ARRAY({sent})))" if acked else ""
        statement = f"""
            {gone} SELECT id, shard, body FROM {self.table}
            WHERE id NOT IN ({sent}) AND id <> ALL($2::bigint[]) {mine} ORDER BY id LIMIT $3
        """
        wanted = (self._limit if limit is None else limit) if shards else 0
        arguments = [literals.numbers(acked), held, wanted]
        rows: list[Any] = await calling(connection.fetch, statement, *arguments, *([shards] if mine else []))
        self._said_at = time.monotonic()
        self._scans += 1
        return [unpacked(*row) for row in rows]

    async def _take_apart(self, connection: Any) -> None:
        """Give each event of the torn bundles a row of its own, under its own number: some must wait, the others need not."""
        if self.sending.torn:
            await calling(self._apart, connection, sorted(self.sending.torn))
            self.sending.torn.clear()

    async def _apart(self, connection: Any, torn: Sequence[int]) -> None:
        async with connection.transaction():
            # A crash must not bring a bundle back of which an event is known to be held.
            await connection.execute("SET LOCAL synchronous_commit = on")
            rows = await connection.fetch(
                f"DELETE FROM {self.table} WHERE id = ANY($1::bigint[]) AND shard = ANY($2::smallint[]) "
                "RETURNING id, shard, body, at",
                torn,
                sorted(self.shards),
            )
            await connection.executemany(
                f"INSERT INTO {self.table} (id, shard, events, body, at) VALUES ($1, $2, 1, $3, $4)",
                [
                    (one.number, one.shard, packed(one), at)
                    for number, shard, body, at in rows
                    for one in singles(unpacked(number, shard, body))
                ],
            )

    def _count(self, bundles: Sequence[Bundle], acked: Sequence[int]) -> None:
        there = set(acked)
        events = sum([len(bundle.events) for bundle in bundles if bundle.number in there])
        self.published += events
        metrics.PUBLISHED.labels(*self._labels).inc(events)
        self._limit = max(FEWEST, min(MOST, 2 * len(acked)))

    async def _balance(self, connection: Any) -> None:
        """Own a fair share of the shards among the relays alive; ownership is a lock of this very connection."""
        members = await calling(connection.fetchval, _COUNT_MEMBERS, _PURPOSE[self.lane])
        share = -(-SHARDS // max(members, 1))
        if len(self.shards) > share:
            extra = sorted(self.shards)[share:]
            await calling(
                connection.fetch,
                "SELECT pg_advisory_unlock($1, s) FROM unnest($2::int[]) AS s",
                _LOCKS[self.lane],
                extra,
            )
            self.shards -= set(extra)
        elif len(self.shards) < share:
            wanted = [s for s in range(SHARDS) if s not in self.shards]
            random.shuffle(wanted)
            taken = await calling(
                connection.fetch,
                "SELECT s FROM unnest($2::int[]) AS s WHERE pg_try_advisory_lock($1, s) LIMIT $3",
                _LOCKS[self.lane],
                wanted,
                share - len(self.shards),
            )
            self.shards |= {row[0] for row in taken}
        metrics.SHARDS_OWNED.labels(*self._labels).set(len(self.shards))

    async def _send(
        self, producer: AIOKafkaProducer, bundles: Sequence[Bundle]
    ) -> tuple[list[int], ProducerBroken | None]:
        return await self.sending.send(producer, bundles)

    async def _observe(self) -> None:
        """Measure what waits, of all shards, so that a backlog nobody owns is seen too (P32)."""
        statement = f"""
            SELECT (SELECT coalesce(sum(events), 0) FROM (SELECT events FROM {self.table} LIMIT 10000) AS sample),
                   (SELECT extract(epoch FROM clock_timestamp() - at) FROM {self.table} ORDER BY id LIMIT 1)
        """
        while True:
            try:
                (row,) = await self.engine.connections.fetch(statement)
                self.waiting, self.oldest_s = row[0], float(row[1] or 0.0)
                metrics.OUTBOX_WAITING.labels(*self._labels).set(self.waiting)
                metrics.OUTBOX_OLDEST.labels(*self._labels).set(self.oldest_s)
            except Transient as error:
                log.debug("outbox not measured", error=str(error))
            except Exception:
                log.exception("outbox not measured")
            await asyncio.sleep(2.0)


async def _close(producer: AIOKafkaProducer) -> None:
    """Close a producer that may be unable to flush: what it still sends is known to every inbox."""
    if await ended(producer.stop(), CLOSE_S):
        return
    sender = getattr(producer, "_sender", None)
    if sender is not None and sender.sender_task is not None:
        sender.sender_task.cancel()
    await ended(producer.client.close(), CLOSE_S)
