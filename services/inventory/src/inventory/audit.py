"""Gather what the conservation check compares (I1, D10). Everything is read in one snapshot, so that writers at work
neither disturb the check nor are disturbed by it."""

from __future__ import annotations

from collections.abc import Sequence

from expedite_messaging.engine import Engine
from expedite_messaging.tx import Tx
from inventory.domain.conservation import Verdict, held_by_orders, verdict
from inventory.domain.stock import Movement, Shelf
from inventory.store import MOVEMENTS, ORDERS, SHELVES


async def check(engine: Engine, skus: Sequence[str]) -> list[Verdict]:
    """The verdicts of these SKUs, in order."""

    async def look(tx: Tx) -> list[Verdict]:
        movements = [m for row in await tx.find(MOVEMENTS, {"sku": list(skus)}) for m in row.each()]
        touched = sorted({m.order_id for m in movements if m.order_id is not None})
        held = held_by_orders(await tx.load(ORDERS, touched))
        shelves: dict[str, list[Shelf]] = {}
        for shelf in await tx.find(SHELVES, {"sku": list(skus)}):
            shelves.setdefault(shelf.sku, []).append(shelf)
        moved: dict[str, list[Movement]] = {}
        for movement in movements:
            moved.setdefault(movement.sku, []).append(movement)
        return [verdict(sku, shelves.get(sku, ()), moved.get(sku, ()), held) for sku in skus]

    return await engine.read(look)
