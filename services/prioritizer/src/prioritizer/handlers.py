"""What the prioritizer listens to.

Each event about an order goes through the same load → observe → apply: `domain.facts.learn` says what it teaches,
`domain.assign` whether urgency changes, `domain.clocks` which timers follow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

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
from expedite_messaging import Batch, Collection, Fired, Handlers, Received, Tx
from prioritizer.domain.assign import EXPIRY_TIMER, lower, observe
from prioritizer.domain.clocks import TIMER, ring
from prioritizer.domain.order import Order
from prioritizer.domain.world import Carrier, Product, Warehouse, World
from prioritizer.store import BREACHES, CARRIERS, HISTORY, ORDERS, PEOPLE, PRODUCTS, WAREHOUSES, Assignment, Breach

handlers = Handlers("prioritizer")
Snapshot = TypeVar("Snapshot", Warehouse, Carrier, Product)


async def places(tx: Tx) -> World:
    """The world as far as clocks need it: working hours."""
    return World(warehouses=await tx.find(WAREHOUSES, {"active": True}))


async def world_for(tx: Tx, contents: Iterable[OrderReceived | None]) -> World:
    """The world as far as urgency needs it: hours, transit times and the products of these orders."""
    skus = {line.sku for content in contents if content for line in content.lines}
    products = await tx.load(PRODUCTS, skus)
    return World(
        warehouses=await tx.find(WAREHOUSES, {"active": True}),
        carriers=await tx.find(CARRIERS, {"active": True}),
        classes={product.sku: product.product_class for product in products},
    )


def record(tx: Tx, decision: Decision[Order]) -> None:
    """Keep what was announced: every assignment (B2) and every breach (C3), once."""
    for event in decision.events:
        if isinstance(event, PriorityAssigned):
            tx.add(HISTORY, Assignment.of(event))
        elif isinstance(event, SLABreached):
            tx.add(BREACHES, Breach.of(event))


async def _assign(batch: Batch[Received[Any]], tx: Tx) -> None:
    orders = await tx.load(ORDERS, batch.keys)
    contents = [r.event for r in batch if isinstance(r.event, OrderReceived)]
    world = await world_for(tx, [*contents, *(orders[key].content for key in batch.keys)])
    for received in batch:
        decision = observe(orders[received.key], received.event, world, tx.now)
        tx.apply(received, orders, decision)
        record(tx, decision)


@handlers.on(OrderReceived)
async def assign_order(batch: Batch[Received[OrderReceived]], tx: Tx) -> None:
    """A verified order enters the pool: tier, score, reasons, deadlines (B1, B2); its stock_lock clock starts."""
    await _assign(batch, tx)


@handlers.on(OrderHeld)
async def pause(batch: Batch[Received[OrderHeld]], tx: Tx) -> None:
    """The order waits: its clocks stand still, and the hold's own audit clock starts."""
    await _assign(batch, tx)


@handlers.on(OrderHoldReleased)
async def go_on(batch: Batch[Received[OrderHoldReleased]], tx: Tx) -> None:
    """A hold ended: with the last one, deadlines move by the time the order was held (C2)."""
    await _assign(batch, tx)


async def _observe(batch: Batch[Received[OrderEvent]], tx: Tx) -> None:
    """A station did something: clocks start and stop by the facts known then."""
    orders = await tx.load(ORDERS, batch.keys)
    world = await places(tx)
    for received in batch:
        tx.apply(received, orders, observe(orders[received.key], received.event, world, tx.now))


# One function for all events that only move clocks: what each teaches stands in `domain.facts.learn`.
for _event in (
    CancelRequested, CancelRefused, OrderCancelled, OrderClosed,
    StockReserved, StockShort, OrderBackordered, TransferRequested, TransferDispatched, TransferReceived,
    PickShort, Packed, Shipped, ShipmentTracked, DeliveryDelayed, Delivered, ShipmentLost, ParcelReturned,
    CustomerNotified,
):  # fmt: skip
    handlers.on(_event)(_observe)


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
    """A stage ran over its deadline: its owner is told, then the superior, then theirs (C3)."""
    orders = await tx.load(ORDERS, batch.keys)
    world, people = await places(tx), {p.person_id: p for p in await tx.find(PEOPLE)}
    for fired in batch:
        decision = ring(orders[fired.key], fired.subject, fired.level, world, people, tx.now)
        tx.apply(fired, orders, decision)
        record(tx, decision)


@handlers.timer(EXPIRY_TIMER)
async def raise_expired(batch: Batch[Fired], tx: Tx) -> None:
    """A raise has an end: the rules decide again (B4)."""
    orders = await tx.load(ORDERS, batch.keys)
    world = await world_for(tx, [orders[key].content for key in batch.keys])
    for fired in batch:
        decision = lower(orders[fired.key], world, tx.now)
        tx.apply(fired, orders, decision)
        record(tx, decision)
