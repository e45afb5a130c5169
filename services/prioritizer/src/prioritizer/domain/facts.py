"""What each event teaches about an order.

Topics and lanes have no common order, so a stop may come before its start. Learning is therefore a union: the same facts
give the same clocks, whichever came first, and a fact that is known already changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from expedite_events import (
    NO_UNITS,
    CancelRefused,
    CancelRequested,
    CustomerNotified,
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
    Settled,
    ShipmentLost,
    ShipmentTracked,
    Shipped,
    StockReserved,
    StockShort,
    TransferDispatched,
    TransferReceived,
    TransferRequested,
    Units,
    Value,
)
from prioritizer.domain.order import Ask, Backorder, FulfilmentOrder, Hold, Order, Parcel, Piece, Transfer

V = TypeVar("V", bound=Value)


# Events of which not each one can change something.
_TEACHES: dict[type[OrderEvent], Callable[[Any], bool]] = {
    CustomerNotified: lambda event: event.kind == "shipped" and event.audience == "customer",
    TransferDispatched: lambda event: bool(event.missing),
    DeliveryDelayed: lambda event: False,  # the promise stays what it was; only the carrier's own date moved
}


def teaches(event: OrderEvent) -> bool:
    """Whether an event can change anything about any order: what cannot is not even looked up."""
    asks = _TEACHES.get(type(event))
    return asks is None or asks(event)


_LESSONS: dict[type[OrderEvent], Callable[[Any, Order], Order]] = {}


def learn(event: OrderEvent, order: Order) -> Order:
    """The order's file with one more fact. Learning the same fact again changes nothing."""
    return _LESSONS[type(event)](event, order)


def _of(*events: type[OrderEvent]) -> Callable[[Callable[[Any, Order], Order]], Callable[[Any, Order], Order]]:
    """What these events teach."""

    def keep(lesson: Callable[[Any, Order], Order]) -> Callable[[Any, Order], Order]:
        _LESSONS.update(dict.fromkeys(events, lesson))
        return lesson

    return keep


@_of(OrderReceived)
def _(event: OrderReceived, order: Order) -> Order:
    if order.version >= event.order_version:
        return order
    return order.put(
        version=event.order_version, received_at=event.received_at, kind=event.kind,
        country=event.brief.customer.ship_to.country, units=Units([(line.line, 1, line.quantity) for line in event.lines]),
    )  # fmt: skip


@_of(OrderHeld)
def _(event: OrderHeld, order: Order) -> Order:
    known = order.holds.get(event.hold_id) or Hold(kind=event.kind)
    if known.held_at:
        return order
    hold = _with(known, kind=event.kind, held_at=event.held_at, due_at=event.due_at, owner=event.owner)
    return _with(order, holds={**order.holds, event.hold_id: hold})


@_of(OrderHoldReleased)
def _(event: OrderHoldReleased, order: Order) -> Order:
    known = order.holds.get(event.hold_id) or Hold(kind=event.kind)
    if known.released_at:
        return order
    return _with(order, holds={**order.holds, event.hold_id: _with(known, released_at=event.released_at)})


@_of(CancelRequested)
def _(event: CancelRequested, order: Order) -> Order:
    if event.request_id in order.asks:
        return order
    return _with(order, asks={**order.asks, event.request_id: Ask(units=event.units, standing=event.standing)})


@_of(CancelRefused)
def _(event: CancelRefused, order: Order) -> Order:
    return _settle(order, [Settled(request_id=event.request_id, units=event.units)])


@_of(OrderCancelled, OrderClosed)
def _(event: OrderCancelled | OrderClosed, order: Order) -> Order:
    return order.ended(event.cancelled_at if isinstance(event, OrderCancelled) else event.closed_at)


@_of(StockReserved)
def _(event: StockReserved, order: Order) -> Order:
    known = _fulfilment(order, event.fulfilment_order_id, event.warehouse_id)
    if known.reserved_at:
        return order
    # What was packed or short before this came does not wait any more.
    known = known.put(
        reserved_at=event.reserved_at, locked=known.locked | event.units, waiting=event.units - known.locked
    )  # fmt: skip
    return _settle(_fulfilment_is(order, event.fulfilment_order_id, known), event.settled)


@_of(PickShort)
def _(event: PickShort, order: Order) -> Order:
    known = _fulfilment(order, event.fulfilment_order_id, event.warehouse_id)
    short = _and(known.short, event.units - known.short_units, event.at)
    known = _with(known, short=short, locked=known.locked | event.units, waiting=known.waiting - event.units)
    return _settle(_fulfilment_is(order, event.fulfilment_order_id, known), event.settled)


@_of(Packed)
def _(event: Packed, order: Order) -> Order:
    known = _fulfilment(order, event.fulfilment_order_id, event.warehouse_id)
    known = _with(known, locked=known.locked | event.units, waiting=known.waiting - event.units)
    order = _fulfilment_is(order, event.fulfilment_order_id, known)
    parcel = order.parcels.get(event.parcel_id) or Parcel()
    if not parcel.packed_at:
        units = parcel.units if parcel.shipped_at else event.units
        parcel = parcel.put(warehouse_id=event.warehouse_id, units=units, packed_at=event.packed_at)
    return _settle(_parcel_is(order, event.parcel_id, parcel), event.settled)


@_of(StockShort)
def _(event: StockShort, order: Order) -> Order:
    return _with(order, short_at=min(event.at, order.short_at or event.at))


@_of(OrderBackordered)
def _(event: OrderBackordered, order: Order) -> Order:
    known = Backorder(units=event.units, since=event.since, estimated_at=event.estimated_at)
    return order if known in order.backorders else _with(order, backorders=(*order.backorders, known))


@_of(TransferRequested)
def _(event: TransferRequested, order: Order) -> Order:
    known = order.transfers.get(event.transfer_id) or Transfer()
    known = _with(known, units=event.units, requested_at=known.requested_at or event.requested_at)
    return _with(order, transfers={**order.transfers, event.transfer_id: known})


@_of(TransferDispatched)
def _(event: TransferDispatched, order: Order) -> Order:
    known = order.transfers.get(event.transfer_id) or Transfer()
    return _with(order, transfers={**order.transfers, event.transfer_id: _with(known, lost=known.lost | event.missing)})


@_of(TransferReceived)
def _(event: TransferReceived, order: Order) -> Order:
    known = order.transfers.get(event.transfer_id) or Transfer()
    known = _with(known, lost=known.lost | event.missing, received_at=known.received_at or event.at)
    return _with(order, transfers={**order.transfers, event.transfer_id: known})


@_of(Shipped)
def _(event: Shipped, order: Order) -> Order:
    known = order.parcels.get(event.parcel_id) or Parcel()
    if known.shipped_at:
        return order
    known = known.put(warehouse_id=event.warehouse_id, units=event.units, shipped_at=event.shipped_at)
    return _parcel_is(order, event.parcel_id, known)


@_of(ShipmentTracked)
def _(event: ShipmentTracked, order: Order) -> Order:
    known = order.parcels.get(event.parcel_id) or Parcel()
    # A scan only tells that the parcel left, in case its hand-over was not heard yet.
    if known.shipped_at or (known.status_at and known.status_at >= event.occurred_at):
        return order
    return _parcel_is(order, event.parcel_id, known.put(status=event.status, status_at=event.occurred_at))


@_of(Delivered)
def _(event: Delivered, order: Order) -> Order:
    known = order.parcels.get(event.parcel_id) or Parcel()
    pieces = _and(known.delivered, event.units - known.delivered_units, event.delivered_at)
    return _parcel_is(order, event.parcel_id, _with(known, delivered=pieces))


@_of(ShipmentLost, ParcelReturned)
def _(event: ShipmentLost | ParcelReturned, order: Order) -> Order:
    known = order.parcels.get(event.parcel_id) or Parcel()
    pieces = _and(known.failed, event.units - known.failed_units, event.at)
    return _settle(_parcel_is(order, event.parcel_id, _with(known, failed=pieces)), event.settled)


@_of(CustomerNotified)
def _(event: CustomerNotified, order: Order) -> Order:
    known = order.parcels.get(event.occasion) or Parcel()
    if known.told_at:
        return order
    return _parcel_is(order, event.occasion, known.put(told_at=event.sent_at))


def _with(state: V, **changes: Any) -> V:
    """The same state with some fields replaced; itself when nothing differs."""
    for name, value in changes.items():
        known = getattr(state, name)
        if known is not value and known != value:
            return state.put(**changes)
    return state


def _and(pieces: tuple[Piece, ...], units: Units, at: datetime) -> tuple[Piece, ...]:
    return (*pieces, Piece(units=units, at=at)) if units else pieces


def _fulfilment(order: Order, fulfilment_order_id: str, warehouse_id: str) -> FulfilmentOrder:
    return order.fulfilments.get(fulfilment_order_id) or FulfilmentOrder(warehouse_id=warehouse_id)


def _fulfilment_is(order: Order, fulfilment_order_id: str, known: FulfilmentOrder) -> Order:
    if order.fulfilments.get(fulfilment_order_id) is known:
        return order
    return order.put(fulfilments={**order.fulfilments, fulfilment_order_id: known})


def _parcel_is(order: Order, parcel_id: str, known: Parcel) -> Order:
    if order.parcels.get(parcel_id) is known:
        return order
    return order.put(parcels={**order.parcels, parcel_id: known})


def _settle(order: Order, settled: Sequence[Settled]) -> Order:
    if not settled:
        return order
    known = dict(order.settled)
    for answer in settled:
        known[answer.request_id] = known.get(answer.request_id, NO_UNITS) | answer.units
    return _with(order, settled=known)
