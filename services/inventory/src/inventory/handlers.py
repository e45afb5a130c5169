"""What inventory listens to: load → decide → apply. Everything heard of orders is served by one function.

Every writer locks orders first, then shelves, in one sorted load. A decision that may source locks the shelves of its SKUs
in all warehouses; one that only moves goods that are somewhere locks those shelves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from expedite_events import (
    CancelRefused,
    CancelRequested,
    CarrierChanged,
    Decision,
    GoodsReceived,
    Lane,
    NotYet,
    OrderCancelled,
    OrderClosed,
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
from expedite_messaging.collection import Book
from expedite_messaging.handlers import Handlers
from expedite_messaging.tx import Tx
from inventory import jobs
from inventory.domain import custody, plain
from inventory.domain.bookings import Booking, BookingLine, book_in
from inventory.domain.order import Order
from inventory.domain.stock import Because, ShelfKey
from inventory.domain.world import World
from inventory.shelves import Stockroom, held_shelves
from inventory.store import BOOKINGS, CARRIERS, ORDERS, WAREHOUSES

# The more orders a batch has, the fewer times a shelf is written for each. But one that is not plain makes its whole batch
# hold shelves while it is decided, and urgent orders wait for them.
handlers = Handlers("inventory", poll=500)
handlers.every(0.5)(jobs.fill)
handlers.every(2.0)(jobs.publish_levels)


async def serve(batch: Batch[Received[Any]], tx: Tx) -> None:
    """Everything that is heard of orders: one load and one save of each order and shelf, however much is heard of it at
    once."""
    # Our own answers to cancels come back too and mean nothing new.
    heard = [r for r in batch if not (isinstance(r.event, UnitsCancelled) and r.sender == handlers.service)]
    orders = await tx.load(ORDERS, [r.key for r in heard])
    if await _plain(heard, orders, tx):
        return
    room = await _room(heard, orders, tx)
    for received in sorted(heard, key=_turn):
        room.apply(received, orders, decide(orders[received.key], received, room.world, _because(received, tx.now)))
    room.save()


async def _plain(heard: Sequence[Received[Any]], orders: Book[Order], tx: Tx) -> bool:
    """Serve all of these events by plain decisions. False, with nothing done, when one of them is not plain."""
    if len({r.key for r in heard}) < len(heard) or any(type(r.event) not in (PriorityAssigned, Packed) for r in heard):
        return False
    assigned: list[PriorityAssigned] = []
    shelves: set[ShelfKey] = set()
    for received in heard:
        order, event = orders[received.key], received.event
        if type(event) is Packed:
            shelves.update([(sku, event.warehouse_id) for sku in order.lines.values()])
        elif plain.unheard_of(order):
            assigned.append(event)
        else:
            return False
    room = await Stockroom.unlocked(tx, assigned, shelves)
    if room is None:
        return False
    decided: list[tuple[Received[Any], Decision[Order]]] = []
    # Goods are packed first, as in `serve`: what leaves a shelf frees nothing, but its movements come in that order.
    for received in sorted(heard, key=_turn):
        decision = plain.decide(orders[received.key], received.event, room.world, _because(received, tx.now))
        if decision is None:
            return False
        decided.append((received, decision))
    for received, decision in decided:
        room.apply(received, orders, decision)
    room.save()
    return True


def _turn(received: Received[Any]) -> tuple[Any, ...]:
    """What may free stock or call work off comes first, then the new orders, most urgent first (D2)."""
    event = received.event
    return (1, *event.urgency.sort_key) if isinstance(event, PriorityAssigned) else (0,)


def _because(received: Received[Any], now: datetime) -> Because:
    envelope = received.envelope
    return Because(type(envelope.event).__name__, str(envelope.id), now, envelope.key)


for _event in (
    PriorityAssigned,
    CancelRequested,
    CancelRefused,
    UnitsCancelled,
    Packed,
    PickShort,
    ShipmentLost,
    ParcelReturned,
    TransferDispatched,
    TransferReceived,
    OrderHeld,
    OrderHoldReleased,
    OrderCancelled,
    OrderClosed,
):
    handlers.on(_event)(serve)


def decide(order: Order, received: Received[Any], world: World, because: Because) -> Decision[Order]:
    """The decision of each event."""
    match received.event:
        case PriorityAssigned() as event:
            return custody.assigned(order, event, world, because, express=received.lane is Lane.EXPRESS)
        case Packed() as event:
            return custody.packed(order, event, world, because)
        case CancelRequested() as event:
            return custody.cancel_requested(order, event, world, because)
        case CancelRefused() as event:
            return custody.cancel_refused(order, event)
        case UnitsCancelled() as event:
            return custody.units_cancelled(order, event, world, because)
        case PickShort() as event:
            return custody.pick_short(order, event, world, because)
        case ShipmentLost() | ParcelReturned() as event:
            return custody.carrier_loss(order, event, world, because)
        case TransferDispatched() as event:
            return custody.transfer_dispatched(order, event, world, because)
        case TransferReceived() as event:
            return custody.transfer_received(order, event, world, because)
        case OrderHeld() as event:
            return custody.held(order, event.hold_id)
        case OrderHoldReleased() as event:
            return custody.released(order, event.hold_id, world, because)
        case OrderCancelled():
            return custody.ended(order, "cancelled")
        case OrderClosed():
            return custody.ended(order, "closed")
        case event:
            raise TypeError(f"no decision for {type(event).__name__}")


async def _room(heard: Sequence[Received[Any]], orders: Book[Order], tx: Tx) -> Stockroom:
    """The shelves these events may touch, locked."""
    skus: set[str] = set()
    shelves: set[ShelfKey] = set()
    several = {key for key, n in Counter(r.key for r in heard).items() if n > 1}
    for received in heard:
        order = orders[received.key]
        _reach(order, received.event, skus, shelves)
        if received.key in several:
            # An event of this batch may move what the next one is about to anywhere.
            skus.update(order.lines.values())
    return await Stockroom.sourcing(tx, skus, shelves, orders)


def _reach(order: Order, event: Any, skus: set[str], shelves: set[ShelfKey]) -> None:
    """Add what a decision may look at: SKUs everywhere if it may source them, else the shelves where its units are."""
    match event:
        case PriorityAssigned():
            lines = (event.units - order.known).lines if order.segments else None
            skus.update(line.sku for line in event.lines if lines is None or line.line in lines)
        case Packed():
            shelves.update((sku, event.warehouse_id) for sku in order.skus(event.units))
        case CancelRequested():
            held_shelves(order, event.units, shelves)
        case UnitsCancelled():
            held_shelves(order, event.units, shelves)
            if event.warehouse_id:
                shelves.update((sku, event.warehouse_id) for sku in order.skus(event.units))
        case PickShort() | ShipmentLost() | ParcelReturned():
            skus.update(order.skus(event.units))
        case TransferDispatched() | TransferReceived():
            transfer = order.transfer(event.transfer_id)
            if transfer is not None:
                places = (transfer.from_warehouse_id, transfer.to_warehouse_id)
                shelves.update((sku, place) for sku in order.skus(transfer.units) for place in places)
            skus.update(order.skus(event.missing))


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
        book_in(room.world.stock, Because("GoodsReceived", str(received.id), tx.now), lines)
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
