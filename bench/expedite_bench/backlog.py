"""A backlog over the whole pipeline: regular orders before the prioritizer, before inventory and in the pick queue.

They are posted in bulk, a third of them each before both standard lanes run, while inventory's is braked, and while the
prioritizer's is braked too (SIGSTOP and SIGCONT). When the brakes are off everything drains at full speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from expedite_bench.flow import reached
from expedite_bench.ground import Ground, told
from expedite_bench.orders import body_of, order, post_bulk

CHUNK = 5_000
STOPPED_S, BREATH_S = 3.0, 0.15
"""A braked process breathes before its consumer group takes it for dead."""
BREATHES_FROM = 10_000
"""A smaller backlog would be gone with one breath: its brakes are held so shortly that a late return to the group is no
matter."""


class Brake:
    """Holds processes back for as long as `held` runs."""

    def __init__(self, pids: list[int], *, breathes: bool) -> None:
        self.pids, self.breathes = pids, breathes
        self._holding: asyncio.Task[None] | None = None

    def hold(self) -> None:
        self._holding = asyncio.create_task(self._held())

    def release(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
        self._signal(signal.SIGCONT)

    async def _held(self) -> None:
        self._signal(signal.SIGSTOP)
        while self.breathes:
            await asyncio.sleep(STOPPED_S)
            self._signal(signal.SIGCONT)
            await asyncio.sleep(BREATH_S)
            self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@dataclass
class Backlog:
    """Regular orders that wait, in the order they were posted."""

    ids: list[str] = field(default_factory=list)

    async def places(self, ground: Ground) -> dict[str, int]:
        """How many wait where now."""
        at = {hop: await ground.books.orders_at(hop) for hop in ("accepted", "prioritised", "reserved", "packed")}
        return {
            "before the prioritizer": at["accepted"] - at["prioritised"],
            "before inventory": at["prioritised"] - at["reserved"],
            "in the pick queue": at["reserved"] - at["packed"],
        }


@asynccontextmanager
async def queued(ground: Ground, count: int, *, drains: bool) -> AsyncIterator[Backlog]:
    """`count` regular orders, a third in each place. With `drains` the brakes come off when the block begins, else when it
    ends. What is left then goes on to the pick queue before this returns."""
    told(f"posting {count:,} regular orders: a third each before the prioritizer, before inventory, in the pick queue")
    third, name, backlog = count // 3, ground.name("b"), Backlog()
    base = {hop: await ground.books.orders_at(hop) for hop in ("prioritised", "reserved")}
    breathes = count >= BREATHES_FROM
    inventory = Brake(ground.pids("inventory-standard"), breathes=breathes)
    prioritizer = Brake(ground.pids("prioritizer-standard"), breathes=breathes)
    try:
        await _post(ground, f"{name}q", third, backlog)
        await reached(ground, "reserved", base["reserved"] + third, base["reserved"])
        await reached(ground, "queued", base["reserved"] + third, base["reserved"])
        inventory.hold()
        await _post(ground, f"{name}i", third, backlog)
        await reached(ground, "prioritised", base["prioritised"] + 2 * third, base["prioritised"])
        prioritizer.hold()
        await _post(ground, f"{name}p", count - 2 * third, backlog)
        if drains:
            prioritizer.release()
            inventory.release()
        yield backlog
    finally:
        prioritizer.release()
        inventory.release()
    told("what is left goes on to the pick queue")
    await reached(ground, "reserved", base["reserved"] + count, base["reserved"])


async def _post(ground: Ground, name: str, count: int, backlog: Backlog) -> None:
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        ids, _ = await post_bulk(ground.shop, body_of([order(f"{name}-{n}", ground.goods.skus) for n in numbers]))
        backlog.ids += ids
