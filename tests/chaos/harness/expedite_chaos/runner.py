"""Runs trials: those with equal grounds on one field, one after the other; a broken one does not stop the others."""

from __future__ import annotations

import asyncio
import platform
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from expedite_chaos.field import Field, taken
from expedite_chaos.ground import Ground
from expedite_chaos.trial import Result, Trial, perform

WORN_AFTER = 1_500
"""So many orders make the audit of everything take longer than a new start: then the next trial gets a new field."""


def grouped(trials: Sequence[Trial]) -> list[tuple[Ground, list[Trial]]]:
    """Trials by ground, in the order of their rows."""
    groups: dict[Ground, list[Trial]] = {}
    for trial in sorted(trials, key=lambda t: (t.number, t.row)):
        groups.setdefault(trial.ground, []).append(trial)
    return list(groups.items())


async def run(trials: Sequence[Trial], *, short: bool = False, seed: int = 1, keep: Path | None = None) -> list[Result]:
    """All results, in the order of rows. `keep`: a folder for logs; without one they go."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="expedite-chaos-") as scratch:
        folder = keep or Path(scratch)
        for number, (ground, members) in enumerate(grouped(trials)):
            results += await _on_one_ground(ground, members, folder / str(number), short=short, seed=seed)
    return sorted(results, key=lambda r: (int("".join(filter(str.isdigit, r.row))), r.row))


async def _on_one_ground(
    ground: Ground, trials: Sequence[Trial], folder: Path, *, short: bool, seed: int
) -> list[Result]:
    results: list[Result] = []
    left, systems = list(trials), 0
    while left:
        systems += 1
        untried = len(left)
        try:
            async with AsyncExitStack() as stack:
                print(f"[chaos] a new system: {ground.name}", flush=True)
                field = await stack.enter_async_context(taken(ground, folder / str(systems), short=short, seed=seed))
                orders = 0
                while left and orders < WORN_AFTER:
                    result = await perform(left[0], field)
                    left.pop(0)
                    results.append(result)
                    orders += result.orders
                    tell(result)
                    if result.problems:
                        break  # what is broken would break what comes after it
        except Exception as error:
            if len(left) == untried:
                trial = left.pop(0)
                results.append(_failed(trial, error))
                tell(results[-1])
            traceback.print_exception(error)
    return results


def _failed(trial: Trial, error: Exception) -> Result:
    result = Result(trial.row, trial.name, trial.at_risk, trial.target_s)
    result.problems.append(f"no system to try it on: {type(error).__name__}: {error}")
    return result


def tell(result: Result) -> None:
    """One line as soon as a trial is over."""
    recovery = "" if result.recovery_s is None else f", recovered after {result.recovery_s:.1f} s"
    bit = ", ".join(f"{n:g} {name}" for name, n in result.bit.items())
    print(f"[chaos] row {result.row}: {result.verdict} ({result.seconds:.0f} s{recovery}; {bit})", flush=True)
    for problem in result.problems:
        print(f"[chaos]   {problem}", flush=True)


def machine() -> dict[str, Any]:
    """What these results were had on."""
    return {"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version(),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}  # fmt: skip


def performed(trials: Sequence[Trial], *, short: bool, seed: int, keep: Path | None = None) -> list[Result]:
    """As `run`, from code that has no event loop."""
    return asyncio.run(run(trials, short=short, seed=seed, keep=keep))


__all__ = ["Field", "grouped", "machine", "performed", "run", "tell"]
