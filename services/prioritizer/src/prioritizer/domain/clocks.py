"""Stage clocks, derived from an order's facts (C1, C2, C3).

| stage | subject | runs while |
|---|---|---|
| audit | hold | a needs-info or review hold is open |
| stock_lock | order; fulfilment order after a short pick; parcel after a loss or return | some of its units are not reserved |
| prepare | fulfilment order | reserved units are neither packed nor short |
| ship | parcel | it stands on the dock |
| ship | `<parcel>-told` | it left and the customer was not told yet |
| track | parcel | it left and units are neither delivered, lost nor returned |
| confirm | order | every unit is delivered, the order is not closed |

Units under a cancel request count as gone until it is refused. stock_lock, prepare and ship pause while
the order is held; a carrier does not.

An order has one timer, for whatever comes first of all its clocks. It is touched only when something comes before it
rings: a timer that rings too early finds nothing over and is set again, which costs less than moving it with every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from expedite_events import NO_UNITS, CancelTimer, Decision, HoldKind, SetTimer, SLABreached, Stage, Tier, Units
from prioritizer.domain.budgets import MAX_LEVELS, Hours, Span, budget_of
from prioritizer.domain.order import Order, Piece, Told, layers
from prioritizer.domain.worktime import Interval, WorkCalendar, due_at
from prioritizer.domain.world import NOBODY, People, World, next_above, owner_of

TIMER = "sla"


class Running(Struct):
    """A clock that runs, without its end: working hours cost more than all the rest."""

    subject: str
    stage: Stage
    span: Span
    started_at: datetime
    warehouse_id: str | None = None
    paused: bool = False
    stops: bool = False  # it stands still while the order is held
    waiting: Units | None = (
        None  # what a stock lock is for; its hours are those of the warehouse nearest to the customer
    )
    until: datetime | None = None  # its end, where that is no matter of budgets
    owner: str | None = None  # whom the event named

    @property
    def id(self) -> str:
        return f"{self.subject}/{self.stage}"


@dataclass(frozen=True, slots=True)
class Clock:
    """A running clock and its end. A paused one does not ring: its `due_at` is what it would be if work went on now."""

    subject: str
    stage: Stage
    started_at: datetime
    due_at: datetime
    paused: bool = False
    warehouse_id: str | None = None
    owner: str | None = None

    @property
    def id(self) -> str:
        return f"{self.subject}/{self.stage}"


def clocks(order: Order, world: World) -> tuple[Clock, ...]:
    """Every clock that runs now, by the facts known: the one that ends first, where a subject has several of a stage.
    None after the end."""
    found: dict[str, Clock] = {}
    for running in _running(order):
        clock = _ended(order, running, world)
        if clock.id not in found or clock.due_at < found[clock.id].due_at:
            found[clock.id] = clock
    return tuple(found.values())


def _running(order: Order) -> Iterator[Running]:
    if order.ended_at:
        return
    if order.holds:
        yield from _audits(order)
    held, gone = order.held, order.doomed
    for subject, since, units in unlocked(order, gone):
        yield Running(subject, Stage.STOCK_LOCK, Span.STOCK_LOCK, since, None, held, True, units)
    for fo, known in order.fulfilments.items():
        if known.reserved_at and known.waiting - gone:
            yield Running(fo, Stage.PREPARE, Span.PREPARE, known.reserved_at, known.warehouse_id, held, True)
    delivered: list[Piece] = []
    for parcel_id, parcel in order.parcels.items():
        place = parcel.warehouse_id
        if parcel.packed_at and not parcel.left and parcel.units - gone:
            yield Running(parcel_id, Stage.SHIP, Span.SHIP, parcel.packed_at, place, held, True)
        if parcel.shipped_at:
            if not parcel.told_at:
                yield Running(f"{parcel_id}-told", Stage.SHIP, Span.TOLD, parcel.shipped_at, place)
            if parcel.units - parcel.delivered_units - parcel.failed_units:
                yield Running(parcel_id, Stage.TRACK, Span.TRACK, parcel.shipped_at, place)
        delivered += parcel.delivered
    if order.received_at and delivered and not order.units - gone - Units.union(p.units for p in delivered):
        yield Running(order.order_id, Stage.CONFIRM, Span.CONFIRM, max(piece.at for piece in delivered))


def _audits(order: Order) -> Iterator[Running]:
    for hold_id, hold in order.holds.items():
        if not hold.open or hold.held_at is None or hold.due_at is None or hold.kind is HoldKind.UNPAID:
            continue
        # An order enters the pool verified: what held it before that moment is over, although the word of the release
        # may still be on its way.
        if order.received_at and hold.held_at < order.received_at:
            continue
        yield Running(hold_id, Stage.AUDIT, Span.AUDIT, hold.held_at, until=hold.due_at, owner=hold.owner)


def unlocked(order: Order, gone: Units) -> list[tuple[str, datetime, Units]]:
    """What no reservation answers yet: who needs it, since when, the units. The order itself is the first need; each
    short pick, lost or returned parcel is another. What is `gone` needs nothing."""
    needs: list[tuple[str, datetime, Units]] = []
    left = order.units
    for fo, known in order.fulfilments.items():
        left -= known.locked
        if known.short:
            needs += [(fo, piece.at, piece.units) for piece in known.short]
    for parcel_id, parcel in order.parcels.items():
        if parcel.failed:
            needs += [(parcel_id, piece.at, piece.units) for piece in parcel.failed]
    ordered = order.received_at if order.kind != "return" else None
    if needs:
        if ordered:
            needs.append((order.order_id, ordered, order.units))
        return _unanswered(order, needs, gone)
    left -= gone  # the order is the only need: every reservation answers it
    return [(order.order_id, ordered, left)] if ordered and left else []


def _unanswered(
    order: Order, needs: list[tuple[str, datetime, Units]], gone: Units
) -> list[tuple[str, datetime, Units]]:
    """Per unit, the first need is answered by the first reservation, the second by the second: counting, not arrival
    order, matches them."""
    locks = layers(known.locked for known in order.fulfilments.values())
    asked: list[Units] = []
    waiting = []
    for subject, at, units in sorted(needs, key=lambda need: (need[1], need[0])):
        carry, depth, left = units, 0, NO_UNITS
        while carry:
            if depth == len(asked):
                asked.append(NO_UNITS)
            before = asked[depth]
            here = carry - before
            left |= here - locks[depth] if depth < len(locks) else here
            asked[depth], carry, depth = before | carry, carry & before, depth + 1
        if left - gone:
            waiting.append((subject, at, left - gone))
    return waiting


def _ended(order: Order, running: Running, world: World) -> Clock:
    """The clock with its end."""
    place, ends = _end(order, running, world)
    return Clock(running.subject, running.stage, running.started_at, ends, running.paused, place, running.owner)


def _end(order: Order, running: Running, world: World) -> tuple[str | None, datetime]:
    """Where the work of a clock is done, and when it ends."""
    if running.until:
        return running.warehouse_id, running.until
    if running.waiting is not None:
        nearest = world.nearest(order.country) if order.country else None
        ends = _lock_due(order, running.waiting, running.started_at, nearest.calendar if nearest else None)
        return nearest.warehouse_id if nearest else None, ends
    calendar = world.calendar_of(running.warehouse_id)
    return running.warehouse_id, due(order, running.span, running.started_at, calendar, running.stops)


def due(order: Order, span: Span, start: datetime, calendar: WorkCalendar | None, pauses: bool = True) -> datetime:
    """When a budget that began at `start` ends. A raise gives the raised tier's budget from the moment of the raise on,
    and never more time than the rules' own tier."""
    stops = order.pauses if pauses else ()
    ends = _due(order.base_tier, span, start, calendar, stops)
    if order.raised:
        ends = min(ends, _due(order.raised.tier, span, max(start, order.raised.at), calendar, stops))
    return ends


def _due(
    tier: Tier, span: Span, start: datetime, calendar: WorkCalendar | None, pauses: tuple[Interval, ...]
) -> datetime:
    budget = budget_of(span, tier)
    return due_at(calendar if budget.hours is Hours.WORKING else None, start, budget.time, pauses)


def _lock_due(order: Order, units: Units, since: datetime, calendar: WorkCalendar | None) -> datetime:
    """By when these units must be reserved. Units on a transfer or a backorder begun since they are needed have until
    the transfer is due or the estimated date; the rest have the stage's budget. The earliest counts."""
    base = due(order, Span.STOCK_LOCK, since, calendar)
    allowed: list[tuple[datetime, Units]] = []
    for transfer in order.transfers.values():
        if transfer.requested_at and transfer.requested_at >= since:
            until = (
                due(order, Span.STOCK_LOCK, transfer.received_at, calendar)
                if transfer.received_at
                else due(order, Span.TRANSFER, transfer.requested_at, calendar)
            )
            allowed.append((until, transfer.units - transfer.lost))
    allowed += [(b.estimated_at, b.units) for b in order.backorders if b.since >= since]
    left, ends = units, []
    for until, some in sorted(allowed, key=lambda a: a[0], reverse=True):
        if left & some:
            ends.append(max(base, until))
            left -= some
    return base if left else min(ends)


def reschedule(order: Order, world: World) -> Decision[Order]:
    """The timer as the clocks want it: set when one of them rings before it, cancelled when none runs."""
    runs, first = _first(order, world)
    if not runs and order.rings_at:
        cancelled = (CancelTimer(TIMER, order.order_id),)
        return Decision(state=order.put(rings_at=None), timers=cancelled, express=_lane(order))
    if first is None or first == order.rings_at:
        return Decision(state=order, express=_lane(order))
    timer = SetTimer(TIMER, order.order_id, first)
    return Decision(state=order.put(rings_at=first), timers=(timer,), express=_lane(order))


def _first(order: Order, world: World) -> tuple[bool, datetime | None]:
    """Whether any clock runs that somebody could be told of, and when the first rings: at the latest when the timer that
    is set does. The end of a clock that cannot come before is not worked out."""
    runs, first = False, order.rings_at
    for running in _running(order):
        told = order.told.get(running.id) if order.told else None
        if running.paused or (told and told.exhausted):
            continue
        runs = True
        if first and _not_before(order, running, told) >= first:
            continue
        at = _rings(order, *_end(order, running, world), told, world)
        first = min(first, at) if first else at
    return runs, first


def _not_before(order: Order, running: Running, told: Told | None) -> datetime:
    """A moment before which the clock does not ring: as if every hour counted and nothing had been held."""
    start = running.started_at
    if told:
        start, span = told.last_at, Span.ESCALATE
    elif running.until:
        return running.until
    else:
        span = running.span
    ends = start + budget_of(span, order.base_tier).time
    if order.raised:
        ends = min(ends, max(start, order.raised.at) + budget_of(span, order.raised.tier).time)
    return ends


def _rings(order: Order, place: str | None, ends: datetime, told: Told | None, world: World) -> datetime:
    """When the next person is told of a clock: at its end, and later each time the last one had their time to act."""
    if not told:
        return ends
    return max(ends, due(order, Span.ESCALATE, told.last_at, world.calendar_of(place)))


def _lane(order: Order) -> bool | None:
    return order.express if order.revision else None


def ring(order: Order, world: World, people: People, now: datetime) -> Decision[Order]:
    """The order's timer fired: for each clock that is over the next person is told, each once (C3), and the timer is set
    for what comes next. One that outlived its clock, or whose deadline moved, tells nobody."""
    order = order.put(rings_at=None)  # a timer that fired is spent
    breaches = []
    for clock in clocks(order, world):
        told = order.told.get(clock.id)
        at = _rings(order, clock.warehouse_id, clock.due_at, told, world)
        if clock.paused or (told and told.exhausted) or at > now:
            continue
        before = told.people if told else ()
        person = next_above(people, before) if told else owner_of(people, clock.stage, clock.warehouse_id, clock.owner)
        if person is None:
            assert told is not None
            order = _told(order, clock, told.put(exhausted=True))
            continue
        exhausted = len(before) + 1 >= MAX_LEVELS or person == NOBODY
        order = _told(order, clock, Told(people=(*before, person), last_at=now, exhausted=exhausted))
        breaches.append(SLABreached(
            order_id=order.order_id, subject=clock.subject, stage=clock.stage, level=len(before), owner=person,
            due_at=clock.due_at, breached_at=now, tier=order.tier.value,
        ))  # fmt: skip
    return Decision(state=order, events=tuple(breaches)).and_then(reschedule(order, world))


def _told(order: Order, clock: Clock, told: Told) -> Order:
    return order.put(told={**order.told, clock.id: told})
