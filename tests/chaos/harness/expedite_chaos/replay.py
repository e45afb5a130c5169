"""Events published again: what a relay does that died between the broker's answer and its outbox, on everything at once."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from aiokafka import AIOKafkaProducer

from expedite_events.ids import millis
from expedite_messaging.admin import MAX_MESSAGE_BYTES, read_topics
from expedite_messaging.cause import RawRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Order = Literal["as it was", "keys shuffled", "shuffled"]
AT_ONCE = 500


async def replay(
    bootstrap: str,
    *,
    topics: Sequence[str] | None = None,
    order: Order = "as it was",
    older_than_s: float = 0.0,
    seed: int = 1,
) -> int:
    """Publish everything on the topics (all of the catalogue unless named) once more, each record to its partition, and each
    event once, however often it is there by now. How many.

    order: of each partition as it was; or with keys interleaved at random, each key of a topic in its own order; or wholly at
    random. older_than_s: only events whose cause is so many real seconds old.
    """
    before = time.time() - older_than_s
    known: set[tuple[str, Any]] = set()
    records: list[RawRecord] = []
    async for record in read_topics(bootstrap, topics):
        identity = (record.topic, dict(record.headers).get("ce_id") or record.value)
        if identity not in known and (not older_than_s or made_at(record) <= before):
            known.add(identity)
            records.append(record)
    await publish(bootstrap, arranged(records, order, random.Random(f"replay {seed}")))
    return len(records)


def made_at(record: RawRecord) -> float:
    """Real time of the cause of an event, in seconds since the epoch; infinity when it has no id of ours."""
    try:
        return millis(UUID(dict(record.headers)["ce_id"].decode())) / 1000
    except (KeyError, ValueError):
        return float("inf")


def arranged(records: Iterable[RawRecord], order: Order, rnd: random.Random) -> list[RawRecord]:
    """The records in the wanted order."""
    found = list(records)
    if order == "as it was":
        return found
    if order == "shuffled":
        rnd.shuffle(found)
        return found
    waiting: dict[tuple[str, bytes | None], list[RawRecord]] = defaultdict(list)
    for record in reversed(found):
        waiting[record.topic, record.key].append(record)
    turns = [key for key, several in waiting.items() for _ in several]
    rnd.shuffle(turns)
    return [waiting[key].pop() for key in turns]


@asynccontextmanager
async def producer(bootstrap: str) -> AsyncIterator[Any]:
    """A producer of our own, outside any service."""
    made = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=3,
        max_request_size=MAX_MESSAGE_BYTES,
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def publish(bootstrap: str, records: Iterable[RawRecord]) -> list[tuple[str, int, int]]:
    """Send records to their topics and partitions, in this order per partition; where they are now (topic, partition,
    offset)."""
    places: list[tuple[str, int, int]] = []
    async with producer(bootstrap) as sending:
        underway: list[Awaitable[Any]] = []

        async def landed() -> None:
            for future in underway:
                at = await future
                places.append((at.topic, at.partition, at.offset))
            underway.clear()

        for record in records:
            underway.append(
                await sending.send(
                    record.topic,
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                )
            )
            if len(underway) >= AT_ONCE:
                await landed()
        await landed()
    return places
