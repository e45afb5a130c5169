"""What shops post, the same in every run: orders drawn from their name, and master data and stock for them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from expedite_bench.books import Books
from expedite_bench.wire import Client
from expedite_local import seeding
from expedite_local.demo.client import Api

WAREHOUSE, ELSEWHERE = "LON", "MAN"
SKUS, SPARE = 200, 4
STOCK = 500_000


def order(name: str, skus: Sequence[str], *, urgent: bool = False) -> dict[str, Any]:
    """A paid order of two lines by a customer nobody shares: no check holds it."""
    drawn = random.Random(name)
    return {
        "channel": "web",
        "reference": name,
        "currency": "GBP",
        "payment_state": "paid",
        "customer": {
            "name": f"Customer {name}",
            "email": f"{name}@example.com",
            "ship_to": {"line1": f"{name} High Street", "city": "London", "postcode": "SW1A 1AA", "country": "GB"},
        },
        "lines": [
            {"sku": sku, "quantity": drawn.randint(1, 3), "unit_price": "2.50"} for sku in drawn.sample(list(skus), 2)
        ],
        "tags": ["urgent"] if urgent else [],
    }


@dataclass(frozen=True)
class Goods:
    """SKUs in stock in the crew's warehouse; `apart` in another one only; `scarce` nowhere yet."""

    skus: list[str]
    apart: list[str]
    scarce: list[str]


async def prepare(api: Api, books: Books, services: Sequence[str], carriers_url: str) -> Goods:
    """Master data of the services that run, and stock that no run uses up. Returns when intake knows every product: an
    order that comes before its product is held."""
    if "shipping" in services and "prioritizer" in services:
        await seeding.load_master_data(api, carriers_url, lambda _: None)
    else:
        await _little(api, services)
    known = [product["sku"] for product in seeding.read("products")]
    goods = Goods(known[:SKUS], known[SKUS : SKUS + SPARE], known[SKUS + SPARE : SKUS + 2 * SPARE])
    await stock(api, dict.fromkeys(goods.skus, STOCK), WAREHOUSE, "bench")
    await stock(api, dict.fromkeys(goods.apart, STOCK), ELSEWHERE, "bench-apart")
    async with asyncio.timeout(60):
        # Being ready is not enough: intake is as soon as it knows one product, and they come as several batches of events.
        while await books.value("order-intake", "SELECT count(*) FROM product") < len(known):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.2)
        while (await api.send("GET", "order-intake", "/readyz")).status_code != 200:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.2)
    return goods


async def _little(api: Api, services: Sequence[str]) -> None:
    rows = [("order-intake", "/channels", "channel_id", "channels"), ("inventory", "/warehouses", "warehouse_id", "warehouses")]  # fmt: skip
    rows += [("prioritizer", "/people", "person_id", "people")] if "prioritizer" in services else []
    for service, path, key, name in rows:
        for row in seeding.read(name):
            await api.put(service, f"{path}/{row[key]}", {k: v for k, v in row.items() if k != key})
    products = seeding.read("products")
    for start in range(0, len(products), 200):
        await api.put("inventory", "/products", products[start : start + 200])


async def stock(api: Api, quantities: dict[str, int], warehouse: str, reference: str) -> None:
    """Put goods on the shelves; the reference makes it happen once."""
    lines = [{"sku": sku, "warehouse_id": warehouse, "quantity": n} for sku, n in quantities.items()]
    response = await api.post(
        "inventory", "/stock/opening", {"lines": lines, "reason": "bench", "reference": reference}
    )
    response.raise_for_status()


def body_of(orders: Sequence[dict[str, Any]]) -> bytes:
    """The body of a bulk request."""
    return b"\n".join(map(orjson.dumps, orders))


async def post_bulk(shop: Client, body: bytes) -> tuple[list[str], float]:
    """Post one bulk request: ids in the order of its lines, and the seconds until the last one was durable. Raises
    RuntimeError when one was refused or held."""
    began = time.perf_counter()
    answer = await shop.ask("POST", "/orders/bulk", body, headers={"Content-Type": "application/x-ndjson"})
    took = time.perf_counter() - began
    rows = [orjson.loads(line) for line in answer.body.splitlines() if line]
    if answer.status != 200 or not rows or "summary" not in rows[-1]:
        raise RuntimeError(f"bulk: {answer.status} {answer.body[:500].decode(errors='replace')}")
    summary = rows.pop()["summary"]
    if summary["accepted"] != len(rows) or summary["held"]:
        raise RuntimeError(f"bulk: {summary}; first: {rows[0]}")
    return [row["order_id"] for row in rows], took


async def post_one(shop: Client, wanted: dict[str, Any]) -> tuple[str, float, float]:
    """Post one order: its id, the epoch seconds before and after."""
    body = orjson.dumps(wanted)
    began = time.time()
    answer = await shop.ask("POST", "/orders", body)
    ended = time.time()
    if answer.status != 202:
        raise RuntimeError(f"order: {answer.status} {answer.body[:500].decode(errors='replace')}")
    return answer.json()["order_id"], began, ended
