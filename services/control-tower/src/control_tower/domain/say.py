"""The sentence each order event adds to its order's timeline."""

from __future__ import annotations

from functools import singledispatch

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


@singledispatch
def say(event: Event) -> str:
    """What the event says, in words."""
    raise TypeError(f"the tower has no words for {type(event).__name__}")


def _missing(units: Units) -> str:
    return f", {len(units)} missing" if units else ""


def trouble_of(event: OrderHeld) -> str:
    """Why an order is held."""
    return "; ".join(p.message for p in event.problems) or event.kind.value.replace("_", " ")


@say.register
def _(event: OrderReceived) -> str:
    pieces = sum(line.quantity for line in event.lines)
    return f"verified: {len(event.lines)} lines, {pieces} pieces, from {event.brief.channel}"


@say.register
def _(event: OrderHeld) -> str:
    return f"held ({event.kind.value}): {trouble_of(event)}"


@say.register
def _(event: OrderHoldReleased) -> str:
    return f"hold {event.outcome} by {event.released_by}"


@say.register
def _(event: PriorityAssigned) -> str:
    urgency = event.urgency
    return f"{urgency.tier.value} (revision {urgency.revision}): {'; '.join(r.text for r in event.reasons)}"


@say.register
def _(event: RaiseRequested) -> str:
    return f"raise asked by {event.requested_by}: {event.reason}"


@say.register
def _(event: StockReserved) -> str:
    return f"stock locked: {len(event.units)} pieces in {event.warehouse_id}"


@say.register
def _(event: StockShort) -> str:
    return f"{len(event.units)} pieces short: {event.chosen.value} chosen"


@say.register
def _(event: OrderBackordered) -> str:
    return f"{len(event.units)} pieces backordered"


@say.register
def _(event: TransferRequested) -> str:
    return f"transfer of {len(event.units)} pieces from {event.from_warehouse_id} to {event.to_warehouse_id}"


@say.register
def _(event: TransferDispatched) -> str:
    return f"transfer left {event.from_warehouse_id}{_missing(event.missing)}"


@say.register
def _(event: TransferReceived) -> str:
    return f"transfer arrived in {event.to_warehouse_id}{_missing(event.missing)}"


@say.register
def _(event: PickShort) -> str:
    return f"shelf empty in {event.warehouse_id}: {len(event.units)} pieces, reported by {event.reported_by}"


@say.register
def _(event: Packed) -> str:
    return f"packed {len(event.units)} pieces in {event.box} by {event.packed_by}"


@say.register
def _(event: Shipped) -> str:
    return f"handed to {event.carrier_id} ({event.service}): {event.chosen_because}"


@say.register
def _(event: ShipmentTracked) -> str:
    return event.status.value.replace("_", " ") + (f" in {event.location}" if event.location else "")


@say.register
def _(event: DeliveryDelayed) -> str:
    return f"delayed: {event.cause}"


@say.register
def _(event: ShipmentLost) -> str:
    return f"parcel lost: {event.cause}"


@say.register
def _(event: ParcelReturned) -> str:
    return f"parcel returned: {event.cause}"


@say.register
def _(event: Delivered) -> str:
    return f"delivered {len(event.units)} pieces" + (f", signed by {event.signed_by}" if event.signed_by else "")


@say.register
def _(event: CancelRequested) -> str:
    return f"cancel of {len(event.units)} pieces asked by {event.requested_by}: {event.reason}"


@say.register
def _(event: UnitsCancelled) -> str:
    return f"{len(event.units)} pieces cancelled by {event.answered_by}"


@say.register
def _(event: CancelRefused) -> str:
    return f"cancel of {len(event.units)} pieces refused: {event.reason}"


@say.register
def _(event: SLABreached) -> str:
    return f"{event.stage.value} is late (level {event.level}): {event.owner} must act"


@say.register
def _(event: CustomerNotified) -> str:
    return f"{event.audience} told by {event.channel}: {event.kind.replace('_', ' ')}"


@say.register
def _(event: OrderCancelled) -> str:
    return f"cancelled: {event.reason}"


@say.register
def _(event: OrderClosed) -> str:
    return f"closed, confirmed by {event.confirmed_by}"
