"""When an order stands in the pick queue ahead of everything not urgent."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from expedite_bench.ground import STALL_S, Ground, Invalid
from expedite_bench.orders import WAREHOUSE

LOOK_S = 0.01
ASK_S = 0.5

_FIRST = """
SELECT split_part(task_id, '-F', 1) FROM task WHERE task_id = ANY($1::text[]) AND doc::json ->> 'tier' = 'urgent'
"""
_PACKED = """
SELECT key, extract(epoch FROM min(at))::float8 AS at FROM ledger
WHERE topic IN ('Packed', 'Packed.express') AND key = ANY($1::text[]) GROUP BY key
"""


@dataclass
class QueueWatch:
    """Notes the epoch seconds at which awaited orders were seen ahead; and asks the queue's API now and then whether
    anything not urgent stands before anything urgent."""

    ground: Ground
    awaited: set[str] = field(default_factory=set)
    seen: dict[str, float] = field(default_factory=dict)
    asked: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def look(self) -> None:
        """Look until closed and everything awaited was seen."""
        moved = time.monotonic()
        while not self.closed.is_set() or self.awaited:
            if self.awaited:
                tasks = [f"{order_id}-F1" for order_id in self.awaited]
                rows = await self.ground.books.rows("fulfillment", _FIRST, tasks)
                now = time.time()
                for row in rows:
                    self.seen[row[0]] = now
                    self.awaited.discard(row[0])
                moved = time.monotonic() if rows else moved
                if time.monotonic() - moved > 30 and self.closed.is_set():
                    await self._packed_meanwhile()
                if time.monotonic() - moved > STALL_S:
                    raise Invalid(f"{len(self.awaited)} urgent orders never came to the pick queue")
            else:
                moved = time.monotonic()
            await asyncio.sleep(LOOK_S)

    async def _packed_meanwhile(self) -> None:
        """What was packed before we saw it in the queue was there by then: a later moment, never an earlier one."""
        for row in await self.ground.books.rows("fulfillment", _PACKED, list(self.awaited)):
            self.seen[row["key"]] = row["at"]
            self.awaited.discard(row["key"])

    async def ask(self) -> None:
        """Ask the API until closed. Raises Invalid when the order of its answer is wrong."""
        floor = self.ground.client("fulfillment", "crew")
        try:
            while not self.closed.is_set():
                found = await floor.json("GET", f"/warehouses/{WAREHOUSE}/queue?kind=pick&limit=100")
                tiers = [task["tier"] == "urgent" for task in found["items"]]
                if tiers != sorted(tiers, reverse=True):
                    raise Invalid("the pick queue shows an order that is not urgent before an urgent one")
                self.asked += 1
                await asyncio.sleep(ASK_S)
        finally:
            floor.close()
