"""Every order event that states a fact the board shows, folded into the card."""

from __future__ import annotations

from functools import cache, singledispatch
from typing import Any, TypeVar

from control_tower.domain.card import Breach, CancelAsk, Card, Hold, Parcel, Pick, Transfer
from control_tower.domain.say import trouble_of
from expedite_events import (
    NO_UNITS,
    CancelRefused,
    CancelRequested,
    CustomerNotified,
    Delivered,
    DeliveryDelayed,
    Event,
    OrderBackordered,
    OrderCancelled,
    OrderClosed,
    OrderHeld,
    OrderHoldReleased,
    OrderReceived,
    Packed,
    ParcelReturned,
    PickShort,
    PriorityAssigned,
    RaiseRequested,
    ShipmentLost,
    ShipmentTracked,
    Shipped,
    SLABreached,
    StockReserved,
    StockShort,
    TransferDispatched,
    TransferReceived,
    TransferRequested,
    Units,
    UnitsCancelled,
    Value,
)

V = TypeVar("V", bound=Value)

TOLD_ONLY: frozenset[type[Event]] = frozenset({CustomerNotified, RaiseRequested, StockShort})
"""Events that only the timeline tells: they change no card."""


def _with(known: dict[str, V], name: str, value: V) -> dict[str, V]:
    return {**known, name: value}


def _noted(known: dict[str, V], kind: type[V], named: str, key: str, changes: dict[str, Any]) -> dict[str, V]:
    """With these facts about one of them, which may be new; `named` is the field its key stands in."""
    found = known.get(key)
    return _with(known, key, found.put(**changes) if found else kind(**{named: key}, **changes))


def _parcel(card: Card, parcel_id: str, **changes: Any) -> Card:
    return card.put(parcels=_noted(card.parcels, Parcel, "parcel_id", parcel_id, changes))


def _pick(card: Card, fulfilment_order_id: str, **changes: Any) -> Card:
    return card.put(picks=_noted(card.picks, Pick, "fulfilment_order_id", fulfilment_order_id, changes))


def _back(card: Card, fulfilment_order_id: str, units: Units) -> Card:
    known = card.picks.get(fulfilment_order_id)
    return _pick(card, fulfilment_order_id, back=known.back | units if known else units)


def _transfer(card: Card, transfer_id: str, **changes: Any) -> Card:
    return card.put(transfers=_noted(card.transfers, Transfer, "transfer_id", transfer_id, changes))


def _ask(card: Card, request_id: str, **changes: Any) -> Card:
    return card.put(asks=_noted(card.asks, CancelAsk, "request_id", request_id, changes))


def fold(event: Event, card: Card) -> Card:
    """The card with the event's facts; the same object when it learned nothing."""
    return _fold_of(type(event))(event, card)


@singledispatch
def _fold(event: Event, card: Card) -> Card:
    raise TypeError(f"the tower cannot place {type(event).__name__}")


_fold_of = cache(_fold.dispatch)  # which by itself goes through weak references each time


@_fold.register
def _(event: OrderReceived, card: Card) -> Card:
    brief = event.brief
    return card.put(
        channel=brief.channel, customer=brief.customer.name, country=brief.customer.ship_to.country, tags=brief.tags,
        total=str(event.total), currency=brief.currency, received_at=event.received_at,
        units=card.units | Units([(line.line, 1, line.quantity) for line in event.lines]),
        first_heard_at=card.first_heard_at or event.received_at,
    )  # fmt: skip


@_fold.register
def _(event: OrderHeld, card: Card) -> Card:
    known = card.holds.get(event.hold_id)
    hold = Hold(
        hold_id=event.hold_id, kind=event.kind.value, owner=event.owner, since=event.held_at, due_at=event.due_at,
        text=trouble_of(event), released_at=known.released_at if known else None,
        released_by=known.released_by if known else "",
    )  # fmt: skip
    return card.put(
        holds=_with(card.holds, event.hold_id, hold), channel=card.channel or event.summary.channel,
        customer=card.customer or (event.customer.name if event.customer else ""), tags=card.tags or event.summary.tags,
        first_heard_at=card.first_heard_at or event.received_at,
    )  # fmt: skip


@_fold.register
def _(event: OrderHoldReleased, card: Card) -> Card:
    tombstone = Hold(hold_id=event.hold_id, kind=event.kind.value, since=event.released_at)
    known = card.holds.get(event.hold_id) or tombstone
    hold = known.put(released_at=event.released_at, released_by=event.released_by)
    return card.put(holds=_with(card.holds, event.hold_id, hold))


@_fold.register
def _(event: PriorityAssigned, card: Card) -> Card:
    if card.urgency is not None and card.urgency.revision >= event.urgency.revision:
        return card
    return card.put(urgency=event.urgency, reasons=tuple([r.text for r in event.reasons]))


@_fold.register
def _(event: StockReserved, card: Card) -> Card:
    known = card.picks.get(event.fulfilment_order_id)
    return _pick(
        card, event.fulfilment_order_id, warehouse_id=event.warehouse_id,
        units=known.units | event.units if known else event.units, at=(known.at if known else None) or event.reserved_at,
    )  # fmt: skip


@_fold.register
def _(event: OrderBackordered, card: Card) -> Card:
    return card.put(backordered=card.backordered | event.units, backorder_estimate=event.estimated_at)


@_fold.register
def _(event: TransferRequested, card: Card) -> Card:
    return _transfer(
        card, event.transfer_id, from_warehouse=event.from_warehouse_id, to_warehouse=event.to_warehouse_id,
        units=event.units, requested_at=event.requested_at,
    )  # fmt: skip


@_fold.register
def _(event: TransferDispatched, card: Card) -> Card:
    return _transfer(card, event.transfer_id, dispatched_at=event.at)


@_fold.register
def _(event: TransferReceived, card: Card) -> Card:
    return _transfer(card, event.transfer_id, received_at=event.at)


@_fold.register
def _(event: PickShort, card: Card) -> Card:
    return _back(card, event.fulfilment_order_id, event.units)


@_fold.register
def _(event: Packed, card: Card) -> Card:
    return _parcel(
        card, event.parcel_id, warehouse_id=event.warehouse_id, units=event.units, packed_at=event.packed_at,
        packed_by=event.packed_by,
    )  # fmt: skip


@_fold.register
def _(event: Shipped, card: Card) -> Card:
    known = card.parcels.get(event.parcel_id)
    return _parcel(
        card, event.parcel_id, units=event.units, shipped_at=event.shipped_at, carrier=event.carrier_id,
        service=event.service, tracking_number=event.tracking_number,
        expected_at=known.expected_at if known and known.delayed else event.expected_at,
    )  # fmt: skip


@_fold.register
def _(event: ShipmentTracked, card: Card) -> Card:
    known = card.parcels.get(event.parcel_id)
    if known and known.status_at and known.status_at > event.occurred_at:
        return card
    return _parcel(card, event.parcel_id, status=event.status.value, status_at=event.occurred_at)


@_fold.register
def _(event: DeliveryDelayed, card: Card) -> Card:
    return _parcel(card, event.parcel_id, expected_at=event.new_expected_at, delayed=event.cause)


@_fold.register
def _(event: ShipmentLost, card: Card) -> Card:
    lost = _parcel(card, event.parcel_id, units=event.units, gone="lost", gone_at=event.at)
    return _back(lost, event.fulfilment_order_id, event.units)


@_fold.register
def _(event: ParcelReturned, card: Card) -> Card:
    returned = _parcel(card, event.parcel_id, units=event.units, gone="returned", gone_at=event.at)
    return _back(returned, event.fulfilment_order_id, event.units)


@_fold.register
def _(event: Delivered, card: Card) -> Card:
    return _parcel(
        card, event.parcel_id, units=event.units, delivered_at=event.delivered_at, signed_by=event.signed_by or ""
    )


@_fold.register
def _(event: CancelRequested, card: Card) -> Card:
    return _ask(card, event.request_id, units=event.units, at=event.requested_at)


@_fold.register
def _(event: UnitsCancelled, card: Card) -> Card:
    known = card.asks.get(event.request_id)
    asked = _ask(card, event.request_id, cancelled=(known.cancelled if known else NO_UNITS) | event.units)
    return asked.put(cancelled=card.cancelled | event.units)


@_fold.register
def _(event: CancelRefused, card: Card) -> Card:
    known = card.asks.get(event.request_id)
    return _ask(card, event.request_id, refused=(known.refused if known else NO_UNITS) | event.units)


@_fold.register
def _(event: SLABreached, card: Card) -> Card:
    name = f"{event.subject}|{event.stage.value}"
    known = card.breaches.get(name)
    if known and known.level >= event.level:
        return card
    breach = Breach(
        subject=event.subject, stage=event.stage, level=event.level, owner=event.owner, due_at=event.due_at,
        at=event.breached_at,
    )  # fmt: skip
    return card.put(breaches=_with(card.breaches, name, breach))


@_fold.register
def _(event: OrderCancelled, card: Card) -> Card:
    return card.put(ended="cancelled", ended_at=event.cancelled_at, cancelled=card.cancelled | event.units)


@_fold.register
def _(event: OrderClosed, card: Card) -> Card:
    return card.put(ended="closed", ended_at=event.closed_at, cancelled=card.cancelled | event.cancelled)
