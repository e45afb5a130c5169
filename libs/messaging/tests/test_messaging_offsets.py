"""Offsets that could not be committed are committed later, also when nothing new arrives (C4)."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass
class Record:
    """As the client gives it: nobody understands it, so it is parked."""

    topic: str
    partition: int
    offset: int
    key: bytes = b"K"
    value: bytes = b"{"
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


async def test_a_batch_that_ends_after_its_partitions_were_taken_away_moves_no_offset(
    consumer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P15: they are another's by then, and another's batch may be behind."""
    park = consumer.engine.park_raw

    async def meanwhile(*told: Any) -> None:
        await park(*told)
        consumer._generation += 1

    monkeypatch.setattr(consumer.engine, "park_raw", meanwhile)
    await consumer._handle([Record("OrderReceived", 0, 4)], consumer._generation)
    assert consumer._done == {}
    monkeypatch.undo()
    await consumer._handle([Record("OrderReceived", 0, 5)], consumer._generation)
    assert consumer._done == {ONE: 6}


async def test_offsets_of_partitions_that_were_taken_away_are_forgotten(consumer: Any) -> None:
    """Committing what is not ours fails, and everything else of that commit with it."""
    consumer._done = {ONE: 5}
    await consumer.revoked(Broker(consumer))
    assert not consumer._done
