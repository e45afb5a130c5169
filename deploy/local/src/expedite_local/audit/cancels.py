"""Every cancel request is answered per unit, and nothing is cancelled beyond what was asked."""

from __future__ import annotations

from expedite_events import NO_UNITS, Units
from expedite_local.audit.files import Files
from expedite_local.audit.finding import Look
from order_intake.domain.order import Order


def look_at(look: Look, file: Files, *, ended: bool) -> None:
    """Check the requests of one order. `ended`: none may wait, not even for a put-back that people must confirm."""
    order = file.intake
    if order is None:
        return
    look.count += len(order.cancels)
    waiting = NO_UNITS if ended else _put_backs(file)
    for request in order.cancels:
        if silent := request.pending - waiting:
            look.wrong(f"{request.request_id} has no answer for {silent}", order.order_id)
        if both := request.cancelled & request.refused:
            look.wrong(f"{request.request_id} has yes and no for {both}", order.order_id)
        if more := request.cancelled - request.units:
            look.wrong(f"{request.request_id} cancelled {more}, which it did not ask for", order.order_id)
    _beyond(look, order)


def _put_backs(file: Files) -> Units:
    """Cancelled units whose goods somebody has still to put on their shelf: answered when they lie there."""
    floor = Units.union(w.to_put_back for w in file.floor.fulfilment_orders) if file.floor else NO_UNITS
    dock = Units.union(p.held_back for p in file.leg.parcels) if file.leg else NO_UNITS
    return floor | dock


def _beyond(look: Look, order: Order) -> None:
    name = order.order_id
    named = Units.union(r.units for r in order.cancels if r.standing)
    answered = Units.union(r.cancelled for r in order.cancels)
    if unasked := order.cancelled - answered:
        look.wrong(f"{name}: {unasked} were cancelled but no request was answered so", name)
    if unbooked := answered - order.cancelled:
        look.wrong(f"{name}: {unbooked} were answered as cancelled but do not count as such", name)
    # A quantity may wander over the units of a line, but it stays that quantity, over the whole chain of requests.
    for request in order.cancels:
        if request.standing or request.origin != request.request_id:
            continue
        chain = Units.union(r.cancelled for r in order.chain(request.origin)) - named
        if len(chain) > len(request.units):
            text = f"{request.request_id} asked for {len(request.units)} units, {len(chain)} were cancelled"
            look.wrong(text, name)
