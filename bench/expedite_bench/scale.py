"""More copies of a service's worker: how they split the work, and that nothing is lost or doubled when one freezes, is
given up by the group, and comes back as a zombie with a batch in its hands."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from expedite_bench.bench import Bench, Figures, Size
from expedite_bench.flow import up_to_reserved, warm_up
from expedite_bench.ground import Ground, told
from expedite_bench.orders import order

_CONSUMED = "expedite_events_consumed_total"


async def run(ground: Ground, size: Size) -> Figures:
    await warm_up(ground)
    (service,) = ground.scale or {"inventory": 1}
    count, name = size["orders"], ground.name("q")
    told(f"{count:,} orders until reserved, {ground.scale or 'one copy of everything'}")
    before = await consumed(ground, service)
    quiet = await up_to_reserved(ground, [order(f"{name}-{n}", ground.goods.skus) for n in range(count)])
    taken = {copy: n - before[copy] for copy, n in (await consumed(ground, service)).items()}
    name = ground.name("r")
    frozen: list[str] = []
    freezing = asyncio.create_task(_freeze_in_turn(ground, service, size["frozen_s"], frozen))
    told(f"{count:,} more, again until each copy was frozen for {size['frozen_s']:g} s")
    shaken: list[Figures] = []
    try:
        while len(set(frozen)) < len(taken) and not freezing.done():
            orders = [order(f"{name}-{len(shaken)}-{n}", ground.goods.skus) for n in range(count)]
            shaken.append(await up_to_reserved(ground, orders))
    finally:
        freezing.cancel()
        await asyncio.wait([freezing])
    if not freezing.cancelled():
        freezing.result()
    return {
        "orders": count * (1 + len(shaken)),
        "orders_per_s": quiet["orders_per_s"],
        "events_by_copy": taken,
        "cpu_ms_per_order": quiet["cpu"]["ms_per_order"],
        "shaken_orders_per_s": round(count * len(shaken) / sum(run["seconds"] for run in shaken), 1),
        "times_frozen": len(frozen),
    }


async def consumed(ground: Ground, service: str) -> dict[str, int]:
    """Events each copy of the service's standard worker has taken since its start."""
    copies = [p for p in ground.snapshot.processes if p.service == service and p.role == "standard"]
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        pages = [(await client.get(f"http://127.0.0.1:{p.port}/metrics")).text for p in copies]
    return {p.name: _taken(page) for p, page in zip(copies, pages, strict=True)}


def _taken(page: str) -> int:
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return int(sum(s.value for s in samples if s.name == _CONSUMED and s.labels["lane"] == "standard"))


async def _freeze_in_turn(ground: Ground, service: str, seconds: float, frozen: list[str]) -> None:
    """Longer than the group waits for a member and the database for a silent relay: others take over what it had, and
    when it goes on it still thinks that it owns them."""
    names: list[Any] = [p.name for p in ground.snapshot.processes if p.service == service and p.role == "standard"]
    while True:
        for name in names:
            await asyncio.sleep(seconds / 3)
            (pid,) = ground.pids(name)
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                os.kill(pid, signal.SIGCONT)
            frozen.append(name)


BENCH = Bench(
    name="scale",
    measures="one, two and three copies of inventory's worker: how they split the work, and that freezing each loses nothing",
    goals=(),
    run=run,
    full={"orders": 30_000, "frozen_s": 18.0},
    quick={"orders": 300, "frozen_s": 0.2},
    scales=("inventory", (1, 2, 3)),
)
