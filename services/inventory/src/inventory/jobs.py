"""What inventory does by itself: give free stock to who waits for it, and publish stock levels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from weakref import WeakKeyDictionary

from expedite_events import Decision, StockLevelChanged
from expedite_messaging.cause import Root
from expedite_messaging.engine import Engine, KeyParked
from expedite_messaging.tx import Tx
from inventory import settling
from inventory.domain import custody
from inventory.domain.backorder import Backorder
from inventory.domain.stock import Because
from inventory.shelves import Stockroom
from inventory.store import BACKORDERS, ORDERS, QUEUE, SHELVES

MAX_PASSES = 20
SHELVES_A_PASS = 100
ORDERS_A_PASS = 300
# The SKU after which the walk over changed shelves goes on.
_places: WeakKeyDictionary[Engine, str] = WeakKeyDictionary()


async def fill(engine: Engine) -> None:
    """Serve backorders of every SKU whose free stock rose, most urgent first, until none can be served (D5)."""
    for _ in range(MAX_PASSES):
        if not await _fill_once(engine):
            return


async def _fill_once(engine: Engine) -> bool:
    """One transaction of the fill. Whether another pass may serve more."""

    async def look(tx: Tx) -> tuple[list[str], list[Backorder]]:
        wanted = await tx.find(SHELVES, {"fill_wanted": True}, order_by=["sku"], limit=SHELVES_A_PASS)
        skus = sorted({shelf.sku for shelf in wanted})
        # Who waits for a SKU of which nothing is left need not be read to know that nobody is served.
        left = await tx.find(SHELVES, {"sku": skus, "free__gt": 0}) if skus else []
        rows = await _queue(tx, sorted({shelf.sku for shelf in left}), ORDERS_A_PASS) if left else []
        return skus, rows

    skus, rows = await engine.read(look)
    if not skus:
        return False
    orders, parked = list(dict.fromkeys(row.order_id for row in rows)), set[str]()
    while True:
        try:
            work = partial(_serve, skus=skus, order_ids=orders, parked=parked)
            return await engine.transact(orders, work)
        except KeyParked as error:
            # Their turn comes when they are replayed; nobody else waits for them.
            parked.update(error.keys)
            orders = [order_id for order_id in orders if order_id not in parked]


async def _serve(tx: Tx, skus: Sequence[str], order_ids: Sequence[str], parked: set[str]) -> bool:
    orders, changed = await tx.load(ORDERS, [*order_ids, *parked]), False  # parked ones are looked at only
    room = await Stockroom.sourcing(tx, skus, deciding=orders)
    if not any(warehouse.active for warehouse in room.world.warehouses):
        return False
    # `sourcing` read the queue under the shelves' locks; an order that joined it meanwhile keeps its place in front.
    room.world.ahead = {
        sku: [w for w in waiting if w.order_id not in order_ids and w.order_id not in parked]
        for sku, waiting in room.world.ahead.items()
    }
    contents = {order.order_id: order.content for order in orders if order.content is not None}
    for order_id in sorted((i for i in order_ids if i in contents), key=lambda i: contents[i].urgency.sort_key):
        order = orders[order_id]
        cause = Root(key=order.order_id)
        because = Because("fill", str(cause.id), tx.now, order.order_id)
        changed |= room.apply(cause, orders, custody.fill(order, set(skus), room.world, because))
    more = False
    for sku in skus:
        left = any(room.world.stock.free(sku, w.warehouse_id) for w in room.world.warehouses if w.active)
        others = (
            [r.order_id for r in await _queue(tx, [sku], len(order_ids) + 1) if r.order_id not in order_ids]
            if left
            else []
        )
        if others:
            more |= not set(others) <= parked
            continue
        for warehouse in room.world.warehouses:
            room.world.stock.clear_fill(sku, warehouse.warehouse_id)
    room.save()
    return changed or more


async def _queue(tx: Tx, skus: Sequence[str], limit: int) -> list[Backorder]:
    return await tx.find(BACKORDERS, {"sku": list(skus), "open": True}, order_by=QUEUE, limit=limit)


async def publish_levels(engine: Engine) -> None:
    """StockLevelChanged for every shelf that changed since the last time: coalesced, one revision per shelf. One walk over all
    of them: a shelf that changes meanwhile is said next time, or those that always do would be said over and over, and the
    others wait. Other jobs wait for a run: a walk that is too long for one goes on in the next."""
    after = _places.pop(engine, "")
    for _ in range(MAX_PASSES):
        last = await engine.transact([], partial(_publish, after=after))
        if last is None:
            return
        after = last
    _places[engine] = after


async def _publish(tx: Tx, after: str) -> str | None:
    """Say the levels of the changed shelves of the next SKUs as they are, and lock the shelves only to note it. The last of
    these SKUs; None when there are no more."""
    stale = await tx.find(SHELVES, {"dirty": True, "sku__gt": after}, order_by=["sku"], limit=SHELVES_A_PASS)
    if not stale:
        return None
    skus = sorted({shelf.sku for shelf in stale})
    everywhere = await tx.find(SHELVES, {"sku": skus}, order_by=["sku", "warehouse_id"])
    totals = Counter[str]()
    for shelf in everywhere:
        totals[shelf.sku] += shelf.backordered
    said = [shelf for shelf in everywhere if shelf.dirty]
    for shelf in said:
        event = StockLevelChanged(
            sku=shelf.sku,
            warehouse_id=shelf.warehouse_id,
            on_hand=shelf.on_hand,
            free=shelf.free,
            allocated=shelf.allocated,
            in_count=shelf.in_count,
            quality_check=shelf.quality_check,
            backordered=totals[shelf.sku],
            revision=shelf.level_revision + 1,
            at=tx.now,
        )
        tx.emit(Root(key=event.key), Decision(shelf, (event,)))
    tx.at_last(settling.published(said))
    return skus[-1] if len(stale) == SHELVES_A_PASS else None
