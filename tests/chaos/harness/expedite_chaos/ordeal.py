"""One run: a system of its own, real orders at high speed, faults in seeded disorder, then the audit."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from expedite_chaos.faults import Fault, Monkey
from expedite_local import audit, state
from expedite_local.clock import now
from expedite_local.demo import client, world
from expedite_local.demo.world import Stuck, World
from expedite_local.doctor import raise_file_limit
from expedite_local.home import Home, read_json
from expedite_local.screen import Screen
from expedite_local.up import Options, System

FAILPOINTS = Path(__file__).parents[2] / "failpoints"
SPEED = 7200.0
PACE_S = 1.0
STEPS = 12  # at most so many orders, picks, parcels between two faults
LONGEST_CALM_S = 12
HEAL_S = 300.0
PATIENCE_S = 240.0
_REBUILDS = re.compile(r"^expedite_(?:consumer|producer)_rebuilds_total\{.*\} (\d+)", re.MULTILINE)


@dataclass
class Outcome:
    """What became of the system. restarts: by process and server. unbitten: failpoints nobody passed. rebuilds: Kafka
    consumers and producers given up and made anew. twice: events the topics hold more than once. answers: HTTP answers
    by service and status, as the world saw them."""

    accepted: int = 0
    problems: list[str] = field(default_factory=list)
    findings: list[audit.Finding] = field(default_factory=list)
    restarts: dict[str, int] = field(default_factory=dict)
    unbitten: list[str] = field(default_factory=list)
    rebuilds: int = 0
    twice: int = 0
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def violations(self) -> list[str]:
        return [f"{f.check}: {f.detail}" for f in self.findings if not f.good]


async def ordeal(
    folder: Path, faults: Sequence[Fault], *, orders: int, seed: int, scale: Mapping[str, int] | None = None
) -> Outcome:
    """Run it. The folder keeps the logs; the servers' data is deleted."""
    # Whoever waits here waits for a crash to heal on a busy machine; a party that gave up would only hide the result.
    client.PATIENCE_S = world.STALL_S = HEAL_S
    raise_file_limit()
    home, tokens = Home(folder / "home"), folder / "failpoints"
    tokens.mkdir(parents=True)
    extra = {
        # Customers answer although a service is away for days of business time; nobody waits three days to confirm.
        "EXPEDITE_COMPLETION_HOURS": "2000",
        "EXPEDITE_REVIEW_HOURS": "2000",
        "EXPEDITE_PAYMENT_HOURS": "2000",
        "EXPEDITE_CONFIRM_HOURS": "12",
        "EXPEDITE_FAILPOINTS": str(tokens),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(FAILPOINTS), os.environ.get("PYTHONPATH")))),
    }
    options = Options(
        speed=SPEED, port_base=0, fresh=True, show_logs=False, seed=seed, scale=dict(scale or {}), extra=extra
    )
    stop = asyncio.Event()
    with state.hold(home):
        system = System(home, options, Screen())
        running = asyncio.create_task(system.run(stop))
        try:
            ready = asyncio.create_task(system.ready.wait())
            await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                ready.cancel()
                running.result()
            return await _torment(system, Monkey(system, tokens), faults, orders=orders, seed=seed)
        finally:
            stop.set()
            await running
            system.substrate.wipe()


async def _torment(system: System, monkey: Monkey, faults: Sequence[Fault], *, orders: int, seed: int) -> Outcome:
    outcome = Outcome()
    snapshot = system.snapshot()
    secrets = read_json(system.home.secrets_file)
    clock = system.substrate.clock
    played = World(
        snapshot.urls, system.plan.carriers_url, snapshot.api_keys, secrets["webhooks"], lambda: clock.business(now()),
        seed=seed, speed=SPEED, told=_say,
    )  # fmt: skip
    try:
        await played.prepare(orders)
        done = played.progress.done
        tormenting = asyncio.create_task(_disorder(monkey, faults, seed, lambda: sum(done.values())))
        try:
            await played.run(asyncio.Event(), count=orders, pace_s=PACE_S)
        except Stuck as stuck:
            outcome.problems.append(str(stuck))
            tormenting.cancel()
        await asyncio.gather(tormenting, return_exceptions=True)
        if not tormenting.cancelled():
            tormenting.result()
    finally:
        await played.close()
    outcome.problems += played.progress.problems
    outcome.accepted = len(played.customers.orders)
    for api in (played.shop, played.crew, played.planner, played.operator):
        outcome.answers += api.answers
    await _healed(monkey)
    snapshot = system.snapshot()
    outcome.findings = await audit.settled(snapshot, secrets, system.home, ended=True, patience_s=PATIENCE_S, told=_say)
    _say("audit:\n" + audit.text(outcome.findings))
    outcome.restarts = {p.name: p.restarts for p in snapshot.processes}
    outcome.unbitten = sorted(token.name for token in monkey.failpoints.glob("*.armed"))
    outcome.rebuilds = await _rebuilds(snapshot)
    times = Counter([envelope.id async for envelope in audit.every_event(snapshot)])
    outcome.twice = sum(1 for n in times.values() if n > 1)
    _say(f"restarts {outcome.restarts}; rebuilds {outcome.rebuilds}; twice on a topic {outcome.twice}")
    _say(f"answers {dict(sorted(outcome.answers.items()))}; {dict(sorted(played.progress.done.items()))}")
    return outcome


async def _disorder(monkey: Monkey, faults: Sequence[Fault], seed: int, moved: Callable[[], int]) -> None:
    """All faults, in an order and at moments that the seed decides; failpoints beside them, one after the other. Moments
    are counted in things the world got done, so that faults meet work; without any, the next one comes all the same:
    what is down gets company."""
    rnd = random.Random(f"chaos {seed}")
    armed = [f for f in faults if f.kind == "point"]
    others = [f for f in faults if f.kind != "point"]
    rnd.shuffle(armed)
    rnd.shuffle(others)
    steps = [rnd.randint(1, STEPS) for _ in others]

    async def in_turn() -> None:
        for fault, wanted in zip(others, steps, strict=True):
            before, polls = moved(), 0
            while moved() - before < wanted and polls < LONGEST_CALM_S * 10:
                await asyncio.sleep(0.1)
                polls += 1
            await monkey.do(fault)

    async def armed_in_turn() -> None:
        for fault in armed:
            await monkey.do(fault)

    await asyncio.gather(in_turn(), armed_in_turn())


async def _healed(monkey: Monkey) -> None:
    """Wait until every process is ready again, by the supervisor alone. Raises TimeoutError with what is not."""
    deadline = asyncio.get_running_loop().time() + HEAL_S
    while waiting := [f"{s.spec.name} {s.state}" for s in monkey.statuses() if s.state != "ready"]:
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"not healed after {HEAL_S:.0f} s: {', '.join(waiting)}")
        await asyncio.sleep(0.2)


async def _rebuilds(snapshot: state.State) -> int:
    total = 0
    async with httpx.AsyncClient(trust_env=False, timeout=30.0) as http:
        for process in snapshot.processes:
            if process.role in ("standard", "express"):
                text = (await http.get(f"http://127.0.0.1:{process.port}/metrics")).text
                total += sum(int(n) for n in _REBUILDS.findall(text))
    return total


def _say(text: str) -> None:
    sys.stdout.write(f"[ordeal] {text}\n")
    sys.stdout.flush()
