"""Which event tells whom what. One message per order, kind and occasion, whatever arrives twice or out of order (G5)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from expedite_events import (
    CancelRefused,
    CustomerNotified,
    Decision,
    Delivered,
    DeliveryDelayed,
    Effect,
    Event,
    OrderBackordered,
    OrderCancelled,
    OrderClosed,
    OrderHeld,
    OrderHoldReleased,
    OrderReceived,
    ParcelReturned,
    PriorityAssigned,
    ShipmentLost,
    Shipped,
    SLABreached,
    StockReserved,
    StockShort,
    UnitsCancelled,
    already_done,
)
from notifier.domain.order import Draft, HoldView, OrderView, Recipient, spoken

EMAIL = "email"
E = TypeVar("E", bound=Event)
Facts = Mapping[str, object]  # what a template names; moments become text with the rest of the effect
NO_FACTS: Facts = {}
Hearing = Callable[[E, OrderView], Decision[OrderView]]
_HEARINGS: dict[type[Event], Hearing[Any]] = {}
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST_OCCASION = 160  # a name is a key and a header: units of many lines, for one, can be longer than either may be


def message_id(order_id: str, kind: str, occasion: str, audience: str = "customer") -> str:
    """The message's identity for ever; also the local part of its Message-ID, so a mail server can recognise it. It
    begins with the order's id and a dot."""
    if len(occasion) > _LONGEST_OCCASION:
        occasion = hashlib.sha256(occasion.encode()).hexdigest()[:32]
    return _UNSAFE.sub("_", f"{order_id}.{kind}.{occasion}.{audience}")


def _in_order(message: str, order_id: str) -> str:
    """A message's id without what is the same for every message of the order."""
    return message[len(order_id) + 1 :]


def _mailed(
    told: OrderView, identity: str, kind: str, occasion: str, audience: str, whom: Recipient, facts: Facts
) -> Decision[OrderView]:
    """An order that a message is told of, and the mail: all that sending takes but the ids of the message and the order, which
    are the effect's own."""
    data: dict[str, object] = {
        "kind": kind, "occasion": occasion, "audience": audience, "language": spoken(whom.language), "to": whom.email,
        "name": whom.name, "facts": facts,
    }  # fmt: skip
    if kind == "receipt":
        data["items"] = told.items
    return Decision(told, effects=(Effect(EMAIL, identity, data),))


def tell(state: OrderView, kind: str, occasion: str, facts: Facts = NO_FACTS) -> Decision[OrderView]:
    """Tell the customer, once per occasion. Without a known customer the message waits; without an address there is
    nobody to mail, which the status page shows. What the order is held for cannot wait for its end."""
    identity = message_id(state.order_id, kind, occasion)
    name = _in_order(identity, state.order_id)
    if name in state.told:
        return already_done(state)
    customer = state.customer
    if customer is None or not (state.settled or kind == "needs_info"):
        if any((d.kind, d.occasion) == (kind, occasion) for d in state.waiting):
            return already_done(state)
        draft = Draft(kind=kind, occasion=occasion, facts=dict(facts))
        return Decision(state.put(waiting=(*state.waiting, draft)))
    told = state.put(told=(*state.told, name))
    return _mailed(told, identity, kind, occasion, "customer", customer, facts) if customer.email else Decision(told)


def _and_waiting(decision: Decision[OrderView]) -> Decision[OrderView]:
    """Tell what waited for the customer to be known."""
    state = decision.state
    if not state.waiting or not state.settled:
        return decision
    drafts, result = state.waiting, decision
    result = result.and_then(Decision(state.put(waiting=())))
    for draft in drafts:
        result = result.and_then(tell(result.state, draft.kind, draft.occasion, draft.facts))
    return result


def hear(state: OrderView, event: Event, now: datetime) -> Decision[OrderView]:
    """The notifier's answer to any order event it hears."""
    return _and_waiting(_HEARINGS[type(event)](event, state))


def _on(event: type[E]) -> Callable[[Hearing[E]], Hearing[E]]:
    """What is told of an event. A table, not `singledispatch`: that looks a class up by a weak reference, each time."""

    def register(hearing: Hearing[E]) -> Hearing[E]:
        _HEARINGS[event] = hearing
        return hearing

    return register


@_on(OrderReceived)
def _order_received(event: OrderReceived, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(
        event.brief.customer,
        received_at=event.received_at,
        items=tuple([(line.name, line.quantity) for line in event.lines]),
    )
    return tell(known, "receipt", event.order_id)


@_on(OrderHeld)
def _order_held(event: OrderHeld, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.customer, draft=True)
    if any(h.hold_id == event.hold_id for h in known.holds):  # released before it was heard, or heard before
        return already_done(known)
    hold = HoldView(hold_id=event.hold_id, kind=event.kind.value, problems=event.problems, due_at=event.due_at)
    known = known.with_hold(hold)
    if event.kind.value != "needs_info":
        return Decision(known)
    facts = {"due_at": event.due_at, "problems": "\n".join(p.message for p in event.problems)}
    return tell(known, "needs_info", event.hold_id, facts)


@_on(OrderHoldReleased)
def _order_hold_released(event: OrderHoldReleased, state: OrderView) -> Decision[OrderView]:
    known = next((h for h in state.holds if h.hold_id == event.hold_id), None)
    tombstone = HoldView(hold_id=event.hold_id, kind=event.kind.value, due_at=event.released_at)
    return Decision(state.with_hold((known or tombstone).put(released=True)))


@_on(PriorityAssigned)
def _priority_assigned(event: PriorityAssigned, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.brief.customer, urgency=event.urgency)
    return already_done(state) if known is state else Decision(known)


@_on(StockReserved)
def _stock_reserved(event: StockReserved, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.brief.customer, reserved=state.reserved | event.units, urgency=event.urgency)
    return tell(known, "order_confirmation", event.order_id, {"promise_by": known.promise_by})


@_on(StockShort)
def _stock_short(event: StockShort, state: OrderView) -> Decision[OrderView]:
    return Decision(state)  # the customer hears of it when it changes the date: OrderBackordered, DeliveryDelayed


@_on(OrderBackordered)
def _order_backordered(event: OrderBackordered, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(
        event.brief.customer,
        backordered=state.backordered | event.units,
        backorder_estimate=event.estimated_at,
        urgency=event.urgency,
    )
    facts = {
        "estimated_at": event.estimated_at,
        "quantity": str(len(event.units)),
        "goods": ", ".join(dict.fromkeys(g.name for g in event.goods)),
    }
    return tell(known, "backorder", repr(event.units), facts)


@_on(UnitsCancelled)
def _units_cancelled(event: UnitsCancelled, state: OrderView) -> Decision[OrderView]:
    return Decision(state.put(cancelled=state.cancelled | event.units))


@_on(CancelRefused)
def _cancel_refused(event: CancelRefused, state: OrderView) -> Decision[OrderView]:
    return tell(state, "cancel_refused", event.request_id, {"reason": event.reason})


@_on(Shipped)
def _shipped(event: Shipped, state: OrderView) -> Decision[OrderView]:
    parcel = state.parcel(event.parcel_id)
    parcel = parcel.put(
        carrier=event.carrier_id, service=event.service, tracking_number=event.tracking_number,
        tracking_url=event.tracking_url, shipped_at=event.shipped_at, expected_at=parcel.expected_at or event.expected_at,
    )  # fmt: skip
    known = state.knowing(event.customer, parcels=state.parcels_with(parcel))
    facts = {
        "tracking_number": event.tracking_number,
        "tracking_url": event.tracking_url or "",
        "expected_at": event.expected_at,
        "quantity": str(len(event.units)),
    }
    return tell(known, "shipped", event.parcel_id, facts)


@_on(DeliveryDelayed)
def _delivery_delayed(event: DeliveryDelayed, state: OrderView) -> Decision[OrderView]:
    parcel = state.parcel(event.parcel_id).put(expected_at=event.new_expected_at, delayed_because=event.cause)
    known = state.knowing(event.customer, parcels=state.parcels_with(parcel))
    facts = {
        "old_expected_at": event.old_expected_at,
        "new_expected_at": event.new_expected_at,
        "cause": event.cause,
    }
    return tell(known, "delayed", event.delay_id, facts)


@_on(ShipmentLost)
def _shipment_lost(event: ShipmentLost, state: OrderView) -> Decision[OrderView]:
    parcel = state.parcel(event.parcel_id).put(lost=True)
    known = state.knowing(event.customer, parcels=state.parcels_with(parcel))
    return tell(known, "lost", event.parcel_id, {"cause": event.cause})


@_on(ParcelReturned)
def _parcel_returned(event: ParcelReturned, state: OrderView) -> Decision[OrderView]:
    parcel = state.parcel(event.parcel_id).put(returned=True)
    known = state.knowing(event.customer, parcels=state.parcels_with(parcel))
    return tell(known, "returned", event.parcel_id, {"cause": event.cause})


@_on(Delivered)
def _delivered(event: Delivered, state: OrderView) -> Decision[OrderView]:
    parcel = state.parcel(event.parcel_id).put(delivered_at=event.delivered_at, units=event.units)
    known = state.knowing(event.customer, parcels=state.parcels_with(parcel))
    facts = {"delivered_at": event.delivered_at, "signed_by": event.signed_by or ""}
    return tell(known, "delivered", event.parcel_id, facts)


@_on(OrderCancelled)
def _order_cancelled(event: OrderCancelled, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.customer, ended="cancelled", ended_at=event.cancelled_at)
    return tell(known, "cancelled", event.order_id)


@_on(OrderClosed)
def _order_closed(event: OrderClosed, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.customer, ended="closed", ended_at=event.closed_at)
    facts = {"delivered": str(len(event.delivered)), "cancelled": str(len(event.cancelled))}
    return tell(known, "closed", event.order_id, facts)


def tell_staff(
    state: OrderView, event: SLABreached | OrderHeld, to: str, name: str, language: str
) -> Decision[OrderView]:
    """Tell the person who must act now, once per occasion (G6)."""
    if isinstance(event, SLABreached):
        kind, occasion = "breach", f"{event.subject}.{event.stage.value}.{event.level}"
        facts = {"stage": event.stage.value, "due_at": event.due_at, "level": str(event.level),
                 "tier": event.tier, "subject": event.subject}  # fmt: skip
    else:
        kind, occasion = "hold", event.hold_id
        facts = {"hold_kind": event.kind.value, "due_at": event.due_at,
                 "problems": "\n".join(f"{p.field}: {p.message}" for p in event.problems)}  # fmt: skip
    identity = message_id(state.order_id, kind, occasion, "staff")
    message = _in_order(identity, state.order_id)
    if message in state.told:
        return already_done(state)
    told, whom = state.put(told=(*state.told, message)), Recipient(name=name, email=to, language=language)
    return _mailed(told, identity, kind, occasion, "staff", whom, facts)


CUSTOMER_EVENTS = _HEARINGS.keys()
STAFF_EVENTS = (OrderHeld, SLABreached)


def sent(order_id: str, message_id: str, mail: Mapping[str, object], now: datetime) -> Decision[None]:
    """A message left: the world may know (G5)."""
    event = CustomerNotified(
        order_id=order_id,
        message_id=message_id,
        kind=str(mail["kind"]),
        occasion=str(mail["occasion"]),
        audience=str(mail["audience"]),
        language=str(mail["language"]),
        sent_at=now,
    )
    return Decision(None, events=(event,))
