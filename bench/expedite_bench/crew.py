"""The simulators, in a process of their own: a warehouse control system that confirms what the pick queue offers, and a
dock that hands over what is labelled. Few large requests; a pause when there is nothing to do.

    python -m expedite_bench.crew   reads {"fulfillment": URL, "shipping": URL, "key": KEY, ...} from standard input,
                                    works until SIGTERM, then prints what it did as JSON
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import uvloop

from expedite_bench.wire import Client

AT_ONCE = 500
PAUSE_S = 0.5


class Crew:
    """`warehouse`: where it works. `by`: in whose name. `pick`, `ship`: which of the two jobs it does."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.warehouse, self.by = told["warehouse"], told["by"]
        self.floor = Client(told["fulfillment"], told["key"])
        self.dock = Client(told["shipping"], told["key"])
        self.jobs = [job for name, job in (("pick", self.confirm), ("ship", self.hand_over)) if told.get(name, True)]
        self.done: Counter[str] = Counter()
        self.first_refusal: str | None = None

    async def work(self, stop: asyncio.Event) -> None:
        await asyncio.gather(*(self._forever(job, stop) for job in self.jobs))

    async def _forever(self, job: Callable[[], Awaitable[int]], stop: asyncio.Event) -> None:
        while not stop.is_set():
            if await job() < AT_ONCE // 2:  # what trickles in is taken together
                await asyncio.sleep(PAUSE_S)

    async def confirm(self) -> int:
        """Everything the pick queue offers, picked and packed."""
        found = await self.floor.json("GET", f"/warehouses/{self.warehouse}/queue?kind=pick&limit={AT_ONCE}")
        tasks = found["items"]
        if tasks:
            body = {"confirmations": [self._confirmation(task) for task in tasks]}
            answer = await self.floor.json("POST", f"/warehouses/{self.warehouse}/confirmations", body)
            self._count("packed", answer["results"])
        return len(tasks)

    def _confirmation(self, task: dict[str, Any]) -> dict[str, Any]:
        task_id = task["task_id"]
        scans = [
            {"sku": line["sku"], "quantity": line["quantity"], "scan_id": f"{task_id}/{line['line']}"}
            for line in task["lines"]
        ]
        return {"fulfilment_order_id": task_id, "by": self.by, "scans": scans, "pack": {}}

    async def hand_over(self) -> int:
        """Every labelled parcel on the dock, given to its carrier."""
        path = f"/warehouses/{self.warehouse}/dock?action=hand_over&limit={AT_ONCE}"
        ready = [parcel["parcel_id"] for parcel in (await self.dock.json("GET", path))["items"]]
        if ready:
            body = {"by": self.by, "parcel_ids": ready}
            answer = await self.dock.json("POST", f"/warehouses/{self.warehouse}/hand-overs", body)
            self._count("handed over", answer["results"])
        return len(ready)

    def _count(self, name: str, results: list[dict[str, Any]]) -> None:
        for result in results:
            refused = result.get("outcome") == "refused" or "problem" in result
            self.done[f"not {name}" if refused else name] += 1
            if refused and self.first_refusal is None:
                self.first_refusal = orjson.dumps(result).decode()


async def main() -> None:
    told = orjson.loads(sys.stdin.buffer.read())
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    crew = Crew(told)
    try:
        await crew.work(stop)
    finally:
        said = {"done": dict(crew.done), "first_refusal": crew.first_refusal}
        sys.stdout.buffer.write(orjson.dumps(said) + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main())
