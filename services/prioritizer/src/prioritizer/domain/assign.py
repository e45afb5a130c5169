"""How urgent an order is, by when each stage must be done, and when that is said again (B1, B2, B4).

A revision is announced when tier, deadlines, promise, lane or content change, never for a score alone: every station would
re-sort for nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from expedite_events import (
    CancelTimer,
    Decision,
    OrderCancelled,
    OrderClosed,
    OrderEvent,
    OrderHeld,
    OrderHoldReleased,
    OrderReceived,
    Outcome,
    PriorityAssigned,
    RaiseRequested,
    Reason,
    SetTimer,
    Stage,
    Tier,
    Urgency,
    already_done,
)
from prioritizer.domain.budgets import Span, budget_of
from prioritizer.domain.clocks import due, reschedule
from prioritizer.domain.facts import learn, teaches
from prioritizer.domain.order import Order, Raise
from prioritizer.domain.priority import Assignment, Priority
from prioritizer.domain.rules import score_of, tier_of
from prioritizer.domain.world import World

EXPIRY_TIMER = "raise-expires"
_AGAIN = frozenset({OrderHeld, OrderHoldReleased, OrderCancelled, OrderClosed})


def observe(order: Order, event: OrderEvent, priority: Priority | None, world: World, now: datetime) -> Decision[Order]:
    """An event about the order: remember the fact, assign urgency where the fact changes it, move the clocks. `priority`
    is needed when `decides_again` says so."""
    if order.ended_at or not teaches(event):
        return already_done(order)
    known = learn(event, order)
    if known is order:
        return already_done(order)
    if known.ended_at:
        expiry = (CancelTimer(EXPIRY_TIMER, order.order_id),) if order.raised and order.raised.expires_at else ()
        return Decision(state=known, timers=expiry).and_then(reschedule(known, world))
    if isinstance(event, OrderReceived):
        return assign(known, event, None, world, now)
    # A hold that is over moved the deadlines; while another is open nobody knows yet by how much.
    if priority and priority.content and known.holds is not order.holds and not known.held:
        return assign(known, priority.content, priority.last, world, now)
    return reschedule(known, world)


def decides_again(event: OrderEvent, order: Order) -> bool:
    """Whether an event needs what was ordered and announced before: urgency may change, or it is over."""
    if isinstance(event, OrderReceived):
        return 0 < order.version < event.order_version
    return order.revision > 0 and type(event) in _AGAIN


def assign(
    order: Order, content: OrderReceived, last: Assignment | None, world: World, now: datetime
) -> Decision[Order]:
    """Tier, deadlines and score by the rules, the raise and the pauses; announced when they differ from the last
    revision. None was announced for new content."""
    facts = facts_of(order, content, world)
    base, express, why = tier_of(facts)
    order = order.put(base_tier=base)
    if order.raised:
        express, why = True, (_by_hand(order.raised), *why)
    tier = order.tier
    deadlines, promise_by, promised = plan(order, content, world)
    if last and (last.tier, last.deadlines, last.promise_by, last.express) == (
        tier, deadlines, promise_by, express
    ):  # fmt: skip
        return reschedule(order, world)
    facts["slack_hours"] = slack_hours(promise_by, now, world.transit(facts["country"]))
    score, points = score_of(facts)
    revision = order.revision + 1
    urgency = Urgency(
        tier=tier, score=score, revision=revision, promise_by=promise_by, deadlines=deadlines, express=express
    )
    assigned = PriorityAssigned(
        order_id=order.order_id, order_version=content.order_version, brief=content.brief, lines=content.lines,
        urgency=urgency, reasons=(*why, *points, promised), assigned_at=now,
    )  # fmt: skip
    order = order.put(revision=revision, express=express)
    return Decision(state=order, events=(assigned,)).and_then(reschedule(order, world))


def facts_of(order: Order, content: OrderReceived, world: World) -> dict[str, Any]:
    """What the rules may ask about an order, apart from its slack."""
    brief = content.brief
    # The product's own class where it is known; the line's, as the channel sent it, where not.
    classes = {world.classes.get(line.sku, line.product_class) for line in content.lines}
    return {
        "kind": content.kind,
        "urgent_mark": content.urgent_mark,
        "tags": tuple(tag.strip().lower() for tag in brief.tags),
        "level": brief.customer.level.strip().lower() if brief.customer.level else None,
        "total": content.total,
        "currency": brief.currency,
        "country": brief.customer.ship_to.country,
        "classes": tuple(sorted(classes)),
        "short": order.short_at is not None,
        "slack_hours": None,
    }


def plan(order: Order, content: OrderReceived, world: World) -> tuple[dict[Stage, datetime], datetime, Reason]:
    """By when each stage must be done: the budgets in a row, in the working hours of the nearest warehouse, less the time
    the order was held; the promise; and where the promise comes from."""
    country = content.brief.customer.ship_to.country
    place = world.nearest(country)
    calendar = place.calendar if place else None
    start = content.received_at
    lock = due(order, Span.STOCK_LOCK, start, calendar)
    prepare = due(order, Span.PREPARE, lock, calendar)
    ship = due(order, Span.SHIP, prepare, calendar)
    asked = content.promise_by
    if asked and asked > start:
        promise_by = asked
        # The last moment at which the fastest carrier still keeps the date; a date that cannot be kept any more asks
        # for shipping as soon as the goods are packed.
        ship = min(ship, max(prepare, asked - world.transit(country)))
        reason = Reason(rule="promise", points=0.0, text=f"The channel asked for delivery by {_moment(asked)}")
    else:
        tier = order.tier
        promise_by = ship + budget_of(Span.DELIVERY, tier).time
        hours = budget_of(Span.DELIVERY, tier).minutes // 60
        ignored = f" (the date asked for, {_moment(asked)}, is not after the order)" if asked else ""
        reason = Reason(
            rule="promise", points=0.0,
            text=f"No date asked for{ignored}: {tier} orders arrive {hours} h after shipping",
        )  # fmt: skip
    deadlines = {
        Stage.AUDIT: due(order, Span.AUDIT, start, calendar),
        Stage.STOCK_LOCK: lock,
        Stage.PREPARE: prepare,
        Stage.SHIP: ship,
        Stage.TRACK: due(order, Span.TRACK, ship, None, pauses=False),
        Stage.CONFIRM: due(order, Span.CONFIRM, promise_by, None, pauses=False),
    }
    return deadlines, promise_by, reason


def slack_hours(promise_by: datetime, now: datetime, transit: timedelta) -> float:
    """Hours that may still be lost inside the house before the promise is, with the fastest carrier; negative: late."""
    return round((promise_by - now - transit) / timedelta(hours=1), 1)


def raise_by_hand(
    order: Order, priority: Priority, tier: Tier, reason: str, by: str, expires_at: datetime | None, world: World,
    now: datetime,
) -> Decision[Order]:  # fmt: skip
    """Expedite an order (B4). One that is not seen yet is asked for on the express lane and remembered as raised. Raising
    again to the same or a lower tier is already done, unless the expiry changes."""
    if order.ended_at:
        return Decision(state=order, outcome=Outcome.TOO_LATE)
    before = order.raised
    if before and before.tier.rank <= tier.rank and before.expires_at == expires_at:
        return already_done(order)
    if before and before.tier.rank <= tier.rank:
        raised = before.put(expires_at=expires_at)
    else:
        raised = Raise(tier=tier, reason=reason, by=by, at=now, expires_at=expires_at)
    timer = (
        SetTimer(EXPIRY_TIMER, order.order_id, expires_at) if expires_at else CancelTimer(EXPIRY_TIMER, order.order_id)
    )
    order = order.put(raised=raised)
    started = Decision(state=order, timers=(timer,), express=True)
    if priority.content:
        return started.and_then(assign(order, priority.content, priority.last, world, now))
    if before:
        return started.and_then(reschedule(order, world))
    asking = RaiseRequested(order_id=order.order_id, requested_by=by, requested_at=now, reason=reason)
    return Decision(state=order, timers=(timer,), events=(asking,), express=True).and_then(reschedule(order, world))


def lower(order: Order, priority: Priority, world: World, now: datetime) -> Decision[Order]:
    """Undo a raise, by hand or because it expired: the rules alone decide again (B4)."""
    if order.ended_at:
        return Decision(state=order, outcome=Outcome.TOO_LATE)
    if not order.raised:
        return already_done(order)
    order = order.put(raised=None)
    started = Decision(state=order, timers=(CancelTimer(EXPIRY_TIMER, order.order_id),))
    if priority.content:
        return started.and_then(assign(order, priority.content, priority.last, world, now))
    return started.and_then(reschedule(order, world))


def _moment(at: datetime) -> str:
    """A moment as a sentence has it, with its zone: UTC or +02:00, whichever decoder made it."""
    return f"{at:%Y-%m-%d %H:%M} {(at.tzname() or '').removeprefix('UTC') or 'UTC'}"


def _by_hand(raised: Raise) -> Reason:
    until = f" until {_moment(raised.expires_at)}" if raised.expires_at else ""
    return Reason(
        rule="raised-by-hand", points=0.0, text=f"Raised to {raised.tier} by {raised.by}{until}: {raised.reason}"
    )
