"""What is on the topics, and how far every consumer group has come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from expedite_events import Lane, heard_by
from expedite_events.envelope import Envelope, Undecodable, decode
from expedite_local.state import State
from expedite_messaging import RawRecord
from expedite_messaging.admin import Place, committed_offsets, end_offsets, read_topics
from expedite_messaging.kafka import group_of


async def every_event(state: State) -> AsyncIterator[Envelope]:
    """Every event on our topics, from the start to their present end, redeliveries included. Records that are no events
    of ours are left out: whoever consumed them has parked them, and the audit reports them."""
    async for record in read_topics(state.kafka_bootstrap):
        try:
            yield decode(record.topic, record.key, record.value, record.headers)
        except Undecodable:
            continue


def lane_of(topic: str) -> Lane:
    return Lane.EXPRESS if topic.endswith(".express") else Lane.STANDARD


def heard_topics(service: str) -> dict[str, str]:
    """The topics a service must consume by the catalogue, with the group that does it."""
    return {t: group_of(service, lane_of(t)) for row in heard_by(service) for t in row.topics}


@dataclass(frozen=True, slots=True)
class Places:
    """Where the partitions end, and up to where each group has committed (0 where it never did)."""

    ends: dict[Place, int] = field(default_factory=dict)
    committed: dict[str, dict[Place, int]] = field(default_factory=dict)

    def behind(self, service: str) -> int:
        """Records that the service has still to take in, on both lanes."""
        heard = heard_topics(service)
        return sum(
            max(end - self.committed.get(heard[place[0]], {}).get(place, 0), 0)
            for place, end in self.ends.items()
            if place[0] in heard
        )


class Topics(Protocol):
    """What the audit asks of Kafka."""

    async def places(self, services: Iterable[str]) -> Places:
        """The places of now. Commits are read first: a record below them was taken in before anything read later."""
        ...

    def records(self) -> AsyncIterator[RawRecord]:
        """Everything on our topics, from the start to their present end, per partition in order."""
        ...


@dataclass(frozen=True, slots=True)
class KafkaTopics:
    """The real broker."""

    bootstrap: str

    async def places(self, services: Iterable[str]) -> Places:
        groups = [group_of(service, lane) for service in services for lane in Lane]
        committed = await committed_offsets(self.bootstrap, groups)
        return Places(await end_offsets(self.bootstrap), committed)

    def records(self) -> AsyncIterator[RawRecord]:
        return read_topics(self.bootstrap)
