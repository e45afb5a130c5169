"""Everything a run leaves to chance is asked here, so that a run is its list of answers: recorded, played again, cut."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


Script = Sequence[Sequence[int]]  # the answers of each step; the first group is the beginning of the world


class Chance:
    """Answers by a seed, or from a script. Where a script has no answer it is 0, which each question makes the calm one."""

    def __init__(self, seed: int = 0, script: Script | None = None) -> None:
        self._random, self._script = random.Random(seed), script
        self.taken: list[list[int]] = [[]]

    def step(self) -> None:
        """From here on the answers belong to the next step, so that a step can be cut out without moving the others."""
        self.taken.append([])

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        group = self.taken[-1]
        if self._script is None:
            answer = int(self._random.random() * n)
        else:
            mine = self._script[len(self.taken) - 1] if len(self.taken) <= len(self._script) else ()
            answer = mine[len(group)] % n if len(group) < len(mine) else 0
        group.append(answer)
        return answer

    def likely(self, share: float) -> bool:
        """True in this share of all cases."""
        if self._script is not None:
            return self.below(2) == 1
        answer = self._random.random() < share
        self.taken[-1].append(int(answer))
        return answer

    def weighted(self, weights: Sequence[int]) -> int:
        """An index, each as likely as its weight says."""
        if self._script is not None:
            return self.below(len(weights))
        at = self._random.random() * sum(weights)
        index = 0
        while (at := at - weights[index]) >= 0 and index + 1 < len(weights):
            index += 1
        self.taken[-1].append(index)
        return index

    def pick(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def some(self, items: Sequence[T]) -> list[T]:
        """At least one of the items, in their order."""
        start, count = self.below(len(items)), 1 + self.below(len(items))
        chosen = {(start + i) % len(items) for i in range(count)}
        return [item for i, item in enumerate(items) if i in chosen]


def shortest(script: Script, fails: Callable[[Script], int | None], tries: int) -> Script:
    """Take orders away, cut steps out of a failing run, then calm what is left, as long as it fails alike. `fails` plays a script and tells
    the length of its trace when it still fails, None when it does not; at most so many scripts are played."""
    best, length = list(script), fails(script)
    if length is None:
        return script

    def better(other: Script) -> bool:
        nonlocal best, length, tries
        tries -= 1
        found = fails(other)
        if found is None or found > length:
            return False
        best, length = list(other), found
        return True

    for place, answer in enumerate(best[0]):
        if not answer and tries > 0:
            better([[*best[0][:place], 1, *best[0][place + 1 :]], *best[1:]])
    size = len(best) // 2
    while size and tries > 0:
        at = 1
        while at < len(best) and tries > 0:
            if not better(best[:at] + best[at + size :]):
                at += size
        size //= 2
    for at in range(len(best)):
        for place, answer in enumerate(best[at]):
            if answer and tries > 0:
                better([*best[:at], [*best[at][:place], 0, *best[at][place + 1 :]], *best[at + 1 :]])
    return best
