"""Regular orders deep in the backlog are raised to urgent: from each place they can wait, until they lead the queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext

from expedite_bench.backlog import Backlog, queued
from expedite_bench.bench import Bench, Figures, Goal, Size
from expedite_bench.flow import warm_up
from expedite_bench.ground import Ground, Invalid, told
from expedite_bench.measure import quantiles
from expedite_bench.pick_queue import QueueWatch
from expedite_local.urgency import punctual

_PRIORITISED = "SELECT order_id FROM orders WHERE order_id = ANY($1::text[])"
_AT_INVENTORY = "SELECT order_id FROM stock_order WHERE order_id = ANY($1::text[])"
_QUEUED = """
SELECT split_part(task_id, '-F', 1) FROM task
WHERE task_id = ANY($1::text[]) AND queue LIKE 'open/%' AND doc::json ->> 'tier' <> 'urgent'
"""
Known = Callable[[list[str]], Awaitable[set[str]]]


class Places:
    """Where orders wait, asked by their keys."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground

    async def _of(self, service: str, sql: str, ids: list[str]) -> set[str]:
        return {row[0] for row in await self.ground.books.rows(service, sql, ids)}

    async def before_prioritizer(self, ids: list[str]) -> set[str]:
        return set(ids) - await self._of("prioritizer", _PRIORITISED, ids)

    async def before_inventory(self, ids: list[str]) -> set[str]:
        seen = await self._of("prioritizer", _PRIORITISED, ids)
        return seen - await self._of("inventory", _AT_INVENTORY, ids)

    async def in_queue(self, ids: list[str]) -> set[str]:
        return await self._of("fulfillment", _QUEUED, [f"{order_id}-F1" for order_id in ids])


async def raised(
    ground: Ground, backlog: Backlog, place: str, waits: Known, watch: QueueWatch, size: Size
) -> list[tuple[str, float]]:
    """Raise orders of one place at a steady pace, the deepest first: their ids and the epoch seconds of each request."""
    operator = ground.client("prioritizer", "operator")
    deepest = iter(_deepest(backlog.ids, await waits(backlog.ids)))
    begun: list[tuple[str, float]] = []
    body = {"tier": "urgent", "reason": "bench: the customer called"}

    async def one(order_id: str) -> None:
        begun.append((order_id, time.time()))
        watch.awaited.add(order_id)
        await operator.json("POST", f"/orders/{order_id}/raise", body)

    try:
        async with asyncio.TaskGroup() as group:
            while len(begun) < size["each"]:
                order_id = next(deepest, None)
                if order_id is None:
                    raise Invalid(f"the backlog {place} drained before {size['each']} orders were raised from it")
                if await waits([order_id]):
                    group.create_task(one(order_id))
                    await asyncio.sleep(size["every_s"])
    finally:
        operator.close()
    return begun


def _deepest(ids: list[str], there: set[str]) -> Iterator[str]:
    """From the one that would come last on."""
    return (order_id for order_id in reversed(ids) if order_id in there)


def _draining(ground: Ground, size: Size) -> AbstractAsyncContextManager[object]:
    """People work off the queue meanwhile; in short nothing drains, for it would be gone at once."""
    return ground.crew() if size["drains"] else nullcontext()


async def run(ground: Ground, size: Size) -> Figures:
    await warm_up(ground)
    places = Places(ground)
    wanted: dict[str, Known] = {
        "before the prioritizer": places.before_prioritizer,
        "before inventory": places.before_inventory,
        "in the pick queue": places.in_queue,
    }
    watch = QueueWatch(ground)
    async with queued(ground, size["backlog"], drains=size["drains"]) as backlog:
        waiting = await backlog.places(ground)
        told(f"waiting: {waiting}; {size['each']} orders raised from each place meanwhile")
        async with _draining(ground, size):
            with punctual():
                async with asyncio.TaskGroup() as group:
                    looking = [group.create_task(watch.look()), group.create_task(watch.ask())]
                    raising = {
                        place: group.create_task(raised(ground, backlog, place, waits, watch, size))
                        for place, waits in wanted.items()
                    }
                    await asyncio.wait(raising.values())
                    watch.closed.set()
                    await asyncio.wait(looking)
    took = {place: [watch.seen[i] - at for i, at in task.result()] for place, task in raising.items()}
    return {
        "waiting_at_first": waiting,
        "ahead_ms": {place: quantiles(seconds) for place, seconds in took.items()},
        "all_ms": quantiles([second for seconds in took.values() for second in seconds]),
        "queue_order_checked": watch.asked,
    }


BENCH = Bench(
    name="overtake",
    measures="regular orders deep in a draining backlog of 100,000 raised to urgent, until they lead the pick queue",
    goals=(
        Goal("ahead_ms.before the prioritizer.p99", "<=", 1000, "ms"),
        Goal("ahead_ms.before inventory.p99", "<=", 1000, "ms"),
        Goal("ahead_ms.in the pick queue.p99", "<=", 1000, "ms"),
    ),
    run=run,
    full={"backlog": 100_000, "each": 300, "every_s": 0.1, "drains": True},
    quick={"backlog": 60, "each": 3, "every_s": 0.05, "drains": False},
    runs=3,
)
