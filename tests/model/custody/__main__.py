"""Run seeds and print what they met: `python -m custody [SEEDS]`. Exit 1 when a promise broke, with the seed and the
shortest trace found."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from custody.chance import Chance
from custody.rules import RULES, mistakes
from custody.runs import first_failure, play, promise_of, shrink

SHOWN = 5


def main() -> int:
    ask = argparse.ArgumentParser(prog="python -m custody", description=__doc__)
    ask.add_argument("seeds", nargs="?", type=int, default=20_000)
    ask.add_argument("--first", type=int, default=0, help="the first seed")
    ask.add_argument("--seed", type=int, help="one seed: its trace, shortened when it fails")
    ask.add_argument("--break", dest="broken", action="append", default=[], choices=sorted(RULES), metavar="RULE")
    ask.add_argument("--rules", action="store_true", help="break each rule in turn: who notices, and how soon")
    given = ask.parse_args()
    if given.rules:
        return _rules(given.seeds)
    if given.seed is not None:
        return _one(given.seed, given.broken)
    return _many(range(given.first, given.first + given.seeds), given.broken)


def _many(seeds: range, broken: list[str]) -> int:
    met: Counter[str] = Counter()
    failed: list[tuple[int, str]] = []
    steps, began = 0, time.process_time()
    for seed in seeds:
        world, error = play(Chance(seed), broken)
        met.update(world.met)
        steps += world.steps
        if error is not None:
            failed.append((seed, promise_of(error)))
            if len(failed) <= SHOWN:
                print(f"seed {seed}: {error}")
    took = time.process_time() - began
    print(
        f"{len(seeds)} runs, {len(failed)} failed, {steps} steps, {took:.0f} s of CPU, {len(seeds) / took:.0f} runs/s"
    )
    for path, n in sorted(met.items()):
        print(f"  {n:9}  {path}")
    if not failed:
        return 0
    for name, n in Counter(name for _, name in failed).most_common():
        print(f"broken {n} times: {name}")
    return _one(failed[0][0], broken)


def _one(seed: int, broken: list[str]) -> int:
    world, error = play(Chance(seed), broken)
    if error is None:
        print("\n".join(world.told()))
        print(f"seed {seed}: every promise is kept, {world.steps} steps")
        return 0
    found = shrink(seed, broken)
    print("\n".join(found.trace))
    print(f"seed {seed}: {found.text}")
    print(
        f"shortest trace found: {len(found.trace)} of {len(world.trace)} steps; again: python -m custody --seed {seed}"
    )
    return 1


def _rules(seeds: int) -> int:
    missed = 0
    for rule, broken in mistakes().items():
        found = first_failure(broken, seeds)
        missed += found is None
        print(f"{rule:44} {'NOT NOTICED' if found is None else f'seed {found[0]:5}: {found[1]}'}")
    print(f"{len(RULES)} rules broken one by one, {missed} not noticed within {seeds} seeds")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
