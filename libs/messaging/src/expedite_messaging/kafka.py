"""The consumer of one lane: polls, groups by handler, delivers each group in one transaction, commits offsets.

Offsets are only an optimisation: the inbox makes redelivery harmless. Every rebalance revokes everything (P5), so a
generation counter tells a batch that its partitions are no longer ours.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from expedite_events import Lane, row_of, row_of_topic
from expedite_events.catalogue import CATALOGUE
from expedite_events.envelope import Envelope, Undecodable, decode, heard
from expedite_events.ids import is_ours
from expedite_messaging import metrics
from expedite_messaging.access import client_options
from expedite_messaging.cancellation import ended
from expedite_messaging.cause import RawRecord
from expedite_messaging.engine import Engine, PoisonGuard, PoisonLimit
from expedite_messaging.gathering import Gathering
from expedite_messaging.handlers import Handlers

EXPRESS_POLL = 200
SESSION_TIMEOUT_MS = 6_000
REBALANCE_TIMEOUT_MS = 45_000
START_S = 120.0  # the group may first wait for members that are gone
DRAIN_S = 20.0  # in a revoke callback; below the rebalance timeout
COMMIT_EVERY_S = 1.0
WATCH_EVERY_S = 10.0
STALL_S = 30.0
POLL_MS = 500
# An answer comes with the first record, whatever this is; when there is none, the broker looks through every partition of
# every question for nothing. But a partition that was not asked for, because its records were not decided yet, waits for it.
FETCH_WAIT_MS = 1_000
log = structlog.get_logger(__name__)


def group_of(service: str, lane: Lane) -> str:
    """The consumer group of a service's lane."""
    return service if lane is Lane.STANDARD else f"{service}.express"


def topics_of(handlers: Handlers, lane: Lane) -> list[str]:
    """The topics a lane of a service consumes."""
    return sorted(
        topic
        for event in handlers.events
        for topic in row_of(event).topics
        if topic.endswith(".express") == (lane is Lane.EXPRESS)
    )


class Stalled(Exception):
    """Records wait on the topics but none arrive: a zombie consumer (P9)."""


class LaneConsumer:
    """Consumes the topics of one lane until stopped. `slot` numbers the replica: its static membership."""

    def __init__(
        self,
        engine: Engine,
        bootstrap: str,
        lane: Lane,
        slot: int,
        *,
        poison_limit: int = 50,
        stall_s: float = STALL_S,
        watch_every_s: float = WATCH_EVERY_S,
    ) -> None:
        self.engine, self.bootstrap, self.lane, self.slot = engine, bootstrap, lane, slot
        self.topics = topics_of(engine.handlers, lane)
        self._places = {topic: place for place, row in enumerate(CATALOGUE) for topic in row.topics}
        self.group = group_of(engine.service, lane)
        self.stall_s, self.watch_every_s = stall_s, watch_every_s
        standard = lane is Lane.STANDARD
        self.poll = engine.handlers.poll if standard else EXPRESS_POLL
        later = {topic for event in engine.handlers.later for topic in row_of(event).topics}
        self.gathering = Gathering(engine.handlers.gather, later) if standard and engine.handlers.gather else None
        self.poisoned: str | None = None
        self.consumed = self.rebuilds = self.lag = 0
        engine.guard = PoisonGuard(poison_limit)
        self._labels = (engine.service, lane.value)
        metrics.CONSUMER_POISONED.labels(*self._labels).set(0)
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()  # set while no batch is being decided
        self._idle.set()
        self._busy_since: float | None = None
        self._generation = 0
        self._assigned = False
        self._alive_at = 0.0  # last poll or finished batch
        self._moved_at = 0.0  # last time records arrived or none were waiting
        self._stalled = False
        self._done: dict[TopicPartition, int] = {}  # offsets to commit
        self._committing: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Has partitions or a seat in the group, polls, and is not stopped by poison or stuck in one batch."""
        if not self.topics:
            return True
        stuck = self._busy_since is not None and time.monotonic() - self._busy_since > self.stall_s
        fresh = time.monotonic() - self._alive_at < self.stall_s or self._busy_since is not None
        return self._assigned and fresh and not stuck and self.poisoned is None

    async def run(self) -> None:
        """Consume until `stop`; a broken or stalled consumer is made anew."""
        attempt = 0
        while self.topics and not self._stopping.is_set():
            try:
                await self._consume()
                attempt = 0
            except PoisonLimit as limit:
                self.poisoned = str(limit)
                metrics.CONSUMER_POISONED.labels(*self._labels).set(1)
                log.critical("consumer stopped: too many events cannot be decided", group=self.group, reason=str(limit))
                await self._stopping.wait()
            except (KafkaError, Stalled, OSError, TimeoutError) as error:
                attempt += 1
                self.rebuilds += 1
                metrics.CONSUMER_REBUILDS.labels(*self._labels).inc()
                log.warning(
                    "consumer broke, making a new one", group=self.group, error=f"{type(error).__name__}: {error}"
                )
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), min(0.2 * 2 ** min(attempt, 5), 5.0))
            finally:
                self._assigned = False

    async def stop(self) -> None:
        """Finish the batch in hand, commit, close. `run` returns soon after."""
        self._stopping.set()

    async def _consume(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            **client_options(),
            group_id=self.group,
            group_instance_id=f"{self.group}-{self.slot}",
            client_id=f"{self.group}-{self.slot}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=1_500,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            max_partition_fetch_bytes=512 * 1024,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            consumer_timeout_ms=FETCH_WAIT_MS,  # of the client's own look at all its partitions when nothing happens
            fetch_max_bytes=16 * 1024 * 1024,
            metadata_max_age_ms=60_000,
        )
        consumer.subscribe(self.topics, listener=_Listener(self, consumer))
        self._generation += 1
        self._done.clear()
        self._stalled = False
        if self.gathering is not None:
            self.gathering.clear()
        watchdog: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(START_S):
                await consumer.start()
            watchdog = asyncio.create_task(self._watch(consumer))
            committed_at = time.monotonic()
            while not self._stopping.is_set():
                generation = self._generation
                async with asyncio.timeout(60):
                    records = await (
                        self._gather(consumer, self.gathering) if self.gathering is not None else self._poll(consumer)
                    )
                self._alive_at = time.monotonic()
                if self._generation != generation:
                    # A rebalance in the middle of the poll: what came after it counts as read, what came before may be
                    # another's by now.
                    generation, ours = self._generation, consumer.assignment()
                    records = [record for record in records if _place_of(record) in ours]
                if records:
                    self._moved_at = self._alive_at
                    await self._handle(records, generation)
                if self._stalled:
                    raise Stalled(f"{self.lag} records wait, none arrived for {self.stall_s:.0f} s")
                if time.monotonic() - committed_at >= COMMIT_EVERY_S:
                    committed_at = time.monotonic()
                    self._commit_soon(consumer)
        finally:
            if watchdog is not None:
                watchdog.cancel()
                await self._commit(consumer)
            await ended(consumer.stop(), 10)

    async def _poll(self, consumer: AIOKafkaConsumer) -> list[Any]:
        """The next records, of one partition of every topic first: equal keys have equal partitions, so what follows each
        other on an order's way comes together when we lag behind, and costs one load and one save."""
        limit = self.poll
        polled = await consumer.getmany(timeout_ms=POLL_MS, max_records=limit // 5)
        records = _all_of(polled)
        if not polled or len(records) >= limit:
            return records
        partition = next(iter(polled)).partition
        for topic in self.topics:
            place, left = TopicPartition(topic, partition), limit - len(records)
            if left > 0 and place not in polled and place in consumer.assignment():
                records += _all_of(await consumer.getmany(place, timeout_ms=0, max_records=min(left, limit // 5)))
        if len(records) < limit:
            records += _all_of(await consumer.getmany(timeout_ms=0, max_records=limit - len(records)))
        return records

    async def _gather(self, consumer: AIOKafkaConsumer, gathering: Gathering) -> list[Any]:
        """Take in all there is, and choose what to decide now. While all that is here is held back, only what others wait for
        is waited for: the rest is taken in when that comes, when the first key is ripe, or after half a second."""
        patience_s = gathering.patience_s(self.poll)
        if patience_s is None:
            gathering.add(await consumer.getmany(timeout_ms=POLL_MS, max_records=min(self.poll, gathering.capacity)))
        elif patience_s:
            awaited = [place for place in consumer.assignment() if place.topic not in gathering.later]
            patience_ms = min(POLL_MS, int(patience_s * 1_000) + 1)
            gathering.add(await consumer.getmany(*awaited, timeout_ms=patience_ms, max_records=self.poll))
        by_topic: dict[str, list[TopicPartition]] = {}
        for place in consumer.assignment():
            by_topic.setdefault(place.topic, []).append(place)
        for topic, places in by_topic.items():
            if (room := gathering.room(topic)) > 0:
                gathering.add(await consumer.getmany(*places, timeout_ms=0, max_records=room))
        return gathering.take(self.poll)

    async def _handle(self, records: list[Any], generation: int) -> None:
        """Decide on records, one handler after the other; a handler of several events gets them together, in the
        catalogue's order, which is that of an order's way."""
        records.sort(key=lambda record: self._places[record.topic])
        self._idle.clear()
        self._busy_since = started = time.monotonic()
        try:
            if not await self._deliver(records, generation):
                return
        finally:
            self._busy_since = None
            self._alive_at = time.monotonic()
            self._idle.set()
        metrics.BATCH_SECONDS.labels(*self._labels).observe(time.monotonic() - started)
        metrics.BATCH_EVENTS.labels(*self._labels).observe(len(records))
        for topic, count in Counter(record.topic for record in records).items():
            metrics.CONSUMED.labels(*self._labels, topic).inc(count)
        self.consumed += len(records)
        if self._generation == generation:
            if self.gathering is not None:
                decided = self.gathering.decided(records)
            else:
                decided = {(r.topic, r.partition): r.offset + 1 for r in records}  # in order within each partition
            self._done |= {TopicPartition(*place): offset for place, offset in decided.items()}

    async def _deliver(self, records: Sequence[Any], generation: int) -> bool:
        """False when our partitions were revoked meanwhile: the next owner gets the rest (P15)."""
        groups: dict[Any, list[Envelope]] = {}
        for envelope, raw, reason in _decoded(self.engine.service, records):
            if envelope is not None:
                groups.setdefault(self.engine.handlers.events[type(envelope.event)], []).append(envelope)
                continue
            # What came before it on the same key is decided before it parks the key.
            if not await self._deliver_groups(groups, generation):
                return False
            groups = {}
            assert raw is not None
            log.error("record parked: nobody understands it", topic=raw.topic, key=raw.lock_key, reason=reason)
            metrics.UNDECODABLE.labels(*self._labels).inc()
            await self.engine.park_raw(raw, reason)
        return await self._deliver_groups(groups, generation)

    async def _deliver_groups(self, groups: dict[Any, list[Envelope]], generation: int) -> bool:
        for group in groups.values():
            if self._generation != generation:
                return False
            await self.engine.deliver(group)
        return True

    def _commit_soon(self, consumer: AIOKafkaConsumer) -> None:
        if self._done and (self._committing is None or self._committing.done()):
            self._committing = asyncio.create_task(self._commit(consumer))

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        offsets, self._done = self._done, {}
        if not offsets:
            return
        generation = self._generation
        try:
            await asyncio.wait_for(consumer.commit(offsets), 10)
        except Exception as error:  # a rebalance or a broker away: the inbox drops what comes again
            log.debug("offsets not committed", group=self.group, error=str(error))
            if self._generation == generation:
                # Tried again, even when no record comes any more: a group that seems behind for ever would be given
                # events long after the inbox forgot them.
                self._done = {**offsets, **self._done}

    async def revoked(self, consumer: AIOKafkaConsumer) -> None:
        """The group is about to give our partitions away: nothing new is begun, the batch in hand ends, offsets are
        committed, all within a deadline (P6, P7)."""
        self._generation += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), DRAIN_S)
        await self._commit(consumer)
        self._done.clear()  # no longer ours to commit
        if self.gathering is not None:
            self.gathering.clear()

    def assigned(self) -> None:
        """Partitions (perhaps none) were given to us."""
        self._assigned = True
        metrics.REBALANCES.labels(*self._labels).inc()
        self._alive_at = self._moved_at = time.monotonic()

    async def _watch(self, consumer: AIOKafkaConsumer) -> None:
        """Notice a consumer that is alive but receives nothing although records wait (P9), and measure the lag."""
        while True:
            await asyncio.sleep(self.watch_every_s)
            partitions = consumer.assignment()
            if not partitions:
                continue
            try:
                ends = await asyncio.wait_for(consumer.end_offsets(partitions), 10)
                positions = {tp: await asyncio.wait_for(consumer.position(tp), 10) for tp in partitions}
            except Exception as error:
                log.debug("the broker does not say where its topics end", error=str(error))
                continue
            self.lag = sum(max(ends[tp] - positions[tp], 0) for tp in partitions)
            held = len(self.gathering or ())  # read, not decided
            metrics.LAG.labels(*self._labels).set(self.lag + held)
            if self.lag == 0 or self._busy_since is not None:
                self._moved_at = time.monotonic()
            elif time.monotonic() - self._moved_at > self.stall_s:
                self._stalled = True


def _all_of(polled: dict[TopicPartition, list[Any]]) -> list[Any]:
    return [record for records in polled.values() for record in records]


def _place_of(record: Any) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, owner: LaneConsumer, consumer: AIOKafkaConsumer) -> None:
        self._owner, self._consumer = owner, consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._owner.revoked(self._consumer)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._owner.assigned()


def _decoded(service: str, records: Sequence[Any]) -> Iterable[tuple[Envelope | None, RawRecord | None, str]]:
    """Each record as an envelope, or raw with the reason why not; what the service does not hear is left out."""
    for record in records:
        try:
            row = row_of_topic(record.topic)
            if not heard(row, service, record.headers):
                continue
            envelope = decode(record.topic, record.key, record.value, record.headers)
            if not is_ours(envelope.id):
                raise Undecodable(f"event id {envelope.id} is neither version 7 nor 8")
            if "\x00" in envelope.key:
                raise Undecodable("its key has a NUL character")
            yield envelope, None, ""
        except Undecodable as error:
            headers = tuple([(name, value or b"") for name, value in record.headers])  # Kafka lets values be left away
            raw = RawRecord(record.topic, record.key, record.value, headers, record.partition, record.offset)
            yield None, raw, f"Undecodable: {error}"[:2000].replace("\x00", "\ufffd")
