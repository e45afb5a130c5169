"""Urgent orders: from POST to reserved, and to the pick queue ahead of everything not urgent; idle, then under backlog."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from expedite_bench import peers
from expedite_bench.backlog import queued
from expedite_bench.bench import Bench, Figures, Goal, Size
from expedite_bench.books import Posted
from expedite_bench.flow import reached, warm_up
from expedite_bench.ground import Ground, Invalid, told
from expedite_bench.measure import quantiles
from expedite_bench.orders import order, post_one
from expedite_bench.pick_queue import QueueWatch
from expedite_local.urgency import punctual


async def urgent(ground: Ground, count: int, every_s: float) -> dict[str, Any]:
    """Urgent orders at a steady pace; milliseconds from just before each POST."""
    name, watch = ground.name("u"), QueueWatch(ground)
    posted: dict[str, float] = {}
    answered: list[float] = []
    since = time.time()

    async def one(number: int) -> None:
        order_id, began, ended = await post_one(ground.shop, order(f"{name}-{number}", ground.goods.skus, urgent=True))
        posted[order_id] = began
        answered.append(ended - began)
        watch.awaited.add(order_id)

    with punctual():
        async with asyncio.TaskGroup() as group:
            looking = [group.create_task(watch.look()), group.create_task(watch.ask())]
            posting = []
            for number in range(count):
                posting.append(group.create_task(one(number)))
                await asyncio.sleep(every_s)
            await asyncio.wait(posting)
            watch.closed.set()
            await asyncio.wait(looking)
    reserved = await ground.books.moments("reserved", Posted(list(posted), since))
    if len(reserved) != count:
        raise Invalid(f"{count - len(reserved)} urgent orders were not reserved")
    return {
        "answer_ms": quantiles(answered),
        "reserved_ms": quantiles([reserved[order_id] - began for order_id, began in posted.items()]),
        "queue_ms": quantiles([watch.seen[order_id] - began for order_id, began in posted.items()]),
        "queue_order_checked": watch.asked,
    }


async def run(ground: Ground, size: Size) -> Figures:
    await warm_up(ground)
    told(f"{size['urgent']} urgent orders on an idle system, one every {size['every_s'] * 1000:.0f} ms")
    before = await ground.books.orders_at("shipped")
    idle = await urgent(ground, size["urgent"], size["every_s"])
    # Else the first thing the crew does beside the backlog were to pack all of them in one moment, as no shop's orders come.
    async with ground.crew():
        await reached(ground, "shipped", before + size["urgent"], before)
    async with queued(ground, size["backlog"], drains=size["drains"]) as backlog, ground.crew():
        waiting = await backlog.places(ground)
        told(f"draining ({waiting}); {size['urgent']} urgent orders meanwhile")
        under = await urgent(ground, size["urgent"], size["every_s"])
        left = await backlog.places(ground)
    return {
        "idle": idle,
        "backlog": under | {"waiting_at_first": waiting, "waiting_at_last": left},
        "p99_ratio": {
            "reserved": round(under["reserved_ms"]["p99"] / idle["reserved_ms"]["p99"], 2),
            "queue": round(under["queue_ms"]["p99"] / idle["queue_ms"]["p99"], 2),
        },
    }


async def beside(ground: Ground, size: Size, _: Figures) -> Figures:
    """Three bare hops with express twins on the same servers, our services stopped."""
    await peers.alone(ground)
    return {"lane_probe": await peers.lane_probe(ground, size["backlog"] * 6 // 10, size["probed"])}


BENCH = Bench(
    name="express",
    measures="urgent orders from POST to reserved and to the pick queue: idle, then with 100,000 regular ones draining",
    goals=(
        Goal("p99_ratio.queue", "<=", 1.5),
        Goal("p99_ratio.reserved", "<=", 1.5),
        Goal("backlog.queue_ms.p99", "<=", 250, "ms"),
        Goal("backlog.reserved_ms.p99", "<=", 250, "ms"),
    ),
    run=run,
    beside=beside,
    full={"urgent": 800, "every_s": 1 / 15, "backlog": 100_000, "drains": True, "probed": 400},
    quick={"urgent": 20, "every_s": 0.1, "backlog": 300, "drains": True, "probed": 20},
    runs=3,
)
