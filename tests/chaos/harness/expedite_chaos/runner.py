"""Runs trials: those with equal grounds on one field, one after the other; a broken one does not stop the others."""

from __future__ import annotations

import asyncio
import platform
import signal
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from expedite_chaos.field import Field, taken
from expedite_chaos.ground import Ground
from expedite_chaos.trial import SHARED, Result, Trial, closed, perform
from expedite_chaos.trials.grounds import DOUBLED

WORN_AFTER = 2_500
"""So many orders make the audit of everything take longer than a new start: then the next trial gets a new field."""


def grouped(trials: Sequence[Trial], *, short: bool) -> list[tuple[Ground, list[Trial]]]:
    """Trials by ground, in the order of their rows. `short`: who needs nothing special joins those with two workers each."""
    groups: dict[Ground, list[Trial]] = {}
    for trial in sorted(trials, key=lambda t: (t.number, t.row)):
        ground = DOUBLED if short and trial.ground == SHARED else trial.ground
        groups.setdefault(ground, []).append(trial)
    return list(groups.items())


async def run(
    trials: Sequence[Trial],
    *,
    short: bool = False,
    seed: int = 1,
    keep: Path | None = None,
    into: list[Result] | None = None,
) -> list[Result]:
    """All results, in the order of rows. `keep`: a folder for logs; without one they go. `into`: gets each result at once,
    which is what is left of a run that is ended early."""
    results = [] if into is None else into
    with tempfile.TemporaryDirectory(prefix="expedite-chaos-") as scratch:
        folder = keep or Path(scratch)
        for number, (ground, members) in enumerate(grouped(trials, short=short)):
            await _on_one_ground(ground, members, folder / str(number), results, short=short, seed=seed)
    return in_order(results)


def in_order(results: Sequence[Result]) -> list[Result]:
    """By rows of the matrix, audits of whole systems last."""
    return sorted(results, key=lambda r: (int("".join(filter(str.isdigit, r.row)) or 999), r.row))


async def _on_one_ground(
    ground: Ground, trials: Sequence[Trial], folder: Path, results: list[Result], *, short: bool, seed: int
) -> None:
    left, systems = list(trials), 0
    while left:
        systems += 1
        untried = len(left)
        try:
            async with AsyncExitStack() as stack:
                print(f"[chaos] a new system: {ground.name}", flush=True)
                field = await stack.enter_async_context(taken(ground, folder / str(systems), short=short, seed=seed))
                done: list[Trial] = []
                while left and sum(len(book.calls) for book in field.books) < WORN_AFTER:
                    result = await perform(left[0], field)
                    done.append(left.pop(0))
                    results.append(result)
                    tell(result)
                    if result.problems:
                        break  # what is broken would break what comes after it
                if short:
                    results.append(await closed(field, done))
                    tell(results[-1])
        except Exception as error:
            trial = left.pop(0) if len(left) == untried else None
            results.append(_failed(trial, ground, error))
            tell(results[-1])
            traceback.print_exception(error)


def _failed(trial: Trial | None, ground: Ground, error: Exception) -> Result:
    """A system that did not come up for its first trial, or did not end well after its last."""
    if trial is None:
        result = Result("system", ground.name, "", None)
    else:
        result = Result(trial.row, trial.name, trial.at_risk, trial.target_s)
    result.problems.append(f"the system broke: {type(error).__name__}: {error}")
    return result


def tell(result: Result) -> None:
    """One line as soon as a trial is over."""
    recovery = "" if result.recovery_s is None else f", recovered after {result.recovery_s:.1f} s"
    bit = ", ".join(f"{n:g} {name}" for name, n in result.bit.items())
    until = ", ".join(f"{name} at {seconds:.0f} s" for name, seconds in result.phases.items())
    print(
        f"[chaos] row {result.row}: {result.verdict}{recovery}; {bit} ({until}, over at {result.seconds:.0f} s)",
        flush=True,
    )
    for problem in result.problems:
        print(f"[chaos]   {problem}", flush=True)


def machine() -> dict[str, Any]:
    """What these results were had on."""
    return {"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version(),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}  # fmt: skip


def performed(
    trials: Sequence[Trial], results: list[Result], *, short: bool, seed: int, keep: Path | None = None
) -> bool:
    """As `run`, from code that has no event loop. SIGTERM ends it as Ctrl-C does: nothing is left running, `results` has
    what was done by then. Whether all was done."""

    async def until_told() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await run(trials, short=short, seed=seed, keep=keep, into=results)

    try:
        asyncio.run(until_told())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return False
    return True


__all__ = ["Field", "grouped", "in_order", "machine", "performed", "run", "tell"]
