"""Words about the whole order: holds, urgency, breaches, the end."""

from __future__ import annotations

from datetime import datetime

from expedite_events import (
    Decision,
    Event,
    OrderHeld,
    OrderHoldReleased,
    PriorityAssigned,
    SLABreached,
    Units,
    already_done,
)
from shipping.domain import custody
from shipping.domain.desk import Desk
from shipping.domain.labels import buy_what_is_missing, no_retry
from shipping.domain.state import Breach, End, OrderLeg, Station, kept


def hold(leg: OrderLeg, event: OrderHeld) -> Decision[OrderLeg]:
    """No label is bought and no parcel leaves until every hold is released; a hold whose release came first is over."""
    if event.hold_id in leg.holds or event.hold_id in leg.released:
        return already_done(leg)
    return Decision(leg.put(holds=(*leg.holds, event.hold_id)))


def release(leg: OrderLeg, event: OrderHoldReleased, desk: Desk, now: datetime) -> Decision[OrderLeg]:
    """One hold is over; work goes on when it was the last."""
    if event.hold_id in leg.released:
        return already_done(leg)
    left = tuple(h for h in leg.holds if h != event.hold_id)
    leg = leg.put(holds=left, released=(*leg.released, event.hold_id))
    return buy_what_is_missing(leg, desk, now)


def raise_urgency(leg: OrderLeg, event: PriorityAssigned, wave: bool) -> Decision[OrderLeg]:
    """A higher revision: the dock list is sorted anew and, as part of a wave, each outcome that is not concluded is
    announced again on the express lane. Concluded is a delivered parcel of an order that is over, and a loss whose
    units have come back in another parcel."""
    if leg.urgency is not None and event.urgency.revision <= leg.urgency.revision:
        return already_done(leg)
    leg = leg.put(urgency=kept(event.urgency))
    again = _unconcluded(leg) if wave and leg.over is None else ()
    return Decision(leg, again, express=True if again else None)


def _unconcluded(leg: OrderLeg) -> tuple[Event, ...]:
    events: list[Event] = []
    later = Units()
    for parcel in reversed(leg.parcels):
        if parcel.station is Station.HANDED:
            events.append(custody.shipped(leg, parcel))
        elif parcel.end is End.DELIVERED:
            events.append(custody.arrival(leg, parcel))
        elif parcel.end in (End.LOST, End.RETURNED) and parcel.packed - later:
            events.append(custody.loss(leg, parcel))
        later = later | parcel.all_units
    return tuple(reversed(events))


def breach(leg: OrderLeg, event: SLABreached) -> Decision[OrderLeg]:
    """A stage is late: the dock shows it beside the parcel, with the person who must act."""
    if any((b.subject, b.stage, b.level) == (event.subject, event.stage, event.level) for b in leg.breaches):
        return already_done(leg)
    late = Breach(
        subject=event.subject, stage=event.stage, level=event.level, owner=event.owner, due_at=event.due_at,
        at=event.breached_at,
    )  # fmt: skip
    return Decision(leg.put(breaches=(*leg.breaches, late)))


def end(leg: OrderLeg, how: str) -> Decision[OrderLeg]:
    """The order is over: nothing starts any more, timers go. Parcels on their way are still followed to their end."""
    if leg.over is not None:
        return already_done(leg)
    timers = tuple(timer for p in leg.parcels if p.station is Station.DOCK for timer in no_retry(p))
    return Decision(leg.put(over=how), timers=timers)
