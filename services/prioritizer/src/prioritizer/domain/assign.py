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
from prioritizer.domain.world import Plan, World

EXPIRY_TIMER = "raise-expires"
_HOUR = timedelta(hours=1)
_PLANS = 1000  # how many are kept
DECIDING = frozenset({OrderReceived, OrderHeld, OrderHoldReleased, OrderCancelled, OrderClosed})
"""Events that need what was ordered and announced before: urgency may change, or it is over."""


def observe(
    order: Order, event: OrderEvent, priority: Priority | None, world: World, now: datetime
) -> tuple[Order, Decision[Order] | None]:
    """An event about the order: the fact is remembered, and urgency is assigned where the fact changes it. The order as it
    is known now, and what follows; None for what only teaches. `priority` is needed by events in `DECIDING`. The clocks are
    moved afterwards, once for all that is new (`clocks.reschedule`)."""
    if order.ended_at or not teaches(event):
        return order, None
    known = learn(event, order)
    if known is order or type(event) not in DECIDING:
        return known, None
    if known.ended_at:
        expiry = (CancelTimer(EXPIRY_TIMER, order.order_id),) if order.raised and order.raised.expires_at else ()
        return known, Decision(state=known, timers=expiry)
    if isinstance(event, OrderReceived):
        decision = assign(known, event, None, world, now)
        return decision.state, decision
    # A hold that is over moved the deadlines; while another is open nobody knows yet by how much.
    if priority and priority.content and known.holds is not order.holds and not known.held:
        decision = assign(known, priority.content, priority.last, world, now)
        return decision.state, decision
    return known, None


def assign(
    order: Order, content: OrderReceived, last: Assignment | None, world: World, now: datetime
) -> Decision[Order]:
    """Tier, deadlines and score by the rules, the raise and the pauses; announced when they differ from the last
    revision. None was announced for new content. The clocks are the caller's."""
    facts = facts_of(order, content, world)
    base, express, why = tier_of(facts)
    if base is not order.base_tier:
        order = order.put(base_tier=base)
    if order.raised:
        express, why = True, (_by_hand(order.raised), *why)
    tier = order.tier
    deadlines, promise_by, promised = plan(order, content, world)
    if last and (last.tier, last.deadlines, last.promise_by, last.express) == (
        tier, deadlines, promise_by, express
    ):  # fmt: skip
        return Decision(state=order)
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
    return Decision(state=order, events=(assigned,), express=express)


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


def plan(order: Order, content: OrderReceived, world: World) -> Plan:
    """By when each stage must be done, the promise, and where the promise comes from. Orders that came together and ask
    for nothing of their own have the same plan."""
    country = content.brief.customer.ship_to.country
    if order.raised or order.holds or content.promise_by:
        return _plan(order, content, country, world)
    known, key = world.plans, (order.base_tier, content.received_at, country)
    found = known.get(key)
    if found is None:
        if len(known) >= _PLANS:
            known.clear()
        found = known[key] = _plan(order, content, country, world)
    return found


def _plan(order: Order, content: OrderReceived, country: str, world: World) -> Plan:
    """The budgets in a row, in the working hours of the nearest warehouse, less the time the order was held."""
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
    return round((promise_by - now - transit) / _HOUR, 1)


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
        started = started.and_then(assign(order, priority.content, priority.last, world, now))
    elif not before:
        asking = RaiseRequested(order_id=order.order_id, requested_by=by, requested_at=now, reason=reason)
        started = Decision(state=order, timers=(timer,), events=(asking,), express=True)
    return started.and_then(reschedule(started.state, world))


def lower(order: Order, priority: Priority, world: World, now: datetime) -> Decision[Order]:
    """Undo a raise, by hand or because it expired: the rules alone decide again (B4)."""
    if order.ended_at:
        return Decision(state=order, outcome=Outcome.TOO_LATE)
    if not order.raised:
        return already_done(order)
    order = order.put(raised=None)
    started = Decision(state=order, timers=(CancelTimer(EXPIRY_TIMER, order.order_id),))
    if priority.content:
        started = started.and_then(assign(order, priority.content, priority.last, world, now))
    return started.and_then(reschedule(started.state, world))


def _moment(at: datetime) -> str:
    """A moment as a sentence has it, with its zone: UTC or +02:00, whichever decoder made it."""
    return f"{at:%Y-%m-%d %H:%M} {(at.tzname() or '').removeprefix('UTC') or 'UTC'}"


def _by_hand(raised: Raise) -> Reason:
    until = f" until {_moment(raised.expires_at)}" if raised.expires_at else ""
    return Reason(
        rule="raised-by-hand", points=0.0, text=f"Raised to {raised.tier} by {raised.by}{until}: {raised.reason}"
    )
