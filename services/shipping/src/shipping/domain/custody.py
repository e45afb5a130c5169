"""Who answers for a unit on the dock and on the road: cancel requests, put-back, hand-over, and the ends of a parcel.

This is the shipping part of the custody protocol (design section 2). In the protocol's model a cancel on the dock is
answered at once; here the goods first have to leave the box: the units leave `packed` at once, so no scan can take
them away, and `UnitsCancelled` follows the confirmed put-back.
"""

from __future__ import annotations

from datetime import datetime

from expedite_events import (
    CancelRefused,
    CancelRequested,
    Decision,
    Delivered,
    Event,
    Illegal,
    Outcome,
    Packed,
    ParcelReturned,
    Settled,
    ShipmentLost,
    Shipped,
    Units,
    UnitsCancelled,
    already_done,
)
from shipping.domain.desk import Desk
from shipping.domain.labels import buy_what_is_missing, no_retry, void
from shipping.domain.state import End, OrderLeg, Parcel, Request, Station, Waiting, kept

SHIPPING = "shipping"
TOO_LATE = "The parcel is already with the carrier: it cannot be stopped any more. Offer the customer a return."
ARRIVED = "The parcel was already delivered. Offer the customer a return."


class Refused(Exception):
    """A person asked for something the parcel's state does not allow: `code` for programs, the text for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def receive(leg: OrderLeg, event: Packed, desk: Desk, now: datetime) -> Decision[OrderLeg]:
    """A parcel arrives on the dock. Whatever was asked about its units before it came is applied now; a repeated
    announcement may only start missing work or raise the urgency."""
    urgency, known = leg.urgency, leg.parcel(event.parcel_id)
    if urgency is None or event.urgency.revision > urgency.revision:
        urgency = kept(event.urgency)
    if known is not None:
        leg = leg if urgency is leg.urgency else leg.put(urgency=urgency)
        if known.all_units != event.units:
            raise Illegal(f"{event.parcel_id} was announced with other units before")
        again = buy_what_is_missing(leg, desk, now)
        return again if again.effects else Decision(again.state, outcome=Outcome.ALREADY_DONE)
    parcel = Parcel(
        parcel_id=event.parcel_id, fulfilment_order_id=event.fulfilment_order_id, warehouse_id=event.warehouse_id,
        goods=event.goods, box=event.box, weight_g=event.weight_g, valuable=event.valuable, packed_by=event.packed_by,
        packed_at=event.packed_at, packed=event.units, settled=event.settled,
    )  # fmt: skip
    decision = Decision(leg.put(brief=event.brief, urgency=urgency, parcels=(*leg.parcels, parcel)))
    for request in leg.requests:
        decision = decision.and_then(_settle(decision.state, parcel.parcel_id, request, now))
    asked = buy_what_is_missing(decision.state, desk, now)
    return decision.and_then(asked) if decision.events else asked


def cancel(leg: OrderLeg, event: CancelRequested, now: datetime) -> Decision[OrderLeg]:
    """A cancel request: remembered for ever, applied to every parcel that holds or held its units."""
    if any(r.request_id == event.request_id for r in leg.requests):
        return already_done(leg)
    request = Request(request_id=event.request_id, units=event.units, standing=event.standing)
    decision = Decision(leg.put(requests=(*leg.requests, request)))
    for parcel in leg.parcels:
        decision = decision.and_then(_settle(decision.state, parcel.parcel_id, request, now))
    return decision


def _settle(leg: OrderLeg, parcel_id: str, request: Request, now: datetime) -> Decision[OrderLeg]:
    """Answer a request for the units of one parcel. A lost or returned parcel says nothing: whoever gets the units
    next answers."""
    parcel = _parcel(leg, parcel_id)
    units = request.units & parcel.all_units
    if not request.standing:
        units = units - parcel.settled_of(request.request_id)
    if not units:
        return Decision(leg)
    events: list[Event] = []
    if gone := units & parcel.put_back:
        events.append(_cancelled(leg, parcel, request.request_id, gone, now))
    wait = units & parcel.held_back
    if parcel.station is Station.DOCK:
        wait = wait | (units & parcel.packed)
        parcel = parcel.put(packed=parcel.packed - units)
    elif parcel.station is Station.HANDED or parcel.end is End.DELIVERED:
        late = units & parcel.packed
        if late:
            reason = ARRIVED if parcel.end is End.DELIVERED else TOO_LATE
            parcel = _refuse(parcel, request.request_id, late)
            events.append(_refused(leg, parcel, request.request_id, late, reason, now))
    if wait:
        waiting = (*parcel.waiting, Waiting(request_id=request.request_id, units=wait))
        parcel = parcel.put(waiting=waiting)
    return Decision(leg.with_parcel(parcel), tuple(events))


def put_back(leg: OrderLeg, parcel_id: str, desk: Desk, now: datetime) -> Decision[OrderLeg]:
    """Somebody confirms that the cancelled units are out of the box and on the shelf: now the cancel is answered.
    A parcel without anything left ends here and its label is voided."""
    parcel = _parcel(leg, parcel_id)
    if not parcel.waiting:
        if parcel.put_back:
            return already_done(leg)
        raise Refused("nothing-to-put-back", f"Nothing in parcel {parcel_id} is cancelled.")
    events = [_cancelled(leg, parcel, w.request_id, w.units, now) for w in parcel.waiting]
    back = parcel.put_back | parcel.held_back
    parcel = parcel.put(waiting=(), put_back=back)
    if parcel.packed:
        after = Decision(leg.with_parcel(parcel), tuple(events))
        return after.and_then(buy_what_is_missing(after.state, desk, now))
    effects = (void(parcel.label, parcel_id),) if parcel.label else ()
    parcel = _ended(parcel, End.CANCELLED, "cancelled on the dock", now)
    return Decision(leg.with_parcel(parcel), tuple(events), timers=no_retry(parcel), effects=effects)


def why_not(leg: OrderLeg, parcel: Parcel) -> Refused | None:
    """The reason why a parcel must not leave the dock now, if there is one: what the scanner says to the crew."""
    name = parcel.parcel_id
    if parcel.station is Station.ENDED:
        return Refused("parcel-ended", f"Parcel {name} is {parcel.end}: it must not leave.")
    if parcel.waiting:
        rest = "Take the cancelled units out" if parcel.packed else "The whole parcel is cancelled. Put it back"
        return Refused("parcel-cancelled", f"{rest} and confirm the put-back of parcel {name}.")
    if leg.held:
        return Refused("order-held", f"Order {leg.order_id} is on hold ({', '.join(leg.holds)}): keep the parcel here.")
    if parcel.label is None:
        state = parcel.problem or "it is being bought, try again in a moment"
        return Refused("parcel-unlabelled", f"Parcel {name} has no label yet: {state}.")
    return None


def hand_over(leg: OrderLeg, parcel_id: str, by: str, scanned: str | None, now: datetime) -> Decision[OrderLeg]:
    """The scan at the truck: from here on a cancel is refused. `scanned` is the code on the label, when one was read."""
    parcel = _parcel(leg, parcel_id)
    if parcel.travels:
        return already_done(leg)
    refusal = why_not(leg, parcel)
    if refusal is not None:
        raise refusal
    if scanned is not None and parcel.label is not None and scanned != parcel.label.tracking_number:
        raise Refused("wrong-label", f"The scanned label {scanned} belongs to another parcel than {parcel_id}.")
    return _hand(leg, parcel, by, now, now)


def scanned_by_carrier(leg: OrderLeg, parcel_id: str, at: datetime, now: datetime) -> Decision[OrderLeg]:
    """The carrier reports a parcel that we still have on the dock: it has it, so the hand-over happened, at the time it
    says, but not before the parcel was packed or after now: clocks of carriers may be wrong. What waits to be put back
    went with it, and those requests are refused."""
    parcel = _parcel(leg, parcel_id)
    label = parcel.label
    if parcel.station is not Station.DOCK or label is None:
        return Decision(leg)
    events: list[Event] = []
    requests, taken = parcel.waiting, parcel.held_back
    parcel = parcel.put(packed=parcel.packed | taken, waiting=())
    for waiting in requests:
        parcel = _refuse(parcel, waiting.request_id, waiting.units)
        events.append(_refused(leg, parcel, waiting.request_id, waiting.units, TOO_LATE, now))
    if not parcel.packed:
        return Decision(leg)
    handed = _hand(leg, parcel, label.carrier_id, min(max(at, parcel.packed_at), now), now)
    return Decision(leg, tuple(events)).and_then(handed)


def _hand(leg: OrderLeg, parcel: Parcel, by: str, at: datetime, now: datetime) -> Decision[OrderLeg]:
    parcel = parcel.put(station=Station.HANDED, handed_at=at, handed_by=by)
    if parcel.problem is not None:
        parcel = parcel.put(problem=None)
    return Decision(leg.with_parcel(parcel), (shipped(leg, parcel),), timers=no_retry(parcel))


def delivered(leg: OrderLeg, parcel_id: str, at: datetime, signed_by: str | None, now: datetime) -> Decision[OrderLeg]:
    """The customer has the units."""
    parcel = _parcel(leg, parcel_id)
    if not parcel.travels:
        return Decision(leg)
    parcel = _ended(parcel, End.DELIVERED, "delivered", now).put(ended_at=at, signed_by=signed_by)
    return Decision(leg.with_parcel(parcel), (arrival(leg, parcel),))


def lost(leg: OrderLeg, parcel_id: str, cause: str, now: datetime) -> Decision[OrderLeg]:
    """The carrier lost the parcel: its units go back to inventory with everything that was refused for them."""
    parcel = _parcel(leg, parcel_id)
    if not parcel.travels:
        return Decision(leg)
    parcel = _ended(parcel, End.LOST, cause, now)
    return Decision(leg.with_parcel(parcel), (loss(leg, parcel),))


def returned(leg: OrderLeg, parcel_id: str, cause: str, now: datetime) -> Decision[OrderLeg]:
    """The parcel stands in the warehouse again: its units go back to inventory, the goods to quality check."""
    parcel = _parcel(leg, parcel_id)
    if parcel.end is End.RETURNED:
        return already_done(leg)
    if not parcel.travels:
        where = "still on the dock" if parcel.station is Station.DOCK else str(parcel.end)
        raise Refused("not-on-the-way", f"Parcel {parcel_id} is {where}: it cannot come back from the carrier.")
    parcel = _ended(parcel, End.RETURNED, cause, now)
    return Decision(leg.with_parcel(parcel), (loss(leg, parcel),))


def shipped(leg: OrderLeg, parcel: Parcel) -> Shipped:
    """The announcement that the carrier has the parcel; the same facts each time."""
    label, at = parcel.label, parcel.handed_at
    if label is None or at is None:
        raise Illegal(f"{parcel.parcel_id} cannot have left: it has no label or no hand-over")
    return Shipped(
        order_id=leg.order_id, parcel_id=parcel.parcel_id, warehouse_id=parcel.warehouse_id, units=parcel.packed,
        carrier_id=label.carrier_id, service=label.service, tracking_number=label.tracking_number,
        tracking_url=label.tracking_url, cost=label.cost, currency=label.currency, expected_at=label.expected_at,
        promise_by=leg.urgency_known().promise_by, shipped_at=at, chosen_because=label.chosen_because,
        customer=leg.brief_known().customer,
    )  # fmt: skip


def arrival(leg: OrderLeg, parcel: Parcel) -> Delivered:
    """The announcement that the parcel arrived."""
    if parcel.ended_at is None:
        raise Illegal(f"{parcel.parcel_id} did not arrive")
    return Delivered(
        order_id=leg.order_id, parcel_id=parcel.parcel_id, units=parcel.packed, delivered_at=parcel.ended_at,
        signed_by=parcel.signed_by, customer=leg.brief_known().customer,
    )  # fmt: skip


def loss(leg: OrderLeg, parcel: Parcel) -> ShipmentLost | ParcelReturned:
    """The announcement that the units will not reach the customer in this parcel."""
    if parcel.ended_at is None:
        raise Illegal(f"{parcel.parcel_id} did not end")
    kind: type[ShipmentLost] | type[ParcelReturned] = ShipmentLost if parcel.end is End.LOST else ParcelReturned
    return kind(
        order_id=leg.order_id, parcel_id=parcel.parcel_id, fulfilment_order_id=parcel.fulfilment_order_id,
        warehouse_id=parcel.warehouse_id, units=parcel.packed, goods=parcel.goods,
        settled=parcel.settled_in(parcel.packed), cause=parcel.cause or "unknown", at=parcel.ended_at,
        customer=leg.brief_known().customer,
    )  # fmt: skip


def _ended(parcel: Parcel, end: End, cause: str, now: datetime) -> Parcel:
    return parcel.put(station=Station.ENDED, end=end, ended_at=now, cause=cause, problem=None)


def _refuse(parcel: Parcel, request_id: str, units: Units) -> Parcel:
    already = parcel.settled_of(request_id)
    others = tuple(s for s in parcel.settled if s.request_id != request_id)
    settled = (*others, Settled(request_id=request_id, units=already | units))
    return parcel.put(settled=settled)


def _cancelled(leg: OrderLeg, parcel: Parcel, request_id: str, units: Units, now: datetime) -> UnitsCancelled:
    return UnitsCancelled(
        order_id=leg.order_id, request_id=request_id, units=units, answered_by=SHIPPING,
        container_id=parcel.parcel_id, at=now, warehouse_id=parcel.warehouse_id,
    )  # fmt: skip


def _refused(leg: OrderLeg, parcel: Parcel, request_id: str, units: Units, reason: str, now: datetime) -> CancelRefused:
    return CancelRefused(
        order_id=leg.order_id, request_id=request_id, units=units, answered_by=SHIPPING,
        container_id=parcel.parcel_id, at=now, reason=reason,
    )  # fmt: skip


def _parcel(leg: OrderLeg, parcel_id: str) -> Parcel:
    parcel = leg.parcel(parcel_id)
    if parcel is None:
        raise Illegal(f"{leg.order_id} has no parcel {parcel_id}")
    return parcel
