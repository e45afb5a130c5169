"""The watch: read, tell, compare, remember; for ever, through restarts of the servers and of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge

from expedite_events import StockLevelChanged
from expedite_events.envelope import Undecodable, decode
from expedite_local.audit.events import dashed, said
from expedite_local.audit.invariants import Invariant
from expedite_local.audit.watch.ledgers import Ledgers
from expedite_local.audit.watch.memory import Memory
from expedite_local.audit.watch.story import Seen, Violation, settled, tell
from expedite_messaging import RawRecord
from expedite_messaging.admin import Place
from expedite_messaging.tail import Away, Tail

BATCH = 500
POLL_MS = 500
SETTLE_S = 2.0
LOST_EVERY_S = 60.0
BEAT_S = 10.0
AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """bootstrap: of Kafka. databases: URL by service; without one, its ledger is not compared. memory: the file. fresh:
    forget what was seen. keep_going: go on after a violation. caught_up: end when everything of now was read and
    settled. The times are real seconds."""

    bootstrap: str
    databases: Mapping[str, str]
    memory: Path
    fresh: bool = False
    keep_going: bool = False
    caught_up: bool = False
    beat_s: float = BEAT_S
    settle_s: float = SETTLE_S
    lost_every_s: float = LOST_EVERY_S


@dataclass
class Figures:
    """What the watch counts, for Prometheus."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.events = Counter("expedite_audit_events", "Events the audit has read", registry=self.registry)
        self.violations = Gauge(
            "expedite_audit_violations", "Violations the audit knows of", ["invariant"], registry=self.registry
        )
        self.lag = Gauge(
            "expedite_audit_lag_events", "Events on the topics the audit has not read", registry=self.registry
        )
        self.beat = Gauge(
            "expedite_audit_heartbeat_seconds", "When the audit last looked, real time", registry=self.registry
        )


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Everything of `generation` and before was on the topics below these ends."""

    generation: int
    ends: Mapping[Place, int]

    def reached(self, positions: Mapping[Place, int]) -> bool:
        return all(positions.get(place, 0) >= end for place, end in self.ends.items())


class Watcher:
    """One watch. `told` gets lines for people; `named` each violation, once for ever."""

    def __init__(
        self, options: Options, told: Callable[[str], None], named: Callable[[Violation], None], figures: Figures
    ) -> None:
        self.options, self.told, self.named, self.figures = options, told, named, figures
        self.memory = Memory(options.memory)
        if options.fresh:
            self.memory.forget()
        self.ledgers = Ledgers(options.databases, self.memory)
        self._figure()  # an alert rings on after a restart
        self.generation = self.memory.generation + 1
        self.found = 0
        self._whole = True
        self._snapshot: _Snapshot | None = None
        self._snapshot_at = self._beat_at = self._lost_at = 0.0

    async def run(self, stop: asyncio.Event) -> int:
        """Watch until `stop`, or as the options say. The number of violations this run found."""
        try:
            while not stop.is_set():
                try:
                    async with Tail(self.options.bootstrap, self.memory.positions()) as tail:
                        if await self._follow(tail, stop):
                            break
                except Away as away:
                    self.told(f"the broker is away, trying again: {away}")
                    await asyncio.sleep(AGAIN_S)
            return self.found
        finally:
            await self.ledgers.close()
            self.memory.close()

    async def _follow(self, tail: Tail, stop: asyncio.Event) -> bool:
        """Read on; True when there is nothing more to do."""
        positions = await tail.positions()
        ends = await tail.ends()
        if any(positions[place] > end for place, end in ends.items()):
            self.told("these are not the topics of last time: starting from their beginning")
            self.memory.forget()
            raise Away("the topics were made anew")
        self._whole = not any(tail.begins[place] for place in tail.begins)
        self._snapshot = None
        while not stop.is_set():
            records = await tail.poll(BATCH, POLL_MS)
            await self.take(records)
            for record in records:
                positions[record.topic, record.partition] = record.offset + 1
            if self.found and not self.options.keep_going:
                return True
            if await self._look_around(tail, positions):
                return True
        return True

    async def take(self, records: Sequence[RawRecord]) -> None:
        """Tell the stories on by a batch and remember it, whole or not at all."""
        if not records:
            return
        violations: list[Violation] = []
        read = [(record, said(record)) for record in records]
        ids = [bytes.fromhex(event.id.replace("-", "")) for _, event in read if event is not None]
        known = self.memory.known(ids)
        stories = self.memory.stories([event.key for _, event in read if event is not None])
        owed: dict[str, list[tuple[str, str, str, int, int, int]]] = {}
        levels: list[tuple[str, StockLevelChanged, Seen]] = []
        for record, event in read:
            if event is None:
                violations.append(
                    _stranger(record, "nobody of ours says such a thing; expected an event of the catalogue")
                )
                continue
            identity = bytes.fromhex(event.id.replace("-", ""))
            if identity in known:
                continue
            known.add(identity)
            try:
                envelope = decode(record.topic, record.key, record.value, record.headers)
            except Undecodable as error:
                violations.append(_stranger(record, f"{error}; expected what its contract says"))
                continue
            seen = Seen(record.topic, record.partition, record.offset, event.id, event.sequence)
            for invariant, expected in tell(stories[event.key], envelope, seen, self.generation):
                violations.append(_violation(invariant, seen, event.key, expected))
            if isinstance(envelope.event, StockLevelChanged):
                levels.append((event.key, envelope.event, seen))
            if event.service in self.options.databases:
                owed.setdefault(event.service, []).append(
                    (event.id, record.topic, event.key, event.sequence, record.partition, record.offset)
                )
        violations += await self.ledgers.levels(levels, stories)
        with self.memory.transaction():
            self.memory.saw(known)
            self.memory.remember(stories)
            for service, rows in owed.items():
                self.memory.owe(service, rows)
            self.memory.went_to({(r.topic, r.partition): r.offset + 1 for r in records})
            new = self.memory.accuse(violations)
        self.figures.events.inc(len(records))
        self._name(new)
        self._name(await self.ledgers.ghosts())

    async def _look_around(self, tail: Tail, positions: Mapping[Place, int]) -> bool:
        """What is done from time to time. True when the watch was to end once it had caught up, and has."""
        now = time.monotonic()
        if self._snapshot is not None and self._snapshot.reached(positions):
            await self._settle(self._snapshot.generation)
            self._snapshot = None
            if self.options.caught_up and self._lost_at and not self.memory.generation:
                return True
        if self._snapshot is None and now - self._snapshot_at >= self.options.settle_s:
            self._snapshot_at = now
            if not self._lost_at or now - self._lost_at >= self.options.lost_every_s:
                self._lost_at = now
                await self.ledgers.look_for_lost(self.generation)
            # Read after all that the generation waits for: what was there then lies below these ends.
            self._snapshot = _Snapshot(self.generation, await tail.ends())
            self.generation += 1
        if now - self._beat_at >= self.options.beat_s:
            self._beat_at = now
            ends = await tail.ends()
            behind = sum(max(end - positions.get(place, 0), 0) for place, end in ends.items())
            tail.must_hear(behind)
            self.figures.lag.set(behind)
            self.figures.beat.set(time.time())
            open_ = self.memory.unsettled
            self.told(
                f"{self.memory.events:,} events, lag {behind:,}, {open_:,} keys to settle, {sum(self.memory.violations.values()):,} violations"
            )
        return bool(self.found) and not self.options.keep_going

    async def _settle(self, generation: int) -> None:
        violations: list[Violation] = []
        while keys := self.memory.pending(generation):
            stories = self.memory.stories(keys)
            for key, story in stories.items():
                for seen, invariant, expected in settled(story, key, generation, whole=self._whole):
                    violations.append(_violation(invariant, seen, key, expected))
            with self.memory.transaction():
                self.memory.remember(stories)
                self.memory.settled(generation, keys)
            await asyncio.sleep(0)
        lost = self.memory.missing(generation)
        here = self.memory.known([row[0] for row in lost])
        for event_id, service, topic, key in lost:
            if event_id not in here:
                text = f"it is in the ledger of {service}; expected on its topic"
                name = dashed(event_id.hex())
                violations.append(Violation(Invariant.NOTHING_LOST.value, topic, -1, -1, name, key, text))
        with self.memory.transaction():
            self.memory.looked_for(generation)
        self._accuse(violations)

    def _accuse(self, violations: Sequence[Violation]) -> None:
        if violations:
            with self.memory.transaction():
                new = self.memory.accuse(violations)
            self._name(new)

    def _name(self, violations: Sequence[Violation]) -> None:
        for one in violations:
            self.found += 1
            self.named(one)
        if violations:
            self._figure()

    def _figure(self) -> None:
        known = self.memory.violations
        for invariant in Invariant:
            self.figures.violations.labels(invariant.value).set(known.get(invariant.value, 0))


def _violation(invariant: Invariant, seen: Seen, key: str, expected: str) -> Violation:
    return Violation(invariant.value, seen.topic, seen.partition, seen.offset, seen.event_id, key, expected)


def _stranger(record: RawRecord, expected: str) -> Violation:
    place = (record.topic, record.partition, record.offset)
    return Violation(Invariant.NOTHING_LOST.value, *place, str(record.event_id), record.lock_key, expected)


async def watch(
    options: Options,
    stop: asyncio.Event,
    *,
    told: Callable[[str], None],
    named: Callable[[Violation], None],
    figures: Figures | None = None,
) -> int:
    """Follow the topics until `stop`, or as the options say. The number of violations found."""
    return await Watcher(options, told, named, figures or Figures()).run(stop)
