"""Stage clocks and escalation (C1, C2, C3, C4) under any order of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expedite_events import (
    CancelTimer,
    HoldKind,
    OrderBackordered,
    OrderEvent,
    SetTimer,
    Settled,
    Stage,
    TransferReceived,
    TransferRequested,
    Units,
)
from prioritizer.domain.clocks import ring
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


@pytest.fixture
def desk(desk_of: Callable[..., Any]) -> Any:
    return desk_of(people=PEOPLE)


ONE, TWO = Units.quantity(1, 2), Units.quantity(2, 3)


def test_the_clocks_of_an_order_follow_its_parcels(desk: Any, story: Any) -> None:
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
    assert desk.running() == set() and not desk.rings_at


def test_a_breach_climbs_to_the_superior_and_theirs_and_ends_there(desk: Any, story: Any) -> None:
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


def test_the_next_person_gets_their_time_even_after_an_outage(desk: Any, story: Any) -> None:
    """C4: timers that could not fire while the service was down tell the owner, not everybody at once."""
    desk.see(story.received())
    desk.fire(story.at(50))
    assert [b.level for b in desk.breaches] == [0]
    desk.fire(story.at(52))
    assert [b.level for b in desk.breaches] == [0, 1]


def test_a_hold_breaches_at_its_own_due_time_and_stops_with_its_release(desk: Any, story: Any) -> None:
    """A4, C1: the audit clock of a hold, before OrderReceived; unpaid orders have none."""
    desk.see(story.held(0, 1, owner="data team"))
    desk.see(story.held(0, 2, HoldKind.UNPAID))
    desk.fire(story.at(1.9))
    assert not desk.breaches
    desk.fire(story.at(2))
    (breach,) = desk.breaches
    assert (breach.subject, breach.stage, breach.owner) == (f"{story.order_id}-H1", Stage.AUDIT, "olga")
    desk.see(story.released(2.5, 1))
    assert not desk.rings_at


def test_a_release_before_its_hold_leaves_no_clock(desk: Any, story: Any) -> None:
    """C2: a release that comes first is the hold's tombstone."""
    desk.see(story.released(1))
    desk.see(story.held(0))
    assert desk.running() == set() and not desk.rings_at and not desk.order.held


def test_the_clock_stands_still_while_the_order_is_held(desk: Any, story: Any) -> None:
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


def test_units_under_a_cancel_request_are_not_chased_until_refused(
    desk: Any, desk_of: Callable[..., Any], story: Any
) -> None:
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
    standing = desk_of()
    for event in (story.received(), story.cancel(0.1, ONE, standing=True), story.reserved(0.2, 1, story.all),
                  story.packed(0.4, 1, 2, ONE), story.shipped(0.5, 2, ONE), story.told(0.5, 2),
                  story.lost(1, 2, ONE, (Settled(request_id=f"{story.order_id}-C1", units=ONE),))):  # fmt: skip
        standing.see(event)
    assert standing.running() == {("-F1", Stage.PREPARE)}


def test_waiting_stock_has_until_the_date_that_was_told(desk: Any, story: Any) -> None:
    """D4, D5: a transfer or a backorder extends the stock lock of its own units, not of the others."""
    transfer = TransferRequested(order_id=story.order_id, transfer_id=f"{story.order_id}-T1", from_warehouse_id="W2",
                                 to_warehouse_id="W1", units=ONE, goods=story.goods, urgency=story.urgency(),
                                 requested_at=story.at(0.1))  # fmt: skip
    desk.see(story.received())
    desk.see(transfer)
    (clock,) = desk.clocks
    assert clock.due_at == story.at(1)  # line 2 waits for nothing
    desk.see(story.reserved(0.2, 1, TWO))
    lock = next(c for c in desk.clocks if c.stage is Stage.STOCK_LOCK)
    assert lock.due_at == story.at(24.1)
    desk.see(TransferReceived(order_id=story.order_id, transfer_id=f"{story.order_id}-T1", from_warehouse_id="W2",
                              to_warehouse_id="W1", units=ONE.first_n(1), missing=ONE.last_n(1), received_by="c",
                              at=story.at(5)))  # fmt: skip
    desk.see(OrderBackordered(order_id=story.order_id, units=ONE.last_n(1), goods=story.goods, since=story.at(5),
                              estimated_at=story.at(60), brief=story.brief(), urgency=story.urgency()))  # fmt: skip
    lock = next(c for c in desk.clocks if c.stage is Stage.STOCK_LOCK)
    assert lock.due_at == story.at(6)
    desk.see(story.reserved(5.5, 2, ONE.first_n(1)))
    lock = next(c for c in desk.clocks if c.stage is Stage.STOCK_LOCK)
    assert lock.due_at == story.at(60)


def test_a_pack_that_is_heard_before_its_reservation_ends_the_stock_lock(desk: Any, story: Any) -> None:
    """C4: the stop may come before its start; the late start then starts nothing."""
    desk.see(story.received())
    desk.see(story.packed(1, 1, 1, story.all))
    assert desk.running() == {("-P1", Stage.SHIP)}
    desk.see(story.reserved(0.5, 1, story.all))
    assert desk.running() == {("-P1", Stage.SHIP)}


def test_a_timer_that_is_not_right_any_more_tells_nobody(desk: Any, desk_of: Callable[..., Any], story: Any) -> None:
    """C4: a second copy of a fired timer, and one whose deadline moved because the calendar changed."""
    desk.see(story.received())
    desk.fire(story.at(1))
    assert [b.level for b in desk.breaches] == [0]
    repeated = ring(desk.order, World(), PEOPLE, story.at(1))
    assert not repeated.events
    fresh = desk_of(people=PEOPLE)
    fresh.see(story.received())
    assert fresh.rings_at == story.at(1)
    fresh.world = World(warehouses=[Warehouse.of(story.warehouse(opens="12:00"))])
    fresh.fire(story.at(1))
    assert not fresh.breaches and fresh.rings_at == story.at(4)


def test_one_timer_for_all_clocks_touched_only_when_something_comes_earlier(desk: Any, story: Any) -> None:
    """C1, C4: what comes later waits for the ring; what comes earlier moves it; with no clock left it is cancelled."""
    desk.see(story.received())
    assert desk.rings_at == story.at(1)
    assert not desk.see(story.reserved(0.2, 1, story.all)).timers
    assert not desk.see(story.packed(0.4, 1, 1, story.all)).timers
    desk.fire(story.at(1))
    assert not desk.breaches and desk.rings_at == story.at(8.4)
    (earlier,) = desk.see(story.shipped(1.5, 1, story.all)).timers
    assert isinstance(earlier, SetTimer) and (earlier.subject, earlier.due_at) == (story.order_id, story.at(2.5))
    desk.see(story.told(1.6, 1))
    desk.see(story.delivered(20, 1, story.all.first_n(3)))
    desk.fire(story.at(2.5))
    assert not desk.breaches and desk.rings_at == story.at(49.5)
    (earlier,) = desk.see(story.lost(21, 1, story.all.last_n(2))).timers  # to be reserved again
    assert isinstance(earlier, SetTimer) and earlier.due_at == story.at(22)
    assert not desk.see(story.cancel(21.5, story.all.last_n(2), standing=True)).timers
    desk.fire(story.at(22))
    assert not desk.breaches and desk.rings_at == story.at(20 + 14 * 24)


def test_with_no_clock_left_the_timer_is_cancelled(desk: Any, story: Any) -> None:
    """C2, C4: a held order is chased by nobody; its timer comes back with the release."""
    desk.see(story.received())
    (gone,) = desk.see(story.held(0.5, kind=HoldKind.UNPAID)).timers
    assert isinstance(gone, CancelTimer) and not desk.rings_at
    desk.see(story.released(2, kind=HoldKind.UNPAID))
    assert desk.rings_at == story.at(2.5)


def test_all_that_is_over_at_one_ring_is_told_at_once(desk: Any, story: Any) -> None:
    """C3: two parcels on the dock ran over while nobody looked: each has its own breach, once."""
    desk.see(story.received())
    desk.see(story.reserved(0.1, 1, story.all))
    desk.see(story.packed(0.2, 1, 1, ONE))
    desk.see(story.packed(0.3, 1, 2, TWO))
    desk.fire(story.at(30))
    assert sorted((b.subject, b.level) for b in desk.breaches) == [(f"{story.order_id}-P{n}", 0) for n in (1, 2)]


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
def test_any_order_of_events_ends_with_the_same_clocks(
    data: st.DataObject, desk_of: Callable[..., Any], story: Any
) -> None:
    """C4: clocks, pauses and deadlines depend on what happened, not on which message came first. The timer never rings
    later than the first of them."""
    events = life(story)
    straight, shuffled = desk_of(people=PEOPLE), desk_of(people=PEOPLE)
    for event in events:
        straight.see(event)
    for event in data.draw(st.permutations(events)):
        shuffled.see(event)
    assert set(shuffled.clocks) == set(straight.clocks)
    first = min(clock.due_at for clock in straight.clocks if not clock.paused)
    assert shuffled.rings_at and straight.rings_at and max(shuffled.rings_at, straight.rings_at) <= first
    assert shuffled.priority.last and straight.priority.last
    assert shuffled.priority.last.deadlines == straight.priority.last.deadlines
    assert shuffled.running() == {("-P3", Stage.TRACK), ("-P3-told", Stage.SHIP), ("-P4", Stage.SHIP)}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_each_breach_once_per_level_none_after_the_end(
    data: st.DataObject, desk_of: Callable[..., Any], story: Any
) -> None:
    """C3, C4: whatever order, redelivery and time: one breach per (subject, stage, level), levels in order, none after
    the end, which nothing changes any more; nothing that is overdue is missed."""
    desk = desk_of(people=PEOPLE)
    events = [*life(story), story.closed(200)]
    hours, ended_with, tombstone = 0.0, None, None
    for event in data.draw(st.permutations(events + events[::3])):
        hours += data.draw(st.sampled_from([0, 0.3, 2, 9]))
        desk.see(event, story.at(hours))
        if desk.order.ended_at and ended_with is None:
            ended_with, tombstone = len(desk.breaches), desk.order
        desk.fire(story.at(hours))
        for clock in desk.clocks:
            told = [b.level for b in desk.breaches if (b.subject, b.stage) == (clock.subject, clock.stage)]
            assert told == list(range(len(told)))
            assert told or clock.paused or clock.due_at > story.at(hours)
            assert told or clock.paused or desk.rings_at <= clock.due_at
    desk.fire(story.at(5000))
    seen = [(b.subject, b.stage, b.level) for b in desk.breaches]
    assert len(seen) == len(set(seen))
    assert ended_with == len(seen)
    assert desk.order == tombstone
    assert not desk.rings_at
