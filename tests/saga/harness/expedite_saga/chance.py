"""One random saga: everything a seed decides, replayable from the seed alone.

A step is one committed decision of one service, one thing a relay sends, or one thing a person or carrier does. Each
(topic, key, consumer) queue keeps its order; nothing else does. Messages come twice, also long after, or late; processes die
before any step of their work, or after all of it and before they acknowledge, and others start from what is committed;
effects are performed twice and their results come late; timers fire with a clock that jumps; scanners come late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from expedite_events import CATALOGUE
from expedite_events.envelope import Envelope
from expedite_messaging import EffectResult, Fired, Handlers
from expedite_saga import audit, promises
from expedite_saga.acts import Acts
from expedite_saga.floor import Floor
from expedite_saga.hands import Hands
from expedite_saga.ids import fixed_chance
from expedite_saga.people import House
from expedite_saga.plan import ENDING, OPENING, WEIGHTS, Step, plan
from expedite_saga.world import SPECS, World

AUDIT_EVERY = 20
_PLACES = {topic: place for place, row in enumerate(CATALOGUE) for topic in row.topics}
CALM = 4000  # rounds to rest at most
Queue = tuple[str, str, str]


class SagaFailed(AssertionError):
    """A seed whose run breaks an invariant. `at`: the number of the step after which it was seen."""

    def __init__(self, seed: int, at: int, error: Exception, trail: Sequence[str]) -> None:
        self.seed, self.at, self.trail = seed, at, list(trail)
        self.what = f"{type(error).__name__}: {error}"
        self.invariant = str(error).partition(":")[0] if isinstance(error, audit.Broken) else type(error).__name__
        last = "\n  ".join(self.trail[-25:])
        super().__init__(
            f"seed {seed}, after step {at}: {self.what}\nreplay: uv run expedite simulate --seed {seed}\nlast steps:\n  {last}"
        )


def in_groups(handlers: Handlers, batch: Sequence[Envelope]) -> list[list[Envelope]]:
    """What a poll brings as the consumer delivers it: a transaction per handler, in the catalogue's order of topics."""
    groups: dict[Any, list[Envelope]] = {}
    for envelope in sorted(batch, key=lambda e: _PLACES[e.topic]):
        groups.setdefault(handlers.events[type(envelope.event)], []).append(envelope)
    return list(groups.values())


def _queue_name(name: Queue) -> str:
    return "|".join(name)


class Run:
    """One seed, all of its steps or some. `go` returns what was met; what must not be raises `SagaFailed`."""

    def __init__(self, seed: int, steps: Sequence[Step] | None = None, *, audit_every: int = AUDIT_EVERY) -> None:
        self.seed, self.steps, self.audit_every = seed, plan(seed) if steps is None else list(steps), audit_every
        self.met: Counter[str] = Counter()
        self.trail: list[str] = []  # what was done, for a person who replays the seed
        self.seen: list[tuple[Step, list[str]]] = []  # the same, by step
        self._late: list[tuple[str, EffectResult]] = []
        self._stale: list[tuple[str, Fired]] = []  # timers as a scanner read them a while ago
        self._slow: dict[tuple[str, str], int] = {}  # (topic, consumer) -> nothing comes before this step

    async def go(self) -> Counter[str]:
        self.at = OPENING
        async with World(seed=self.seed, short_mails=True) as world:
            try:
                with fixed_chance(lambda: world.clock.now, self.seed):
                    await self._all(world)
            except Exception as error:
                raise SagaFailed(self.seed, self.at, error, self.trail) from error
        self._note_paths()
        return self.met

    async def opens(self, world: World) -> None:
        """The house opens, in a world nobody has been in yet."""
        self.at, self.world = OPENING, world
        world.post.closed = True
        self.house = House(world)
        self.hands = Hands(self.house, self.met, self.trail)
        self.acts = Acts(self.hands)
        self.floor = Floor(self.acts)
        self.hands.begin(Step(OPENING, "open", self.seed))
        await self.acts.open()

    async def ends(self) -> None:
        """Everything runs out, and every invariant of a system at rest holds."""
        self.at = ENDING
        self.hands.begin(Step(ENDING, "end", self.seed, calm=True))
        await self.to_rest()
        await audit.at_rest(self.world, self.house.planner.booked, self.acts.orders.accepted)
        promises.at_rest(self.world)

    async def _all(self, world: World) -> None:
        await self.opens(world)
        for done, step in enumerate(self.steps):
            before = len(self.trail)
            self.at = step.number
            self.hands.begin(step)
            try:
                await self.take(step)
            except Exception as error:
                self.trail.append(f"  here it breaks: {type(error).__name__}: {error}"[:400])
                raise
            finally:
                self.seen.append((step, self.trail[before:]))
            self.met["steps"] += 1
            if done % self.audit_every == 0:
                audit.at_any_time(self.world)
                promises.at_any_time(self.world)
        await self.ends()

    # -- one step

    async def take(self, step: Step) -> None:
        """Do what a step says."""
        match step.kind:
            case "people":
                await self.acts.people()
            case "crew":
                await self.floor.crew()
            case "carrier":
                await self.floor.carrier()
            case "webhook":
                await self.floor.webhook()
            case kind if kind in WEIGHTS:
                await getattr(self, f"_{kind}")()
            case _:
                await self.acts.wish()

    async def _relay(self) -> None:
        """A relay sends the oldest rows of its outbox. It may die when it has sent them: they are sent again."""
        bus, hands = self.world.bus, self.hands
        if not (waiting := bus.waiting()):
            return
        service, lane = hands.choose(waiting, lambda w: f"{w[0]} {w[1].value}")
        rows = [row for row in self.world.engines[service].db.outbox if row.lane is lane]
        rows = rows[: hands.r.randint(1, len(rows))]
        self.trail.append(f"{service} sends {', '.join(f'{e.topic} {e.key}' for e in rows)}")
        bus.send(rows)
        if hands.trouble(0.1):
            self.met["died between sending and deleting"] += 1
            self.trail.append(f"  {service} dies before it deletes them from its outbox, and starts again")
            self.world.restart(service)
            return
        bus.sent(service, rows)

    def _open_queues(self) -> list[Queue]:
        now = self.hands.step.number
        return [name for name in self.world.bus.ready() if self._slow.get((name[0], name[2]), now) <= now]

    async def _deliver(self) -> None:
        hands, r, queues = self.hands, self.hands.r, self.world.bus.queues
        if not (ready := self._open_queues()):
            return
        first = hands.choose(ready, _queue_name)
        self.met["later events first"] += first != ready[0]
        batch = self._poll(first, ready)
        if hands.trouble(0.05) and self.world.bus.log:
            old = r.choice(self.world.bus.log)  # a relay that was frozen wakes up and sends something old again
            if old.topic == first[0] and first[2] in old.hearers:
                batch.append(old)
                self.met["old messages again"] += 1
        service = first[2]
        self.trail.append(f"{service} hears {', '.join(f'{e.topic} {e.key}' for e in batch)}")
        groups = in_groups(self.world.engines[service].handlers, batch)
        self.met["polls of several handlers"] += len(groups) > 1
        self.met["transactions with several topics"] += any(len({e.topic for e in group}) > 1 for group in groups)

        async def work() -> None:
            for group in groups:
                await self.world.engines[service].deliver(group)

        if hands.trouble(0.15):
            self.met["redeliveries"] += 1
            await hands.dies_in(service, work)
            return
        await work()
        if hands.trouble(0.05):  # a rebalance: what was decided is acknowledged by nobody
            self.met["acknowledgements lost"] += 1
            return
        for envelope in batch:
            queue = queues[envelope.topic, envelope.key, service]
            if queue and queue[0].id == envelope.id:
                queue.popleft()

    def _poll(self, first: Queue, ready: list[Queue]) -> list[Envelope]:
        """What one poll brings: several keys at once, of one topic or of all that a lane has."""
        r, queues = self.hands.r, self.world.bus.queues
        names, wide = [first], r.random()
        if wide < 0.3:
            same = _topic if wide < 0.15 else _lane
            names += [n for n in ready if n != first and n[2] == first[2] and same(n) == same(first)]
        if first[2] in ("control-tower", "notifier") and r.random() < 0.7:
            return [e for name in names for e in queues[name]]
        return [e for name in names for e in list(queues[name])[: r.randint(1, len(queues[name]))]]

    async def _effect(self) -> None:
        hands, r = self.hands, self.hands.r
        if self._late and r.random() < 0.4:
            service, result = self._late.pop(r.randrange(len(self._late)))
            self.trail.append(f"{service} hears late what came of {result.kind} {result.subject}")
            await self.world.engines[service].conclude([result])
            return
        calls = [(n, c) for n, e in self.world.engines.items() for c in e.pending_effects()]
        if not calls:
            return
        service, call = hands.choose(calls, lambda c: f"{c[0]} {c[1].kind} {c[1].subject}")
        self.trail.append(f"{service} performs {call.kind} {call.subject}")
        if hands.trouble(0.1):
            self.met["effects that failed once"] += 1
            return
        result_ = await self.world.result_of(service, call)
        if result_ is None:
            return
        if hands.trouble(0.1):
            self.met["died between effect and conclusion"] += 1
            self.trail.append(f"  {service} dies before it tells, and starts again")
            self.world.restart(service)
            return
        if hands.trouble(0.15):  # the lease ran out: somebody else performs it too
            self.met["effects performed twice"] += 1
            self._late.append((service, result_))
        if hands.trouble(0.15):
            await hands.dies_in(service, lambda: self.world.engines[service].conclude([result_]))
            return
        await self.world.engines[service].conclude([result_])

    async def _job(self) -> None:
        jobs = [(name, job) for name, e in self.world.engines.items() for job in e.handlers.jobs]
        service, job = self.hands.choose(jobs, lambda j: f"{j[0]} {j[1].name}")
        if self.hands.trouble(0.1):
            await self.hands.dies_in(service, lambda: job.run(self.world.engines[service]))
            return
        if self.hands.trouble(0.2):
            self.met["transactions run again"] += 1
            self.world.stumbles(service)
        engine = self.world.engines[service]
        await job.run(engine)
        self.world.stands(service)
        for key in engine.retriable():
            await engine.replay(key)

    async def _timer(self) -> None:
        hands = self.hands
        if self._stale and hands.r.random() < 0.3:  # a scanner that read this a while ago comes to it only now
            service, fired = self._stale.pop(hands.r.randrange(len(self._stale)))
            self.met["scanners that came late"] += 1
            await self.world.engines[service].fire([fired])
            return
        due = [(n, f) for n, e in self.world.engines.items() for f in e.due()]
        if not due:
            return
        service, fired = hands.choose(due, lambda d: f"{d[0]} {d[1].kind} {d[1].subject} {d[1].level}")
        self.trail.append(f"{service} timer {fired.kind} {fired.subject} {fired.level}")
        self.met["timers fired"] += 1
        if hands.trouble(0.3):
            self._stale.append((service, fired))
            if hands.r.random() < 0.5:
                return
        if hands.trouble(0.2):
            await hands.dies_in(service, lambda: self.world.engines[service].fire([fired]))
        await self.world.engines[service].fire([fired])

    async def _time(self) -> None:
        await self.time(self.hands.r.choice((1, 7, 20, 45, 90, 180)))

    async def time(self, minutes: int) -> None:
        """Business time passes at once."""
        self.world.clock.advance(timedelta(minutes=minutes))
        self.trail.append(f"{minutes} minutes pass")

    async def _delay(self) -> None:
        """One topic of a consumer, or all it hears, gets nothing for a while."""
        ready = self._open_queues()
        if not ready or not self.hands.trouble(1.0):
            return
        name = self.hands.choose(ready, _queue_name)
        whole = self.hands.r.random() < 0.3
        until = self.hands.step.number + self.hands.r.randint(10, 80)
        topics = [t for t in _PLACES if whole or t == name[0]]
        self._slow.update({(topic, name[2]): until for topic in topics})
        self.met["consumers that fell behind" if whole else "topics that came late"] += 1
        self.trail.append(f"{name[2]} hears {'nothing' if whole else f'no {name[0]}'} until step {until}")

    async def _death(self) -> None:
        """A process is killed while it has nothing to do."""
        if self.hands.trouble(1.0):
            service = self.hands.r.choice(list(SPECS))
            self.met["killed while idle"] += 1
            self.trail.append(f"{service} is killed, and starts again")
            self.world.restart(service)

    # -- the end

    async def to_rest(self) -> None:
        """Let everything run out: late results, webhooks, people, crews, carriers; then the clock, timer by timer."""
        self._slow.clear()
        for service, result in self._late:
            await self.world.engines[service].conclude([result])
        for service, fired in self._stale:
            await self.world.engines[service].fire([fired])
        self._late, self._stale = [], []
        for _ in range(CALM):
            await self.world.settle()
            if await self._finish():
                continue
            if not self.acts.open_orders():
                break
            ahead = [at for e in self.world.engines.values() if (at := e.next_due()) is not None]
            if not ahead:
                break
            self.world.clock.now = max(self.world.clock.now, min(ahead))
            await self.world.fire_due()
        await self.world.settle()

    async def _finish(self) -> bool:
        """One round in which everybody finishes what is open. Whether there was anything to do."""
        busy = await self.floor.webhooks()
        for order in self.acts.held_orders():
            await self.acts.solve(order)
            busy = True
        for work in (self.floor.crew, self.floor.carrier):
            for _ in range(8):
                if not await work(orderly=True):
                    break
                busy = True
        return busy or await self.acts.receive(all_of=True)

    def _note_paths(self) -> None:
        """Count which paths the run took, so that a suite can say that each was taken."""
        self.met["events sent again"] += self.world.bus.repeated
        self.met["late scanners of cancelled timers"] += self.world.watch.late_scanners
        for envelope in self.world.bus.log:
            self.met[envelope.row.topic] += 1
            if envelope.row.topic == "UnitsCancelled":
                self.met[f"cancelled by {envelope.service}"] += 1
            if envelope.row.topic == "StockShort":
                self.met[f"remedy {envelope.event.chosen}"] += 1  # type: ignore[attr-defined]
            if envelope.topic.endswith(".express") and envelope.row.routing == "twin":
                self.met["express on a twin topic"] += 1
        for order in self.acts.all_orders():
            self.met["orders"] += 1
            self.met[f"orders {order.state}"] += 1
            if any(r.request_id != r.origin for r in order.cancels):
                self.met["quantity cancels that asked for others"] += 1
            if any(r.refused for r in order.cancels):
                self.met["requests refused"] += 1


def _topic(name: Queue) -> str:
    return name[0]


def _lane(name: Queue) -> str:
    return "express" if name[0].endswith(".express") else "standard"
