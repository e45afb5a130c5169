"""Events that nothing waits for: taken when no others are there, together while many come (I4)."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition

from expedite_events import Lane, OrderReceived, Shipped
from expedite_messaging import Batch, Handlers, Received, Tx, kafka
from expedite_messaging.kafka import LATER_SHARE, LaneConsumer
from expedite_messaging.memory import MemoryClock, MemoryEngine

NOW, LATER = TopicPartition("OrderReceived", 0), TopicPartition("Shipped", 0)


class Client:
    """What waits on two topics; remembers how long each poll was ready to wait."""

    def __init__(self, **waiting: int) -> None:
        self.waiting, self.patience_ms = waiting, list[int]()

    def assignment(self) -> set[TopicPartition]:
        return {NOW, LATER}

    async def getmany(self, *places: TopicPartition, timeout_ms: int, max_records: int) -> dict[TopicPartition, Any]:
        self.patience_ms.append(timeout_ms)
        found: dict[TopicPartition, Any] = {}
        for place in places or (NOW, LATER):
            if count := min(self.waiting.get(place.topic, 0), max_records):
                self.waiting[place.topic] -= count
                max_records -= count
                found[place] = [place.topic] * count
        return found


@pytest.fixture
def consumer() -> LaneConsumer:
    handlers = Handlers("prioritizer", poll=10, later=frozenset({Shipped}))

    async def hear(batch: Batch[Received[Any]], tx: Tx) -> None: ...

    handlers.on(OrderReceived)(hear)
    handlers.on(Shipped)(hear)
    return LaneConsumer(MemoryEngine(handlers, MemoryClock()), "nowhere:9", Lane.STANDARD, 0)


async def test_what_others_wait_for_goes_first_and_the_rest_follows(consumer: LaneConsumer) -> None:
    consumer._all_due = kafka.time.monotonic() + kafka.LATER_S
    client = Client(OrderReceived=12, Shipped=3)
    assert await consumer._poll(client) == ["OrderReceived"] * 10
    assert await consumer._poll(client) == ["OrderReceived"] * 2
    assert await consumer._poll(client) == ["Shipped"] * 3, "nothing else is there: at once"
    assert max(client.patience_ms[:3]) == 0, "a few events are not kept waiting for more"


async def test_two_seconds_are_the_longest_that_anything_is_left(consumer: LaneConsumer) -> None:
    """C4: however much comes, what only stops a clock is heard."""
    consumer._all_due = kafka.time.monotonic()
    records = await consumer._poll(Client(OrderReceived=100, Shipped=5))
    assert records.count("Shipped") == 5


async def test_while_many_come_they_are_taken_together(consumer: LaneConsumer) -> None:
    client = Client(Shipped=30)
    assert len(await consumer._poll(client)) == 30
    await consumer._poll(client)
    assert kafka.LATER_S * 900 < max(client.patience_ms) <= kafka.LATER_S * 1_000, "waits for what others wait for"


async def test_while_more_waits_than_one_look_takes_nothing_is_waited_for(consumer: LaneConsumer) -> None:
    """C4: a rate at which clocks are stopped that no machine could raise would leave each later than the one before."""
    client = Client(Shipped=100)
    assert [len(await consumer._poll(client)) for _ in range(3)] == [10 * LATER_SHARE, 10 * LATER_SHARE, 20]
    waited = [patience for patience in client.patience_ms if patience != kafka.POLL_MS]
    assert max(waited) == 0


async def test_while_both_wait_they_take_turns(consumer: LaneConsumer) -> None:
    client = Client(OrderReceived=100, Shipped=1_000)
    consumer._all_due = kafka.time.monotonic()
    looks = [await consumer._poll(client) for _ in range(5)]
    assert [look.count("Shipped") > 0 for look in looks] == [True, False, True, False, True]
    assert all("OrderReceived" in look for look in looks)
