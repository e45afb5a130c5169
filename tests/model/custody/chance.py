"""Everything a run leaves to chance is asked here, so that a run is its list of answers: recorded, played again, cut."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """Answers by a seed, or from a script. A script that is over answers 0, which each question makes the calm answer."""

    def __init__(self, seed: int = 0, script: Sequence[int] | None = None) -> None:
        self._random, self._script = random.Random(seed), script
        self.taken: list[int] = []

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        if self._script is None:
            answer = int(self._random.random() * n)
        else:
            answer = self._script[len(self.taken)] % n if len(self.taken) < len(self._script) else 0
        self.taken.append(answer)
        return answer

    def likely(self, share: float) -> bool:
        """True in this share of all cases."""
        if self._script is not None:
            return self.below(2) == 1
        answer = self._random.random() < share
        self.taken.append(int(answer))
        return answer

    def weighted(self, weights: Sequence[int]) -> int:
        """An index, each as likely as its weight says."""
        if self._script is not None:
            return self.below(len(weights))
        at = self._random.random() * sum(weights)
        index = 0
        while (at := at - weights[index]) >= 0 and index + 1 < len(weights):
            index += 1
        self.taken.append(index)
        return index

    def pick(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def some(self, items: Sequence[T]) -> list[T]:
        """At least one of the items, in their order."""
        start, count = self.below(len(items)), 1 + self.below(len(items))
        chosen = {(start + i) % len(items) for i in range(count)}
        return [item for i, item in enumerate(items) if i in chosen]


def shortest(answers: Sequence[int], fails: Callable[[Sequence[int]], int | None], tries: int = 600) -> list[int]:
    """Cut answers out of a failing run as long as it fails alike. `fails` plays a script and tells the length of its
    trace when it still fails, None when it does not; at most so many scripts are played."""
    best = list(answers)
    length = fails(best) or len(best)
    size = max(1, len(best) // 2)
    while size and tries > 0:
        at, cut = 0, False
        while at < len(best) and tries > 0:
            for script in (
                best[:at] + best[at + size :],
                best[:at] + [0] * len(best[at : at + size]) + best[at + size :],
            ):
                if script == best:
                    continue
                tries -= 1
                found = fails(script)
                if found is not None and (found, len(script)) < (length, len(best)):
                    best, length, cut = script, found, True
                    break
            else:
                at += size
        size = size // 2 if not cut or size > 1 else size
        if size == 1 and not cut:
            break
    return best
