"""The relay: publishes committed events in order and deletes them once the broker has them.

A row that exists is unsent; the cursor is only a hint (P21). Hash shards have one owner at a time, by advisory locks of
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
from functools import lru_cache
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, codec
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)
from aiokafka.partitioner import murmur2

from expedite_events import Lane
from expedite_messaging import literals, metrics
from expedite_messaging.access import client_options
from expedite_messaging.admin import MAX_MESSAGE_BYTES
from expedite_messaging.cancellation import Interrupted, Standstill, ended, moving, seen, uninterrupted
from expedite_messaging.connection import calling
from expedite_messaging.engine import Transient
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.records import SHARDS, wire_headers
from expedite_messaging.wake import outbox_hint

BATCH = 1000
RESCAN_S = 0.25
SHORTEST_POLL_S, LONGEST_POLL_S = 0.02, 1.0  # commits wake us; a poll only finds what a lost hint was about
BALANCE_EVERY_S = 1.0
MAX_BATCH_BYTES = 512 * 1024  # of one partition, below what the topics allow
LARGEST_BATCHED = 128 * 1024
ACK_TIMEOUT_S = 60.0
BLOCK_S = 60.0
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
# What is wrong with the record (or its topic) and stays wrong however often it is sent.
_REFUSED = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
    InvalidTopicError,
    TopicAuthorizationFailedError,
)
# The client compresses at level 9, as for files that are read for years: 3 to 7 us a record for an eighth less than level 1
# makes of it in one. It has no setting for that.
codec.lz4_encode.__defaults__ = (1,)
log = structlog.get_logger(__name__)


class ProducerBroken(Exception):
    """A send failed or was not acknowledged in time: nothing more goes through this producer."""


class Relay:
    """Publishes the outbox of one lane until cancelled."""

    def __init__(
        self, engine: PostgresEngine, bootstrap: str, lane: Lane, *, ack_timeout_s: float = ACK_TIMEOUT_S
    ) -> None:
        self.engine, self.bootstrap, self.lane, self.ack_timeout_s = engine, bootstrap, lane, ack_timeout_s
        self.table = "outbox" if lane is Lane.STANDARD else "outbox_express"
        self.published = self.rebuilds = self.waiting = 0
        self.oldest_s = 0.0
        self.shards: set[int] = set()
        self.blocked: dict[str, float] = {}  # key -> when it is tried again
        self.connected = False
        self.producer_options: dict[str, Any] = {}
        self._said_at = 0.0  # last statement to the server
        self._steps = 0  # scans and sends that came to an end
        self._suspects: set[int] = set()  # rows of a refused batch: sent one by one to find the culprit
        self._partitions: dict[str, int] = {}  # how many a topic has: chosen once (P20)
        self._labels = (engine.service, lane.value)

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
                    longest = int(self.ack_timeout_s) + STANDSTILL_S
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
        balanced_at = rescanned_at = -1e9
        floor, poll = 0, SHORTEST_POLL_S
        acked: list[int] = []
        self.connected = True
        while True:
            now = time.monotonic()
            if now - balanced_at >= BALANCE_EVERY_S:  # between batches only: a shard given away has nothing in flight
                balanced_at = now
                async with sql:
                    await self._balance(connection)
            if now - rescanned_at >= RESCAN_S or self.lane is Lane.EXPRESS:
                floor, rescanned_at = 0, now
            woken.clear()  # before looking: a commit during the scan wakes us again
            async with sql:
                rows = await self._scan(connection, acked, floor)
            if rows:
                acked, broken = await self._send(producer, rows)
                self.published += len(acked)
                metrics.PUBLISHED.labels(*self._labels).inc(len(acked))
                if broken is not None:
                    async with sql:
                        await self._scan(connection, acked, floor, limit=0)
                    raise broken
                # A full batch means backlog: skip the dead index entries before it. Else look from the start.
                floor, poll = (_next_floor(rows, acked) if len(rows) == BATCH else 0), SHORTEST_POLL_S
                continue
            acked = []
            if floor:
                floor = 0
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), poll)
            poll = SHORTEST_POLL_S if woken.is_set() else min(poll * 2, LONGEST_POLL_S)

    async def _scan(self, connection: Any, acked: Sequence[int], floor: int, limit: int = BATCH) -> list[Any]:
        """Delete what the broker has and read what comes next, in one statement."""
        shards = sorted(self.shards)
        mine = "" if len(shards) == SHARDS else " AND shard = ANY($5::smallint[])"
        sent = "SELECT unnest($1::text::bigint[])"  # sets: an array would be gone through for every row
        gone = f"WITH gone AS (DELETE FROM {self.table} WHERE id = ANY(ARRAY({sent})))" if acked else ""
        statement = f"""
            {gone} SELECT id, topic, key, headers, value FROM {self.table}
            WHERE id > $2 AND id NOT IN ({sent}) AND key <> ALL($3::text[]) {mine} ORDER BY id LIMIT $4
        """
        arguments = [literals.numbers(acked), floor, self._blocked_now(), limit if shards else 0]
        rows: list[Any] = await calling(connection.fetch, statement, *arguments, *([shards] if mine else []))
        self._said_at = time.monotonic()
        self._steps += 1
        return rows

    def _blocked_now(self) -> list[str]:
        now = time.monotonic()
        self.blocked = {key: until for key, until in self.blocked.items() if until > now}
        metrics.KEYS_BLOCKED.labels(*self._labels).set(len(self.blocked))
        return list(self.blocked)

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

    async def _send(self, producer: AIOKafkaProducer, rows: Sequence[Any]) -> tuple[list[int], ProducerBroken | None]:
        """Hand the rows to the producer, wait for all acknowledgements: (ids the broker has, why the producer must go)."""
        if self._suspects or any(len(row["value"]) > LARGEST_BATCHED for row in rows):
            return await self._send_singly(producer, rows)
        sending: dict[tuple[str, int], tuple[Any, list[int]]] = {}
        full: set[tuple[str, int]] = set()  # one batch per partition and round: what follows waits for its end
        try:
            for number, topic, name, packed, value in rows:
                key = name.encode()
                partitions = self._partitions.get(topic) or await self._partitions_of(producer, topic)
                place = (topic, _partition_of(key, partitions))
                if place in full:
                    continue
                if place not in sending:
                    sending[place] = (producer.create_batch(), [])
                batch, ids = sending[place]
                if batch.append(timestamp=None, key=key, value=value, headers=wire_headers(packed, number)) is None:
                    full.add(place)
                else:
                    ids.append(number)
            sent = [
                (ids, await producer.send_batch(batch, topic, partition=partition))
                for (topic, partition), (batch, ids) in sending.items()
            ]
        except KafkaError as error:
            return [], ProducerBroken(f"{type(error).__name__}: {error}")
        broken: ProducerBroken | None = None
        if not await self._acknowledged([future for _, future in sent]):
            broken = ProducerBroken(f"no acknowledgement for {self.ack_timeout_s:.0f} s")
        acked: list[int] = []
        for ids, future in sent:
            if not future.done():
                future.add_done_callback(seen)
            elif (failure := future.exception()) is None:
                acked += ids
            else:
                broken = broken or ProducerBroken(f"{type(failure).__name__}: {failure}")
                if isinstance(failure, _REFUSED):
                    self._suspects.update(ids)  # one of them: sent singly to find out which
        return acked, broken

    async def _partitions_of(self, producer: AIOKafkaProducer, topic: str) -> int:
        """How many partitions a topic has; by them and the key's hash every Kafka client places it."""
        known = self._partitions[topic] = len(await producer.partitions_for(topic))
        return known

    async def _send_singly(
        self, producer: AIOKafkaProducer, rows: Sequence[Any]
    ) -> tuple[list[int], ProducerBroken | None]:
        """As `_send`, record by record: after a key's row was refused, no later row of that key is sent."""
        self._suspects.intersection_update(row["id"] for row in rows)
        sent: list[tuple[Any, asyncio.Future[Any]]] = []
        acked: list[int] = []
        broken: ProducerBroken | None = None
        for row in rows:
            if row["key"] in self.blocked:
                continue
            try:
                future = await producer.send(
                    row["topic"],
                    row["value"],
                    key=row["key"].encode(),
                    headers=wire_headers(row["headers"], row["id"]),
                )
                if row["id"] in self._suspects:
                    await self._acknowledged([future])
                    self._suspects.discard(row["id"])
                    if isinstance(future.exception(), _REFUSED):
                        self._block(row, future.exception())
                        broken = ProducerBroken("a record was refused")
                        break
            except MessageSizeTooLargeError as error:  # refused by the client: the producer is unharmed
                self._block(row, error)
                continue
            except KafkaError as error:
                broken = ProducerBroken(f"{type(error).__name__}: {error}")
                break
            sent.append((row, future))
        if not await self._acknowledged([future for _, future in sent]):
            broken = ProducerBroken(f"no acknowledgement for {self.ack_timeout_s:.0f} s")
        for row, future in sent:
            if not future.done():
                future.add_done_callback(seen)
            elif future.exception() is None:
                acked.append(row["id"])
            else:
                failure = future.exception()
                broken = broken or ProducerBroken(f"{type(failure).__name__}: {failure}")
                if isinstance(failure, _REFUSED):
                    self._suspects.add(row["id"])
        return acked, broken

    async def _acknowledged(self, futures: Sequence[asyncio.Future[Any]]) -> bool:
        """Wait until the broker answered all; False after the time limit. They are never cancelled: that would not stop
        the records, only hide what became of them (P2)."""
        if not futures:
            return True
        _, pending = await asyncio.wait(futures, timeout=self.ack_timeout_s)
        self._steps += 1
        return not pending

    def _block(self, row: Any, error: BaseException | None) -> None:
        self.blocked[row["key"]] = time.monotonic() + BLOCK_S
        log.error(
            "event refused by the broker, its key waits", topic=row["topic"], order=row["key"], id=row["id"],
            error=f"{type(error).__name__}: {error}",
        )  # fmt: skip

    async def _observe(self) -> None:
        """Measure what waits, of all shards, so that a backlog nobody owns is seen too (P32)."""
        statement = f"""
            SELECT (SELECT count(*) FROM (SELECT FROM {self.table} LIMIT 100000) AS sample),
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


def _next_floor(rows: Sequence[Any], acked: Sequence[int]) -> int:
    """Where the next scan begins: before the first row that was not sent."""
    sent = set(acked)
    left = next((row["id"] for row in rows if row["id"] not in sent), None)
    return int(rows[-1]["id"] if left is None else left - 1)


@lru_cache(maxsize=65_536)
def _partition_of(key: bytes, partitions: int) -> int:
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


async def _close(producer: AIOKafkaProducer) -> None:
    """Close a producer that may be unable to flush: what it still sends is known to every inbox."""
    if await ended(producer.stop(), CLOSE_S):
        return
    sender = getattr(producer, "_sender", None)
    if sender is not None and sender.sender_task is not None:
        sender.sender_task.cancel()
    await ended(producer.client.close(), CLOSE_S)
