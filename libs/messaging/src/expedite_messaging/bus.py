"""The in-memory twin of Kafka: topics whose records tests deliver in any order, twice, or late."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from expedite_events.envelope import Envelope, decode, encode

if TYPE_CHECKING:
    from expedite_messaging.memory import MemoryEngine


class MemoryBus:
    """Topics as logs with one queue per (topic, key, consumer): order holds per topic and key, nowhere else."""

    def __init__(self, engines: Sequence[MemoryEngine]) -> None:
        self.engines = {engine.service: engine for engine in engines}
        self.queues: dict[tuple[str, str, str], deque[Envelope]] = defaultdict(deque)
        self.log: list[Envelope] = []

    def relay(self) -> int:
        """Move every outbox row to the queues of its consumers, through the wire format. The number moved."""
        moved = 0
        for engine in self.engines.values():
            rows, engine.db.outbox[:] = list(engine.db.outbox), []
            for sent in rows:
                envelope = decode(*encode(sent))
                self.log.append(envelope)
                moved += 1
                for service in envelope.hearers:
                    consumer = self.engines.get(service)
                    if consumer and type(envelope.event) in consumer.handlers.events:
                        self.queues[envelope.topic, envelope.key, service].append(envelope)
        return moved

    def ready(self) -> list[tuple[str, str, str]]:
        """The queues that have something to deliver."""
        return [name for name, queue in self.queues.items() if queue]

    async def deliver(self, name: tuple[str, str, str], keep: bool = False) -> None:
        """Deliver the head of a queue; `keep` leaves it there, so that it comes again."""
        envelope = self.queues[name][0]
        await self.engines[name[2]].deliver([envelope])
        if not keep:
            self.queues[name].popleft()

    async def settle(self, limit: int = 100_000) -> int:
        """Deliver everything and perform every effect, in order, until nothing is left. The number of steps."""
        steps = 0
        while True:
            self.relay()
            ready = self.ready()
            calls = [(e, c) for e in self.engines.values() for c in e.pending_effects()]
            if not ready and not calls:
                return steps
            for name in ready:
                while self.queues[name]:
                    await self.deliver(name)
                    steps += 1
            for engine, call in calls:
                await engine.perform(call)
                steps += 1
            if steps > limit:
                raise RuntimeError("the bus does not come to rest")

    async def fire_due(self) -> int:
        """Fire every timer that is due at the clock's time. The number fired."""
        count = 0
        for engine in self.engines.values():
            for fired in engine.due():
                await engine.fire([fired])
                count += 1
        return count
