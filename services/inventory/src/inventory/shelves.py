"""The shell around decisions: load and lock what they look at, save what they changed.

Shelves are locked last and released by the commit: on a hot SKU the time in between is what others wait for, urgent orders
among them. Decisions that may look anywhere lock them when everything else was read (`exact`, `sourcing`). The plain ones,
which are nearly all, hold whatever else happens to a shelf as long as enough is left on it: they are made on shelves as they
were read, which are locked only when everything else is written (`unlocked`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from expedite_events import Decision, PriorityAssigned, Units
from expedite_messaging.cause import Cause
from expedite_messaging.collection import Book
from expedite_messaging.tx import Tx
from inventory import settling
from inventory.domain.backorder import Backorder, queue_rows
from inventory.domain.order import Order, Status, by_line
from inventory.domain.sourcing import Policy
from inventory.domain.stock import Shelf, ShelfKey, StockBook, new_shelf
from inventory.domain.world import Waiting, World
from inventory.settings import StockSettings
from inventory.store import BACKORDERS, CARRIERS, MOVEMENTS, QUEUE, SHELVES, WAREHOUSES

POLICY: Policy = StockSettings().policy()
_SHORT_QUEUE = 50  # pieces: queues that are read whole, many at once
_ROWS_AT_ONCE = 500


class Stockroom:
    """The locked shelves of one transaction and the world they stand in."""

    def __init__(self, tx: Tx, shelves: Book[Shelf], queue: Book[Backorder], world: World) -> None:
        self._tx, self._shelves, self._queue, self.world = tx, shelves, queue, world
        self._sourced: list[str] | None = (
            None  # SKUs that orders were given of; None when the shelves are locked already
        )

    @classmethod
    async def exact(cls, tx: Tx, keys: Iterable[ShelfKey]) -> Stockroom:
        """Lock these shelves: for decisions that only move goods that are somewhere already."""
        queue = await tx.load(BACKORDERS, ())  # derived from the orders: written without reading
        shelves = await _lock(tx, set(keys))
        stock = StockBook({(shelf.sku, shelf.warehouse_id): shelf for shelf in shelves})
        return cls(tx, shelves, queue, World(stock, (), tx.now, POLICY))

    @classmethod
    async def sourcing(
        cls, tx: Tx, skus: Iterable[str], also: Iterable[ShelfKey] = (), deciding: Iterable[Order] = ()
    ) -> Stockroom:
        """Lock the shelves of these SKUs in all warehouses: for decisions that may source. `deciding`: the orders as they
        are, about which something is going to be decided."""
        names = sorted(set(skus))
        if not names:
            return await cls.exact(tx, also)
        warehouses = tuple(await tx.find(WAREHOUSES, order_by=["warehouse_id"]))
        # Warehouses are read each time: a fill that did not know one would leave those waiting who could be served from it.
        # Carriers only tell how long a parcel takes: seconds old is new enough.
        carriers = tuple((await tx.masters(CARRIERS)).values())
        keys = {(sku, w.warehouse_id) for sku in names for w in warehouses}
        room = await cls.exact(tx, keys.union(also))
        room.world.warehouses, room.world.carriers = warehouses, carriers
        if contested := room.world.contested(names):
            # Read after the shelves are locked: no backorder of these SKUs can be written meanwhile.
            room.world.ahead = await _ahead(tx, room.world, contested, _pieces(deciding))
        return room

    @classmethod
    async def unlocked(cls, tx: Tx, assigned: Sequence[PriorityAssigned], also: Iterable[ShelfKey]) -> Stockroom | None:
        """The shelves nearest to these orders as they are, for plain decisions; None when somebody waits for one of their
        SKUs: he may come first."""
        names = sorted({line.sku for event in assigned for line in event.lines})
        warehouses = tuple(await tx.find(WAREHOUSES, order_by=["warehouse_id"])) if names else ()
        world, keys = World(StockBook({}), warehouses, tx.now, POLICY), set(also)
        for event in assigned:
            home = world.sites(event.brief.customer.ship_to)[0].warehouse_id
            keys.update([(line.sku, home) for line in event.lines])
        if not keys or (names and await tx.count(SHELVES, {"sku": names, "backordered__gt": 0}, 1)):
            return None
        found = await tx.session.fetch(SHELVES, sorted(keys), False)
        world.stock = StockBook({(shelf.sku, shelf.warehouse_id): shelf for shelf in found.values()})
        room = cls(tx, await tx.load(SHELVES, ()), await tx.load(BACKORDERS, ()), world)
        room._sourced = names
        return room

    def apply(self, cause: Cause, orders: Book[Order], decision: Decision[Order]) -> bool:
        """Save an order's decision with its places in the backorder queue, and emit it. Whether anything changed."""
        after = decision.state
        before = orders[after.order_id]
        if before is not after:
            for row in queue_rows(before, after):
                self._queue.put(row)
            orders.put(after)
        self._tx.emit(cause, decision)
        return before is not after

    def save(self) -> None:
        """Put the changed shelves and their movements into the transaction."""
        if self._sourced is None:
            for shelf in self.world.stock.changed():
                self._shelves.put(shelf)
            for row in self.world.stock.movements():
                self._tx.add(MOVEMENTS, row)
        elif moving := settling.moving(self.world.stock, self._sourced):
            self._tx.at_last(moving)


async def _ahead(tx: Tx, world: World, skus: Sequence[str], moving: Mapping[str, int]) -> dict[str, list[Waiting]]:
    """Who waits for these SKUs, from the front of each queue until the free pieces are spoken for: whoever comes after
    those gets none, however long the queue is. `moving`: pieces that may come free meanwhile, or wait themselves."""
    names = [w.warehouse_id for w in world.warehouses]
    ahead: dict[str, list[Waiting]] = {sku: [] for sku in skus}
    demand = {sku: world.stock.backordered(sku, names) for sku in skus}
    short = [sku for sku in skus if demand[sku] <= _SHORT_QUEUE]
    if short:
        for row in await tx.find(BACKORDERS, {"sku": short, "open": True}, order_by=QUEUE):
            ahead[row.sku].append(row.waiting)
    for sku in skus:
        if demand[sku] <= _SHORT_QUEUE:
            continue
        wanted = sum(world.stock.free(sku, name) for name in names) + moving.get(sku, 0)
        queue = ahead[sku]
        while wanted > 0:
            limit = min(wanted, _ROWS_AT_ONCE)  # each row waits for one piece at least
            where = {"sku": sku, "open": True}
            rows = await tx.find(BACKORDERS, where, order_by=QUEUE, limit=limit, offset=len(queue))
            queue += [row.waiting for row in rows]
            wanted -= sum(row.quantity for row in rows)
            if len(rows) < limit:
                break
    return ahead


def _pieces(orders: Iterable[Order]) -> Mapping[str, int]:
    """The pieces of these orders that may be anywhere, by SKU."""
    out: Counter[str] = Counter()
    for order in orders:
        for line, units in by_line(order.known):
            if line in order.lines:  # units that were cancelled before they came are of no SKU
                out[order.lines[line]] += len(units)
    return out


async def _lock(tx: Tx, keys: set[ShelfKey]) -> Book[Shelf]:
    """Lock shelves in key order. Missing ones are made first, before any lock is held, so that nobody who waits for one
    holds another that its maker wants. Shelves are never removed: where all are counted, none is missing."""
    if keys:
        skus, places = {sku for sku, _ in keys}, {warehouse_id for _, warehouse_id in keys}
        there = await tx.count(SHELVES, {"sku": sorted(skus), "warehouse_id": sorted(places)})
        if there < len(skus) * len(places):
            found = await tx.session.fetch(SHELVES, sorted(keys), False)
            missing = [new_shelf(*key) for key in sorted(keys) if key not in found]
            if missing:
                await tx.session.reserve(SHELVES, missing)
    return await tx.load(SHELVES, keys)


def held_shelves(order: Order, units: Units, shelves: set[ShelfKey]) -> None:
    """Add the shelves on which goods or demand of these units are booked."""
    for segment, part in order.parts(units):
        if segment.status is Status.DEAD:
            continue
        if segment.status is Status.TRANSFER:
            transfer = order.transfer(str(segment.ref))
            places = [transfer.from_warehouse_id, transfer.to_warehouse_id] if transfer else []
        else:
            places = [segment.warehouse_id] if segment.warehouse_id else []
        shelves.update((sku, place) for sku in order.skus(part) for place in places)
