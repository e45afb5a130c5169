"""What the substrate, the audit and tests do with Kafka beside consuming and publishing: topics and their contents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code

from expedite_events import CATALOGUE
from expedite_messaging.access import client_options
from expedite_messaging.cause import RawRecord

STANDARD_PARTITIONS = 4
EXPRESS_PARTITIONS = 2
MAX_MESSAGE_BYTES = 1024 * 1024
"""Of every topic, and the most a producer sends: a record the broker refuses would break the producer (P1)."""

_EXISTS = 36
_BATCH = 25


class KafkaAway(Exception):
    """The broker did not answer; the text names it."""


async def wait_ready(bootstrap: str, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - waiting is what it is for
    """Return when a broker answers. Raises `KafkaAway` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000, **client_options())
        try:
            await admin.start()
            await admin.list_topics()
            return
        except (KafkaError, OSError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise KafkaAway(f"no Kafka broker answers at {bootstrap}: {error}") from error
        finally:
            with suppress(Exception):
                await admin.close()
        await asyncio.sleep(0.2)


def wanted_topics(replication: int = 1) -> list[NewTopic]:
    """Every topic of the catalogue. Partition counts are chosen once: changing one maps keys anew (P20)."""
    found = []
    for row in CATALOGUE:
        for topic in row.topics:
            config = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
            if row.compacted:
                config |= {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.2"}
            partitions = EXPRESS_PARTITIONS if topic.endswith(".express") else STANDARD_PARTITIONS
            found.append(NewTopic(topic, partitions, replication, topic_configs=config))
    return found


async def ensure_topics(bootstrap: str, replication: int = 1) -> int:
    """Create the topics of the catalogue that do not exist and wait until all can be used. The number of topics of the
    catalogue. Raises `KafkaError` when one is refused."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=30_000, **client_options())
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        wanted = wanted_topics(replication)
        missing = [topic for topic in wanted if topic.name not in existing]
        for start in range(0, len(missing), _BATCH):
            response = await admin.create_topics(missing[start : start + _BATCH])
            for name, code, *rest in response.topic_errors:
                if code not in (0, _EXISTS):
                    raise for_code(code)(f"topic {name}: {rest[0] if rest else ''}")
        names = {topic.name for topic in wanted}
        while missing and not await _usable(admin, names):  # noqa: ASYNC110 - the broker sends no event
            await asyncio.sleep(0.05)
        return len(wanted)
    finally:
        await admin.close()


async def _usable(admin: Any, names: set[str]) -> bool:
    """True when every partition of every topic has a leader."""
    described = await admin.describe_topics(sorted(names))
    return all(
        topic["error_code"] == 0 and topic["partitions"] and all(p["leader"] >= 0 for p in topic["partitions"])
        for topic in described
    )


async def read_topics(bootstrap: str, topics: Sequence[str] | None = None) -> AsyncIterator[RawRecord]:
    """Everything on the topics (all of the catalogue unless named), from the beginning to where they end now; per
    partition in order. For the audit and for tests."""
    names = list(topics) if topics is not None else [t for row in CATALOGUE for t in row.topics]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        **client_options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        known = await consumer.topics()
        partitions = [
            TopicPartition(name, p) for name in names if name in known for p in (await partitions_of(consumer, name))
        ]
        if not partitions:
            return
        consumer.assign(partitions)
        ends = {tp: end for tp, end in (await consumer.end_offsets(partitions)).items() if end > 0}
        begins = await consumer.beginning_offsets(list(ends)) if ends else {}
        # A compacted or expired partition may end with offsets that no longer exist.
        left = {tp for tp, end in ends.items() if begins[tp] < end}
        await consumer.seek_to_beginning(*partitions)
        while left:
            batches = await consumer.getmany(timeout_ms=500)
            for tp, records in batches.items():
                for record in records:
                    if record.offset < ends.get(tp, 0):
                        yield RawRecord(
                            tp.topic, record.key, record.value, tuple(record.headers), tp.partition, record.offset
                        )
            for tp in list(left):
                if await consumer.position(tp) >= ends[tp]:
                    left.discard(tp)
    finally:
        await consumer.stop()


async def partitions_of(consumer: Any, topic: str) -> set[int]:
    """The partitions of a topic, as the broker says."""
    await consumer._client._wait_on_metadata(topic)
    found: set[int] = consumer.partitions_for_topic(topic) or set()
    return found


Place = tuple[str, int]
"""A partition: topic and number."""


async def end_offsets(bootstrap: str, topics: Sequence[str] | None = None) -> dict[Place, int]:
    """Where every partition of the topics (all of the catalogue unless named) ends now. Topics that do not exist are
    left out."""
    names = list(topics) if topics is not None else [t for row in CATALOGUE for t in row.topics]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, **client_options(), enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        known = await consumer.topics()
        partitions = [TopicPartition(n, p) for n in names if n in known for p in await partitions_of(consumer, n)]
        if not partitions:
            return {}
        consumer.assign(partitions)
        return {(tp.topic, tp.partition): end for tp, end in (await consumer.end_offsets(partitions)).items()}
    finally:
        await consumer.stop()


async def committed_offsets(bootstrap: str, groups: Sequence[str]) -> dict[str, dict[Place, int]]:
    """Per consumer group, the offset it has committed on each partition; partitions without one are left out. A broker
    that has just started needs a moment for its first group: it is asked again for 30 seconds."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=30_000, **client_options())
    await admin.start()
    try:
        found: dict[str, dict[Place, int]] = {}
        deadline = time.monotonic() + 30.0
        for group in groups:
            while True:
                try:
                    offsets = await admin.list_consumer_group_offsets(group)
                    break
                except KafkaError as error:
                    if not error.retriable or time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(0.2)
            found[group] = {(tp.topic, tp.partition): at.offset for tp, at in offsets.items() if at.offset >= 0}
        return found
    finally:
        await admin.close()
