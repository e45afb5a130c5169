"""`expedite seed`: the demo's master data and stock in a running system, through its APIs."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

import typer

from expedite_local import seeding, state
from expedite_local.demo.client import Api
from expedite_local.demo.invoices import plan
from expedite_local.errors import LocalError
from expedite_local.home import Home


def seed(
    orders: Annotated[int, typer.Option(min=1, help="Put stock on the shelves for about so many orders.")] = 200,
) -> None:
    """Load products, warehouses, carriers, people, channels and opening stock. Twice changes nothing."""
    running = state.load(Home.current())
    if running is None or not running.running:
        raise LocalError("nothing runs here: start it with `expedite up`")
    asyncio.run(_seed(running, orders))


async def _seed(running: state.State, orders: int) -> None:
    api = Api(running.urls, running.api_keys["operator"])
    demand: Counter[str] = Counter()
    for order in plan(orders):
        demand.update({line.sku: line.quantity for line in order.lines})
    try:
        carriers_url = f"http://127.0.0.1:{running.ports['carriers']}"
        await seeding.load_master_data(api, carriers_url, typer.echo)
        await seeding.load_opening_stock(api, dict(demand), 1, f"seed-{orders}", typer.echo)
    finally:
        await api.close()
