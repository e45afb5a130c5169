"""What inventory listens to: one function per event and job, each load → decide → apply.

Every writer locks orders first, then shelves, in one sorted load. A handler that may source locks the shelves of its SKUs
in all warehouses; one that only moves goods that are somewhere locks those shelves.
"""

from __future__ import annotations

from typing import Any

from expedite_events import (
    CancelRefused,
    CancelRequested,
    CarrierChanged,
    GoodsReceived,
    Lane,
    NotYet,
    OrderCancelled,
    OrderClosed,
    OrderEvent,
    OrderHeld,
    OrderHoldReleased,
    Packed,
    ParcelReturned,
    PickShort,
    PriorityAssigned,
    ShipmentLost,
    TransferDispatched,
    TransferReceived,
    UnitsCancelled,
)
from expedite_messaging.cause import Batch, Received
from expedite_messaging.handlers import Handlers
from expedite_messaging.tx import Tx
from inventory import jobs
from inventory.domain import custody
from inventory.domain.bookings import Booking, BookingLine, book_in
from inventory.domain.stock import Because
from inventory.shelves import Stockroom, apply, held_shelves
from inventory.store import BOOKINGS, CARRIERS, ORDERS, WAREHOUSES

handlers = Handlers("inventory")
handlers.every(0.5)(jobs.fill)
handlers.every(1.0)(jobs.publish_levels)


def because(received: Received[Any], tx: Tx) -> Because:
    """The cause as movements name it."""
    event = received.event
    order_id = event.order_id if isinstance(event, OrderEvent) else None
    return Because(type(event).__name__, str(received.id), tx.now, order_id)


@handlers.on(PriorityAssigned)
async def reserve(batch: Batch[Received[PriorityAssigned]], tx: Tx) -> None:
    """Prioritised orders get their stock, most urgent first; what is short becomes a split, a transfer or a backorder."""
    orders = await tx.load(ORDERS, batch.keys)
    skus: set[str] = set()
    for received in batch:
        new = received.event.units - orders[received.key].known
        lines = set(new.lines)
        skus.update(line.sku for line in received.event.lines if line.line in lines)
    room = await Stockroom.sourcing(tx, skus)
    for received in sorted(batch, key=lambda r: r.event.urgency.sort_key):
        express = received.lane is Lane.EXPRESS
        decision = custody.assigned(
            orders[received.key], received.event, room.world, because(received, tx), express=express
        )
        await apply(tx, received, orders, decision)
    room.save()


@handlers.on(CancelRequested)
async def cancel(batch: Batch[Received[CancelRequested]], tx: Tx) -> None:
    """Cancel what is here or was never seen; remember the request for what comes back."""
    orders = await tx.load(ORDERS, batch.keys)
    room = await Stockroom.exact(tx, {k for r in batch for k in held_shelves(orders[r.key], r.event.units)})
    for received in batch:
        decision = custody.cancel_requested(orders[received.key], received.event, room.world, because(received, tx))
        await apply(tx, received, orders, decision)
    room.save()


@handlers.on(CancelRefused)
async def refused(batch: Batch[Received[CancelRefused]], tx: Tx) -> None:
    """A later station refused: a non-standing request is settled for these units."""
    orders = await tx.load(ORDERS, batch.keys)
    for received in batch:
        await apply(tx, received, orders, custody.cancel_refused(orders[received.key], received.event))


@handlers.on(UnitsCancelled)
async def put_back(batch: Batch[Received[UnitsCancelled]], tx: Tx) -> None:
    """Goods put back by fulfillment or shipping are free again. Our own answers come back too and mean nothing new."""
    others = [r for r in batch if r.sender != handlers.service]
    orders = await tx.load(ORDERS, [r.key for r in others])
    keys = set()
    for received in others:
        order, event = orders[received.key], received.event
        keys |= held_shelves(order, event.units)
        if event.warehouse_id:
            keys |= {(sku, event.warehouse_id) for sku in order.skus(event.units)}
    room = await Stockroom.exact(tx, keys)
    for received in others:
        decision = custody.units_cancelled(orders[received.key], received.event, room.world, because(received, tx))
        await apply(tx, received, orders, decision)
    room.save()


@handlers.on(Packed)
async def packed(batch: Batch[Received[Packed]], tx: Tx) -> None:
    """Packed goods are out."""
    orders = await tx.load(ORDERS, batch.keys)
    room = await Stockroom.exact(tx, {k for r in batch for k in held_shelves(orders[r.key], r.event.units)})
    for received in batch:
        decision = custody.packed(orders[received.key], received.event, room.world, because(received, tx))
        await apply(tx, received, orders, decision)
    room.save()


@handlers.on(PickShort)
async def pick_short(batch: Batch[Received[PickShort]], tx: Tx) -> None:
    """Units come back from an empty bin: counted, then cancelled or sourced again (E4)."""
    orders = await tx.load(ORDERS, batch.keys)
    room = await Stockroom.sourcing(tx, {s for r in batch for s in orders[r.key].skus(r.event.units)})
    for received in batch:
        decision = custody.pick_short(orders[received.key], received.event, room.world, because(received, tx))
        await apply(tx, received, orders, decision)
    room.save()


@handlers.on(ShipmentLost)
async def lost(batch: Batch[Received[ShipmentLost]], tx: Tx) -> None:
    """The carrier lost the goods: the units are sourced again."""
    await _carrier_loss(batch, tx)


@handlers.on(ParcelReturned)
async def returned(batch: Batch[Received[ParcelReturned]], tx: Tx) -> None:
    """The goods came back, to be inspected: the units are sourced again."""
    await _carrier_loss(batch, tx)


async def _carrier_loss(batch: Batch[Any], tx: Tx) -> None:
    orders = await tx.load(ORDERS, batch.keys)
    room = await Stockroom.sourcing(tx, {s for r in batch for s in orders[r.key].skus(r.event.units)})
    for received in batch:
        decision = custody.carrier_loss(orders[received.key], received.event, room.world, because(received, tx))
        await apply(tx, received, orders, decision)
    room.save()


@handlers.on(TransferDispatched)
async def dispatched(batch: Batch[Received[TransferDispatched]], tx: Tx) -> None:
    """A transfer left; what its shelf did not have is counted and sourced again (E5)."""
    orders = await tx.load(ORDERS, batch.keys)
    room = await _transfer_room(batch, orders, tx)
    for received in batch:
        decision = custody.transfer_dispatched(orders[received.key], received.event, room.world, because(received, tx))
        await apply(tx, received, orders, decision)
    room.save()


@handlers.on(TransferReceived)
async def received_transfer(batch: Batch[Received[TransferReceived]], tx: Tx) -> None:
    """A transfer arrived: reserved for its units, or available when they died (D4, E5)."""
    orders = await tx.load(ORDERS, batch.keys)
    room = await _transfer_room(batch, orders, tx)
    for received in batch:
        decision = custody.transfer_received(orders[received.key], received.event, room.world, because(received, tx))
        await apply(tx, received, orders, decision)
    room.save()


async def _transfer_room(batch: Batch[Any], orders: Any, tx: Tx) -> Stockroom:
    """The shelves at both ends, and everywhere for units that are missing and must be sourced again."""
    keys, missing = set(), set()
    for received in batch:
        order, event = orders[received.key], received.event
        transfer = order.transfer(event.transfer_id)
        if transfer is not None:
            for place in (transfer.from_warehouse_id, transfer.to_warehouse_id):
                keys |= {(sku, place) for sku in order.skus(transfer.units)}
        missing |= order.skus(event.missing)
    return await Stockroom.sourcing(tx, missing, keys)


@handlers.on(OrderHeld)
async def held(batch: Batch[Received[OrderHeld]], tx: Tx) -> None:
    """Nothing new starts for this order until every hold is released."""
    orders = await tx.load(ORDERS, batch.keys)
    for received in batch:
        await apply(tx, received, orders, custody.held(orders[received.key], received.event.hold_id))


@handlers.on(OrderHoldReleased)
async def hold_released(batch: Batch[Received[OrderHoldReleased]], tx: Tx) -> None:
    """One hold ended; the last one starts what waited."""
    orders = await tx.load(ORDERS, batch.keys)
    room = await Stockroom.exact(tx, ())
    for received in batch:
        order, cause = orders[received.key], because(received, tx)
        await apply(tx, received, orders, custody.released(order, received.event.hold_id, room.world, cause))


@handlers.on(OrderCancelled)
async def order_cancelled(batch: Batch[Received[OrderCancelled]], tx: Tx) -> None:
    """The end: nothing starts any more."""
    orders = await tx.load(ORDERS, batch.keys)
    for received in batch:
        await apply(tx, received, orders, custody.ended(orders[received.key], "cancelled"))


@handlers.on(OrderClosed)
async def order_closed(batch: Batch[Received[OrderClosed]], tx: Tx) -> None:
    """The end: nothing starts any more."""
    orders = await tx.load(ORDERS, batch.keys)
    for received in batch:
        await apply(tx, received, orders, custody.ended(orders[received.key], "closed"))


@handlers.on(GoodsReceived)
async def goods_received(batch: Batch[Received[GoodsReceived]], tx: Tx) -> None:
    """Book a receipt once; the fill job gives the goods to who waits for them, in urgency order (D5)."""
    bookings = await tx.load(BOOKINGS, [("receipt", r.event.receipt_id) for r in batch])
    known = {w.warehouse_id for w in await tx.find(WAREHOUSES)}
    for received in batch:
        if received.event.warehouse_id not in known:
            raise NotYet(f"warehouse {received.event.warehouse_id} is not known yet: PUT it, the receipt follows")
    room = await Stockroom.exact(tx, {(line.sku, r.event.warehouse_id) for r in batch for line in r.event.lines})
    for received in batch:
        event = received.event
        if bookings.get(("receipt", event.receipt_id)) is not None:
            continue
        lines = tuple(
            BookingLine(sku=line.sku, warehouse_id=event.warehouse_id, quantity=line.quantity) for line in event.lines
        )
        book_in(room.world.stock, because(received, tx), lines)
        bookings.put(
            Booking(
                kind="receipt", reference=event.receipt_id, lines=lines, digest="", by=event.received_by, at=event.at
            )
        )
    room.save()


@handlers.on(CarrierChanged)
async def carrier_changed(batch: Batch[Received[CarrierChanged]], tx: Tx) -> None:
    """Keep the newest snapshot of each carrier: its transit times say whether a transfer still meets the promise."""
    carriers = await tx.load(CARRIERS, batch.keys)
    for received in batch:
        known = carriers.get(received.key)
        if known is None or received.event.revision > known.revision:
            carriers.put(received.event)
