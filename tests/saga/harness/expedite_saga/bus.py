"""The bus as relays fill it: in parts, again after a crash, late."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from expedite_events import Lane
from expedite_events.envelope import Envelope, decode, encode
from expedite_messaging.bus import MemoryBus
from expedite_messaging.memory import MemoryEngine


class SagaBus(MemoryBus):
    """`log` holds each event once, where it first stood on its topic; `repeated` counts what was sent again."""

    def __init__(self, engines: Sequence[MemoryEngine]) -> None:
        super().__init__(engines)
        self._known: set[UUID] = set()
        self.repeated = 0

    def begin_with(self, sent: Iterable[Envelope]) -> None:
        """These are on their topics, and everybody has heard them."""
        self.log = list(sent)
        self._known = {envelope.id for envelope in self.log}

    def relay(self) -> int:
        """Every outbox is emptied."""
        moved = 0
        for engine in self.engines.values():
            if engine.db.outbox:
                rows = list(engine.db.outbox)
                self.send(rows)
                engine.db.outbox.clear()
                moved += len(rows)
        return moved

    def waiting(self) -> list[tuple[str, Lane]]:
        """The relays that have something to send."""
        found = {(name, row.lane) for name, engine in self.engines.items() for row in engine.db.outbox}
        return sorted(found)

    def send(self, rows: Sequence[Envelope]) -> None:
        """Put rows of an outbox on their topics, through the wire format."""
        for row in rows:
            envelope = decode(*encode(row))
            if envelope.id in self._known:
                self.repeated += 1
            else:
                self._known.add(envelope.id)
                self.log.append(envelope)
            for service in envelope.hearers:
                consumer = self.engines.get(service)
                if consumer and type(envelope.event) in consumer.handlers.events:
                    self.queues[envelope.topic, envelope.key, service].append(envelope)

    def sent(self, service: str, rows: Sequence[Envelope]) -> None:
        """The broker has these: they leave the outbox."""
        gone = {row.id for row in rows}
        outbox = self.engines[service].db.outbox
        outbox[:] = [row for row in outbox if row.id not in gone]
