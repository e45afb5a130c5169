"""Stage clocks and escalation (C1, C2, C3, C4) under any order of events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expedite_events import (
    CancelTimer,
    Decision,
    HoldKind,
    OrderBackordered,
    OrderEvent,
    SetTimer,
    Settled,
    SLABreached,
    Stage,
    TransferReceived,
    TransferRequested,
    Units,
)
from prioritizer.domain.assign import observe
from prioritizer.domain.clocks import clocks, ring
from prioritizer.domain.order import Order
from prioritizer.domain.world import NOBODY, Person, Warehouse, World, next_above, owner_of

PEOPLE = {
    p.person_id: p
    for p in (
        Person(person_id="boss", name="B", email="b@x"),
        Person(person_id="lead", name="L", email="l@x", superior="boss"),
        Person(person_id="away", name="A", email="a@x", superior="lead", active=False),
        Person(person_id="olga", name="O", email="o@x", superior="lead", stages=tuple(Stage)),
        Person(person_id="piet", name="P", email="p@x", superior="away", stages=(Stage.PREPARE,), warehouses=("W1",)),
    )
}


class Desk:
    """One order with its timers, fed by hand."""

    def __init__(self, story: Any) -> None:
        self.story = story
        self.order = Order.unseen(story.order_id)
        self.timers: dict[str, tuple[int, datetime]] = {}
        self.breaches: list[SLABreached] = []
        self.ended_with: int | None = None

    def apply(self, decision: Decision[Order]) -> None:
        self.order = decision.state
        for timer in decision.timers:
            if isinstance(timer, SetTimer):
                self.timers[timer.subject] = (timer.level, timer.due_at)
            elif isinstance(timer, CancelTimer):
                self.timers.pop(timer.subject, None)
        self.breaches += [e for e in decision.events if isinstance(e, SLABreached)]

    def see(self, event: OrderEvent, now: datetime | None = None) -> None:
        self.apply(observe(self.order, event, World(), now or self.story.at(0)))
        if self.order.ended_at and self.ended_with is None:
            self.ended_with = len(self.breaches)

    def fire(self, now: datetime) -> None:
        """Fire everything that is due, until nothing is."""
        while due := [(i, level) for i, (level, at) in self.timers.items() if at <= now]:
            clock_id, level = due[0]
            del self.timers[clock_id]
            self.apply(ring(self.order, clock_id, level, World(), PEOPLE, now))

    def running(self) -> set[tuple[str, Stage]]:
        return {(c.subject.removeprefix(self.story.order_id), c.stage) for c in clocks(self.order, World())}


@pytest.fixture
def desk(story: Any) -> Desk:
    return Desk(story)


ONE, TWO = Units.quantity(1, 2), Units.quantity(2, 3)


def test_the_clocks_of_an_order_follow_its_parcels(desk: Desk, story: Any) -> None:
    """C1: six stages, started and stopped as the catalogue says, per subject."""
    desk.see(story.received())
    assert desk.running() == {("", Stage.STOCK_LOCK)}
    desk.see(story.reserved(0.1, 1, ONE))
    assert desk.running() == {("", Stage.STOCK_LOCK), ("-F1", Stage.PREPARE)}
    desk.see(story.reserved(0.2, 2, TWO))
    assert desk.running() == {("-F1", Stage.PREPARE), ("-F2", Stage.PREPARE)}
    desk.see(story.packed(1, 1, 1, ONE))
    assert desk.running() == {("-P1", Stage.SHIP), ("-F2", Stage.PREPARE)}
    desk.see(story.short(1, 2, TWO.first_n(1)))
    assert desk.running() == {("-P1", Stage.SHIP), ("-F2", Stage.PREPARE), ("-F2", Stage.STOCK_LOCK)}
    desk.see(story.packed(1.5, 2, 2, TWO.last_n(2)))
    desk.see(story.reserved(2, 3, TWO.first_n(1)))
    assert desk.running() == {("-P1", Stage.SHIP), ("-P2", Stage.SHIP), ("-F3", Stage.PREPARE)}
    desk.see(story.shipped(3, 1, ONE))
    assert ("-P1", Stage.TRACK) in desk.running() and ("-P1-told", Stage.SHIP) in desk.running()
    desk.see(story.told(3.5, 1))
    desk.see(story.lost(9, 1, ONE))
    assert desk.running() == {("-P1", Stage.STOCK_LOCK), ("-P2", Stage.SHIP), ("-F3", Stage.PREPARE)}
    desk.see(story.reserved(10, 4, ONE))
    for fo, parcel, units in ((4, 4, ONE), (3, 3, TWO.first_n(1))):
        desk.see(story.packed(11, fo, parcel, units))
    for parcel, units in ((4, ONE), (3, TWO.first_n(1)), (2, TWO.last_n(2))):
        desk.see(story.shipped(12, parcel, units))
        desk.see(story.told(12, parcel))
        assert ("", Stage.CONFIRM) not in desk.running()
        desk.see(story.delivered(20, parcel, units))
    assert desk.running() == {("", Stage.CONFIRM)}
    desk.see(story.closed(30))
    assert desk.running() == set() and not desk.timers


def test_a_breach_climbs_to_the_superior_and_theirs_and_ends_there(desk: Desk, story: Any) -> None:
    """C3: owner first, then the superior, then theirs, once each; who is away is passed over."""
    desk.see(story.received())
    desk.see(story.reserved(0.1, 1, story.all))
    desk.fire(story.at(4))
    assert desk.breaches == []
    for hour in (4.1, 6.1, 8.1, 10.1, 90):
        desk.fire(story.at(hour))
    assert [(b.level, b.owner, b.subject) for b in desk.breaches] == [
        (0, "piet", f"{story.order_id}-F1"), (1, "lead", f"{story.order_id}-F1"), (2, "boss", f"{story.order_id}-F1")
    ]  # fmt: skip
    assert {b.due_at for b in desk.breaches} == {story.at(4.1)}


def test_the_next_person_gets_their_time_even_after_an_outage(desk: Desk, story: Any) -> None:
    """C4: timers that could not fire while the service was down tell the owner, not everybody at once."""
    desk.see(story.received())
    desk.fire(story.at(50))
    assert [b.level for b in desk.breaches] == [0]
    desk.fire(story.at(52))
    assert [b.level for b in desk.breaches] == [0, 1]


def test_a_hold_breaches_at_its_own_due_time_and_stops_with_its_release(desk: Desk, story: Any) -> None:
    """A4, C1: the audit clock of a hold, before OrderReceived; unpaid orders have none."""
    desk.see(story.held(0, 1, owner="data team"))
    desk.see(story.held(0, 2, HoldKind.UNPAID))
    desk.fire(story.at(1.9))
    assert not desk.breaches
    desk.fire(story.at(2))
    (breach,) = desk.breaches
    assert (breach.subject, breach.stage, breach.owner) == (f"{story.order_id}-H1", Stage.AUDIT, "olga")
    desk.see(story.released(2.5, 1))
    assert not desk.timers


def test_a_release_before_its_hold_leaves_no_clock(desk: Desk, story: Any) -> None:
    """C2: a release that comes first is the hold's tombstone."""
    desk.see(story.released(1))
    desk.see(story.held(0))
    assert desk.running() == set() and not desk.timers and not desk.order.held


def test_the_clock_stands_still_while_the_order_is_held(desk: Desk, story: Any) -> None:
    """C2: nobody is told off for the customer's time."""
    desk.see(story.received())
    desk.see(story.reserved(0.5, 1, story.all))
    desk.see(story.held(1, kind=HoldKind.UNPAID))
    desk.fire(story.at(40))
    assert not desk.breaches
    desk.see(story.released(21, kind=HoldKind.UNPAID))
    desk.fire(story.at(24.4))
    assert not desk.breaches
    desk.fire(story.at(24.5))
    assert [b.due_at for b in desk.breaches] == [story.at(24.5)]


def test_units_under_a_cancel_request_are_not_chased_until_refused(desk: Desk, story: Any) -> None:
    """A8, C1: a refusal that travels with lost units starts their clock; a standing request does not let it."""
    desk.see(story.received())
    desk.see(story.cancel(0.1, ONE))
    desk.see(story.reserved(0.2, 1, story.all))
    desk.see(story.packed(0.3, 1, 1, TWO))
    assert desk.running() == {("-P1", Stage.SHIP)}
    desk.see(story.packed(0.4, 1, 2, ONE))
    desk.see(story.shipped(0.5, 2, ONE))
    desk.see(story.told(0.5, 2))
    assert desk.running() == {("-P1", Stage.SHIP), ("-P2", Stage.TRACK)}
    desk.see(story.lost(1, 2, ONE, (Settled(request_id=f"{story.order_id}-C1", units=ONE),)))
    assert desk.running() == {("-P1", Stage.SHIP), ("-P2", Stage.STOCK_LOCK)}
    standing = Desk(story)
    for event in (story.received(), story.cancel(0.1, ONE, standing=True), story.reserved(0.2, 1, story.all),
                  story.packed(0.4, 1, 2, ONE), story.shipped(0.5, 2, ONE), story.told(0.5, 2),
                  story.lost(1, 2, ONE, (Settled(request_id=f"{story.order_id}-C1", units=ONE),))):  # fmt: skip
        standing.see(event)
    assert standing.running() == {("-F1", Stage.PREPARE)}


def test_waiting_stock_has_until_the_date_that_was_told(desk: Desk, story: Any) -> None:
    """D4, D5: a transfer or a backorder extends the stock lock of its own units, not of the others."""
    transfer = TransferRequested(order_id=story.order_id, transfer_id=f"{story.order_id}-T1", from_warehouse_id="W2",
                                 to_warehouse_id="W1", units=ONE, goods=story.goods, urgency=story.urgency(),
                                 requested_at=story.at(0.1))  # fmt: skip
    desk.see(story.received())
    desk.see(transfer)
    (clock,) = clocks(desk.order, World())
    assert clock.due_at == story.at(1)  # line 2 waits for nothing
    desk.see(story.reserved(0.2, 1, TWO))
    lock = next(c for c in clocks(desk.order, World()) if c.stage is Stage.STOCK_LOCK)
    assert lock.due_at == story.at(24.1)
    desk.see(TransferReceived(order_id=story.order_id, transfer_id=f"{story.order_id}-T1", from_warehouse_id="W2",
                              to_warehouse_id="W1", units=ONE.first_n(1), missing=ONE.last_n(1), received_by="c",
                              at=story.at(5)))  # fmt: skip
    desk.see(OrderBackordered(order_id=story.order_id, units=ONE.last_n(1), goods=story.goods, since=story.at(5),
                              estimated_at=story.at(60), brief=story.brief(), urgency=story.urgency()))  # fmt: skip
    lock = next(c for c in clocks(desk.order, World()) if c.stage is Stage.STOCK_LOCK)
    assert lock.due_at == story.at(6)
    desk.see(story.reserved(5.5, 2, ONE.first_n(1)))
    lock = next(c for c in clocks(desk.order, World()) if c.stage is Stage.STOCK_LOCK)
    assert lock.due_at == story.at(60)


def test_a_pack_that_is_heard_before_its_reservation_ends_the_stock_lock(desk: Desk, story: Any) -> None:
    """C4: the stop may come before its start; the late start then starts nothing."""
    desk.see(story.received())
    desk.see(story.packed(1, 1, 1, story.all))
    assert desk.running() == {("-P1", Stage.SHIP)}
    desk.see(story.reserved(0.5, 1, story.all))
    assert desk.running() == {("-P1", Stage.SHIP)}


def test_a_timer_that_is_not_right_any_more_tells_nobody(desk: Desk, story: Any) -> None:
    """C4: a second copy of a fired timer, and one whose deadline moved because the calendar changed."""
    desk.see(story.received())
    desk.fire(story.at(1))
    assert [b.level for b in desk.breaches] == [0]
    clock_id = f"{story.order_id}/stock_lock"
    repeated = ring(desk.order, clock_id, 0, World(), PEOPLE, story.at(4))
    assert not repeated.events
    fresh = Desk(story)
    fresh.see(story.received())
    opens_late = World(warehouses=[Warehouse.of(story.warehouse(opens="12:00"))])
    moved = ring(fresh.order, clock_id, 0, opens_late, PEOPLE, story.at(1))
    assert not moved.events
    assert [(t.subject, t.due_at) for t in moved.timers if isinstance(t, SetTimer)] == [(clock_id, story.at(4))]


def test_owner_and_ladder(story: Any) -> None:
    """C3: the owner of that very warehouse before the one of all; circles end; nobody is an answer."""
    assert owner_of(PEOPLE, Stage.PREPARE, "W1") == "piet"
    assert owner_of(PEOPLE, Stage.PREPARE, "W2") == "olga"
    assert owner_of(PEOPLE, Stage.AUDIT, None, "lead") == "lead"
    assert owner_of({}, Stage.AUDIT, None, "data team") == "data team"
    assert owner_of({}, Stage.SHIP, "W1") == NOBODY
    ring_of_two = {
        "a": Person(person_id="a", name="a", email="a@x", superior="b"),
        "b": Person(person_id="b", name="b", email="b@x", superior="a"),
    }
    assert next_above(ring_of_two, ("a",)) == "b"
    assert next_above(ring_of_two, ("a", "b")) is None


def life(story: Any) -> list[OrderEvent]:
    """Everything that can happen to an order, but its end."""
    first, rest = TWO.first_n(1), TWO.last_n(2)
    return [
        story.held(0, 1), story.held(0.1, 2, HoldKind.REVIEW), story.released(0.2, 1), story.released(0.3, 2, HoldKind.REVIEW),
        story.received(), story.received(),
        story.reserved(0.5, 1, ONE), story.reserved(0.6, 2, TWO), story.short(1, 2, first), story.reserved(2, 3, first),
        story.held(2.1, 3, HoldKind.UNPAID), story.released(3.1, 3, HoldKind.UNPAID),
        story.packed(4, 1, 1, ONE), story.packed(4, 2, 2, rest), story.packed(4.5, 3, 3, first), story.packed(4, 1, 1, ONE),
        story.shipped(5, 1, ONE), story.shipped(5, 2, rest), story.shipped(5, 3, first),
        story.told(5.5, 1), story.told(5.5, 2), story.tracked(6, 1),
        story.lost(30, 1, ONE), story.reserved(31, 4, ONE), story.packed(32, 4, 4, ONE),
        story.delivered(40, 2, rest),
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_order_of_events_ends_with_the_same_clocks(data: st.DataObject, story: Any) -> None:
    """C4: clocks, pauses and deadlines depend on what happened, not on which message came first."""
    events = life(story)
    straight, shuffled = Desk(story), Desk(story)
    for event in events:
        straight.see(event)
    for event in data.draw(st.permutations(events)):
        shuffled.see(event)
    assert set(clocks(shuffled.order, World())) == set(clocks(straight.order, World()))
    assert shuffled.timers == straight.timers
    assert shuffled.order.urgency and straight.order.urgency
    assert shuffled.order.urgency.deadlines == straight.order.urgency.deadlines
    assert shuffled.running() == {("-P3", Stage.TRACK), ("-P3-told", Stage.SHIP), ("-P4", Stage.SHIP)}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_each_breach_once_per_level_none_after_the_end(data: st.DataObject, story: Any) -> None:
    """C3, C4: whatever order, redelivery and time: one breach per (subject, stage, level), levels in order, none after
    the end; nothing that is overdue is missed."""
    desk = Desk(story)
    events = [*life(story), story.closed(200)]
    hours = 0.0
    for event in data.draw(st.permutations(events + events[::3])):
        hours += data.draw(st.sampled_from([0, 0.3, 2, 9]))
        desk.see(event, story.at(hours))
        desk.fire(story.at(hours))
        assert {i: (t.level, t.at) for i, t in desk.order.timers.items()} == desk.timers
        for clock in clocks(desk.order, World()):
            told = [b.level for b in desk.breaches if (b.subject, b.stage) == (clock.subject, clock.stage)]
            assert told == list(range(len(told)))
            assert told or clock.paused or clock.due_at > story.at(hours)
    desk.fire(story.at(5000))
    seen = [(b.subject, b.stage, b.level) for b in desk.breaches]
    assert len(seen) == len(set(seen))
    assert desk.ended_with == len(seen)
    assert not desk.timers
