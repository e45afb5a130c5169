"""Offsets that could not be committed are committed later, also when nothing new arrives (C4)."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CoordinatorNotAvailableError

from expedite_events import Lane
from expedite_messaging import Handlers
from expedite_messaging.kafka import LaneConsumer
from expedite_messaging.memory import MemoryClock, MemoryEngine

ONE, TWO = TopicPartition("OrderReceived", 0), TopicPartition("OrderReceived", 1)


class Broker:
    """What a consumer commits to. `away`: it fails; `meanwhile`: offsets that come up while it is asked."""

    def __init__(self, consumer: Any) -> None:
        self.consumer, self.away = consumer, True
        self.committed: dict[TopicPartition, int] = {}
        self.meanwhile: dict[TopicPartition, int] = {}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.consumer._done |= self.meanwhile
        if self.away:
            raise CoordinatorNotAvailableError()
        self.committed |= offsets


@pytest.fixture
def consumer() -> Any:
    engine = MemoryEngine(Handlers("sample"), MemoryClock())
    return LaneConsumer(engine, "nowhere:9", Lane.STANDARD, 0)


async def test_a_failed_commit_is_made_again_and_the_newer_offset_wins(consumer: Any) -> None:
    broker = Broker(consumer)
    consumer._done = {ONE: 5, TWO: 7}
    broker.meanwhile = {TWO: 9}
    await consumer._commit(broker)
    broker.away, broker.meanwhile = False, {}
    await consumer._commit(broker)
    assert broker.committed == {ONE: 5, TWO: 9}
    assert not consumer._done


async def test_offsets_of_partitions_that_were_taken_away_are_forgotten(consumer: Any) -> None:
    """Committing what is not ours fails, and everything else of that commit with it."""
    consumer._done = {ONE: 5}
    await consumer.revoked(Broker(consumer))
    assert not consumer._done


class Rebalancing:
    """A broker's consumer: each poll is a function of itself, which may rebalance before it returns records; when there is
    none left, the lane is stopped."""

    def __init__(self, lane: LaneConsumer, *polls: Callable[[Rebalancing], Awaitable[list[Any]]]) -> None:
        self.lane, self.polls, self.places = lane, list(polls), {ONE, TWO}
        self.committed: dict[TopicPartition, int] = {}

    def __call__(self, **options: Any) -> Rebalancing:
        return self

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener

    async def start(self) -> None:
        await self.listener.on_partitions_assigned(self.places)

    async def stop(self) -> None: ...

    def assignment(self) -> set[TopicPartition]:
        return set(self.places)

    async def getmany(self, *places: TopicPartition, **limits: int) -> dict[TopicPartition, list[Any]]:
        if places:
            return {}
        if not self.polls:
            await self.lane.stop()
            return {}
        found: dict[TopicPartition, list[Any]] = {}
        for record in await self.polls.pop(0)(self):
            found.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
        return found

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        assert set(offsets) <= self.places, "a broker refuses the whole commit"
        self.committed |= offsets

    async def rebalance(self, places: set[TopicPartition]) -> None:
        await self.listener.on_partitions_revoked(self.places)
        self.places = places
        await self.listener.on_partitions_assigned(places)


def record(envelope: Envelope, place: TopicPartition, offset: int) -> Any:
    topic, key, value, headers = encode(envelope)
    return SimpleNamespace(
        topic=topic, partition=place.partition, offset=offset, key=key, value=value, headers=headers
    )  # fmt: skip


@pytest.mark.parametrize("gather", [0, 100])
async def test_what_a_poll_brings_after_a_rebalance_is_decided_and_nothing_else_counts_as_read(
    monkeypatch: pytest.MonkeyPatch, gather: int
) -> None:
    """C4 E6: the broker's client ends a poll that began before a rebalance with records of the new partitions. Left out,
    the next offset that is committed would pass over them."""
    heard: list[str] = []
    handlers = Handlers("prioritizer", gather=gather)

    @handlers.on(OrderState)  # replaced below
    async def note(batch: Batch[Received[Any]], tx: Tx) -> None:
        heard.extend(received.key for received in batch)
