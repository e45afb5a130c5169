"""Cancel requests (A8), exactly as the custody protocol has them: intake asks, the custodian of each unit answers.

A request for the whole order or for named units *stands*: it holds again when units come back. A request for a quantity
does not: it asks for the last units, and where those are refused, for others that it has not tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from expedite_events import (
    NO_UNITS,
    CancelRefused,
    CancelRequested,
    Decision,
    Illegal,
    Units,
    UnitsCancelled,
    Value,
    already_done,
)
from expedite_events.inventory import CancelOutcome
from order_intake.domain.channel import Policy
from order_intake.domain.ending import cancel_at_intake, settle
from order_intake.domain.order import CancelRequest, Order, Refusal, State
from order_intake.domain.refusal import Refused


class LineQuantity(Value):
    """So many units of a line, whichever."""

    line: int
    quantity: int


class CancelAsk(Value):
    """What a person asks: quantities, named units, or, with neither, the whole order."""

    lines: tuple[LineQuantity, ...] = ()
    units: Units = NO_UNITS
    reason: str = ""
    idempotency: str | None = None
    fingerprint: str | None = None

    @property
    def whole(self) -> bool:
        return not self.lines and not self.units


def cancel(order: Order, ask: CancelAsk, handed: Units, now: datetime, *, by: str) -> Decision[Order]:
    """Ask the custodians; the request is the last one of the new state, or the known one that says the same. `handed`
    are the units with a carrier. Raises `Refused`: too late, unknown lines or units. Use `answering` to find the request
    that answers this ask."""
    if answering(order, ask) is not None:
        return already_done(order)
    _known(order, ask)
    if order.state is State.CLOSED:
        raise Refused("too-late", "The order is closed. A return can be asked for instead.")
    wanted = order.units if ask.whole else ask.units
    if ask.lines:
        wanted = _last(order, {item.line: item.quantity for item in _summed(ask.lines)}, NO_UNITS, handed)
    reachable = _reachable(order, ask) - order.cancelled
    if reachable and reachable <= handed | order.delivered:
        where = "delivered" if reachable <= order.delivered else "with the carrier"
        raise Refused("too-late", f"All of it is {where} already. A return can be asked for instead.")
    request = CancelRequest(
        request_id=order.next_request_id(),
        origin=order.next_request_id(),
        units=wanted,
        standing=not ask.lines,
        whole_order=ask.whole,
        reason=ask.reason,
        requested_by=by,
        requested_at=now,
        idempotency=ask.idempotency,
        asked=ask.fingerprint,
    )
    if order.state is State.CANCELLED or (wanted <= order.cancelled and not ask.whole):
        # All of it was cancelled before: nobody needs to be asked again.
        done = request.put(cancelled=wanted)
        return Decision(order.put(cancels=(*order.cancels, done)))
    if order.state is State.HELD and order.units <= wanted | order.cancelled:
        return cancel_at_intake(order, now, by=by, reason=ask.reason, request=request)
    return _request(order, request)


def answering(order: Order, ask: CancelAsk) -> CancelRequest | None:
    """The earlier request that this ask repeats: the same idempotency key, or the same standing request. Raises
    `Refused` for a known key with another body."""
    for request in order.cancels:
        if ask.idempotency and request.idempotency == ask.idempotency:
            if request.asked != ask.fingerprint:
                raise Refused("idempotency-key-reused", "This Idempotency-Key was used with another body.")
            return request
    if ask.lines:
        return None  # quantities add up: asking twice for one unit is asking for two
    wanted = order.units if ask.whole else ask.units
    return next(
        (r for r in order.cancels if r.standing and r.units == wanted and (r.whole_order or not ask.whole)), None
    )


def answered(order: Order, event: CancelOutcome, handed: Units, now: datetime, policy: Policy) -> Decision[Order]:
    """A custodian's answer. A yes replaces a no, never the other way round; a no to a quantity request makes intake ask
    for other units, preferably none of those `handed` to a carrier; a yes for a delivered unit is a bug somewhere."""
    request = order.request(event.request_id)
    if request is None or not event.units <= request.units:
        raise Illegal(f"{order.order_id}: an answer to {event.request_id} for {event.units!r}, which nobody asked")
    if isinstance(event, UnitsCancelled):
        return _yes(order, request, event, now, policy)
    assert isinstance(event, CancelRefused)
    return _no(order, request, event, handed, now)


def _yes(order: Order, request: CancelRequest, event: UnitsCancelled, now: datetime, policy: Policy) -> Decision[Order]:
    if event.units & order.delivered:
        raise Illegal(f"{order.order_id}: {event.units & order.delivered!r} were delivered, then cancelled")
    if event.units <= request.cancelled and event.units <= order.cancelled:
        return already_done(order)
    done = request.put(cancelled=request.cancelled | event.units, refused=request.refused - event.units)
    state = _replace(order, done).put(cancelled=order.cancelled | event.units)
    return settle(state, now, policy)


def _no(order: Order, request: CancelRequest, event: CancelRefused, handed: Units, now: datetime) -> Decision[Order]:
    fresh = event.units & request.pending
    if not fresh:
        return already_done(order)
    refusal = Refusal(units=fresh, reason=event.reason, answered_by=event.answered_by)
    done = request.put(refused=request.refused | fresh, refusals=(*request.refusals, refusal))
    state = _replace(order, done)
    if request.standing or order.ended:
        return Decision(state, express=order.lane)
    tried = Units.union(other.units for other in order.chain(request.origin))
    others = _last(state, {line: len(fresh.on_line(line)) for line in fresh.lines}, tried, handed)
    if not others:
        return Decision(state, express=order.lane)
    follow_up = CancelRequest(
        request_id=state.next_request_id(),
        origin=request.origin,
        units=others,
        standing=False,
        reason=request.reason,
        requested_by=request.requested_by,
        requested_at=now,
    )
    return _request(state, follow_up)


def _request(order: Order, request: CancelRequest) -> Decision[Order]:
    state = order.put(cancels=(*order.cancels, request))
    event = CancelRequested(
        order_id=order.order_id,
        request_id=request.request_id,
        units=request.units,
        standing=request.standing,
        whole_order=request.whole_order,
        reason=request.reason,
        requested_by=request.requested_by,
        requested_at=request.requested_at,
    )
    return Decision(state, events=(event,), express=order.lane)


def _last(order: Order, quantities: Mapping[int, int], tried: Units, handed: Units) -> Units:
    """So many units of each line, the last ones first: units nobody asked for yet, then units another request already
    asks for, then units that intake knows to be with the carrier (which will be refused unless they come back)."""
    asked = Units.union(request.pending for request in order.cancels)
    chosen = NO_UNITS
    for line, quantity in quantities.items():
        left = order.units.on_line(line) - order.out - tried
        near = left - handed
        for group in (near - asked, near & asked, left & handed):
            chosen |= group.last_n(quantity - len(chosen.on_line(line)))
        if not chosen.on_line(line) and not tried:
            chosen |= (order.units.on_line(line) & order.cancelled).last_n(quantity)
    return chosen


def _reachable(order: Order, ask: CancelAsk) -> Units:
    """Every unit the ask could be served with."""
    if ask.whole:
        return order.units
    return ask.units | Units.union(order.units.on_line(item.line) for item in ask.lines)


def _known(order: Order, ask: CancelAsk) -> None:
    if ask.lines and ask.units:
        raise Refused("choose-one", "Give quantities (lines) or named units, not both.", "/units")
    numbered = set(order.units.lines)
    for index, item in enumerate(ask.lines):
        if item.line not in numbered:
            raise Refused("unknown-line", f"The order has no line {item.line} with units.", f"/lines/{index}/line")
    for index, part in enumerate(ask.units.ranges):
        if not Units.of(part.line, part.first, part.last) <= order.units:
            message = f"The order has no units {part.first} to {part.last} on line {part.line}."
            raise Refused("unknown-units", message, f"/units/{index}")


def _summed(lines: Iterable[LineQuantity]) -> tuple[LineQuantity, ...]:
    total: dict[int, int] = {}
    for item in lines:
        total[item.line] = total.get(item.line, 0) + item.quantity
    return tuple(LineQuantity(line=line, quantity=min(n, 1_000_000)) for line, n in total.items())


def _replace(order: Order, request: CancelRequest) -> Order:
    cancels = tuple(request if other.request_id == request.request_id else other for other in order.cancels)
    return order.put(cancels=cancels)
