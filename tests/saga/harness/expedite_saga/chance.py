"""One random saga: everything a seed decides, replayable from the seed alone.

A step is one committed decision of one service, or one thing a person or carrier does. Each (topic, key, consumer) queue
keeps its order; nothing else does. Messages come twice, also long after; services die before a commit and take the same
again; effects are performed twice and their results come late; timers fire with a clock that jumps.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from expedite_events import CATALOGUE
from expedite_events.envelope import Envelope
from expedite_messaging import EffectResult, Handlers
from expedite_messaging.memory import MemoryEngine
from expedite_saga import audit, promises
from expedite_saga.acts import Acts
from expedite_saga.people import House
from expedite_saga.world import Crash, World

STEPS = 420
QUIET_AFTER = 320  # from here on nothing new is asked: what runs, runs out
AUDIT_EVERY = 20
_PLACES = {topic: place for place, row in enumerate(CATALOGUE) for topic in row.topics}
CALM = 4000  # steps to rest at most


def _topic(name: tuple[str, str, str]) -> str:
    return name[0]


def _lane(name: tuple[str, str, str]) -> str:
    return "express" if name[0].endswith(".express") else "standard"


def in_groups(handlers: Handlers, batch: Sequence[Envelope]) -> list[list[Envelope]]:
    """What a poll brings as the consumer delivers it: a transaction per handler, in the catalogue's order of topics."""
    groups: dict[Any, list[Envelope]] = {}
    for envelope in sorted(batch, key=lambda e: _PLACES[e.topic]):
        groups.setdefault(handlers.events[type(envelope.event)], []).append(envelope)
    return list(groups.values())


class Run:
    """One seed. `go` returns what was met; an invariant that does not hold raises with the seed."""

    def __init__(self, seed: int) -> None:
        self.seed, self.r = seed, random.Random(seed)
        self.met: Counter[str] = Counter()
        self.trail: list[str] = []  # what was done, for a person who replays the seed
        self._late: list[tuple[MemoryEngine, EffectResult]] = []

    async def go(self) -> Counter[str]:
        try:
            async with World(seed=self.seed, short_mails=True) as self.world:
                self.house = House(self.world)
                self.acts = Acts(self.house, self.r, self.met, self.trail)
                await self.acts.open()
                for step in range(STEPS):
                    await self._step(quiet=step >= QUIET_AFTER)
                    if step % AUDIT_EVERY == 0:
                        audit.at_any_time(self.world)
                        promises.at_any_time(self.world)
                await self._to_rest()
                await audit.at_rest(self.world, self.house.planner.booked)
                promises.at_rest(self.world)
        except Exception as error:
            last = "\n  ".join(self.trail[-25:])
            raise AssertionError(
                f"seed {self.seed}: {type(error).__name__}: {error}\nreplay: SAGA_SEED={self.seed}; last steps:\n  {last}"
            ) from error
        self._note_paths()
        return self.met

    # -- one step

    async def _step(self, *, quiet: bool) -> None:
        self.world.bus.relay()
        self.acts.step += 1
        steps: tuple[tuple[float, Callable[[], Awaitable[None]]], ...] = (
            (60, self._deliver),
            (8, self._effect),
            (4, self._job),
            (3, self._timer),
            (2, self._time),
            (3 if quiet else 10, self.acts.people),
            (14, self.acts.crew),
            (6, self.acts.carrier),
        )
        weights = [weight for weight, _ in steps]
        ((_, step),) = self.r.choices(steps, weights)
        await step()

    async def _deliver(self) -> None:
        ready = self.world.bus.ready()
        if not ready:
            return
        first = self.r.choice(ready)
        names = [first]
        # A poll brings several keys at once, of one topic or of all that a lane has.
        wide = self.r.random()
        if wide < 0.3:
            same = _topic if wide < 0.15 else _lane
            names += [n for n in ready if n != first and n[2] == first[2] and same(n) == same(first)]
        batch = []
        for name in names:
            queue = self.world.bus.queues[name]
            batch += list(queue)[: self.r.randint(1, len(queue))]
        if first[2] in ("control-tower", "notifier") and self.r.random() < 0.7:
            batch = [e for name in names for e in self.world.bus.queues[name]]
        if self.r.random() < 0.05 and self.world.bus.log:
            old = self.r.choice(self.world.bus.log)  # the relay died and sent something old again
            if old.topic == first[0] and first[2] in old.hearers:
                batch.append(old)
                self.met["old messages again"] += 1
        engine = self.world.engines[first[2]]
        self.trail.append(f"{first[2]} hears {', '.join(f'{e.topic} {e.key}' for e in batch)}")
        groups = in_groups(engine.handlers, batch)
        self.met["polls of several handlers"] += len(groups) > 1
        self.met["transactions with several topics"] += any(len({e.topic for e in group}) > 1 for group in groups)
        if self.r.random() < 0.08:
            done = self.r.randrange(len(groups))
            for group in groups[:done]:
                await engine.deliver(group)
            await self._die(engine, lambda: engine.deliver(groups[done]))
        for group in groups:
            await engine.deliver(group)
        if self.r.random() < 0.12:  # died after the commit, before the offset: all of it comes again
            self.met["redeliveries"] += 1
            return
        for envelope in batch:
            queue = self.world.bus.queues[envelope.topic, envelope.key, first[2]]
            if queue and queue[0].id == envelope.id:
                queue.popleft()

    async def _die(self, engine: MemoryEngine, work: Callable[[], Awaitable[None]]) -> None:
        def die() -> None:
            raise Crash(engine.service)

        engine.before_commit = die
        try:
            await work()
        except Crash:
            self.met["crashes before commit"] += 1
        finally:
            engine.before_commit = lambda: None

    async def _effect(self) -> None:
        if self._late and self.r.random() < 0.4:
            engine, result = self._late.pop(self.r.randrange(len(self._late)))
            await engine.conclude([result])
            return
        calls = [(n, c) for n, e in self.world.engines.items() for c in e.pending_effects()]
        if not calls:
            return
        name, call = self.r.choice(calls)
        self.trail.append(f"{name} performs {call.kind} {call.subject}")
        if self.r.random() < 0.1:
            self.met["effects that failed once"] += 1
            return
        engine, result = self.world.engines[name], await self.world.result_of(name, call)
        if result is None:
            return
        if self.r.random() < 0.15:  # the lease ran out: somebody else performs it too
            self.met["effects performed twice"] += 1
            self._late.append((engine, result))
        if self.r.random() < 0.3:
            await self._die(engine, lambda: engine.conclude([result]))
            return
        await engine.conclude([result])

    async def _job(self) -> None:
        jobs = [(e, job) for e in self.world.engines.values() for job in e.handlers.jobs]
        engine, job = self.r.choice(jobs)
        if self.r.random() < 0.2:
            self.met["transactions run again"] += 1
            self.world.stumbles(engine.service)
        await job.run(engine)
        self.world.stands(engine.service)
        for key in engine.retriable():
            await engine.replay(key)

    async def _timer(self) -> None:
        due = [(e, f) for e in self.world.engines.values() for f in e.due()]
        if not due:
            return
        engine, fired = self.r.choice(due)
        self.trail.append(f"{engine.service} timer {fired.kind} {fired.subject} {fired.level}")
        self.met["timers fired"] += 1
        if self.r.random() < 0.2:
            await self._die(engine, lambda: engine.fire([fired]))
        await engine.fire([fired])
        if self.r.random() < 0.2:  # two scanners saw it
            await engine.fire([fired])

    async def _time(self) -> None:
        minutes = self.r.choice((1, 7, 20, 45, 90, 180))
        self.world.clock.advance(timedelta(minutes=minutes))
        self.trail.append(f"{minutes} minutes pass")

    # -- the end

    async def _to_rest(self) -> None:
        """Let everything run out: late results, people, crews, carriers; then the clock, timer by timer."""
        for engine, result in self._late:
            await engine.conclude([result])
        self._late.clear()
        for _ in range(CALM):
            await self.world.settle()
            if await self.acts.finish():
                continue
            if not self.acts.open_orders():
                break
            ahead = [at for e in self.world.engines.values() if (at := e.next_due()) is not None]
            if not ahead:
                break
            self.world.clock.now = max(self.world.clock.now, min(ahead))
            await self.world.fire_due()
        await self.world.settle()

    def _note_paths(self) -> None:
        """Count which paths the run took, so that a suite can say that each was taken."""
        for envelope in self.world.bus.log:
            self.met[envelope.row.topic] += 1
            if envelope.row.topic == "UnitsCancelled":
                self.met[f"cancelled by {envelope.service}"] += 1
            if envelope.topic.endswith(".express") and envelope.row.routing == "twin":
                self.met["express on a twin topic"] += 1
        for order in self.acts.all_orders():
            self.met[f"orders {order.state}"] += 1
            if any(r.request_id != r.origin for r in order.cancels):
                self.met["quantity cancels that asked for others"] += 1
            if any(r.refused for r in order.cancels):
                self.met["requests refused"] += 1
