"""The planner's desk: purchased goods arrive for backorders, shelves that fell short are counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict

from expedite_local.demo.client import Api

ROUND_S = 1.0


class Planner:
    """Watches backorders and shelves in count. Goods come after `lead_s` real seconds, more than is missing."""

    def __init__(self, api: Api, done: Counter[str], lead_s: float) -> None:
        self.api, self.done, self.lead_s = api, done, lead_s
        self._ordered: dict[str, float] = {}
        self._serial = 0

    async def work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._replenish()
                await self._count()
            except RuntimeError:
                self.done["planner errors"] += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), ROUND_S)

    async def _replenish(self) -> None:
        missing: dict[str, int] = defaultdict(int)
        place: dict[str, str] = {}
        for row in await self.api.items("inventory", "/backorders", limit=500):
            missing[row["sku"]] += row["quantity"]
            place[row["sku"]] = row.get("warehouse_id") or "LON"
        now = asyncio.get_running_loop().time()
        for sku in missing:
            self._ordered.setdefault(sku, now)
        due = {sku: n for sku, n in missing.items() if now - self._ordered[sku] >= self.lead_s}
        by_place: dict[str, list[dict[str, object]]] = defaultdict(list)
        for sku, quantity in due.items():
            by_place[place[sku]].append({"sku": sku, "quantity": quantity + max(6, quantity // 2)})
            del self._ordered[sku]
        for warehouse_id, lines in by_place.items():
            for start in range(0, len(lines), 200):
                self._serial += 1
                body = {
                    "receipt_id": f"PO-{int(now)}-{self._serial}", "warehouse_id": warehouse_id, "by": "goods-in",
                    "lines": lines[start : start + 200],
                }  # fmt: skip
                response = await self.api.post("fulfillment", "/receipts", body)
                self.done["receipts" if response.is_success else "refused: receipts"] += 1

    async def _count(self) -> None:
        for level in await self.api.items("inventory", "/stock", in_count=True, limit=200):
            if level["in_count"] <= 0:
                continue
            self._serial += 1
            body = {
                "sku": level["sku"], "warehouse_id": level["warehouse_id"], "found": level["in_count"] // 2,
                "reference": f"COUNT-{int(asyncio.get_running_loop().time())}-{self._serial}",
            }  # fmt: skip
            response = await self.api.post("inventory", "/stock/counts", body)
            self.done["counts" if response.is_success else "refused: counts"] += 1
