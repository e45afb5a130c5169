"""Every order event, folded into the card, and the sentence it adds to the timeline."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from control_tower.domain.card import Breach, CancelAsk, Card, Hold, Parcel, Pick, Transfer
from expedite_events import (
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
)


def _set(card: Card, **changes: Any) -> Card:
    return card.model_copy(update=changes)


def _parcel(card: Card, parcel_id: str, **changes: Any) -> Card:
    known = card.parcels.get(parcel_id, Parcel(parcel_id=parcel_id))
    return _set(card, parcels={**card.parcels, parcel_id: known.model_copy(update=changes)})


def _pick(card: Card, fulfilment_order_id: str, **changes: Any) -> Card:
    known = card.picks.get(fulfilment_order_id, Pick(fulfilment_order_id=fulfilment_order_id))
    return _set(card, picks={**card.picks, fulfilment_order_id: known.model_copy(update=changes)})


def _back(card: Card, fulfilment_order_id: str, units: Units) -> Card:
    known = card.picks.get(fulfilment_order_id, Pick(fulfilment_order_id=fulfilment_order_id))
    return _pick(card, fulfilment_order_id, back=known.back | units)


def _transfer(card: Card, transfer_id: str, **changes: Any) -> Card:
    known = card.transfers.get(transfer_id, Transfer(transfer_id=transfer_id))
    return _set(card, transfers={**card.transfers, transfer_id: known.model_copy(update=changes)})


def _ask(card: Card, request_id: str, **changes: Any) -> Card:
    known = card.asks.get(request_id, CancelAsk(request_id=request_id))
    return _set(card, asks={**card.asks, request_id: known.model_copy(update=changes)})


@singledispatch
def fold(event: Event, card: Card) -> tuple[Card, str]:
    """The card with the event's facts, and the timeline's sentence."""
    raise TypeError(f"the tower cannot place {type(event).__name__}")


@fold.register
def _(event: OrderReceived, card: Card) -> tuple[Card, str]:
    units = Units.union(line.units for line in event.lines)
    new = _set(
        card, channel=event.brief.channel, customer=event.brief.customer.name, country=event.brief.customer.ship_to.country,
        tags=event.brief.tags, total=str(event.total), currency=event.brief.currency, received_at=event.received_at,
        units=card.units | units, first_heard_at=card.first_heard_at or event.received_at,
    )  # fmt: skip
    return new, f"verified: {len(event.lines)} lines, {len(units)} pieces, from {event.brief.channel}"


@fold.register
def _(event: OrderHeld, card: Card) -> tuple[Card, str]:
    text = "; ".join(p.message for p in event.problems) or event.kind.value.replace("_", " ")
    known = card.holds.get(event.hold_id)
    hold = Hold(
        hold_id=event.hold_id, kind=event.kind.value, owner=event.owner, since=event.held_at, due_at=event.due_at, text=text,
        released_at=known.released_at if known else None, released_by=known.released_by if known else "",
    )  # fmt: skip
    new = _set(
        card, holds={**card.holds, event.hold_id: hold}, channel=card.channel or event.summary.channel,
        customer=card.customer or (event.customer.name if event.customer else ""), tags=card.tags or event.summary.tags,
        first_heard_at=card.first_heard_at or event.received_at,
    )  # fmt: skip
    return new, f"held ({event.kind.value}): {text}"


@fold.register
def _(event: OrderHoldReleased, card: Card) -> tuple[Card, str]:
    tombstone = Hold(hold_id=event.hold_id, kind=event.kind.value, since=event.released_at)
    hold = card.holds.get(event.hold_id, tombstone).model_copy(
        update={"released_at": event.released_at, "released_by": event.released_by}
    )
    return _set(card, holds={**card.holds, event.hold_id: hold}), f"hold {event.outcome} by {event.released_by}"


@fold.register
def _(event: PriorityAssigned, card: Card) -> tuple[Card, str]:
    said = f"{event.urgency.tier.value} (revision {event.urgency.revision}): {'; '.join(r.text for r in event.reasons)}"
    if card.urgency is not None and card.urgency.revision >= event.urgency.revision:
        return card, said
    return _set(card, urgency=event.urgency, reasons=tuple(r.text for r in event.reasons)), said


@fold.register
def _(event: RaiseRequested, card: Card) -> tuple[Card, str]:
    return card, f"raise asked by {event.requested_by}: {event.reason}"


@fold.register
def _(event: StockReserved, card: Card) -> tuple[Card, str]:
    known = card.picks.get(event.fulfilment_order_id)
    new = _pick(
        card, event.fulfilment_order_id, warehouse_id=event.warehouse_id,
        units=(known.units if known else Units()) | event.units, at=(known.at if known else None) or event.reserved_at,
    )  # fmt: skip
    return new, f"stock locked: {len(event.units)} pieces in {event.warehouse_id}"


@fold.register
def _(event: StockShort, card: Card) -> tuple[Card, str]:
    return _set(card, short=card.short | event.units), f"{len(event.units)} pieces short: {event.chosen.value} chosen"


@fold.register
def _(event: OrderBackordered, card: Card) -> tuple[Card, str]:
    new = _set(card, backordered=card.backordered | event.units, backorder_estimate=event.estimated_at)
    return new, f"{len(event.units)} pieces backordered"


@fold.register
def _(event: TransferRequested, card: Card) -> tuple[Card, str]:
    new = _transfer(
        card, event.transfer_id, from_warehouse=event.from_warehouse_id, to_warehouse=event.to_warehouse_id,
        units=event.units, requested_at=event.requested_at,
    )  # fmt: skip
    return new, f"transfer of {len(event.units)} pieces from {event.from_warehouse_id} to {event.to_warehouse_id}"


@fold.register
def _(event: TransferDispatched, card: Card) -> tuple[Card, str]:
    new = _transfer(card, event.transfer_id, dispatched_at=event.at)
    return new, f"transfer left {event.from_warehouse_id}" + (
        f", {len(event.missing)} missing" if event.missing else ""
    )


@fold.register
def _(event: TransferReceived, card: Card) -> tuple[Card, str]:
    new = _transfer(card, event.transfer_id, received_at=event.at)
    return new, f"transfer arrived in {event.to_warehouse_id}" + (
        f", {len(event.missing)} missing" if event.missing else ""
    )


@fold.register
def _(event: PickShort, card: Card) -> tuple[Card, str]:
    new = _back(card, event.fulfilment_order_id, event.units)
    return new, f"shelf empty in {event.warehouse_id}: {len(event.units)} pieces, reported by {event.reported_by}"


@fold.register
def _(event: Packed, card: Card) -> tuple[Card, str]:
    new = _parcel(
        card, event.parcel_id, warehouse_id=event.warehouse_id, units=event.units, packed_at=event.packed_at,
        packed_by=event.packed_by,
    )  # fmt: skip
    return new, f"packed {len(event.units)} pieces in {event.box} by {event.packed_by}"


@fold.register
def _(event: Shipped, card: Card) -> tuple[Card, str]:
    known = card.parcels.get(event.parcel_id)
    new = _parcel(
        card, event.parcel_id, units=event.units, shipped_at=event.shipped_at, carrier=event.carrier_id,
        service=event.service, tracking_number=event.tracking_number,
        expected_at=known.expected_at if known and known.delayed else event.expected_at,
    )  # fmt: skip
    return new, f"handed to {event.carrier_id} ({event.service}): {event.chosen_because}"


@fold.register
def _(event: ShipmentTracked, card: Card) -> tuple[Card, str]:
    known = card.parcels.get(event.parcel_id)
    said = f"{event.status.value.replace('_', ' ')}" + (f" in {event.location}" if event.location else "")
    if known and known.status_at and known.status_at > event.occurred_at:
        return card, said
    return _parcel(card, event.parcel_id, status=event.status.value, status_at=event.occurred_at), said


@fold.register
def _(event: DeliveryDelayed, card: Card) -> tuple[Card, str]:
    new = _parcel(card, event.parcel_id, expected_at=event.new_expected_at, delayed=event.cause)
    return new, f"delayed: {event.cause}"


@fold.register
def _(event: ShipmentLost, card: Card) -> tuple[Card, str]:
    new = _parcel(card, event.parcel_id, units=event.units, gone="lost", gone_at=event.at)
    return _back(new, event.fulfilment_order_id, event.units), f"parcel lost: {event.cause}"


@fold.register
def _(event: ParcelReturned, card: Card) -> tuple[Card, str]:
    new = _parcel(card, event.parcel_id, units=event.units, gone="returned", gone_at=event.at)
    return _back(new, event.fulfilment_order_id, event.units), f"parcel returned: {event.cause}"


@fold.register
def _(event: Delivered, card: Card) -> tuple[Card, str]:
    new = _parcel(
        card, event.parcel_id, units=event.units, delivered_at=event.delivered_at, signed_by=event.signed_by or ""
    )
    return new, f"delivered {len(event.units)} pieces" + (f", signed by {event.signed_by}" if event.signed_by else "")


@fold.register
def _(event: CancelRequested, card: Card) -> tuple[Card, str]:
    new = _ask(card, event.request_id, units=event.units, at=event.requested_at)
    return new, f"cancel of {len(event.units)} pieces asked by {event.requested_by}: {event.reason}"


@fold.register
def _(event: UnitsCancelled, card: Card) -> tuple[Card, str]:
    known = card.asks.get(event.request_id)
    new = _ask(card, event.request_id, cancelled=(known.cancelled if known else Units()) | event.units)
    return _set(
        new, cancelled=new.cancelled | event.units
    ), f"{len(event.units)} pieces cancelled by {event.answered_by}"


@fold.register
def _(event: CancelRefused, card: Card) -> tuple[Card, str]:
    known = card.asks.get(event.request_id)
    new = _ask(card, event.request_id, refused=(known.refused if known else Units()) | event.units)
    return new, f"cancel of {len(event.units)} pieces refused: {event.reason}"


@fold.register
def _(event: SLABreached, card: Card) -> tuple[Card, str]:
    breach = Breach(
        subject=event.subject, stage=event.stage, level=event.level, owner=event.owner, due_at=event.due_at,
        at=event.breached_at,
    )  # fmt: skip
    name = f"{event.subject}|{event.stage.value}"
    known = card.breaches.get(name)
    said = f"{event.stage.value} is late (level {event.level}): {event.owner} must act"
    if known and known.level >= event.level:
        return card, said
    return _set(card, breaches={**card.breaches, name: breach}), said


@fold.register
def _(event: CustomerNotified, card: Card) -> tuple[Card, str]:
    return card, f"{event.audience} told by {event.channel}: {event.kind.replace('_', ' ')}"


@fold.register
def _(event: OrderCancelled, card: Card) -> tuple[Card, str]:
    new = _set(card, ended="cancelled", ended_at=event.cancelled_at, cancelled=card.cancelled | event.units)
    return new, f"cancelled: {event.reason}"


@fold.register
def _(event: OrderClosed, card: Card) -> tuple[Card, str]:
    new = _set(card, ended="closed", ended_at=event.closed_at, cancelled=card.cancelled | event.cancelled)
    return new, f"closed, confirmed by {event.confirmed_by}"
