"""The shortest explanation of a failing seed: steps are left out, and trouble is, as long as the same invariant breaks."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from expedite_events.envelope import Envelope
from expedite_saga.chance import Run, SagaFailed
from expedite_saga.plan import ENDING, Step, plan

_ORDER = re.compile(r"\d{8}-[A-Z0-9]+-\d{6,}")
_TELLING = ("request_id", "fulfilment_order_id", "transfer_id", "parcel_id", "hold_id", "warehouse_id", "units", "status",
            "stage", "level", "kind", "reason")  # fmt: skip


@dataclass
class Explained:
    """A failure and the steps that are enough for it. `tried`: how many runs it took to find them."""

    seed: int
    whole: int
    steps: list[Step]
    failure: SagaFailed
    run: Run
    tried: int = 0
    orders: list[str] = field(default_factory=list)

    @property
    def replay(self) -> str:
        """The command that does these steps again."""
        return f"uv run expedite simulate --seed {self.seed} --steps {','.join(map(str, self.steps)) or 'none'}"


async def attempt(seed: int, steps: Sequence[Step]) -> tuple[Run, SagaFailed | None]:
    """Do these steps, looking at every invariant after each."""
    run = Run(seed, steps, audit_every=1)
    try:
        await run.go()
    except SagaFailed as failure:
        return run, failure
    return run, None


class Shrinker:
    """Leaves out what a failure does not need, for at most so many seconds of work."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.seed, self._deadline = seed, time.process_time() + seconds
        self.tried = 0
        self.best: tuple[list[Step], Run, SagaFailed] | None = None

    async def shrink(self, steps: Sequence[Step] | None = None) -> Explained | None:
        """The shortest explanation found; None when the steps (by default all of the seed's) break nothing."""
        whole = plan(self.seed) if steps is None else list(steps)
        run, failure = await attempt(self.seed, whole)
        if failure is None:
            return None
        self.best = (whole, run, failure)
        if failure.at != ENDING:
            await self._holds([step for step in whole if step.number <= failure.at])
        await self._holds([replace(step, calm=True) for step in self.best[0]])
        await self._without_chunks()
        await self._calmly()
        found, run, failure = self.best
        return Explained(self.seed, len(whole), found, failure, run, self.tried, named_orders(failure, run))

    async def _holds(self, steps: list[Step]) -> bool:
        """Whether these steps break the same invariant: then they are the best so far."""
        assert self.best is not None
        if steps == self.best[0] or time.process_time() > self._deadline:
            return False
        self.tried += 1
        run, failure = await attempt(self.seed, steps)
        if failure is None or failure.invariant != self.best[2].invariant:
            return False
        if failure.at != ENDING:
            steps = [step for step in steps if step.number <= failure.at]
        self.best = (steps, run, failure)
        return True

    async def _without_chunks(self) -> None:
        """Delta debugging: leave out ever smaller parts; go on while single steps can be left out."""
        assert self.best is not None
        size = max(1, len(self.best[0]) // 2)
        while True:
            place, shorter = 0, False
            while place < len(self.best[0]):
                steps = self.best[0]
                if await self._holds(steps[:place] + steps[place + size :]):
                    shorter = True
                else:
                    place += size
            if (size == 1 and not shorter) or time.process_time() > self._deadline:
                return
            size = max(1, size // 2)

    async def _calmly(self) -> None:
        """Take the trouble out of each step that does without."""
        assert self.best is not None
        for place in range(len(self.best[0])):
            steps = list(self.best[0])
            if place < len(steps) and not steps[place].calm:
                steps[place] = replace(steps[place], calm=True)
                await self._holds(steps)


def named_orders(failure: SagaFailed, run: Run) -> list[str]:
    """The orders a failure is about; all when it names none."""
    known = [order.order_id for order in run.acts.all_orders()] if hasattr(run, "acts") else []
    named = set(_ORDER.findall(failure.what))
    return [order for order in known if order in named] or known


def events_of(run: Run, order_id: str) -> list[Envelope]:
    """What was said about an order: sent, then still in an outbox."""
    unsent = [row for engine in run.world.engines.values() for row in engine.db.outbox]
    return [envelope for envelope in (*run.world.bus.log, *unsent) if envelope.key == order_id]


def told(found: Explained) -> str:
    """The explanation as a person reads it."""
    lines = [f"seed {found.seed}: {found.failure.what}", ""]
    lines.append(f"{len(found.steps)} of {found.whole} steps are enough ({found.tried} runs to find them):")
    lines += trail(found.run)
    if found.failure.at == ENDING:
        lines.append("  then everything runs out in order, and at rest it is seen")
    for order_id in found.orders:
        lines += ["", f"events of {order_id}:"]
        lines += [f"  {event_line(envelope)}" for envelope in events_of(found.run, order_id)]
    return "\n".join([*lines, "", f"replay: {found.replay}"])


def trail(run: Run) -> list[str]:
    """What was done, step by step."""
    lines = []
    for step, said in run.seen:
        first, *more = said or ["nothing"]
        lines.append(f"  {step!s:>5} {step.kind:<12} {first}")
        lines += [f"  {'':>5} {'':<12} {line}" for line in more]
    return lines


def event_line(envelope: Envelope) -> str:
    """One event on one line."""
    event = envelope.event
    parts = [
        f"{name}={_short(getattr(event, name))}" for name in _TELLING if getattr(event, name, None) not in (None, ())
    ]
    return f"{envelope.time:%d %H:%M} {envelope.service:<13} {envelope.topic:<26} {' '.join(parts)}"


def _short(value: object) -> str:
    text = str(getattr(value, "value", value))
    return text if len(text) <= 60 else text[:57] + "..."


__all__ = ["Explained", "Shrinker", "attempt", "event_line", "events_of", "told", "trail"]
