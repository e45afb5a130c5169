"""Events that nothing waits for: held while much happens, so that what becomes of an order is decided together (I4)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from aiokafka import TopicPartition
from expedite_sample.polled import Clock, Record

from expedite_events import Lane, OrderReceived, Packed, Shipped
from expedite_messaging import Batch, Handlers, Received, Tx, kafka
from expedite_messaging.gathering import LATER_S, Gathering
from expedite_messaging.kafka import LaneConsumer
from expedite_messaging.memory import MemoryClock, MemoryEngine

POLL, ROOM = 50, 1_000
PLACES = {topic: TopicPartition(topic, 0) for topic in ("OrderReceived", "Packed", "Shipped")}


class Client:
    """What waits on three topics; remembers what each poll was ready to wait for, and how long."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Record]] = {topic: [] for topic in PLACES}
        self.offsets = Counter[str]()
        self.waits: list[tuple[frozenset[str], int]] = []

    def comes(self, topic: str, keys: range) -> None:
        for key in keys:
            self.waiting[topic].append(Record(topic, self.offsets[topic], b"order-%05d" % key))
            self.offsets[topic] += 1

    def assignment(self) -> set[TopicPartition]:
        return set(PLACES.values())

    async def getmany(self, *places: TopicPartition, timeout_ms: int, max_records: int) -> dict[TopicPartition, Any]:
        asked = [place.topic for place in places] or list(PLACES)
        if timeout_ms:
            self.waits.append((frozenset(asked), timeout_ms))
        found: dict[TopicPartition, Any] = {}
        for topic in asked:
            if records := self.waiting[topic][:max_records]:
                self.waiting[topic] = self.waiting[topic][max_records:]
                found[PLACES[topic]] = records
                max_records -= len(records)
        return found


async def _hear(batch: Batch[Received[Any]], tx: Tx) -> None: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def consumer(clock: Clock) -> LaneConsumer:
    handlers = Handlers("prioritizer", poll=POLL, gather=ROOM, later=frozenset({Packed, Shipped}))
    for event in (OrderReceived, Packed, Shipped):
        handlers.on(event)(_hear)
    consumer = LaneConsumer(MemoryEngine(handlers, MemoryClock()), "nowhere:9", Lane.STANDARD, 0)
    assert consumer.gathering is not None
    consumer.gathering = Gathering(consumer.gathering.capacity, consumer.gathering.later, clock)
    return consumer


async def look(consumer: LaneConsumer, client: Any) -> Counter[str]:
    assert consumer.gathering is not None
    return Counter([record.topic for record in await consumer._gather(client, consumer.gathering)])


async def test_a_few_are_decided_at_once(consumer: LaneConsumer) -> None:
    client = Client()
    client.comes("Shipped", range(POLL))
    assert await look(consumer, client) == {"Shipped": POLL}


async def test_while_many_come_an_orders_stations_are_decided_together(consumer: LaneConsumer, clock: Clock) -> None:
    client = Client()
    client.comes("Packed", range(90))
    assert not await look(consumer, client)
    clock.now = LATER_S / 2
    client.comes("Shipped", range(90))
    assert not await look(consumer, client)
    clock.now = LATER_S
    found = await look(consumer, client)
    assert found["Packed"] == found["Shipped"] >= POLL // 2, "whole orders, about as many as a poll takes"


async def test_two_seconds_are_the_longest_that_anything_is_held(consumer: LaneConsumer, clock: Clock) -> None:
    """C4: what stops a clock is heard, whatever else comes."""
    client = Client()
    client.comes("Shipped", range(60))
    await look(consumer, client)
    clock.now = LATER_S
    client.comes("OrderReceived", range(1_000, 2_000))
    assert await look(consumer, client) == {"OrderReceived": POLL, "Shipped": POLL}


async def test_a_crowd_that_came_first_does_not_make_them_later(consumer: LaneConsumer, clock: Clock) -> None:
    """C4: those the crowd is taken from are older than all that is held."""
    client = Client()
    client.comes("OrderReceived", range(10 * ROOM))
    await look(consumer, client)
    client.comes("Shipped", range(20 * ROOM, 20 * ROOM + 60))
    assert "Shipped" not in await look(consumer, client)
    clock.now = LATER_S
    assert await look(consumer, client) == {"OrderReceived": POLL, "Shipped": POLL}


async def test_what_others_wait_for_is_taken_first_with_all_that_is_here_of_its_order(consumer: LaneConsumer) -> None:
    client = Client()
    client.comes("Shipped", range(60))
    assert not await look(consumer, client)
    client.comes("OrderReceived", range(58, 62))
    assert await look(consumer, client) == {"OrderReceived": 4, "Shipped": 2}


async def test_a_consumer_that_holds_waits_only_for_what_others_wait_for(consumer: LaneConsumer, clock: Clock) -> None:
    """Each question to the broker costs it a look through all partitions."""
    client = Client()
    client.comes("Shipped", range(60))
    await look(consumer, client)
    await look(consumer, client)
    clock.now = LATER_S - 0.25
    await look(consumer, client)
    (all_topics, _), *holding = client.waits
    assert all_topics == set(PLACES), "with nothing in hand any event ends the wait"
    assert holding == [({"OrderReceived"}, kafka.POLL_MS), ({"OrderReceived"}, 251)]


async def test_with_no_room_left_nothing_is_held(consumer: LaneConsumer) -> None:
    """C4: a rate at which clocks are stopped that no machine could raise would leave each later than the one before."""
    client = Client()
    client.comes("Shipped", range(10 * ROOM))
    looks = [await look(consumer, client) for _ in range(20)]
    assert [found["Shipped"] for found in looks] == [POLL] * 20
    assert len(client.waits) == 1, "the first look, before anything was in hand"


async def test_a_crowd_that_others_wait_for_makes_nothing_less_held(consumer: LaneConsumer) -> None:
    client = Client()
    client.comes("OrderReceived", range(10 * ROOM))
    client.comes("Shipped", range(10 * ROOM, 10 * ROOM + 60))
    assert [await look(consumer, client) for _ in range(3)] == [{"OrderReceived": POLL}] * 3


def test_what_is_for_later_needs_a_place_to_be_held() -> None:
    with pytest.raises(ValueError, match="gather="):
        Handlers("prioritizer", later=frozenset({Shipped}))
