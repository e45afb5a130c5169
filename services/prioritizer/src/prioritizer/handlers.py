"""What the prioritizer listens to.

Each event about an order goes through the same load → observe → apply: `domain.facts.learn` says what it teaches,
`domain.assign` whether urgency changes, `domain.clocks` which timers follow.
"""

from __future__ import annotations

from typing import TypeVar

from expedite_events import (
    CancelRefused,
    CancelRequested,
    CarrierChanged,
    CustomerNotified,
    Decision,
    Delivered,
    DeliveryDelayed,
    OrderBackordered,
    OrderCancelled,
    OrderClosed,
    OrderEvent,
    OrderHeld,
    OrderHoldReleased,
    OrderReceived,
    Packed,
    ParcelReturned,
    PickShort,
    PriorityAssigned,
    ProductChanged,
    ShipmentLost,
    ShipmentTracked,
    Shipped,
    SLABreached,
    StockReserved,
    StockShort,
    TransferDispatched,
    TransferReceived,
    TransferRequested,
    WarehouseChanged,
)
from expedite_messaging import Batch, Book, Collection, Fired, Handlers, Received, Tx
from prioritizer.domain.assign import DECIDING, EXPIRY_TIMER, lower, observe
from prioritizer.domain.clocks import TIMER, reschedule, ring
from prioritizer.domain.facts import teaches
from prioritizer.domain.order import Order
from prioritizer.domain.priority import Priority
from prioritizer.domain.world import Carrier, Product, Warehouse
from prioritizer.masterdata import people, places, world_for
from prioritizer.store import BREACHES, CARRIERS, ORDERS, PRIORITIES, PRODUCTS, WAREHOUSES, Breach

# What only stops a clock and starts the next is nothing anybody waits for: an order's stations are noted together.
handlers = Handlers(
    "prioritizer",
    gather=6_000,
    later=frozenset((StockReserved, Packed, Shipped, ShipmentTracked, DeliveryDelayed, Delivered, CustomerNotified)),
)
Snapshot = TypeVar("Snapshot", Warehouse, Carrier, Product)


def record(priorities: Book[Priority], decision: Decision[Order], content: OrderReceived | None) -> None:
    """Keep every assignment that was announced (B2), and the content it was decided on until the end (I5)."""
    for event in decision.events:
        if isinstance(event, PriorityAssigned):
            priorities.put(priorities[event.order_id].announced(event, content))


async def follow(batch: Batch[Received[OrderEvent]], tx: Tx) -> None:
    """Something happened to an order. A new one is assigned: tier, score, reasons, deadlines (B1, B2). A hold that ends
    moves its deadlines (C2). Stations and carriers start and stop its clocks (C1), and the end stops everything."""
    heard = [received for received in batch if teaches(received.event)]
    if not heard:
        return
    orders = await tx.load(ORDERS, {received.key for received in heard})
    deciding = [received for received in heard if type(received.event) in DECIDING]
    # What this batch announces comes into the same book as what was announced before.
    priorities = await tx.load(PRIORITIES, [r.key for r in deciding if orders[r.key].revision])
    # Of what was never announced there is no row: it need not be looked for.
    priorities.stored([r.key for r in deciding if not orders[r.key].revision], {})
    contents = [r.event for r in deciding if isinstance(r.event, OrderReceived)]
    contents += [priority.content for priority in priorities if priority.content]
    world = await world_for(tx, contents) if contents else await places(tx)
    now, moved = tx.now, dict[str, Received[OrderEvent]]()
    for received in heard:
        key, event = received.key, received.event
        order, priority = orders[key], priorities.get(key)
        known, decision = observe(order, event, priority, world, now)
        if known is order:
            continue
        orders.put(known)
        moved[key] = received
        if decision:
            tx.emit(received, decision)
            content = event if isinstance(event, OrderReceived) else priority.content if priority else None
            record(priorities, decision, content)
        if known.ended_at and priority:
            priorities.put(priority.ended())
    # Clocks follow from all facts together: one look for all that came of an order.
    for key, received in moved.items():
        tx.apply(received, orders, reschedule(orders[key], world))


# One function for all events about orders: what each teaches stands in `domain.facts.learn`.
for _event in (
    OrderReceived, OrderHeld, OrderHoldReleased, CancelRequested, CancelRefused, OrderCancelled, OrderClosed,
    StockReserved, StockShort, OrderBackordered, TransferRequested, TransferDispatched, TransferReceived,
    PickShort, Packed, Shipped, ShipmentTracked, DeliveryDelayed, Delivered, ShipmentLost, ParcelReturned,
    CustomerNotified,
):  # fmt: skip
    handlers.on(_event)(follow)


@handlers.on(WarehouseChanged)
async def copy_warehouse(batch: Batch[Received[WarehouseChanged]], tx: Tx) -> None:
    """Working hours of a place; they count for what is assigned or moved from now on (C2)."""
    await _copy(WAREHOUSES, [Warehouse.of(r.event) for r in batch], tx)


@handlers.on(CarrierChanged)
async def copy_carrier(batch: Batch[Received[CarrierChanged]], tx: Tx) -> None:
    """Transit times, for slack and the last moment to ship."""
    await _copy(CARRIERS, [Carrier.of(r.event) for r in batch], tx)


@handlers.on(ProductChanged)
async def copy_product(batch: Batch[Received[ProductChanged]], tx: Tx) -> None:
    """A product's class, for the score."""
    await _copy(PRODUCTS, [Product.of(r.event) for r in batch], tx)


async def _copy(collection: Collection[Snapshot], states: list[Snapshot], tx: Tx) -> None:
    book = await tx.load(collection, [collection.key_of(state) for state in states])
    for state in states:
        known = book.get(collection.key_of(state))
        if known is None or known.revision < state.revision:
            book.put(state)


@handlers.timer(TIMER)
async def overdue(batch: Batch[Fired], tx: Tx) -> None:
    """A stage ran over its deadline: its owner is told, then the superior, then theirs; every breach is kept (C3)."""
    orders = await tx.load(ORDERS, batch.keys)
    world, known = await places(tx), await people(tx)
    for fired in batch:
        decision = ring(orders[fired.key], world, known, tx.now)
        tx.apply(fired, orders, decision)
        for event in decision.events:
            if isinstance(event, SLABreached):
                tx.add(BREACHES, Breach.of(event))


@handlers.timer(EXPIRY_TIMER)
async def raise_expired(batch: Batch[Fired], tx: Tx) -> None:
    """A raise has an end: the rules decide again (B4)."""
    orders, priorities = await tx.load(ORDERS, batch.keys), await tx.load(PRIORITIES, batch.keys)
    world = await world_for(tx, [priority.content for priority in priorities])
    for fired in batch:
        priority = priorities[fired.key]
        decision = lower(orders[fired.key], priority, world, tx.now)
        tx.apply(fired, orders, decision)
        record(priorities, decision, priority.content)
