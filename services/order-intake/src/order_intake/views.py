"""How orders, holds, cancel requests and deliveries look over HTTP."""

from __future__ import annotations

from typing import Any

from expedite_events import Units, plain
from order_intake.domain.order import CancelRequest, Hold, Order
from order_intake.store import Delivery


def accepted_view(order: Order, base_url: str, trace_id: str | None) -> dict[str, Any]:
    """The answer to an accepted order."""
    return {
        "order_id": order.order_id,
        "state": order.state.value,
        "status_url": f"{base_url}/orders/{order.order_id}",
        "trace_id": trace_id,
        "holds": [hold_view(hold) for hold in order.holds],
    }


def hold_view(hold: Hold) -> dict[str, Any]:
    return {
        "hold_id": hold.hold_id,
        "kind": hold.kind.value,
        "problem": plain(hold.problem),
        "owner": hold.owner,
        "open": hold.open,
        "held_at": hold.held_at.isoformat(),
        "due_at": hold.due_at.isoformat(),
        "outcome": hold.outcome,
        "released_by": hold.released_by,
        "released_at": hold.released_at.isoformat() if hold.released_at else None,
        "reason": hold.reason,
    }


def summary_view(order: Order) -> dict[str, Any]:
    """One row of a list."""
    content = order.content
    return {
        "order_id": order.order_id,
        "channel": order.channel,
        "state": order.state.value,
        "classification": {"channel": order.channel, "attribute": order.attribute, "status": order.status},
        "urgent": order.express,
        "external_id": content.external_id,
        "external_number": content.external_number,
        "customer": content.customer.name,
        "accepted_at": order.accepted_at.isoformat(),
        "currency": content.currency,
        "total": str(content.amount),
        "quantity": content.quantity,
        "open_holds": [hold_view(hold) for hold in order.open_holds],
    }


def order_view(order: Order, handed: Units) -> dict[str, Any]:
    """All intake knows about an order, of which these units are in a carrier's hands."""
    content = order.content
    return summary_view(order) | {
        "reference": content.reference,
        "placed_at": content.placed_at.isoformat() if content.placed_at else None,
        "received_at": order.announced_at.isoformat() if order.announced_at else None,
        "ended_at": order.ended_at.isoformat() if order.ended_at else None,
        "payment_state": content.payment_state,
        "tags": list(content.tags),
        "note": content.note,
        "test": content.test,
        "partial_shipment": content.partial_shipment,
        "carrier_preference": content.carrier_preference,
        "promise_by": content.promise_by.isoformat() if content.promise_by else None,
        "duplicate_of": order.duplicate_of,
        "customer": plain(content.customer),
        "lines": plain(content.lines),
        "holds": [hold_view(hold) for hold in order.holds],
        "units": units_view(order, handed),
        "cancels": [cancel_view(order, request) for request in order.cancels if request.request_id == request.origin],
    }


def units_view(order: Order, handed: Units) -> dict[str, Any]:
    """Every unit by what became of it; `handed_over` are those of the open ones that a carrier has."""
    left = order.units - order.out
    return {
        "ordered": _ranges(order.units),
        "delivered": _ranges(order.delivered),
        "cancelled": _ranges(order.cancelled),
        "handed_over": _ranges(left & handed),
        "open": _ranges(left - handed),
        "counts": {
            "ordered": len(order.units),
            "delivered": len(order.delivered),
            "cancelled": len(order.cancelled),
            "handed_over": len(left & handed),
            "open": len(left - handed),
        },
    }


def cancel_view(order: Order, request: CancelRequest) -> dict[str, Any]:
    """A person's cancel request with the answers, also those to the requests that followed it."""
    chain = order.chain(request.origin)
    cancelled = Units.union(r.cancelled for r in chain)
    pending = Units.union(r.pending for r in chain)
    return {
        "request_id": request.request_id,
        "order_id": order.order_id,
        "standing": request.standing,
        "whole_order": request.whole_order,
        "reason": request.reason,
        "requested_by": request.requested_by,
        "requested_at": request.requested_at.isoformat(),
        "state": "pending" if pending else "answered",
        "asked": len(request.units),
        "cancelled": len(cancelled),
        "pending": len(pending),
        # What a quantity request was refused here and got elsewhere is not refused to the person.
        "refused": len(request.units) - len(cancelled) - len(pending),
        "units": [row for r in chain for row in _answers(r)],
        "follow_ups": [r.request_id for r in chain if r.request_id != request.origin],
    }


def _answers(request: CancelRequest) -> list[dict[str, Any]]:
    found = [_answer(part, "cancelled", request) for part in _ranges(request.cancelled)]
    for refusal in request.refusals:
        still = _ranges(refusal.units & request.refused)
        found += [_answer(part, "refused", request) | {"reason": refusal.reason} for part in still]
    return found + [_answer(part, "pending", request) for part in _ranges(request.pending)]


def _answer(part: dict[str, int], answer: str, request: CancelRequest) -> dict[str, Any]:
    return {**part, "answer": answer, "request_id": request.request_id}


def delivery_view(delivery: Delivery, *, body: bool = False) -> dict[str, Any]:
    """A row of the delivery log; the raw body only when one row is asked for."""
    row: dict[str, Any] = plain(delivery if body else delivery.put(body=None))
    if not body:
        del row["body"]
    return row


def _ranges(units: Units) -> list[dict[str, int]]:
    return units.to_json()
