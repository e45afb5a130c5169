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
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from expedite_events import NO_UNITS, CancelTimer, Decision, HoldKind, SetTimer, SLABreached, Stage, Tier, Units
from prioritizer.domain.budgets import MAX_LEVELS, Hours, Span, budget_of, span_of
from prioritizer.domain.order import Due, Order, Piece, Told, layers
from prioritizer.domain.worktime import Interval, WorkCalendar, due_at
from prioritizer.domain.world import NOBODY, People, World, next_above, owner_of

TIMER = "sla"


@dataclass(frozen=True, slots=True)
class Clock:
    """One running clock. `paused` ones have no timer: their `due_at` is what it would be if work went on now."""

    subject: str
    stage: Stage
    started_at: datetime
    due_at: datetime
    paused: bool = False
    warehouse_id: str | None = None
    owner: str | None = None  # whom the event named

    @property
    def id(self) -> str:
        return f"{self.subject}/{self.stage}"


def clocks(order: Order, world: World) -> tuple[Clock, ...]:
    """Every clock that runs now, by the facts known. None after the end."""
    if order.ended_at:
        return ()
    return (*_audits(order), *_stock_locks(order, world), *_prepares(order, world), *_parcels(order, world),
            *_confirm(order, world))  # fmt: skip


def due(order: Order, span: Span, start: datetime, calendar: WorkCalendar | None, pauses: bool = True) -> datetime:
    """When a budget that began at `start` ends. A raise gives the raised tier's budget from the moment of the raise on,
    and never more time than the rules' own tier."""
    stops = order.pauses if pauses else ()
    ends = [_due(order.base_tier, span, start, calendar, stops)]
    if order.raised:
        ends.append(_due(order.raised.tier, span, max(start, order.raised.at), calendar, stops))
    return min(ends)


def _due(
    tier: Tier, span: Span, start: datetime, calendar: WorkCalendar | None, pauses: tuple[Interval, ...]
) -> datetime:
    budget = budget_of(span, tier)
    return due_at(calendar if budget.hours is Hours.WORKING else None, start, budget.time, pauses)


def _audits(order: Order) -> Iterator[Clock]:
    accepted = order.content.received_at if order.content else None
    for hold_id, hold in order.holds.items():
        if not hold.open or hold.held_at is None or hold.due_at is None or hold.kind is HoldKind.UNPAID:
            continue
        # An order enters the pool verified: what held it before that moment is over, although the word of the release
        # may still be on its way.
        if accepted and hold.held_at < accepted:
            continue
        yield Clock(hold_id, Stage.AUDIT, hold.held_at, hold.due_at, owner=hold.owner)


def _needs(order: Order) -> list[tuple[str, Piece]]:
    """What must be reserved, in the order it arose: the order itself, then each short pick, lost or returned parcel."""
    needs: list[tuple[str, Piece]] = []
    if order.content and order.content.kind != "return":
        needs.append((order.order_id, Piece(units=order.units, at=order.content.received_at)))
    needs += [(fo, piece) for fo, known in order.fulfilments.items() for piece in known.short]
    needs += [(parcel, piece) for parcel, known in order.parcels.items() for piece in known.failed]
    return sorted(needs, key=lambda need: (need[1].at, need[0]))


def unlocked(order: Order) -> list[tuple[str, Piece]]:
    """The needs that no reservation answers yet. Per unit, the first need is answered by the first reservation, the
    second by the second: counting, not arrival order, matches them."""
    locks = layers(known.locked for known in order.fulfilments.values())
    asked: list[Units] = []
    waiting = []
    gone = order.doomed
    for subject, piece in _needs(order):
        carry, depth, left = piece.units, 0, NO_UNITS
        while carry:
            if depth == len(asked):
                asked.append(NO_UNITS)
            before = asked[depth]
            here = carry - before
            left |= here - locks[depth] if depth < len(locks) else here
            asked[depth], carry, depth = before | carry, carry & before, depth + 1
        if left - gone:
            waiting.append((subject, Piece(units=left - gone, at=piece.at)))
    return waiting


def _stock_locks(order: Order, world: World) -> Iterator[Clock]:
    place = world.nearest(order.content.brief.customer.ship_to.country) if order.content else None
    calendar = place.calendar if place else None
    earliest: dict[str, Clock] = {}
    for subject, piece in unlocked(order):
        ends = _lock_due(order, piece, calendar)
        known = earliest.get(subject)
        if known is None or ends < known.due_at:
            earliest[subject] = Clock(subject, Stage.STOCK_LOCK, piece.at, ends, order.held,
                                      place.warehouse_id if place else None)  # fmt: skip
    yield from earliest.values()


def _lock_due(order: Order, piece: Piece, calendar: WorkCalendar | None) -> datetime:
    """By when these units must be reserved. Units on a transfer or a backorder begun since they are needed have until
    the transfer is due or the estimated date; the rest have the stage's budget. The earliest counts."""
    base = due(order, Span.STOCK_LOCK, piece.at, calendar)
    allowed: list[tuple[datetime, Units]] = []
    for transfer in order.transfers.values():
        if transfer.requested_at and transfer.requested_at >= piece.at:
            until = (
                due(order, Span.STOCK_LOCK, transfer.received_at, calendar)
                if transfer.received_at
                else due(order, Span.TRANSFER, transfer.requested_at, calendar)
            )
            allowed.append((until, transfer.units - transfer.lost))
    allowed += [(b.estimated_at, b.units) for b in order.backorders if b.since >= piece.at]
    left, ends = piece.units, []
    for until, units in sorted(allowed, key=lambda a: a[0], reverse=True):
        if left & units:
            ends.append(max(base, until))
            left -= units
    return base if left else min(ends)


def _prepares(order: Order, world: World) -> Iterator[Clock]:
    for fo, known in order.fulfilments.items():
        open_units = known.reserved - known.packed - known.short_units - order.doomed
        if known.reserved_at and open_units:
            ends = due(order, Span.PREPARE, known.reserved_at, world.calendar_of(known.warehouse_id))
            yield Clock(fo, Stage.PREPARE, known.reserved_at, ends, order.held, known.warehouse_id)


def _parcels(order: Order, world: World) -> Iterator[Clock]:
    for parcel_id, known in order.parcels.items():
        place = known.warehouse_id
        if known.packed_at and not known.left and known.packed - order.doomed:
            ends = due(order, Span.SHIP, known.packed_at, world.calendar_of(place))
            yield Clock(parcel_id, Stage.SHIP, known.packed_at, ends, order.held, place)
        if known.shipped_at:
            if not known.told_at:
                ends = due(order, Span.TOLD, known.shipped_at, world.calendar_of(place), pauses=False)
                yield Clock(f"{parcel_id}-told", Stage.SHIP, known.shipped_at, ends, warehouse_id=place)
            if known.shipped - known.delivered_units - known.failed_units:
                ends = due(order, span_of(Stage.TRACK), known.shipped_at, world.calendar_of(place), pauses=False)
                yield Clock(parcel_id, Stage.TRACK, known.shipped_at, ends, warehouse_id=place)


def _confirm(order: Order, world: World) -> Iterator[Clock]:
    delivered = [piece for parcel in order.parcels.values() for piece in parcel.delivered]
    if order.content and delivered and not order.units - order.doomed - Units.union(p.units for p in delivered):
        start = max(piece.at for piece in delivered)
        yield Clock(order.order_id, Stage.CONFIRM, start, due(order, Span.CONFIRM, start, None, pauses=False))


def reschedule(order: Order, world: World) -> Decision[Order]:
    """Timers as the clocks want them: one per running clock, for the next level that nobody was told yet. Cancels what
    stopped, replaces what moved, leaves the rest alone."""
    wanted: dict[str, Due] = {}
    for clock in clocks(order, world):
        told = order.told.get(clock.id)
        if clock.paused or (told and told.exhausted):
            continue
        at = clock.due_at
        if told:
            at = max(at, due(order, Span.ESCALATE, told.last_at, world.calendar_of(clock.warehouse_id)))
        wanted[clock.id] = Due(level=len(told.people) if told else 0, at=at)
    if wanted == order.timers:
        return Decision(state=order, express=_lane(order))
    changes: list[SetTimer | CancelTimer] = [CancelTimer(TIMER, i) for i in order.timers if i not in wanted]
    changes += [
        SetTimer(TIMER, i, timer.at, timer.level) for i, timer in wanted.items() if order.timers.get(i) != timer
    ]
    return Decision(state=order.model_copy(update={"timers": wanted}), timers=tuple(changes), express=_lane(order))


def _lane(order: Order) -> bool | None:
    return order.urgency.express if order.urgency else None


def ring(order: Order, clock_id: str, level: int, world: World, people: People, now: datetime) -> Decision[Order]:
    """A clock's timer fired: tell the person of that level, once (C3), and set the next. A timer that outlived its clock,
    or whose deadline moved, tells nobody."""
    # The timer that fired is spent: forgetting it makes `reschedule` set it again where it still has to ring.
    spent = {i: t for i, t in order.timers.items() if not (i == clock_id and t.level == level)}
    order = order.model_copy(update={"timers": spent})
    told = order.told.get(clock_id)
    clock = next((c for c in clocks(order, world) if c.id == clock_id), None)
    due_now = (
        clock is not None
        and not clock.paused
        and clock.due_at <= now
        and level == (len(told.people) if told else 0)
        and not (told and told.exhausted)
    )
    if clock is None or not due_now:
        return reschedule(order, world)
    person = next_above(people, told.people) if told else owner_of(people, clock.stage, clock.warehouse_id, clock.owner)
    if person is None:
        assert told is not None
        return reschedule(_told(order, clock_id, told.model_copy(update={"exhausted": True})), world)
    up = Told(
        people=(*(told.people if told else ()), person),
        last_at=now,
        exhausted=level + 1 >= MAX_LEVELS or person == NOBODY,
    )
    breach = SLABreached(
        order_id=order.order_id, subject=clock.subject, stage=clock.stage, level=level, owner=person,
        due_at=clock.due_at, breached_at=now, tier=order.tier.value,
    )  # fmt: skip
    return Decision(state=order, events=(breach,)).and_then(reschedule(_told(order, clock_id, up), world))


def _told(order: Order, clock_id: str, told: Told) -> Order:
    return order.model_copy(update={"told": {**order.told, clock_id: told}})
