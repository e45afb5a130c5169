"""What a seed decides: the steps of a run. Each step has chance of its own, so that a run without some of its steps still
does the others alike: that is how the shortest explanation of a failure is found."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from zlib import crc32

T = TypeVar("T")
STEPS = 500
QUIET_AFTER = 380  # from here on nothing new is asked: what runs, runs out
OPENING, ENDING = -1, 99_999  # numbers of the steps every run has

# How often each kind of step comes: (until it is quiet, afterwards).
WEIGHTS: dict[str, tuple[float, float]] = {
    "relay": (26, 26),
    "deliver": (60, 60),
    "effect": (9, 9),
    "job": (4, 4),
    "timer": (4, 4),
    "time": (2, 2),
    "people": (8, 3),
    "crew": (15, 15),
    "carrier": (5, 5),
    "webhook": (6, 6),
    "delay": (1.5, 0.5),
    "death": (1.5, 1.5),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan. `order`: the step that placed the order it is about. `calm`: nothing goes wrong in it."""

    number: int
    kind: str
    seed: int
    order: int = OPENING
    calm: bool = False

    def __str__(self) -> str:
        return f"{self.number}c" if self.calm else str(self.number)


def plan(seed: int) -> list[Step]:
    """The steps of a seed: two to four orders, what is asked about each, and what everybody else does meanwhile."""
    r = random.Random(seed)
    wishes: dict[int, list[tuple[str, int]]] = {}
    for index in range(r.randint(2, 4)):
        placed = index * 24
        wishes.setdefault(placed, []).append(("place", placed))
        for kind, at in _wishes(r, placed):
            wishes.setdefault(at, []).append((kind, placed))
    found: list[Step] = []
    numbers: dict[int, int] = {}  # moment -> the step that placed an order then
    for moment in range(STEPS):
        for kind, placed in wishes.get(moment, ()):
            numbers.setdefault(placed, len(found))
            found.append(Step(len(found), kind, r.getrandbits(32), numbers[placed]))
        quiet = moment >= QUIET_AFTER
        (kind,) = r.choices(list(WEIGHTS), [weights[quiet] for weights in WEIGHTS.values()])
        found.append(Step(len(found), kind, r.getrandbits(32)))
    return found


def _wishes(r: random.Random, placed: int, horizon: int = 300) -> Iterable[tuple[str, int]]:
    """What will be asked about an order placed at this moment: at any moment of its life, from the first to the last."""
    often = {
        "cancel": 0.2,
        "cancel units": 0.25,
        "raise": 0.4,
        "lower": 0.1,
        "again": 0.2,
        "amend": 0.3,
        "product": 0.2,
    }
    for kind, share in often.items():
        if r.random() < share:
            yield kind, placed + r.choice((0, 1, 1, 1)) * r.randint(0, horizon)
    for _ in range(r.choice((0, 0, 1, 1, 2))):
        yield "reduce", placed + r.choice((0, 1, 1, 1)) * r.randint(0, horizon)
    if r.random() < 0.15:  # at once, before anybody heard of the order
        yield "raise", placed


def chosen(steps: Sequence[Step], text: str) -> list[Step]:
    """The steps a replay names: `3,17c,40`. Raises ValueError for what is none."""
    found = []
    for part in filter(None, text.replace(" ", "").split(",")):
        number = part.removesuffix("c")
        if not number.isdigit() or int(number) >= len(steps):
            raise ValueError(f"{part!r} is not a step: name numbers from 0 to {len(steps) - 1}, as in 3,17c,40")
        found.append(replace(steps[int(number)], calm=part.endswith("c")))
    return found


def choose(r: random.Random, items: Sequence[T], name: Callable[[T], Any]) -> T:
    """One of them. What else is there does not matter to how likely each is before the other, so that the choice mostly
    stays the same when other things are not done."""
    salt, odd = r.getrandbits(32), 0x9E3779B1
    return min(items, key=lambda item: ((crc32(str(name(item)).encode()) ^ salt) * odd) & 0xFFFFFFFF)


__all__ = ["ENDING", "OPENING", "QUIET_AFTER", "STEPS", "WEIGHTS", "Step", "choose", "chosen", "plan"]
