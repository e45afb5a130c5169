"""A consumer that is behind decodes its next batch while the present one is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import TopicPartition
from expedite_sample.worlds import InMemory, tracked

from expedite_events import Lane
from expedite_events.envelope import encode
from expedite_messaging.gathering import Gathering
from expedite_messaging.kafka import LaneConsumer


@dataclass(frozen=True)
class Record:
    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    offset: int
    partition: int = 0


class Client:
    """A partition with these words of these orders, read from its start after every rebalance."""

    def __init__(self, words: Sequence[tuple[str, str]]) -> None:
        self.records = []
        for offset, (order, word) in enumerate(words):
            topic, key, value, headers = encode(tracked(order, word))
            self.records.append(Record(topic, key, value, headers, offset))
        self.place, self.position, self.committed = TopicPartition(self.records[0].topic, 0), 0, 0

    def assignment(self) -> set[TopicPartition]:
        return {self.place}

    async def getmany(self, *places: TopicPartition, timeout_ms: int, max_records: int) -> dict[TopicPartition, Any]:
        found = self.records[self.position : self.position + max_records]
        self.position += len(found)
        return {self.place: found} if found else {}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.committed = offsets[self.place]


@pytest.fixture
def world() -> InMemory:
    return InMemory()


@pytest.fixture
def consumer(world: InMemory) -> LaneConsumer:
    found = LaneConsumer(world.engine, "nowhere:9", Lane.STANDARD, 0)
    found.poll, found.gathering = 3, Gathering(8)
    return found


WORDS = [(order, f"{order}{n}") for n in range(3) for order in "ABC"] + [("D", "D0")]


async def batch(consumer: LaneConsumer, client: Client) -> tuple[int, bool]:
    """Decide on the next batch: its records, and whether they were decoded beforehand."""
    records, ready = await consumer._next(client)
    if records:
        await consumer._handle(records, consumer._generation, ready)
    return len(records), ready is not None


async def test_each_event_is_decided_once_and_in_order(world: InMemory, consumer: LaneConsumer) -> None:
    client = Client(WORDS)
    batches = [await batch(consumer, client) for _ in range(5)]
    assert sum(size for size, _ in batches) == len(WORDS)
    # What is left at the end is no full batch: it stays to be gathered with what comes.
    assert [ahead for _, ahead in batches] == [False, True, True, False, False]
    for order in "ABC":
        assert await world.seen(order) == tuple(f"{order}{n}" for n in range(3))
    assert await world.seen("D") == ("D0",)
    await consumer._commit(client)
    assert client.committed == len(WORDS)


async def test_it_is_decoded_while_the_database_is_waited_for(
    consumer: LaneConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver, finished = consumer.engine.deliver, []

    async def slowly(group: Any) -> None:
        await asyncio.sleep(0)  # the first slice
        for _ in range(10):
            await asyncio.sleep(0)
        ahead = consumer._ahead
        finished.append(ahead is not None and ahead._task.done())
        await deliver(group)

    monkeypatch.setattr(consumer.engine, "deliver", slowly)
    await batch(consumer, Client(WORDS))
    assert finished == [True]


async def test_what_was_decoded_ahead_is_forgotten_with_its_partitions(world: InMemory, consumer: LaneConsumer) -> None:
    """P15: whoever owns them next reads it again; offsets say that it was not decided."""
    client = Client(WORDS)
    await batch(consumer, client)
    assert consumer._ahead is not None
    await consumer.revoked(client)
    assert consumer._ahead is None and not consumer.gathering
    assert client.committed < len(WORDS)
    client.position = client.committed
    while (await batch(consumer, client))[0]:
        pass
    for order in "ABC":
        assert await world.seen(order) == tuple(f"{order}{n}" for n in range(3))


async def test_a_rebalance_while_it_is_waited_for_drops_it(
    consumer: LaneConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(WORDS)
    await batch(consumer, client)
    fill = consumer._fill

    async def meanwhile(*told: Any) -> None:
        await consumer.revoked(client)
        await fill(*told)

    monkeypatch.setattr(consumer, "_fill", meanwhile)
    assert await consumer._next(client) == ([], None)
