"""A rebalance in the middle of a poll or of a batch: nothing is passed over, nothing of others is committed (C4, I4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from expedite_sample.worlds import tracked

from expedite_events import Lane, ShipmentTracked
from expedite_events.envelope import encode
from expedite_messaging import Batch, Handlers, Received, Tx, kafka
from expedite_messaging.gathering import Gathering
from expedite_messaging.kafka import LaneConsumer
from expedite_messaging.memory import MemoryClock, MemoryEngine

ONE, TWO = TopicPartition("ShipmentTracked", 0), TopicPartition("ShipmentTracked", 1)
Poll = Callable[["Client"], Awaitable[list[Any]]]


class Client:
    """The broker's client. Each poll is a function that may rebalance before it returns records; after the last one the
    lane is stopped. `named`: polls of named partitions."""

    def __init__(self, *polls: Poll, named: tuple[Poll, ...] = ()) -> None:
        self.polls, self.named, self.places = list(polls), list(named), {ONE, TWO}
        self.committed: dict[TopicPartition, int] = {}

    def __call__(self, **options: Any) -> Client:
        return self

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener

    async def start(self) -> None:
        await self.listener.on_partitions_assigned(self.places)

    async def stop(self) -> None: ...

    def assignment(self) -> set[TopicPartition]:
        return set(self.places)

    async def getmany(self, *places: TopicPartition, **limits: int) -> dict[TopicPartition, list[Any]]:
        found: dict[TopicPartition, list[Any]] = {}
        polls = self.named if places else self.polls
        if polls:
            for record in await polls.pop(0)(self):
                found.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
        elif not places:
            await self.lane.stop()
        return found

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        assert set(offsets) <= self.places, "a broker's client refuses the whole commit"
        self.committed |= offsets

    async def rebalance(self, places: set[TopicPartition]) -> None:
        await self.listener.on_partitions_revoked(self.places)
        self.places = places
        await self.listener.on_partitions_assigned(places)

    async def consumed_by(self, handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kafka, "AIOKafkaConsumer", self)
        self.lane = LaneConsumer(MemoryEngine(handlers, MemoryClock()), "nowhere:9", Lane.STANDARD, 0)
        await self.lane.run()


def record(order_id: str, place: TopicPartition, offset: int) -> Any:
    topic, key, value, headers = encode(tracked(order_id, f"{order_id}-P1"))
    return SimpleNamespace(
        topic=topic, partition=place.partition, offset=offset, key=key, value=value, headers=headers
    )  # fmt: skip


def listening(heard: list[str], gather: int = 0) -> Handlers:
    handlers = Handlers("prioritizer", gather=gather)

    @handlers.on(ShipmentTracked)
    async def note(batch: Batch[Received[ShipmentTracked]], tx: Tx) -> None:
        heard.extend(received.key for received in batch)

    return handlers


async def _one(client: Client) -> list[Any]:
    return [record("one", ONE, 5)]


async def _next(client: Client) -> list[Any]:
    return [record("next", TWO, 8)]


async def _over_a_rebalance(client: Client) -> list[Any]:
    await client.rebalance({TWO})
    return [record("two", TWO, 7)]


@pytest.mark.parametrize("gather", [0, 100])
async def test_records_that_a_poll_brings_after_a_rebalance_are_decided(
    monkeypatch: pytest.MonkeyPatch, gather: int
) -> None:
    """The broker's client ends a poll with records of the new partitions. Left out, the next offset that is committed
    passes over them."""
    heard: list[str] = []
    client = Client(_over_a_rebalance, _next)
    await client.consumed_by(listening(heard, gather), monkeypatch)
    assert heard == ["two", "next"]
    assert client.committed == {TWO: 9}


@pytest.mark.parametrize("gather", [0, 100])
async def test_offsets_of_what_was_polled_before_a_rebalance_are_not_committed(
    monkeypatch: pytest.MonkeyPatch, gather: int
) -> None:
    """One poll asks the client several times: the partition of the first answer is another's by the second."""
    heard: list[str] = []
    client = Client(_one, named=(_over_a_rebalance,)) if gather else Client(_one, _over_a_rebalance)
    await client.consumed_by(listening(heard, gather), monkeypatch)
    assert heard == ["two"], "the other owner reads the first again"
    assert client.committed == {TWO: 8}


def test_a_batch_that_ends_after_its_partitions_were_taken_away_moves_no_offset() -> None:
    """A full gathering is decided on without another poll, also while the partitions are being taken away."""
    gathering = Gathering(1)
    gathering.add({ONE: [record("one", ONE, 5)]})
    taken = gathering.take(1)
    gathering.clear()
    assert gathering.decided(taken) == {}
