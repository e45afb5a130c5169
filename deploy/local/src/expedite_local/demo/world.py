"""The demo world: everyone around Expedite, over public interfaces only."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from expedite_local import seeding
from expedite_local.demo.client import Api
from expedite_local.demo.crews import Crew
from expedite_local.demo.customers import Customers, Office
from expedite_local.demo.invoices import PlannedOrder, plan
from expedite_local.demo.planner import Planner

PREPARED = 400  # orders of a live run whose demand the opening stock covers; the planner buys what comes after
STALL_S = 180.0  # no order ended for so long: the run is stuck
CREW = {"LON": "tom", "MAN": "priya", "LIL": "chloe", "SYD": "jack"}


@dataclass
class Progress:
    """What happened so far, for people to read."""

    done: Counter[str] = field(default_factory=Counter)
    open_orders: int = 0
    problems: list[str] = field(default_factory=list)


class Stuck(Exception):
    """Orders did not reach their end."""


class World:
    """Feeders, crews, planner, office and customers of one run. `now` tells business time."""

    def __init__(
        self,
        urls: dict[str, str],
        carriers_url: str,
        keys: dict[str, str],
        webhooks: dict[str, str],
        now: Callable[[], datetime],
        *,
        seed: int,
        speed: float,
        told: Callable[[str], None],
    ) -> None:
        self.seed, self.speed, self.told, self.carriers_url = seed, speed, told, carriers_url
        self.progress = Progress()
        done = self.progress.done
        self.shop, self.crew = Api(urls, keys["shop"]), Api(urls, keys["crew"])
        self.planner, self.operator = Api(urls, keys["planner"]), Api(urls, keys["operator"])
        self.customers = Customers(self.shop, self.operator, webhooks, now, done)
        shorts: set[str] = set()
        self.parties: list[Any] = [
            *(Crew(self.crew, warehouse, by, done, shorts) for warehouse, by in CREW.items()),
            Planner(self.planner, done, lead_s=max(1.0, min(20.0, 6 * 3600 / speed))),
            Office(self.operator, done),
        ]

    async def prepare(self, count: int | None) -> None:
        """Load master data and put stock on the shelves for the orders to come."""
        await seeding.load_master_data(self.operator, self.carriers_url, self.told)
        demand: Counter[str] = Counter()
        for order in plan(count or PREPARED, self.seed):
            demand.update({line.sku: line.quantity for line in order.lines})
        reference = f"opening-{self.seed}-{count or PREPARED}"
        await seeding.load_opening_stock(self.operator, dict(demand), self.seed, reference, self.told)
        await self._intake_knows_products()

    async def _intake_knows_products(self) -> None:
        """Wait until intake is ready: products travel to it as events."""
        for _ in range(600):
            response = await self.operator.send("GET", "order-intake", "/readyz")
            if response.status_code == 200:
                return
            await asyncio.sleep(0.1)
        raise Stuck("order-intake did not become ready: it heard of no products")

    async def run(self, stop: asyncio.Event, *, count: int | None, pace_s: float) -> None:
        """Play: `count` orders to their end, or live traffic until told to stop."""
        ended = asyncio.Event()
        parties = [asyncio.create_task(party.work(ended)) for party in self.parties]
        reporter = asyncio.create_task(self._report(ended))
        try:
            orders: Iterator[PlannedOrder] = iter(plan(count, self.seed)) if count else _endless(self.seed)
            await self.customers.post(orders, pace_s=pace_s, at_once=16, stop=stop)
            if count and not stop.is_set():
                self.told(f"{len(self.customers.orders)} orders accepted, now they run to their end")
                await self._until_all_ended(stop)
        finally:
            ended.set()
            for task in (*parties, reporter):  # nobody finishes a call to a system that is going away
                task.cancel()
            await asyncio.gather(*parties, reporter, return_exceptions=True)
            self.progress.problems += self.customers.problems
            await self.customers.close()

    async def _until_all_ended(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        changed_at, before = loop.time(), (-1, -1)
        while not stop.is_set():
            state = await self._standing()
            self.progress.open_orders = state[0]
            if state[0] == 0:
                return
            if state != before:
                changed_at, before = loop.time(), state
            if loop.time() - changed_at > STALL_S:
                stuck = await self.operator.items("order-intake", "/orders", state="received", limit=5)
                stuck += await self.operator.items("order-intake", "/orders", state="held", limit=5)
                names = ", ".join(order["order_id"] for order in stuck)
                raise Stuck(f"{state[0]} orders are not at their end and nothing moved for {STALL_S:.0f} s: {names} …")
            await asyncio.sleep(1.0)

    async def _standing(self) -> tuple[int, int]:
        """(open orders, a figure that moves while anything does), as the control tower counts."""
        open_orders = 0
        for state in ("received", "held"):
            after: str | None = None
            while True:
                page = await self.operator.get(
                    "order-intake", "/orders", state=state, limit=200, **({"after": after} if after else {})
                )
                open_orders += len(page["items"])
                after = page["next"]
                if after is None:
                    break
        return open_orders, sum(self.progress.done.values())

    async def _report(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            await asyncio.sleep(10.0)
            done = self.progress.done
            accepted = sum(n for name, n in done.items() if name.startswith("accepted"))
            self.told(
                f"{accepted} accepted, {done['packed']} packed, {done['handed over']} handed over, "
                f"{self.progress.open_orders} open"
            )

    async def close(self) -> None:
        for api in (self.shop, self.crew, self.planner, self.operator):
            await api.close()


def _endless(seed: int) -> Iterator[PlannedOrder]:
    """The real invoices, then drawn orders for ever."""
    for generation in itertools.count(seed):
        yield from plan(PREPARED, generation)
