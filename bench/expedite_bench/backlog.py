"""A backlog over the whole pipeline: regular orders before the prioritizer, before inventory and in the pick queue.

They are posted in bulk while the standard lanes of prioritizer and inventory are braked (SIGSTOP and SIGCONT by turns), so
that a third of them waits in each place. When the brakes are off everything drains at full speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from expedite_bench.flow import TELL_S, reached
from expedite_bench.ground import STALL_S, Ground, Invalid, told
from expedite_bench.orders import body_of, order, post_bulk

CHUNK = 5_000
STOPPED_S, BREATH_S = 2.0, 0.15
"""A braked process breathes before its consumer group takes it for dead."""
TICK_S = 0.4


class Brake:
    """Holds the standard lane of one service back, or lets it run."""

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids
        self.held = False
        self._since = 0.0

    async def turn(self, *, hold: bool) -> None:
        """Hold or let go; a process that is held breathes from time to time."""
        if self.held and hold and time.monotonic() - self._since > STOPPED_S:
            self._signal(signal.SIGCONT)
            await asyncio.sleep(BREATH_S)
            self._hold()
        elif hold and not self.held:
            self._hold()
        elif self.held and not hold:
            self.release()

    def _hold(self) -> None:
        self._signal(signal.SIGSTOP)
        self.held, self._since = True, time.monotonic()

    def release(self) -> None:
        self._signal(signal.SIGCONT)
        self.held = False

    def _signal(self, number: int) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@dataclass
class Backlog:
    """Regular orders that wait, in the order they were posted."""

    ids: list[str] = field(default_factory=list)
    queued_at_start: int = 0

    async def places(self, ground: Ground) -> dict[str, int]:
        """How many wait where now."""
        seen, reserved = await _seen(ground), await ground.books.orders_at("reserved")
        total = await ground.books.orders_at("accepted")
        packed = await ground.books.orders_at("packed")
        return {
            "before the prioritizer": total - seen,
            "before inventory": seen - reserved,
            "in the pick queue": reserved - packed,
        }


async def _seen(ground: Ground) -> int:
    return await ground.books.orders_at("prioritised")


@asynccontextmanager
async def queued(ground: Ground, count: int) -> AsyncIterator[Backlog]:
    """`count` regular orders, a third in each place. The brakes come off when the block begins: it drains. What is left
    when the block ends goes on up to the pick queue before this returns."""
    told(f"posting {count:,} regular orders: a third before the prioritizer, before inventory, in the pick queue each")
    name = ground.name("b")
    base = {hop: await ground.books.orders_at(hop) for hop in ("prioritised", "reserved")}
    brakes = [Brake(ground.pids("prioritizer-standard")), Brake(ground.pids("inventory-standard"))]
    backlog = Backlog()
    posting = asyncio.create_task(_post(ground, name, count, backlog))
    try:
        await _fill(ground, count, backlog, base, brakes, posting)
        for brake in brakes:
            brake.release()
        backlog.queued_at_start = sum((await backlog.places(ground)).values())
        yield backlog
    finally:
        posting.cancel()
        for brake in brakes:
            brake.release()
    told("what is left goes on to the pick queue")
    await reached(ground, "reserved", base["reserved"] + count, base["reserved"], None)


async def _post(ground: Ground, name: str, count: int, backlog: Backlog) -> None:
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        ids, _ = await post_bulk(ground.shop, body_of([order(f"{name}-{n}", ground.goods.skus) for n in numbers]))
        backlog.ids += ids


async def _fill(
    ground: Ground, count: int, backlog: Backlog, base: dict[str, int], brakes: list[Brake], posting: asyncio.Task[None]
) -> None:
    before_prioritizer, before_inventory = brakes
    told_at = moved = time.monotonic()
    state: tuple[int, int, int] = (0, 0, 0)
    while True:
        if posting.done():
            posting.result()
        seen = await _seen(ground) - base["prioritised"]
        reserved = await ground.books.orders_at("reserved") - base["reserved"]
        posted = len(backlog.ids)
        await before_prioritizer.turn(hold=seen >= posted * 2 // 3)
        await before_inventory.turn(hold=reserved >= posted // 3)
        if posting.done() and seen >= count * 2 // 3 and reserved >= count // 3:
            return
        now = time.monotonic()
        if (posted, seen, reserved) != state:
            state, moved = (posted, seen, reserved), now
        if now - moved > STALL_S:
            raise Invalid(f"the backlog does not grow: {posted:,} posted, {seen:,} seen, {reserved:,} reserved")
        if now - told_at > TELL_S:
            told_at = now
            told(f"posted {posted:,}, prioritised {seen:,}, reserved {reserved:,}")
        await asyncio.sleep(TICK_S)
