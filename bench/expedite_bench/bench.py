"""What a bench is: its name, what it measures and must reach, how large it is in full and in short."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from expedite_bench.ground import Ground

Figures = dict[str, Any]
Size = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table of goals: the figure (dotted path) and its bound."""

    figure: str
    bound: Literal[">=", "<="]
    limit: float
    unit: str = ""

    def reached(self, figures: Figures) -> bool | None:
        """None when the figure was not measured."""
        value = look_up(figures, self.figure)
        if value is None:
            return None
        return bool(value >= self.limit if self.bound == ">=" else value <= self.limit)

    def __str__(self) -> str:
        sign = "≥" if self.bound == ">=" else "≤"
        return f"{self.figure} {sign} {self.limit:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Bench:
    """`run` measures on a fresh system; `beside` (if any) measures the peers on the same servers afterwards, given the
    figures of this run. `services`: only these run (none named: all). `runs`: as many give the median. `scales`: a service
    and the numbers of copies of its worker; a run is then one system after another, and its figures are by number."""

    name: str
    measures: str
    goals: tuple[Goal, ...]
    run: Callable[[Ground, Size], Awaitable[Figures]]
    full: Size
    quick: Size
    beside: Callable[[Ground, Size, Figures], Awaitable[Figures]] | None = None
    services: tuple[str, ...] = ()
    runs: int = 1
    scales: tuple[str, tuple[int, ...]] | None = None
    hidden: tuple[str, ...] = field(default=())
    """Figures that go to the JSON file only."""


def look_up(figures: Figures, path: str) -> Any:
    """The figure at a dotted path, or None."""
    found: Any = figures
    for part in path.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def flat(figures: Figures, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every figure with its dotted path."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def medians(runs: list[Figures]) -> Figures:
    """The same shape with the median of every figure; what is no figure in all runs is left out."""
    found: Figures = {}
    for name, value in runs[0].items():
        values = [run.get(name) for run in runs]
        if isinstance(value, dict):
            if inner := medians([v for v in values if isinstance(v, dict)]):
                found[name] = inner
        elif all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            found[name] = round(statistics.median(v for v in values if v is not None), 3)
    return found
