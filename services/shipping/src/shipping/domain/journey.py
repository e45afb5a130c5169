"""What a carrier's message does to a parcel: hand-over by scan, progress, delay, delivery, loss, return (F3, F4)."""

from __future__ import annotations

from datetime import datetime, timedelta

from expedite_events import (
    Decision,
    DeliveryDelayed,
    Event,
    Illegal,
    Outcome,
    ShipmentTracked,
    TrackingStatus,
)
from shipping.domain import custody
from shipping.domain.desk import Desk
from shipping.domain.labels import buy_what_is_missing
from shipping.domain.state import End, LabelState, Mark, OrderLeg, Parcel, Station
from shipping.domain.tracking import ENDS, PROVES_HAND_OVER, Fate, Update, follow

UNKNOWN_DELAY = timedelta(hours=24)
"""Added to the expected date when a carrier reports a delay without a new date."""


def track(leg: OrderLeg, parcel_id: str, updates: tuple[Update, ...], desk: Desk, now: datetime) -> Decision[OrderLeg]:
    """Apply a carrier's messages about one parcel, oldest first whatever order they were listed in."""
    decision: Decision[OrderLeg] = Decision(leg, outcome=Outcome.ALREADY_DONE)
    # Some carriers tell the whole history each time.
    told = {c.key for c in _known(leg, parcel_id).tracking.checkpoints}
    news = [update for update in updates if update.key not in told]
    for update in sorted(news, key=lambda u: (u.occurred_at, u.key)):
        decision = _then(decision, _one(decision.state, parcel_id, update, desk, now))
    return decision


def _then(first: Decision[OrderLeg], nxt: Decision[OrderLeg]) -> Decision[OrderLeg]:
    """Like `and_then`, but one message that did something is enough for the whole to be done."""
    both = first.and_then(nxt)
    done = Outcome.DONE in (first.outcome, nxt.outcome)
    return Decision(
        both.state, both.events, both.timers, both.effects, Outcome.DONE if done else nxt.outcome, both.express
    )


def _one(leg: OrderLeg, parcel_id: str, update: Update, desk: Desk, now: datetime) -> Decision[OrderLeg]:
    parcel = leg.parcel(parcel_id)
    if parcel is None:
        raise Illegal(f"{leg.order_id} has no parcel {parcel_id}")
    before = parcel.tracking.shown
    # A delivered parcel may still be sent back; the other ends took the units out of our custody for good.
    frozen = parcel.station is Station.ENDED and parcel.end is not End.DELIVERED
    tracking = follow(parcel.tracking, update, frozen)
    if tracking is parcel.tracking:
        return Decision(leg, outcome=Outcome.ALREADY_DONE)
    # Status and time are an announcement's identity: another wording of the same moment is no news.
    moved = _moment(tracking.shown) != _moment(before)
    was_delayed = before is not None and before.status is TrackingStatus.DELIVERY_DELAYED
    parcel = parcel.put(tracking=tracking)
    decision = Decision(leg.with_parcel(parcel))
    if update.status in PROVES_HAND_OVER:
        decision = decision.and_then(custody.scanned_by_carrier(decision.state, parcel_id, update.occurred_at, now))
    if moved:
        decision = decision.and_then(_announce(decision.state, parcel_id, update))
    if update.status is TrackingStatus.CANCELLED:
        decision = decision.and_then(_label_cancelled(decision.state, parcel_id, desk, now))
    decision = decision.and_then(_delay(decision.state, parcel_id, update, was_delayed))
    return decision.and_then(_fate(decision.state, parcel_id, update, before, now))


def _moment(mark: Mark | None) -> tuple[TrackingStatus, datetime] | None:
    return (mark.status, mark.at) if mark else None


def _announce(leg: OrderLeg, parcel_id: str, update: Update) -> Decision[OrderLeg]:
    """Say that the parcel moved. A parcel still on the dock has not moved, whatever its label has been through."""
    parcel = _known(leg, parcel_id)
    if parcel.station is Station.DOCK:
        return Decision(leg)
    event = ShipmentTracked(
        order_id=leg.order_id, parcel_id=parcel_id, tracking_number=update.tracking_number, status=update.status,
        raw_status=update.raw_status, occurred_at=update.occurred_at, location=update.location,
    )  # fmt: skip
    return Decision(leg, (event,))


def _fate(leg: OrderLeg, parcel_id: str, update: Update, before: Mark | None, now: datetime) -> Decision[OrderLeg]:
    """Ends. What contradicts an end we already announced is kept as a problem for a person, never announced."""
    parcel = _known(leg, parcel_id)
    if _contradicts(parcel, update, before):
        return _contradiction(leg, parcel, update)
    if not parcel.travels:
        return Decision(leg)
    cause = update.message or update.raw_status
    if update.fate is Fate.LOST:
        return custody.lost(leg, parcel_id, cause, now)
    if update.fate is Fate.BACK:
        return custody.returned(leg, parcel_id, cause, now)
    if update.status is TrackingStatus.DELIVERED and not _coming_back(before):
        return custody.delivered(leg, parcel_id, min(update.occurred_at, now), update.signed_by, now)
    return Decision(leg)


def _coming_back(mark: Mark | None) -> bool:
    return mark is not None and mark.status is TrackingStatus.RETURN_TO_SENDER


def _contradicts(parcel: Parcel, update: Update, before: Mark | None) -> bool:
    """News that cannot be true together with what was announced. Old news told late is none."""
    if before is not None and update.occurred_at <= before.at:
        return False
    if parcel.end is End.CANCELLED:
        return update.status in PROVES_HAND_OVER
    if parcel.end is End.DELIVERED:
        return update.fate is not None or update.status is TrackingStatus.RETURN_TO_SENDER
    if parcel.end is End.LOST:
        return update.status in PROVES_HAND_OVER and update.fate is not Fate.LOST
    if parcel.end is End.RETURNED or _coming_back(before):
        return update.status is TrackingStatus.DELIVERED
    return False


def _contradiction(leg: OrderLeg, parcel: Parcel, update: Update) -> Decision[OrderLeg]:
    state = parcel.end or "on its way back"
    text = f"the carrier reports {update.raw_status} for a parcel that is {state}: check with {update.carrier_id}"
    return Decision(leg.with_parcel(parcel.put(problem=text[:500])))


def _label_cancelled(leg: OrderLeg, parcel_id: str, desk: Desk, now: datetime) -> Decision[OrderLeg]:
    """The carrier withdrew the label of a parcel on the dock: it cannot leave with it, so another one is bought. With the
    carrier the parcel is only in trouble: custody ends with a loss, a return or a delivery."""
    parcel = _known(leg, parcel_id)
    if parcel.station is not Station.DOCK or parcel.label is None:
        return Decision(leg)
    parcel = parcel.put(label=None, label_state=LabelState.NONE, expected_at=None)
    leg = leg.with_parcel(parcel)
    return buy_what_is_missing(leg, desk, now)


def _delay(leg: OrderLeg, parcel_id: str, update: Update, was_delayed: bool) -> Decision[OrderLeg]:
    """A delay the customer must hear of: the carrier says so, or its new date misses the promise. One message per
    occasion: the same bad news again, or better news, is none."""
    parcel = _known(leg, parcel_id)
    over = update.fate is not None or update.status in ENDS
    if over or not parcel.travels or parcel.expected_at is None:
        return Decision(leg)
    old, new = parcel.expected_at, update.expected_at
    reported = update.status is TrackingStatus.DELIVERY_DELAYED
    if reported and new is None and not was_delayed:
        new = max(old, update.occurred_at) + UNKNOWN_DELAY
    if new is None or new == old:
        return Decision(leg)
    events: tuple[Event, ...] = ()
    number = parcel.delays
    if new > old and (reported or new > leg.urgency_known().promise_by):
        number += 1
        events = (
            DeliveryDelayed(
                order_id=leg.order_id, parcel_id=parcel_id, delay_id=f"{parcel_id}-D{number}", old_expected_at=old,
                new_expected_at=new, cause=update.message or update.raw_status, customer=leg.brief_known().customer,
            ),
        )  # fmt: skip
    parcel = parcel.put(expected_at=new, delays=number)
    return Decision(leg.with_parcel(parcel), events)


def _known(leg: OrderLeg, parcel_id: str) -> Parcel:
    parcel = leg.parcel(parcel_id)
    if parcel is None:
        raise Illegal(f"{leg.order_id} has no parcel {parcel_id}")
    return parcel
