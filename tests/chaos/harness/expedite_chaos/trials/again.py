"""Rows 26 and 27: everything said twice, old events again, keys in disorder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from expedite_chaos.field import Field
from expedite_chaos.replay import Order, replay
from expedite_chaos.trial import Bite, Trial
from expedite_chaos.trials.grounds import DOUBLED, LINKED, STAMMER

OLD_S = 5.0
_TIMES = 3


def _said_again(order: Order, older_than_s: float = 0.0) -> Callable[[Field], Awaitable[Bite]]:
    """Everything that is on the topics is published again, several times while new things happen."""

    async def run(on: Field) -> Bite:
        again, times = 0, 1 if on.short else _TIMES
        for number in range(times):
            await asyncio.sleep(3.0)
            again += await replay(
                on.system.substrate.kafka_bootstrap, order=order, older_than_s=older_than_s, seed=on.seed + number
            )
        return Bite(times=times, bit={"events published again": again})

    return run


async def stammer(on: Field) -> Bite:
    """Every relay publishes each of its batches twice, and what it has read with the keys interleaved at random."""
    before = await on.twice()
    await asyncio.sleep(6.0 if on.short else 15.0)

    async def twice() -> dict[str, float]:
        return {"events on topics twice": await on.twice() - before}

    return Bite(bit={}, later=twice)


_DROPPED = ("duplicates dropped",)
TRIALS = (
    Trial(
        "26a", "all topics published again", "I3", _said_again("as it was"), bites=_DROPPED, short=True, ground=DOUBLED
    ),
    Trial(
        "26b", "every relay says everything twice, keys interleaved", "I3, I5", stammer, bites=_DROPPED, ground=STAMMER
    ),
    Trial(
        "27a",
        "old events again, keys interleaved",
        "I3, I5",
        _said_again("keys shuffled", OLD_S),
        bites=_DROPPED,
        ground=LINKED,
    ),
    Trial(
        "27b",
        "old events again in no order at all",
        "I3, I5",
        _said_again("shuffled", OLD_S),
        bites=_DROPPED,
        ground=LINKED,
    ),
)
