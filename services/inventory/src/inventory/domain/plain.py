"""The plain cases, which are nearly all: what the general decisions come to, in one step.

Each function answers None when it is not that case; nothing was changed then, and the general way is taken.
"""

from __future__ import annotations

from functools import lru_cache

from expedite_events import Decision, Illegal, Packed, PriorityAssigned, StockReserved, Units
from inventory.domain.order import Content, FulfilmentOrder, Order, Segment, Status, goods_of
from inventory.domain.stock import Because, Bucket
from inventory.domain.world import World


def decide(order: Order, event: PriorityAssigned | Packed, world: World, because: Because) -> Decision[Order] | None:
    """The plain decision of an event, if it is a plain case in the world as it is."""
    try:
        if isinstance(event, PriorityAssigned):
            return reserve(order, event, world, because)
        return packed(order, event, world, because)
    except Illegal:
        return None  # judged where the shelves are locked


def unheard_of(order: Order) -> bool:
    """Whether nothing that matters to its sourcing was heard of an order."""
    told = order.lines or order.segments or order.holds or order.ended or order.settled or order.content
    return not told


def reserve(order: Order, event: PriorityAssigned, world: World, because: Because) -> Decision[Order] | None:
    """An order that was unheard of, whose nearest warehouse has everything, and nobody waits for it:
    learnt, sourced and announced."""
    if not unheard_of(order):
        return None
    lines, stock, brief, urgency = event.lines, world.stock, event.brief, event.urgency
    skus = {line.line: line.sku for line in lines}
    if len(skus) != len(lines) or len(set(skus.values())) != len(lines):
        return None
    nearest = world.sites(brief.customer.ship_to)[0]
    home = nearest.warehouse_id
    for line in lines:
        if line.sku in world.ahead or stock.free(line.sku, home) < line.quantity:
            return None
    for line in lines:
        part = _units_of_line(line.line, line.quantity)
        stock.move(because, line.sku, home, Bucket.FREE, Bucket.ALLOCATED, part)
    goods = goods_of(lines)
    units, now = event.units, world.now
    made = FulfilmentOrder(
        fulfilment_order_id=f"{order.order_id}-F1", warehouse_id=home, units=units, at=now, complete=True
    )
    state = order.put(
        lines=skus,
        assigned=urgency.revision,
        segments=(Segment(units=units, status=Status.ANNOUNCED, warehouse_id=home, ref=made.fulfilment_order_id),),
        sourced=(f"{len(units)} from {home}: {nearest.distance:g} points",),
        f_count=1,
        fulfilment_orders=(made,),
        content=Content(order_version=event.order_version, brief=brief, lines=goods, urgency=urgency),
    )
    reserved = StockReserved(
        order_id=order.order_id,
        order_version=max(event.order_version, 1),
        fulfilment_order_id=made.fulfilment_order_id,
        warehouse_id=home,
        units=units,
        goods=goods,
        brief=brief,
        urgency=urgency,
        reserved_at=now,
        complete=True,
    )
    return Decision(state, (reserved,), express=True if urgency.express else None)


def packed(order: Order, event: Packed, world: World, because: Because) -> Decision[Order] | None:
    """All units of the order are in one fulfilment order, and all of it was packed."""
    if len(order.segments) != 1:
        return None
    (segment,) = order.segments
    if segment.status is not Status.ANNOUNCED or segment.ref != event.fulfilment_order_id:
        return None
    if segment.units != event.units or segment.warehouse_id is None:
        return None
    for sku, part in order.by_sku(segment.units).items():
        world.stock.move(because, sku, segment.warehouse_id, Bucket.ALLOCATED, Bucket.OUT, part)
    return Decision(order.put(segments=(segment.put(status=Status.PACKED, ref=event.parcel_id),)))


@lru_cache(maxsize=4096)
def _units_of_line(line: int, quantity: int) -> Units:
    return Units.quantity(line, quantity)
