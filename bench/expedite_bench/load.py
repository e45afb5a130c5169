"""The load: shops that post orders, a crew that does whatever the queues offer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from typing import Any

from expedite_local import seeding
from expedite_local.demo.client import Api

WAREHOUSE, BY = "LON", "tom"
SKUS = 200
STOCK = 100_000
AT_ONCE = 32


def order(name: str, skus: list[str], *, urgent: bool = False) -> dict[str, Any]:
    """A paid order of two lines of a customer nobody shares: no check holds it."""
    rnd = random.Random(name)
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
            {"sku": sku, "quantity": rnd.randint(1, 3), "unit_price": "2.50"} for sku in rnd.sample(skus, 2)
        ],
        "tags": ["urgent"] if urgent else [],
    }  # fmt: skip


async def prepare(api: Api, carriers_url: str) -> list[str]:
    """Master data, and stock that no run uses up. The SKUs that are in stock."""
    await seeding.load_master_data(api, carriers_url, lambda _: None)
    skus = [product["sku"] for product in seeding.read("products")][:SKUS]
    lines = [{"sku": sku, "warehouse_id": WAREHOUSE, "quantity": STOCK} for sku in skus]
    response = await api.post("inventory", "/stock/opening", {"lines": lines, "reason": "bench", "reference": "bench"})
    response.raise_for_status()
    while (await api.send("GET", "order-intake", "/readyz")).status_code != 200:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.2)
    return skus


async def post_bulk(api: Api, orders: list[dict[str, Any]]) -> tuple[list[str], float]:
    """Post all of them in one bulk request. Their ids, and the real seconds until the last one was durable. Raises
    RuntimeError when one was refused or held."""
    body = b"\n".join(json.dumps(o).encode() for o in orders)
    began = time.perf_counter()
    response = await api.http.post(
        f"{api.urls['order-intake']}/orders/bulk",
        content=body,
        headers={"authorization": f"Bearer {api.key}", "content-type": "application/x-ndjson"},
        timeout=600.0,
    )
    took = time.perf_counter() - began
    rows = [json.loads(line) for line in response.text.splitlines() if line]
    if not response.is_success or not rows or "summary" not in rows[-1]:
        raise RuntimeError(f"bulk: {response.status_code} {response.text[:500]}")
    summary = rows.pop()["summary"]
    if summary["accepted"] != len(orders) or summary["held"]:
        raise RuntimeError(f"bulk: {summary}; first: {rows[0]}")
    return [row["order_id"] for row in rows], took


async def post_one(api: Api, wanted: dict[str, Any]) -> tuple[str, float, float]:
    """Post one order: its id, the monotonic time before and after."""
    began = time.monotonic()
    response = await api.send("POST", "order-intake", "/orders", json=wanted)
    ended = time.monotonic()
    response.raise_for_status()
    return response.json()["order_id"], began, ended


class BulkCrew:
    """Picks, packs and hands over all there is, `AT_ONCE` requests in flight, over the crews' own API."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.done: Counter[str] = Counter()

    async def work(self, stop: asyncio.Event) -> None:
        """Until told to stop; the floor and the dock side by side."""
        await asyncio.gather(self._forever(self._floor, stop), self._forever(self._dock, stop))

    async def _forever(self, step: Any, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not await step():
                await asyncio.sleep(0.2)

    async def _floor(self) -> int:
        tasks = await self.api.items("fulfillment", f"/warehouses/{WAREHOUSE}/queue", limit=500, kind="pick")
        waiting = iter(tasks)

        async def hand() -> None:
            for task in waiting:
                await self._pick(task)

        await asyncio.gather(*(hand() for _ in range(AT_ONCE)))
        return len(tasks)

    async def _pick(self, task: dict[str, Any]) -> None:
        path = f"/fulfilment-orders/{task['task_id']}"
        scans = [
            {"sku": line["sku"], "quantity": line["quantity"], "scan_id": f"{task['task_id']}/{line['line']}"}
            for line in task["lines"]
        ]
        picked = await self.api.post("fulfillment", f"{path}/scans", {"by": BY, "scans": scans})
        packed = await self.api.post("fulfillment", f"{path}/pack", {"by": BY}) if picked.is_success else picked
        self.done["packed" if packed.is_success else "refused on the floor"] += 1

    async def _dock(self) -> int:
        parcels = await self.api.items("shipping", f"/warehouses/{WAREHOUSE}/dock", limit=200)
        ready = [p["parcel_id"] for p in parcels if p["action"] == "hand_over"]
        if ready:
            body = {"by": BY, "parcel_ids": ready}
            response = await self.api.post("shipping", f"/warehouses/{WAREHOUSE}/hand-overs", body)
            response.raise_for_status()
            for result in response.json()["results"]:
                self.done["handed over" if result["outcome"] == "handed" else "refused at the dock"] += 1
        return len(ready)
