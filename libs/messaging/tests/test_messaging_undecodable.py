"""A record nobody understands parks its key where it stands in the stream: what came before it was decided before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from expedite_sample.worlds import InMemory, tracked

from expedite_events import Lane
from expedite_events.envelope import encode
from expedite_messaging.kafka import LaneConsumer


@dataclass(frozen=True)
class Record:
    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    offset: int
    partition: int = 0


def records(*words: str) -> list[Any]:
    """What a poll brings of one order, in order; "garbage" is no event."""
    found = []
    for offset, word in enumerate(words):
        topic, key, value, headers = encode(tracked("A", word))
        garbage = word == "garbage"
        found.append(Record(topic, key, b"{garbage" if garbage else value, [] if garbage else headers, offset))
    return found


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_time", "ce_correlationid", "ce_sequence", "traceparent"])
async def test_a_header_without_a_value_is_not_the_end_of_the_consumer(name: str) -> None:
    """I4: Kafka lets a producer leave a header's value away; ours never do."""
    (record,) = records("ok1")
    headers = dict(record.headers) | {name: None}
    world = InMemory()
    consumer = LaneConsumer(world.engine, "nowhere:9", Lane.STANDARD, 0)
    await consumer._handle([replace(record, headers=list(headers.items()))], consumer._generation)
    if name == "traceparent":  # it may be missing
        assert await world.seen("A") == ("ok1",)
    else:
        ((key, reason),) = [(p.key, p.reason) for p in await world.engine.parked()]
        assert key == "A" and reason is not None and reason.startswith("Undecodable: ")


async def test_what_came_before_it_is_decided_and_what_comes_after_waits() -> None:
    """I5: in the order of the topic, also within one poll."""
    world = InMemory()
    consumer = LaneConsumer(world.engine, "nowhere:9", Lane.STANDARD, 0)
    await consumer._handle(records("ok1", "ok2", "garbage", "ok3"), consumer._generation)
    assert await world.seen("A") == ("ok1", "ok2")
    parked = await world.engine.parked()
    assert [(p.key, p.reason is None) for p in parked] == [("A", False), ("A", True)]
