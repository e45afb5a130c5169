"""Orders through the whole saga, or up to a hop of it, with the time of each hop: what several benches share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from expedite_bench.books import Posted
from expedite_bench.ground import STALL_S, Crew, Ground, Invalid, told
from expedite_bench.orders import body_of, order, post_bulk

GLANCE_S = 1.0
CLOSE_GLANCE_S = 0.1
"""As often as a peer is asked: the end of a run is not seen later than the end of theirs."""
TELL_S = 3.0
WARM_UP = 100
FEW = 200
LAST = ("board", "told", "shipped")
"""The ends of the saga: all three count. The board is mostly the last and by far the cheapest to ask, so it is watched first; the
two others are asked when it is full."""


async def warm_up(ground: Ground) -> None:
    """A few orders through everything, so that no figure holds a first time: urgent ones take the express lane."""
    name = ground.name("w")
    told(f"warming up with {WARM_UP} orders")
    await through(ground, [order(f"{name}-{n}", ground.goods.skus, urgent=n % 2 == 0) for n in range(WARM_UP)])


async def through(ground: Ground, orders: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """All orders from one bulk request until each is shipped, its message decided and on the board as such, a crew at
    work all the while. Seconds by hop (from the first byte posted), orders per second, CPU by process; and the ids."""
    body, count = body_of(orders), len(orders)
    async with ground.crew() as crew:
        watch = ground.cpu(crew=crew.pid)
        began, epoch = time.perf_counter(), time.time()
        with ground.profiling():
            ids, accepted_s = await post_bulk(ground.shop, body)
            run = Posted(ids, epoch)
            total = max([await _all_reached(ground, hop, run, crew) for hop in LAST]) - began
        cpu = watch.stop(count)
        mailed = await ground.books.mailed()
    seconds = {"accepted": accepted_s}
    for hop in ("prioritised", "reserved", "packed", "shipped"):
        seconds[hop] = max((await ground.books.moments(hop, run)).values()) - epoch
    seconds["message row"] = await ground.books.told_at(run) - epoch
    seconds["on the board"] = total
    figures = {
        "orders": count,
        "orders_per_s": round(count / total, 1),
        "seconds": {hop: round(s, 2) for hop, s in seconds.items()},
        "mails_left_by_then": mailed,
        "cpu": cpu,
        "crew": crew.done,
    }
    return figures, ids


async def reached(ground: Ground, hop: str, wanted: int, before: int = 0, *, crew: Crew | None = None) -> None:
    """Wait until so many of all orders that ever were have reached a hop, telling how far they are. Raises Invalid when
    nothing moves."""
    progress = _Progress(ground, hop, wanted - before, crew)
    while (found := await ground.books.orders_at(hop)) < wanted:
        await progress.pause(found - before)


async def _all_reached(ground: Ground, hop: str, run: Posted, crew: Crew) -> float:
    """Wait until every order of a run has reached a hop; the moment (of perf_counter) at which the question was put that found
    the last of them. A few are asked about, and all that are left only when those are there: to count twenty thousand costs the
    database and us 20 ms."""
    left, progress = list(run.ids), _Progress(ground, hop, len(run.ids), crew, CLOSE_GLANCE_S)
    while True:
        few, asked = left[:: max(1, len(left) // FEW)], time.perf_counter()
        there = await ground.books.of_these_at(hop, Posted(few, run.since))
        if len(there) < len(few):
            await progress.pause(len(run.ids) - len(left) + len(left) * len(there) // len(few))
            continue
        if len(few) < len(left):
            asked = time.perf_counter()
            there = await ground.books.of_these_at(hop, Posted(left, run.since))
        left = [order_id for order_id in left if order_id not in there]
        if not left:
            return asked
        await progress.pause(len(run.ids) - len(left))


class _Progress:
    """Of a wait for orders: tells of it, and knows when nothing moves."""

    def __init__(
        self, ground: Ground, hop: str, wanted: int, crew: Crew | None = None, glance_s: float = GLANCE_S
    ) -> None:
        self._ground, self._hop, self._wanted, self._crew, self._glance_s = ground, hop, wanted, crew, glance_s
        self._found = -1
        self._began = self._moved = self._told_at = time.perf_counter()

    async def note(self, found: int) -> None:
        """So many are there now. Raises Invalid when that has not changed for long."""
        now = time.perf_counter()
        if found != self._found:
            self._found, self._moved = found, now
        if now - self._told_at > TELL_S:
            self._told_at = now
            told(f"{self._hop}: {found:,} of {self._wanted:,}")
        if now - self._moved > STALL_S:
            why = await self._ground.diagnosis()
            raise Invalid(f"nothing moves: {found:,} of {self._wanted:,} are {self._hop}\n{why}")
        if self._crew is not None:
            self._crew.alive()

    async def pause(self, found: int) -> None:
        """Note it and wait until the next look, long while the end is far: counting is work for the database that is measured."""
        await self.note(found)
        left_s = (time.perf_counter() - self._began) * (self._wanted - found) / max(found, 1)
        await asyncio.sleep(min(max(left_s / 4, self._glance_s), TELL_S))


async def up_to_reserved(ground: Ground, orders: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All orders from one bulk request until inventory has decided on each: reserved or backordered."""
    body, count = body_of(orders), len(orders)
    before = await _decided(ground)
    watch = ground.cpu()
    began = time.perf_counter()
    posting = asyncio.create_task(post_bulk(ground.shop, body))
    progress = _Progress(ground, "reserved or backordered", count, glance_s=CLOSE_GLANCE_S)
    while (found := await _decided(ground) - before) < count:
        await progress.pause(found)
        if posting.done() and posting.exception():
            posting.result()
    total = time.perf_counter() - began
    cpu = watch.stop(count)
    ids, _ = await posting
    return {"ids": ids, "orders_per_s": round(count / total, 1), "seconds": round(total, 2), "cpu": cpu}


async def _decided(ground: Ground) -> int:
    topics = [f"{name}{lane}" for name in ("StockReserved", "OrderBackordered") for lane in ("", ".express")]
    sql = "SELECT count(DISTINCT key) FROM ledger WHERE topic = ANY($1::text[])"
    return int(await ground.books.value("inventory", sql, topics))
