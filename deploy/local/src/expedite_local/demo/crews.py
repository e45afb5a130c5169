"""The people in the warehouses: they pick, pack, move, receive and load, and sometimes find a shelf empty."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from typing import Any

from expedite_local.demo.client import Api

IDLE_S = 0.25
BATCH = 40


def chance(name: str, share: float) -> bool:
    """A repeatable coin: the same thing always meets the same fate, whoever asks and however often."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") / 2**32 < share


class Crew:
    """One warehouse's crew. Each round takes the most urgent work first, as the queue offers it."""

    def __init__(self, api: Api, warehouse_id: str, by: str, done: Counter[str], shorts: set[str]) -> None:
        self.api, self.warehouse_id, self.by, self.done, self.shorts = api, warehouse_id, by, done, shorts

    async def work(self, stop: asyncio.Event) -> None:
        """Work until told to stop; an unexpected answer is counted and does not end the shift."""
        while not stop.is_set():
            busy = 0
            for step in (self._floor, self._dock):
                try:
                    busy += await step()
                except RuntimeError:
                    self.done["crew errors"] += 1
            if not busy:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), IDLE_S)

    async def _floor(self) -> int:
        queue = f"/warehouses/{self.warehouse_id}/queue"
        begun = await self.api.items("fulfillment", queue, limit=BATCH, status="claimed", claimed_by=self.by)
        tasks = begun + await self.api.items("fulfillment", queue, limit=BATCH)
        await asyncio.gather(*(self._do(task) for task in tasks))
        return len(tasks)

    async def _do(self, task: dict[str, Any]) -> None:
        kind, task_id = task["kind"], task["task_id"]
        if kind == "pick":
            await self._pick(task)
        elif kind == "put_back":
            await self._say("put back", f"/put-backs/{task_id}/confirm", {"by": self.by})
        elif kind == "transfer_out":
            body: dict[str, Any] = {"by": self.by}
            if chance(f"dispatch {task_id}", 0.04):
                body["lines"] = _one_less(task["lines"])
            await self._say("transfers dispatched", f"/transfers/{task['transfer_id']}/dispatch", body)
        elif kind == "transfer_in":
            await self._say("transfers received", f"/transfers/{task['transfer_id']}/receive", {"by": self.by})

    async def _pick(self, task: dict[str, Any]) -> None:
        task_id, lines = task["task_id"], [line for line in task["lines"] if line["quantity"]]
        if lines and self._finds_a_gap(task_id):
            line = lines[-1]
            missing = max(1, line["quantity"] // 3)
            self.shorts.add(task_id)
            await self._say(
                "shorts",
                f"/fulfilment-orders/{task_id}/short",
                {"by": self.by, "lines": [{"line": line["line"], "quantity": missing}], "reason": "shelf empty",
                 "report_id": f"gap-{task_id}"},
            )  # fmt: skip
            return  # what is left of the task comes with the next look at the queue
        if len(lines) > 1 and chance(f"partial {task_id}", 0.08) and not task["picked"]:
            # A full trolley: what is on it is packed now, the rest in a second parcel.
            lines = lines[: len(lines) // 2]
            self.done["partial picks"] += 1
        scans = [
            {"barcode": line["barcodes"][0], "quantity": line["quantity"], "scan_id": f"{task_id}/{line['line']}/{line['quantity']}"}
            if line.get("barcodes")
            else {"sku": line["sku"], "quantity": line["quantity"], "scan_id": f"{task_id}/{line['line']}/{line['quantity']}"}
            for line in lines
        ]  # fmt: skip
        if scans and not await self._say(
            "picked", f"/fulfilment-orders/{task_id}/scans", {"by": self.by, "scans": scans}
        ):
            return
        if scans or task["picked"]:
            await self._say("packed", f"/fulfilment-orders/{task_id}/pack", {"by": self.by})

    def _finds_a_gap(self, task_id: str) -> bool:
        """The first task of the day meets an empty shelf, so that short runs show one too; later ones rarely do."""
        if task_id in self.shorts:
            return False
        return not self.shorts or chance(f"short {task_id}", 0.03)

    async def _dock(self) -> int:
        parcels = await self.api.items("shipping", f"/warehouses/{self.warehouse_id}/dock", limit=200)
        for parcel in parcels:
            if parcel["action"] == "put_back":
                response = await self.api.post("shipping", f"/parcels/{parcel['parcel_id']}/put-back", {"by": self.by})
                self.done["dock put-backs" if response.is_success else "dock refusals"] += 1
        ready = [p["parcel_id"] for p in parcels if p["action"] == "hand_over"]
        if ready:
            body = {"by": self.by, "parcel_ids": ready}
            response = await self.api.post("shipping", f"/warehouses/{self.warehouse_id}/hand-overs", body)
            if response.is_success:
                for result in response.json()["results"]:
                    self.done["handed over" if result["outcome"] == "handed" else "dock refusals"] += 1
        return len(ready)

    async def _say(self, what: str, path: str, body: dict[str, Any]) -> bool:
        """Confirm something. A refusal is an answer: the order was cancelled or held meanwhile."""
        response = await self.api.post("fulfillment", path, body)
        self.done[what if response.is_success else f"refused: {what}"] += 1
        return response.is_success


def _one_less(lines: list[dict[str, Any]]) -> list[dict[str, int]]:
    """What was found when one piece of the last line is missing."""
    found = [{"line": line["line"], "quantity": line["quantity"]} for line in lines]
    found[-1]["quantity"] -= 1
    return found
