"""Which event tells whom what. One message per order, kind and occasion, whatever arrives twice or out of order (G5)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from functools import singledispatch

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
    Units,
    UnitsCancelled,
    already_done,
)
from notifier.domain.order import Draft, HoldView, OrderView

EMAIL = "email"
Facts = Mapping[str, str]
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST_OCCASION = 160  # a name is a key and a header: units of many lines, for one, can be longer than either may be


def moment(value: datetime | None) -> str:
    return value.isoformat() if value else ""


def message_id(order_id: str, kind: str, occasion: str, audience: str = "customer") -> str:
    """The message's identity for ever; also the local part of its Message-ID, so a mail server can recognise it. It
    begins with the order's id and a dot."""
    if len(occasion) > _LONGEST_OCCASION:
        occasion = hashlib.sha256(occasion.encode()).hexdigest()[:32]
    return _UNSAFE.sub("_", f"{order_id}.{kind}.{occasion}.{audience}")


def _in_order(message: str, order_id: str) -> str:
    """A message's id without what is the same for every message of the order."""
    return message[len(order_id) + 1 :]


def _message(
    state: OrderView, kind: str, occasion: str, audience: str, language: str, to: str, name: str, facts: Facts
) -> dict[str, object]:
    """What is said to whom: all that sending takes."""
    return {
        "message_id": message_id(state.order_id, kind, occasion, audience), "order_id": state.order_id, "kind": kind,
        "occasion": occasion, "audience": audience, "language": language, "to": to, "name": name, "facts": dict(facts),
    }  # fmt: skip


def tell(state: OrderView, kind: str, occasion: str, facts: Facts | None = None) -> Decision[OrderView]:
    """Tell the customer, once per occasion. Without a known customer the message waits; without an address there is
    nobody to mail, which the status page shows. What the order is held for cannot wait for its end."""
    identity = message_id(state.order_id, kind, occasion)
    name = _in_order(identity, state.order_id)
    if name in state.told:
        return already_done(state)
    if state.customer is None or not (state.settled or kind == "needs_info"):
        if any((d.kind, d.occasion) == (kind, occasion) for d in state.waiting):
            return already_done(state)
        draft = Draft(kind=kind, occasion=occasion, facts=dict(facts or {}))
        return Decision(state.put(waiting=(*state.waiting, draft)))
    told = state.put(told=(*state.told, name))
    if not state.customer.email:
        return Decision(told)
    data = _message(
        state, kind, occasion, "customer", state.language, state.customer.email, state.customer.name, facts or {}
    )
    if kind == "receipt":
        data["items"] = state.items
    return Decision(told, effects=(Effect(EMAIL, identity, data),))


def _and_waiting(decision: Decision[OrderView]) -> Decision[OrderView]:
    """Tell what waited for the customer to be known."""
    state = decision.state
    if not state.settled or not state.waiting:
        return decision
    drafts, result = state.waiting, decision
    result = result.and_then(Decision(state.put(waiting=())))
    for draft in drafts:
        result = result.and_then(tell(result.state, draft.kind, draft.occasion, draft.facts))
    return result


def hear(state: OrderView, event: Event, now: datetime) -> Decision[OrderView]:
    """The notifier's answer to any order event it hears."""
    return _and_waiting(_hear(event, state))


@singledispatch
def _hear(event: Event, state: OrderView) -> Decision[OrderView]:
    raise TypeError(f"the notifier has no answer to {type(event).__name__}")


@_hear.register
def _(event: OrderReceived, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.brief.customer).put(
        received_at=event.received_at,
        items=tuple((line.name, line.quantity) for line in event.lines),
        units=Units.union(line.units for line in event.lines),
    )
    return tell(known, "receipt", event.order_id, {"total": str(event.total), "currency": event.brief.currency})


@_hear.register
def _(event: OrderHeld, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.customer, draft=True)
    if any(h.hold_id == event.hold_id for h in known.holds):  # released before it was heard, or heard before
        return already_done(known)
    hold = HoldView(hold_id=event.hold_id, kind=event.kind.value, problems=event.problems, due_at=event.due_at)
    known = known.with_hold(hold)
    if event.kind.value != "needs_info":
        return Decision(known)
    facts = {"due_at": moment(event.due_at), "problems": "\n".join(p.message for p in event.problems)}
    return tell(known, "needs_info", event.hold_id, facts)


@_hear.register
def _(event: OrderHoldReleased, state: OrderView) -> Decision[OrderView]:
    known = next((h for h in state.holds if h.hold_id == event.hold_id), None)
    tombstone = HoldView(hold_id=event.hold_id, kind=event.kind.value, due_at=event.released_at)
    return Decision(state.with_hold((known or tombstone).put(released=True)))


@_hear.register
def _(event: PriorityAssigned, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.brief.customer)
    promised = known.promised(event.urgency)
    return already_done(known) if promised is known else Decision(promised)


@_hear.register
def _(event: StockReserved, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.brief.customer).promised(event.urgency)
    known = known.put(reserved=known.reserved | event.units if known.reserved else event.units)
    return tell(known, "order_confirmation", event.order_id, {"promise_by": moment(known.promise_by)})


@_hear.register
def _(event: StockShort, state: OrderView) -> Decision[OrderView]:
    return Decision(state)  # the customer hears of it when it changes the date: OrderBackordered, DeliveryDelayed


@_hear.register
def _(event: OrderBackordered, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.brief.customer).promised(event.urgency)
    known = known.put(backordered=known.backordered | event.units, backorder_estimate=event.estimated_at)
    facts = {
        "estimated_at": moment(event.estimated_at),
        "quantity": str(len(event.units)),
        "goods": ", ".join(dict.fromkeys(g.name for g in event.goods)),
    }
    return tell(known, "backorder", repr(event.units), facts)


@_hear.register
def _(event: UnitsCancelled, state: OrderView) -> Decision[OrderView]:
    return Decision(state.put(cancelled=state.cancelled | event.units))


@_hear.register
def _(event: CancelRefused, state: OrderView) -> Decision[OrderView]:
    return tell(state, "cancel_refused", event.request_id, {"reason": event.reason})


@_hear.register
def _(event: Shipped, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.customer).with_parcel(
        event.parcel_id, carrier=event.carrier_id, service=event.service, tracking_number=event.tracking_number,
        tracking_url=event.tracking_url, shipped_at=event.shipped_at, units=event.units,
        expected_at=state.parcel(event.parcel_id).expected_at or event.expected_at,
    )  # fmt: skip
    facts = {
        "carrier": event.carrier_id,
        "tracking_number": event.tracking_number,
        "tracking_url": event.tracking_url or "",
        "expected_at": moment(event.expected_at),
        "quantity": str(len(event.units)),
    }
    return tell(known, "shipped", event.parcel_id, facts)


@_hear.register
def _(event: DeliveryDelayed, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.customer).with_parcel(
        event.parcel_id, expected_at=event.new_expected_at, delayed_because=event.cause
    )
    facts = {
        "old_expected_at": moment(event.old_expected_at),
        "new_expected_at": moment(event.new_expected_at),
        "cause": event.cause,
    }
    return tell(known, "delayed", event.delay_id, facts)


@_hear.register
def _(event: ShipmentLost, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.customer).with_parcel(event.parcel_id, lost=True)
    return tell(known, "lost", event.parcel_id, {"cause": event.cause})


@_hear.register
def _(event: ParcelReturned, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.customer).with_parcel(event.parcel_id, returned=True)
    return tell(known, "returned", event.parcel_id, {"cause": event.cause})


@_hear.register
def _(event: Delivered, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.customer).with_parcel(
        event.parcel_id, delivered_at=event.delivered_at, units=event.units
    )
    facts = {"delivered_at": moment(event.delivered_at), "signed_by": event.signed_by or ""}
    return tell(known, "delivered", event.parcel_id, facts)


@_hear.register
def _(event: OrderCancelled, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.customer).put(ended="cancelled", ended_at=event.cancelled_at)
    return tell(known, "cancelled", event.order_id, {"reason": event.reason})


@_hear.register
def _(event: OrderClosed, state: OrderView) -> Decision[OrderView]:
    known = state.knowing(event.customer).put(ended="closed", ended_at=event.closed_at)
    facts = {"delivered": str(len(event.delivered)), "cancelled": str(len(event.cancelled))}
    return tell(known, "closed", event.order_id, facts)


def tell_staff(
    state: OrderView, event: SLABreached | OrderHeld, to: str, name: str, language: str
) -> Decision[OrderView]:
    """Tell the person who must act now, once per occasion (G6)."""
    if isinstance(event, SLABreached):
        kind, occasion = "breach", f"{event.subject}.{event.stage.value}.{event.level}"
        facts = {"stage": event.stage.value, "due_at": moment(event.due_at), "level": str(event.level),
                 "tier": event.tier, "subject": event.subject}  # fmt: skip
    else:
        kind, occasion = "hold", event.hold_id
        facts = {"hold_kind": event.kind.value, "due_at": moment(event.due_at),
                 "problems": "\n".join(f"{p.field}: {p.message}" for p in event.problems)}  # fmt: skip
    identity = message_id(state.order_id, kind, occasion, "staff")
    if _in_order(identity, state.order_id) in state.told:
        return already_done(state)
    data = _message(
        state, kind, occasion, "staff", "zh" if language.lower().startswith("zh") else "en", to, name, facts
    )
    told = state.put(told=(*state.told, _in_order(identity, state.order_id)))
    return Decision(told, effects=(Effect(EMAIL, identity, data),))


def sent(message: Mapping[str, object], now: datetime) -> Decision[None]:
    """A message left: the world may know (G5)."""
    event = CustomerNotified(
        order_id=str(message["order_id"]),
        message_id=str(message["message_id"]),
        kind=str(message["kind"]),
        occasion=str(message["occasion"]),
        audience=str(message["audience"]),
        language=str(message["language"]),
        sent_at=now,
    )
    return Decision(None, events=(event,))
