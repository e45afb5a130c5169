"""How an order ends: units are delivered or cancelled, then the customer or the clock confirms (A10)."""

from __future__ import annotations

from datetime import datetime

from expedite_events import (
    NO_UNITS,
    Decision,
    Delivered,
    Illegal,
    OrderCancelled,
    OrderClosed,
    Outcome,
    SetTimer,
    Units,
    already_done,
)
from expedite_events.shipping import CarrierLoss
from order_intake.domain.channel import Policy
from order_intake.domain.order import CONFIRM, CancelRequest, Order, State, end, release_all
from order_intake.domain.refusal import Refused
from order_intake.domain.verify import customer_of


def came_back(order: Order, event: CarrierLoss) -> Decision[Order]:
    """A parcel was lost or returned: its units are upstream again and may be cancelled."""
    if event.parcel_id in order.parcels_back:
        return already_done(order)
    return Decision(order.put(parcels_back=(*order.parcels_back, event.parcel_id)), express=order.lane)


def delivered(order: Order, event: Delivered, policy: Policy) -> Decision[Order]:
    """Units are with the customer. A unit that was cancelled cannot be delivered: that is a bug somewhere."""
    _belongs(order, event.units)
    if event.units & order.cancelled:
        raise Illegal(f"{order.order_id}: {event.units & order.cancelled!r} were cancelled, then delivered")
    if event.units <= order.delivered:
        return already_done(order)
    latest = max(event.delivered_at, order.last_delivery_at or event.delivered_at)
    state = order.put(delivered=order.delivered | event.units, last_delivery_at=latest)
    return settle(state, event.delivered_at, policy)


def settle(order: Order, now: datetime, policy: Policy) -> Decision[Order]:
    """Look whether every unit has come to its end: all cancelled ends the order, else the confirm clock starts."""
    units = order.units
    if order.ended or not units or not units <= order.out:
        return Decision(order, express=order.lane)
    if not order.delivered:
        reason = next((r.reason for r in reversed(order.cancels) if r.whole_order), "Every unit was cancelled.")
        decision = release_all(order, "cancelled", "order-intake", now)
        return decision.and_then(end(decision.state, State.CANCELLED, _cancelled(order, units, reason, now), now))
    due = (order.last_delivery_at or now) + policy.confirm_time
    return Decision(order, timers=(SetTimer(CONFIRM, order.order_id, due),), express=order.lane)


def confirm(order: Order, by: str, now: datetime) -> Decision[Order]:
    """The customer or the clock confirms. Raises `Refused` while units are on their way, or when all were cancelled;
    confirming again is fine."""
    if order.state is State.CLOSED:
        return already_done(order)
    if order.state is State.CANCELLED:
        raise Refused("order-cancelled", "The order was cancelled; there is nothing to confirm.")
    open_units = order.units - order.out
    if order.state is State.HELD or open_units:
        where = f"{len(open_units)} of {len(order.units)} units are not delivered yet."
        raise Refused("not-yet", f"The order cannot be confirmed: {where}")
    event = OrderClosed(
        order_id=order.order_id,
        delivered=order.delivered,
        cancelled=order.cancelled,
        confirmed_by=by,
        closed_at=now,
        customer=customer_of(order.content),
    )
    return end(order, State.CLOSED, event, now)


def confirm_by_clock(order: Order, now: datetime) -> Decision[Order]:
    """The confirm clock ran out. An order that ended meanwhile stays as it is."""
    if order.ended:
        return Decision(order, outcome=Outcome.TOO_LATE)
    return confirm(order, "clock", now)


def cancel_at_intake(
    order: Order, now: datetime, *, by: str, reason: str, request: CancelRequest | None = None
) -> Decision[Order]:
    """Cancel an order that nobody else has seen: intake itself is the custodian, holds end and the order is over."""
    if order.state is not State.HELD:
        raise Illegal(f"{order.order_id} is {order.state}: its custodians decide about a cancel")
    units = order.units
    answered = request or CancelRequest(
        request_id=order.next_request_id(),
        origin=order.next_request_id(),
        units=units,
        standing=True,
        whole_order=True,
        reason=reason,
        requested_by=by,
        requested_at=now,
    )
    answered = answered.put(cancelled=answered.units, refused=NO_UNITS)
    state = order.put(cancels=(*order.cancels, answered), cancelled=units)
    decision = release_all(state, "cancelled", by, now)
    return decision.and_then(end(decision.state, State.CANCELLED, _cancelled(order, units, reason, now), now))


def _cancelled(order: Order, units: Units, reason: str, now: datetime) -> OrderCancelled:
    return OrderCancelled(
        order_id=order.order_id,
        units=units,
        reason=reason,
        cancelled_at=now,
        customer=customer_of(order.content),
    )


def _belongs(order: Order, units: Units) -> None:
    if not units <= order.units:
        raise Illegal(f"{order.order_id} has no units {units - order.units!r}")
