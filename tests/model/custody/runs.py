"""Playing seeds, finding mistakes, and cutting a failure down to what explains it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from custody.chance import Chance, Script, shortest
from custody.checks import Broken
from custody.world import World

ORDERS = 3


@dataclass
class Failure:
    """A seed that broke a promise, the answers that still break it, and the trace of those."""

    seed: int
    promise: str
    text: str
    script: Script
    trace: list[str]


def promise_of(error: Exception) -> str:
    """The promise an error is about: what a service stumbles over contradicts what it was told before."""
    return error.promise if isinstance(error, Broken) else "no contradiction"


def play(chance: Chance, broken: Collection[str] = (), orders: int = ORDERS) -> tuple[World, Exception | None]:
    """One run, and what it broke."""
    world = World(chance, broken=broken, orders=orders)
    try:
        world.run()
    except (Broken, KeyError, TypeError) as error:
        return world, error
    return world, None


def shrink(seed: int, broken: Collection[str] = (), tries: int = 400) -> Failure:
    """The shortest way found to the promise that a failing seed breaks. Raises `ValueError` when it breaks none."""
    chance = Chance(seed)
    _, error = play(chance, broken)
    if error is None:
        raise ValueError(f"seed {seed} breaks nothing")
    wanted = promise_of(error)

    def fails(script: Script) -> int | None:
        world, found = play(Chance(script=script), broken)
        return len(world.trace) if found is not None and promise_of(found) == wanted else None

    script = shortest(chance.taken, fails, tries)
    world, error = play(Chance(script=script), broken)
    return Failure(seed, wanted, str(error), script, world.told())


def first_failure(broken: Collection[str], seeds: int, look_at: Sequence[int] = ()) -> tuple[int, str] | None:
    """The first seed that notices, and the promise it found broken; `look_at` are tried before all others."""
    for seed in (*look_at, *range(seeds)):
        _, error = play(Chance(seed), broken)
        if error is not None:
            return seed, promise_of(error)
    return None
