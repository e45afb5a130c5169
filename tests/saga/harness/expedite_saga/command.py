"""What `expedite simulate` does: many seeds over all cores, or one of them again."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expedite_saga.chance import Run, SagaFailed
from expedite_saga.paths import ENOUGH_SEEDS, PEOPLE, TROUBLE, missed
from expedite_saga.plan import Step, chosen, plan
from expedite_saga.shrink import Shrinker, told, trail

CHUNK = 8  # seeds a worker takes at once
SHRINK_S = 60.0


@dataclass(frozen=True)
class Options:
    """What to simulate. With `seed` that one alone: all its steps, or those that `steps` names."""

    seeds: int = 200
    first: int = 0
    seed: int | None = None
    steps: str | None = None
    trace: bool = False
    workers: int | None = None
    json_file: Path | None = None
    shrink_s: float = SHRINK_S


@dataclass
class Tally:
    """What came of seeds."""

    seeds: int = 0
    met: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)  # seed, what broke

    def add(self, other: Tally) -> None:
        self.seeds += other.seeds
        self.met.update(other.met)
        self.failures += other.failures


def run(options: Options, say: Callable[[str], None] = print) -> int:
    """Simulate; 0 when every invariant held, 1 when one did not."""
    return _replay(options, say) if options.seed is not None else _many(options, say)


# -- many seeds


def simulate(seeds: list[int]) -> Tally:
    """Run these seeds, one after another, in this process."""

    # What was imported lives to the end: the collector need not walk it again for every few objects of a run.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)

    async def every() -> Tally:
        tally = Tally()
        for seed in seeds:
            tally.seeds += 1
            run = Run(seed)
            try:
                tally.met.update(await run.go())
            except SagaFailed as failure:
                tally.failures.append((seed, failure.what))
                tally.met.update(run.met)
        return tally

    return asyncio.run(every())


def _many(options: Options, say: Callable[[str], None]) -> int:
    workers = options.workers or os.cpu_count() or 1
    started = time.monotonic()
    tally = Tally()
    for part in _spread(options, workers):
        tally.add(part)
    took = time.monotonic() - started
    say(report(tally, took, workers))
    if options.json_file:
        options.json_file.write_text(json.dumps(as_json(tally, took, workers, options), indent=2) + "\n")
        say(f"written to {options.json_file}")
    for seed, what in tally.failures[:10]:
        say(f"seed {seed}: {what[:300]}\n  replay: uv run expedite simulate --seed {seed}")
    if tally.failures:
        seed = min(seed for seed, _ in tally.failures)
        say(f"\nlooking for the shortest explanation of seed {seed} (at most {options.shrink_s:.0f} s) ...")
        _explain(seed, options, say)
        return 1
    return 0


def _spread(options: Options, workers: int) -> Iterator[Tally]:
    """Parts as they are done."""
    seeds = list(range(options.first, options.first + options.seeds))
    progress = Progress(len(seeds))
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    if workers == 1 or len(chunks) == 1:
        for done, chunk in enumerate(chunks):
            yield simulate(chunk)
            progress.at(min((done + 1) * CHUNK, len(seeds)))
        progress.ends()
        return
    spawn = multiprocessing.get_context("spawn")  # event loops and apps of this process are none of theirs
    with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=spawn) as pool:
        open_: set[Future[Tally]] = {pool.submit(simulate, chunk) for chunk in chunks}
        done_seeds = 0
        while open_:
            done, open_ = wait(open_, return_when=FIRST_COMPLETED)
            for future in done:
                part = future.result()
                done_seeds += part.seeds
                yield part
            progress.at(done_seeds)
    progress.ends()


class Progress:
    """Says on standard error how far it is: in place on a terminal, else a line every ten seconds."""

    def __init__(self, of: int) -> None:
        self.of, self.terminal = of, sys.stderr.isatty()
        self.started = self._said = time.monotonic()

    def at(self, done: int) -> None:
        now = time.monotonic()
        if not self.terminal and now - self._said < 10.0:
            return
        self._said = now
        left = (now - self.started) / done * (self.of - done)
        text = f"{done} of {self.of} seeds, about {left:.0f} s more"
        sys.stderr.write(f"\r{text:<60}" if self.terminal else f"{text}\n")
        sys.stderr.flush()

    def ends(self) -> None:
        if self.terminal:
            sys.stderr.write(f"\r{'':<60}\r")


def report(tally: Tally, took: float, workers: int) -> str:
    """The table at the end. A saga is one order, from its post to its end."""
    orders = tally.met["orders"]
    lines = [
        f"{'seeds':<36}{tally.seeds:>10}",
        f"{'sagas (orders, each to its end)':<36}{orders:>10}",
        f"{'steps':<36}{tally.met['steps']:>10}",
        f"{'seconds, on processes':<36}{took:>10.1f}{workers:>6}",
        f"{'sagas/s':<36}{orders / took if took else 0:>10.1f}",
        f"{'violations':<36}{len(tally.failures):>10}",
    ]
    for title, names in (("trouble", TROUBLE), ("what people did, and what came of it", PEOPLE)):
        lines += ["", f"{title}, how often"]
        lines += [f"  {name:<40}{tally.met[name]:>8}" for name in names]
    never = missed(tally.met)
    if never and tally.seeds >= ENOUGH_SEEDS:
        lines += ["", f"never met: {', '.join(never)}"]
    return "\n".join(lines)


def as_json(tally: Tally, took: float, workers: int, options: Options) -> dict[str, Any]:
    """The figures for a file."""
    return {
        "seeds": tally.seeds,
        "first": options.first,
        "sagas": tally.met["orders"],
        "seconds": round(took, 3),
        "workers": workers,
        "sagas_per_s": round(tally.met["orders"] / took, 2) if took else 0.0,
        "violations": [{"seed": seed, "what": what} for seed, what in tally.failures],
        "met": dict(sorted(tally.met.items())),
        "never_met": missed(tally.met),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
    }


# -- one seed


def steps_of(options: Options) -> list[Step]:
    """The steps to do of one seed, none for many. Raises ValueError for steps that do not exist."""
    if options.seed is None:
        return []
    whole = plan(options.seed)
    return whole if options.steps is None else chosen(whole, "" if options.steps == "none" else options.steps)


def _replay(options: Options, say: Callable[[str], None]) -> int:
    assert options.seed is not None
    steps = steps_of(options)
    run = Run(options.seed, steps, audit_every=20 if options.steps is None else 1)
    try:
        asyncio.run(run.go())
    except SagaFailed as failure:
        if options.trace:
            say("\n".join(trail(run)))
        say(f"seed {options.seed}, after step {failure.at}: {failure.what}")
        say(f"\nlooking for the shortest explanation (at most {options.shrink_s:.0f} s) ...")
        _explain(options.seed, options, say)
        return 1
    if options.trace:
        say("\n".join(trail(run)))
    say(f"seed {options.seed}: {len(steps)} steps, {run.met['orders']} orders, every invariant held")
    return 0


def _explain(seed: int, options: Options, say: Callable[[str], None]) -> None:
    found = asyncio.run(Shrinker(seed, options.shrink_s).shrink(steps_of(options) or plan(seed)))
    say(told(found) if found else "it did not fail again when every invariant was looked at after every step")


__all__ = ["Options", "Tally", "as_json", "report", "run", "simulate"]
