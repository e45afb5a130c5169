"""A trial: one row of the fault matrix, done to a field under load, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from expedite_chaos.field import Broken, Field
from expedite_chaos.ground import Ground
from expedite_local import audit

LEAD_S, SHORT_LEAD_S = 3.0, 2.0
LOAD_S, SHORT_LOAD_S = 12.0, 6.0
SETTLE_S = 120.0
LATE = 3.0
"""So many times its target a recovery may take before a long run counts it as a failure."""

SHARED = Ground("one copy of everything")


@dataclass
class Bite:
    """What a fault did. `times` it was injected. `bit`: by name, how often it was felt; each must be more than nothing.
    `over_at` (monotonic): when the fault was over and recovery began; by default when the fault's function returned.
    `recovery_s`: measured by the trial itself, else the time until orders are served again. `later`: more of `bit` that can
    be counted only when everything rests."""

    times: int = 1
    bit: dict[str, float] = field(default_factory=dict)
    over_at: float | None = None
    recovery_s: float | None = None
    problems: list[str] = field(default_factory=list)
    later: Callable[[], Awaitable[Mapping[str, float]]] | None = None


@dataclass(frozen=True)
class Trial:
    """`row`: of the fault matrix, with a letter where one row has several. `at_risk`: the invariants. `bites`: counters of
    `Field.tally` that must have grown. `target_s`: for recovery; None where there is none. `short`: part of every test run.
    `run` does the fault while the load goes on, and takes it back whatever happens. `rate`: single orders a second."""

    row: str
    name: str
    at_risk: str
    run: Callable[[Field], Awaitable[Bite]]
    target_s: float | None = None
    bites: tuple[str, ...] = ()
    short: bool = False
    ground: Ground = SHARED
    rate: float = 4.0

    @property
    def number(self) -> int:
        return int("".join(c for c in self.row if c.isdigit()))


@dataclass
class Result:
    """One line of the table."""

    row: str
    name: str
    at_risk: str
    target_s: float | None
    times: int = 0
    in_flight: int = 0
    orders: int = 0
    lost: int = 0
    doubled: int = 0
    oversold: int = 0
    recovery_s: float | None = None
    bit: dict[str, float] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    short: bool = False

    @property
    def late(self) -> bool:
        """Recovered, but not within the target."""
        return self.recovery_s is not None and self.target_s is not None and self.recovery_s > self.target_s

    @property
    def too_late(self) -> bool:
        """So late that a long run counts it as a failure; a short one never does."""
        return self.late and not self.short and (self.recovery_s or 0.0) > LATE * (self.target_s or 0.0)

    @property
    def failed(self) -> bool:
        return bool(self.problems) or self.too_late

    @property
    def verdict(self) -> str:
        if self.problems:
            return "BROKEN"
        return "TOO LATE" if self.too_late else "holds, late" if self.late else "holds"


async def perform(trial: Trial, on: Field) -> Result:
    """Do a trial: load, fault, recovery, rest, audit. Whatever goes wrong is in the result."""
    result = Result(trial.row, trial.name, trial.at_risk, trial.target_s, short=on.short)
    on.say(f"row {trial.row}: {trial.name}")
    try:
        await on.begin(f"r{trial.row}")
        try:
            await _perform(trial, on, result)
        finally:
            await on.driver.close()
    except Exception as error:
        result.problems.append(_told(error))
    result.seconds = time.monotonic() - on.began_at
    return result


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"


async def closed(on: Field, trials: Sequence[Trial]) -> Result:
    """The one audit of a short run, after all trials of a field."""
    rows = ", ".join(trial.row for trial in trials)
    result = Result("audit", f"after rows {rows}", "I1-I10", None, times=len(trials), short=True)
    began = time.monotonic()
    try:
        result.problems += await judged(on, result)
    except Exception as error:
        result.problems.append(_told(error))
    result.bit = {"orders audited": sum(len(book.ok) for book in on.books)}
    result.seconds = time.monotonic() - began
    return result


async def _perform(trial: Trial, on: Field, result: Result) -> None:
    driver, book = on.driver, on.driver.book
    driver.begin(trial.rate)
    await asyncio.sleep(SHORT_LEAD_S if on.short else LEAD_S)
    result.in_flight = len(await on.open_orders())
    bite = await trial.run(on)
    over_at = bite.over_at or time.monotonic()
    result.times, result.recovery_s = bite.times, bite.recovery_s
    if result.recovery_s is None and trial.target_s is not None:
        result.recovery_s = max(0.0, await on.serves() - over_at)
    load_s = SHORT_LOAD_S if on.short else LOAD_S
    await asyncio.sleep(max(0.0, on.began_at + load_s - time.monotonic()))
    await driver.end()
    result.phases["load"] = time.monotonic() - on.began_at
    await on.healed()
    problems = bite.problems + await driver.settle(SETTLE_S)
    result.orders, result.outcomes = len(book.calls), dict(book.outcomes)
    result.phases["settling"] = time.monotonic() - on.began_at
    if not on.short:
        problems += await judged(on, result)
    tally = await on.tally()
    result.bit = {name: tally[name] for name in trial.bites} | bite.bit
    if bite.later is not None:
        result.bit |= await bite.later()
    problems += on.taken()
    problems += [f"it did not bite: no {name}" for name, n in result.bit.items() if not n]
    if not result.bit:
        problems.append("nothing tells whether it bit")
    result.problems += problems


async def judged(on: Field, result: Result) -> list[str]:
    """All invariants once every order has come to its end and nothing moves; lost, doubled and oversold are counted into
    the result."""
    await on.ended()
    result.phases["all ended"] = time.monotonic() - on.began_at
    findings = await on.audited(ended=True)
    lost, doubled = await on.intake()
    wrong = {finding.check: finding.wrong for finding in findings}
    result.lost = len(lost) + wrong.get("events", 0) + wrong.get("orders", 0)
    result.doubled = len(doubled) + wrong.get("messages", 0) + wrong.get("custody", 0)
    result.oversold = wrong.get("stock", 0)
    problems = [f"lost: {text}" for text in lost[:5]] + [f"doubled: {text}" for text in doubled[:5]]
    problems += [f"{f.check}: {f.detail}" for f in findings if not f.good]
    problems += [f"left over: {text}" for text in await on.leaks()] + on.taken()
    if any(not f.good for f in findings):
        on.say("audit:\n" + audit.text(findings))
    return problems
