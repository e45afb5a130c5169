"""What a relay hands to the producer, and what became of it.

On a topic nothing of a key is sent before what came earlier is there. A record that the broker refuses makes its key wait, and that
key alone: bundles that hold events of it are taken apart (`torn`), so that the others can go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)

from expedite_messaging.bundles import Bundle, Emitted
from expedite_messaging.cancellation import seen
from expedite_messaging.placing import partition_of
from expedite_messaging.records import wire_headers

ROUND_BYTES = 768 * 1024
"""Of events handed to the producer at once: below what a batch holds, so that none is full before its round ends."""
MAX_BATCH_BYTES = 1024 * 1024  # of one partition, before compression
LARGEST_BATCHED = 128 * 1024
BLOCK_S = 60.0
# What is wrong with the record (or its topic) and stays wrong however often it is sent.
_REFUSED = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
    InvalidTopicError,
    TopicAuthorizationFailedError,
)
log = structlog.get_logger(__name__)


class ProducerBroken(Exception):
    """A send failed or was not acknowledged in time: nothing more goes through this producer."""


class Sending:
    """Sends bundles, and remembers over all producers of a relay what must wait."""

    def __init__(self, ack_timeout_s: float) -> None:
        self.ack_timeout_s = ack_timeout_s
        self.answers = 0  # rounds that came to an end
        self.blocked: dict[str, float] = {}  # key -> when it is tried again
        self.torn: set[int] = set()  # bundles of which not all can go
        self._held: dict[int, str] = {}  # rows that hold one event of a blocked key
        self._suspects: set[int] = set()  # numbers of a refused batch: sent one by one to find the culprit
        self._partitions: dict[str, int] = {}  # how many a topic has: chosen once (P20)

    def held(self) -> list[int]:
        """Rows that need not be read, because their key is blocked."""
        now = time.monotonic()
        self.blocked = {key: until for key, until in self.blocked.items() if until > now}
        self._held = {number: key for number, key in self._held.items() if key in self.blocked}
        return list(self._held)

    async def send(
        self, producer: AIOKafkaProducer, bundles: Sequence[Bundle]
    ) -> tuple[list[int], ProducerBroken | None]:
        """Hand a round of bundles to the producer, wait for all acknowledgements: (rows the broker has, why the producer must
        go). One batch per partition and round: what follows waits for its end."""
        if self._suspects or any(len(event.value) > LARGEST_BATCHED for bundle in bundles for event in bundle.events):
            return await self._send_singly(producer, bundles)
        taken = self._round(bundles)
        batches: dict[tuple[str, int], tuple[Any, set[int]]] = {}
        try:
            for bundle in taken:
                number = bundle.number
                for event in bundle.events:
                    topic, key = event.topic, event.key.encode()
                    partitions = self._partitions.get(topic) or await self._partitions_of(producer, topic)
                    place = (topic, partition_of(key, partitions))
                    if place not in batches:
                        batches[place] = (producer.create_batch(), set())
                    batch, rows = batches[place]
                    headers = wire_headers(event.headers, number + event.place)
                    if batch.append(timestamp=None, key=key, value=event.value, headers=headers) is None:
                        return await self._send_singly(producer, bundles)  # larger than it looks
                    rows.add(number)
            sent = [
                (rows, await producer.send_batch(batch, topic, partition=partition))
                for (topic, partition), (batch, rows) in batches.items()
            ]
        except KafkaError as error:
            return [], ProducerBroken(f"{type(error).__name__}: {error}")
        failed, broken = await self._settled(taken, sent)
        return _there(taken, failed), broken

    def _round(self, bundles: Sequence[Bundle]) -> list[Bundle]:
        """What is sent at once: the first that fit and are not held back."""
        taken: list[Bundle] = []
        size, waiting = 0, set[int]()
        for bundle in bundles:
            if self._stays(bundle, waiting):
                continue
            size += bundle.size
            if taken and size > ROUND_BYTES:
                break
            taken.append(bundle)
        return taken

    def _stays(self, bundle: Bundle, waiting: set[int]) -> bool:
        """Whether nothing of a bundle is sent now, because a key of it is blocked. `waiting`: shards of bundles that must be
        taken apart first; what follows in them may be of the same keys."""
        if bundle.shard in waiting:
            return True
        if not self.blocked or not any(event.key in self.blocked for event in bundle.events):
            return False
        if len(bundle.events) == 1:
            self._held[bundle.number] = bundle.events[0].key
        else:
            self._tear(bundle, waiting)
        return True

    def _tear(self, bundle: Bundle, waiting: set[int]) -> None:
        self.torn.add(bundle.number)
        waiting.add(bundle.shard)

    def _suspect(self, bundles: Sequence[Bundle]) -> None:
        """One event of these was refused: all are sent singly, each from a row of its own, to find out which."""
        self._suspects.update(bundle.number + event.place for bundle in bundles for event in bundle.events)
        self.torn.update(bundle.number for bundle in bundles if len(bundle.events) > 1)

    async def _partitions_of(self, producer: AIOKafkaProducer, topic: str) -> int:
        """How many partitions a topic has; by them and the key's hash every Kafka client places it."""
        known = self._partitions[topic] = len(await producer.partitions_for(topic))
        return known

    async def _send_singly(
        self, producer: AIOKafkaProducer, bundles: Sequence[Bundle]
    ) -> tuple[list[int], ProducerBroken | None]:
        """As `send`, record by record: after a key's event was refused, no later one of that key is sent."""
        self._suspects.intersection_update(b.number + event.place for b in bundles for event in b.events)
        sent: list[tuple[set[int], asyncio.Future[Any]]] = []
        whole: list[Bundle] = []  # of which all was handed to the producer
        waiting: set[int] = set()
        broken: ProducerBroken | None = None
        for bundle in bundles:
            if self._stays(bundle, waiting):
                continue
            refused: BaseException | None = None
            try:
                for event in bundle.events:
                    number = bundle.number + event.place
                    future = await self._send_one(producer, event, number)
                    sent.append(({bundle.number}, future))
                    if number not in self._suspects and len(event.value) <= LARGEST_BATCHED:
                        continue
                    if not await self._acknowledged([future]):
                        broken = ProducerBroken(f"no acknowledgement for {self.ack_timeout_s:.0f} s")
                        break
                    self._suspects.discard(number)
                    if (failure := future.exception()) is not None:
                        broken = ProducerBroken(f"{type(failure).__name__}: {failure}")
                        refused = failure if isinstance(failure, _REFUSED) else None
                        break
            except MessageSizeTooLargeError as error:  # refused by the client: the producer is unharmed
                refused = error
            except KafkaError as error:
                broken = ProducerBroken(f"{type(error).__name__}: {error}")
            if refused is not None and len(bundle.events) > 1:
                self._tear(bundle, waiting)
            elif refused is not None:
                self._block(bundle, refused)
            elif broken is None:
                whole.append(bundle)
            if broken is not None:
                break
        failed, broken = await self._settled(bundles, sent, broken)
        return _there(whole, failed), broken

    async def _send_one(self, producer: AIOKafkaProducer, event: Emitted, number: int) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = await producer.send(
            event.topic, event.value, key=event.key.encode(), headers=wire_headers(event.headers, number)
        )
        return future

    async def _settled(
        self,
        bundles: Sequence[Bundle],
        sent: Sequence[tuple[set[int], asyncio.Future[Any]]],
        broken: ProducerBroken | None = None,
    ) -> tuple[set[int], ProducerBroken | None]:
        """Wait for what was sent, each with the rows it has events of: (rows of which something is not there, why the producer
        must go). What was refused, and is not known to be the culprit, is suspect."""
        if not await self._acknowledged([future for _, future in sent]):
            broken = ProducerBroken(f"no acknowledgement for {self.ack_timeout_s:.0f} s")
        failed, refused = set[int](), set[int]()
        for rows, future in sent:
            if not future.done():
                future.add_done_callback(seen)
            elif (failure := future.exception()) is None:
                continue
            else:
                broken = broken or ProducerBroken(f"{type(failure).__name__}: {failure}")
                if isinstance(failure, _REFUSED):
                    refused |= rows
            failed |= rows
        self._suspect([bundle for bundle in bundles if bundle.number in refused and bundle.number not in self._held])
        return failed, broken

    async def _acknowledged(self, futures: Sequence[asyncio.Future[Any]]) -> bool:
        """Wait until the broker answered all; False after the time limit. They are never cancelled: that would not stop
        the records, only hide what became of them (P2)."""
        if not futures:
            return True
        _, pending = await asyncio.wait(futures, timeout=self.ack_timeout_s)
        self.answers += 1
        return not pending

    def _block(self, bundle: Bundle, error: BaseException) -> None:
        (event,) = bundle.events
        self.blocked[event.key] = time.monotonic() + BLOCK_S
        self._held[bundle.number] = event.key
        log.error(
            "event refused by the broker, its key waits", topic=event.topic, order=event.key, id=bundle.number,
            error=f"{type(error).__name__}: {error}",
        )  # fmt: skip


def _there(bundles: Sequence[Bundle], failed: set[int]) -> list[int]:
    """The rows that are done. What follows a failed one in its shard is sent again with it: the last record of a key on a topic is
    always its newest, also for those who keep only that."""
    stuck, there = set[int](), list[int]()
    for bundle in bundles:
        if bundle.number in failed:
            stuck.add(bundle.shard)
        elif bundle.shard not in stuck:
            there.append(bundle.number)
    return there
