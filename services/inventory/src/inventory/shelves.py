"""The shell around decisions: load and lock what they look at, save what they changed."""

from __future__ import annotations

from collections.abc import Iterable

from expedite_events import Decision, Units
from expedite_messaging.cause import Cause
from expedite_messaging.collection import Book
from expedite_messaging.tx import Tx
from inventory.domain.backorder import queue_rows
from inventory.domain.order import Order, Status
from inventory.domain.sourcing import Policy
from inventory.domain.stock import Shelf, ShelfKey, StockBook
from inventory.domain.world import Waiting, World
from inventory.settings import StockSettings
from inventory.store import BACKORDERS, CARRIERS, MOVEMENTS, QUEUE, SHELVES, WAREHOUSES

POLICY: Policy = StockSettings().policy()


class Stockroom:
    """The locked shelves of one transaction and the world they stand in."""

    def __init__(self, tx: Tx, book: Book[Shelf], world: World) -> None:
        self._tx, self._book, self.world = tx, book, world

    @classmethod
    async def exact(cls, tx: Tx, keys: Iterable[ShelfKey]) -> Stockroom:
        """Lock these shelves: for decisions that only move goods that are somewhere already."""
        wanted = sorted(set(keys))
        book = await tx.load(SHELVES, wanted)
        return cls(tx, book, World(StockBook({key: book[key] for key in wanted}), (), tx.now, POLICY))

    @classmethod
    async def sourcing(cls, tx: Tx, skus: Iterable[str], also: Iterable[ShelfKey] = ()) -> Stockroom:
        """Lock the shelves of these SKUs in all warehouses: for decisions that may source."""
        names = sorted(set(skus))
        if not names:
            return await cls.exact(tx, also)
        warehouses = tuple(await tx.find(WAREHOUSES, order_by=["warehouse_id"]))
        carriers = tuple(await tx.find(CARRIERS, order_by=["carrier_id"]))
        keys = {(sku, w.warehouse_id) for sku in names for w in warehouses} | set(also)
        room = await cls.exact(tx, keys)
        room.world.warehouses, room.world.carriers = warehouses, carriers
        contested = room.world.contested(names)
        if contested:
            # Read after the shelves are locked: no backorder of these SKUs can be written meanwhile.
            rows = await tx.find(BACKORDERS, {"sku": contested, "open": True}, order_by=QUEUE)
            ahead: dict[str, list[Waiting]] = {}
            for row in rows:
                ahead.setdefault(row.sku, []).append(row.waiting)
            room.world.ahead = ahead
        return room

    def save(self) -> None:
        """Put the changed shelves and their movements into the transaction."""
        stock = self.world.stock
        for shelf in stock.changed():
            self._book.put(shelf)
        for movement in stock.movements:
            self._tx.add(MOVEMENTS, movement)


async def apply(tx: Tx, cause: Cause, orders: Book[Order], decision: Decision[Order]) -> bool:
    """Save an order's decision with its places in the backorder queue, and emit it. Whether anything changed."""
    before, after = orders[decision.state.order_id], decision.state
    if before is not after:
        rows = queue_rows(before, after)
        if rows:
            queue = await tx.load(BACKORDERS, ())  # derived from the order: written without reading
            for row in rows:
                queue.put(row)
        orders.put(after)
    tx.emit(cause, decision)
    return before is not after


def held_shelves(order: Order, units: Units) -> set[ShelfKey]:
    """The shelves on which goods or demand of these units are booked."""
    keys: set[ShelfKey] = set()
    for segment, part in order.parts(units):
        if segment.status is Status.DEAD:
            continue
        if segment.status is Status.TRANSFER:
            transfer = order.transfer(str(segment.ref))
            places = [transfer.from_warehouse_id, transfer.to_warehouse_id] if transfer else []
        else:
            places = [segment.warehouse_id] if segment.warehouse_id else []
        keys.update((sku, place) for sku in order.skus(part) for place in places)
    return keys
