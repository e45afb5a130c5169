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
TELL_S = 3.0
WARM_UP = 100
FEW = 200
LAST = ("board", "shipped", "told")
"""The ends of the saga: all three count. The board is nearly always the last and by far the cheapest to ask, so it is the one
that is watched; the two others are asked when it is full."""


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
            total = max([await reached(ground, hop, count, run=run, crew=crew) for hop in LAST]) - began
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


async def reached(
    ground: Ground, hop: str, wanted: int, before: int = 0, *, run: Posted | None = None, crew: Crew | None = None
) -> float:
    """Wait until so many orders have reached a hop, of `run` or, without one, of all that ever did; telling how far they
    are. The moment (of perf_counter) at which the question was put that found them all. Raises Invalid when nothing moves."""
    found, began = -1, time.perf_counter()
    moved = told_at = began
    while True:
        now = time.perf_counter()
        if run:
            now, count = await _of_these(ground, hop, run)
        else:
            count = await ground.books.orders_at(hop)
        if count != found:
            found, moved = count, now
        if found >= wanted:
            return now
        if now - told_at > TELL_S:
            told_at = now
            told(f"{hop}: {found - before:,} of {wanted - before:,}")
        if now - moved > STALL_S:
            why = await ground.diagnosis()
            raise Invalid(f"nothing moves: {found - before:,} of {wanted - before:,} are {hop}\n{why}")
        if crew is not None:
            crew.alive()
        # Counting is work for the database that is measured: rarely while the end is far.
        left_s = (now - began) * (wanted - found) / max(found - before, 1)
        await asyncio.sleep(min(max(left_s / 4, GLANCE_S), TELL_S))


async def _of_these(ground: Ground, hop: str, run: Posted) -> tuple[float, int]:
    """When the last question was put, and how many orders of a run reached a hop: by a few of them, until those are all there.
    To count twenty thousand costs the database and us 20 ms each time."""
    few = run.ids[:: max(1, len(run.ids) // FEW)]
    asked = time.perf_counter()
    there = await ground.books.of_these_at(hop, Posted(few, run.since))
    if there < len(few):
        return asked, len(run.ids) * there // len(few)
    return time.perf_counter(), await ground.books.of_these_at(hop, run)


async def up_to_reserved(ground: Ground, orders: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All orders from one bulk request until inventory has decided on each: reserved or backordered."""
    body, count = body_of(orders), len(orders)
    before = await _decided(ground)
    watch = ground.cpu()
    began = time.perf_counter()
    posting = asyncio.create_task(post_bulk(ground.shop, body))
    moved, found, told_at = began, 0, began
    while found < count:
        await asyncio.sleep(GLANCE_S)
        now, decided = time.perf_counter(), await _decided(ground) - before
        moved = now if decided != found else moved
        found = decided
        if now - told_at > TELL_S:
            told_at = now
            told(f"reserved or backordered: {found:,} of {count:,}")
        if now - moved > STALL_S:
            why = await ground.diagnosis()
            raise Invalid(f"nothing moves: inventory has decided on {found:,} of {count:,}\n{why}")
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
