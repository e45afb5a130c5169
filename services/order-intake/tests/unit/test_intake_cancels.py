"""Cancel requests (A8) by the rules of the custody protocol."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expedite_events import (
    NO_UNITS,
    Address,
    CancelRefused,
    CancelRequested,
    Customer,
    Decision,
    Delivered,
    Illegal,
    OrderCancelled,
    OrderClosed,
    OrderHoldReleased,
    Outcome,
    ParcelReturned,
    ProductChanged,
    SetTimer,
    Units,
    UnitsCancelled,
)
from order_intake.adapters.native import NativeOrder
from order_intake.domain.cancelling import CancelAsk, LineQuantity, answered, answering, cancel
from order_intake.domain.channel import Channel, Policy
from order_intake.domain.ending import came_back, confirm, confirm_by_clock, delivered
from order_intake.domain.holding import LinePatch, Patch, complete, place
from order_intake.domain.order import Order, Parcel, State
from order_intake.domain.refusal import Refused

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
POLICY = Policy()
ID = "20261123-EC-000001"
ADDRESS = {"line1": "1 High St", "city": "London", "postcode": "SW1Y 4LB", "country": "GB"}
CUSTOMER = Customer(name="Ada", ship_to=Address(**ADDRESS))


def an_order(*quantities: int, sku: str = "A") -> Order:
    said = {
        "channel": "web",
        "customer": {"name": "Ada", "email": "ada@example.com", "ship_to": ADDRESS},
        "lines": [{"sku": sku, "quantity": n, "unit_price": str(i)} for i, n in enumerate(quantities or (3, 2))],
    }
    content = NativeOrder.model_validate(said).content(NOW)
    products = {"A": ProductChanged(sku="A", name="A")}
    return place(ID, content, Channel(id="web", code="EC"), products, NOW, POLICY, client="shop").state


def ask(*lines: tuple[int, int], units: Units = Units(), **more: Any) -> CancelAsk:
    wanted = tuple(LineQuantity(line=line, quantity=n) for line, n in lines)
    return CancelAsk(lines=wanted, units=units, reason="changed my mind", **more)


def yes(request: str, units: Units) -> UnitsCancelled:
    return UnitsCancelled(order_id=ID, request_id=request, units=units, answered_by="inventory", at=NOW)


def no(request: str, units: Units) -> CancelRefused:
    return CancelRefused(order_id=ID, request_id=request, units=units, answered_by="shipping", at=NOW, reason="gone")


def is_delivered(units: Units, parcel: str = "P1") -> Delivered:
    return Delivered(order_id=ID, parcel_id=parcel, units=units, delivered_at=NOW, customer=CUSTOMER)


def a_parcel(units: Units, parcel: str = "P1") -> Parcel:
    return Parcel(order_id=ID, parcel_id=parcel, units=units)


def is_back(units: Units, parcel: str = "P1") -> ParcelReturned:
    return ParcelReturned(
        order_id=ID, parcel_id=parcel, fulfilment_order_id="F", warehouse_id="W", units=units, goods=(), cause="x",
        at=NOW, customer=CUSTOMER,
    )  # fmt: skip


def done(order: Order, asked: CancelAsk, handed: Units = NO_UNITS) -> Decision[Order]:
    return cancel(order, asked, handed, NOW, by="shop")


def hear(order: Order, event: Any, handed: Units = NO_UNITS) -> Decision[Order]:
    return answered(order, event, handed, NOW, POLICY)


def asked_of(decision: Decision[Order]) -> list[CancelRequested]:
    return [e for e in decision.events if isinstance(e, CancelRequested)]


ALL = Units(((1, 1, 3), (2, 1, 2)))


def test_the_whole_order_is_one_standing_request_for_all_units() -> None:
    """A8"""
    (event,) = asked_of(done(an_order(), ask()))
    assert (event.request_id, event.units, event.standing, event.whole_order) == (f"{ID}-C1", ALL, True, True)


def test_named_units_stand() -> None:
    """A8"""
    (event,) = asked_of(done(an_order(), ask(units=Units.of(1, 2, 2))))
    assert (event.units, event.standing, event.whole_order) == (Units.of(1, 2, 2), True, False)


def test_a_quantity_takes_the_last_units_and_does_not_stand() -> None:
    """A8"""
    (event,) = asked_of(done(an_order(), ask((1, 2), (2, 1))))
    assert (event.units, event.standing) == (Units(((1, 2, 3), (2, 2, 2))), False)


def test_quantities_add_up_also_before_they_are_answered() -> None:
    """A8: asking twice for one unit is asking for two, whatever the answers' speed; beyond all units it is all."""
    order = done(an_order(), ask((1, 1))).state
    second = done(order, ask((1, 1)))
    assert asked_of(second)[0].units == Units.of(1, 2, 2)
    third = done(second.state, ask((1, 9)))
    assert asked_of(third)[0].units == Units.of(1, 1, 3)


def test_the_same_standing_request_again_is_the_same_request() -> None:
    """A8: repeated identical cancels are fine."""
    for asked in (ask(), ask(units=Units.of(1, 1, 2))):
        once = done(an_order(), asked)
        again = done(once.state, asked)
        assert (again.outcome, again.state) == (Outcome.ALREADY_DONE, once.state)
        known = answering(again.state, asked)
        assert known is not None
        assert known.request_id == f"{ID}-C1"


def test_an_idempotency_key_makes_a_quantity_cancel_repeatable() -> None:
    """A6, A8"""
    asked = ask((1, 1), idempotency="k", fingerprint="f")
    order = done(an_order(), asked).state
    assert done(order, asked).outcome is Outcome.ALREADY_DONE
    with pytest.raises(Refused, match="another body"):
        done(order, ask((1, 2), idempotency="k", fingerprint="g"))


def test_a_refused_quantity_is_asked_of_other_units_never_twice_of_the_same() -> None:
    """A8: where refused, others are tried."""
    order = done(an_order(), ask((1, 1))).state
    second = hear(order, no(f"{ID}-C1", Units.of(1, 3, 3)))
    assert [(e.request_id, e.units, e.standing) for e in asked_of(second)] == [(f"{ID}-C2", Units.of(1, 2, 2), False)]
    third = hear(second.state, no(f"{ID}-C2", Units.of(1, 2, 2)))
    assert asked_of(third)[0].units == Units.of(1, 1, 1)
    last = hear(third.state, no(f"{ID}-C3", Units.of(1, 1, 1)))
    assert asked_of(last) == []


def test_a_repeated_refusal_asks_nobody_again() -> None:
    """A8: redelivered answers change nothing."""
    order = done(an_order(), ask((1, 1))).state
    once = hear(order, no(f"{ID}-C1", Units.of(1, 3, 3))).state
    assert hear(once, no(f"{ID}-C1", Units.of(1, 3, 3))).outcome is Outcome.ALREADY_DONE


def test_a_refused_standing_request_tries_no_other_units() -> None:
    """A8"""
    order = done(an_order(), ask(units=Units.of(1, 1, 1))).state
    assert hear(order, no(f"{ID}-C1", Units.of(1, 1, 1))).events == ()


def test_a_yes_replaces_a_no_and_never_the_other_way_round() -> None:
    """A8: a standing request holds again when units come back."""
    order = done(an_order(), ask()).state
    order = hear(order, no(f"{ID}-C1", ALL)).state
    order = hear(order, yes(f"{ID}-C1", Units.of(1, 1, 3))).state
    request = order.cancels[0]
    assert (request.cancelled, request.refused) == (Units.of(1, 1, 3), Units.of(2, 1, 2))
    assert hear(order, no(f"{ID}-C1", Units.of(1, 1, 3))).outcome is Outcome.ALREADY_DONE


def test_the_order_is_cancelled_with_its_last_unit() -> None:
    """A8: OrderCancelled once, and only when every unit is cancelled."""
    order = done(an_order(), ask()).state
    first = hear(order, yes(f"{ID}-C1", Units.of(1, 1, 3)))
    assert first.events == ()
    last = hear(first.state, yes(f"{ID}-C1", Units.of(2, 1, 2)))
    assert [type(e) for e in last.events] == [OrderCancelled]
    assert last.state.state is State.CANCELLED
    assert hear(last.state, yes(f"{ID}-C1", ALL)).outcome is Outcome.ALREADY_DONE
    assert done(last.state, ask()).outcome is Outcome.ALREADY_DONE


def test_what_is_with_the_carrier_is_too_late_until_it_comes_back() -> None:
    """A8: 409 only when all of it is known to be gone."""
    order, parcel = an_order(2), a_parcel(Units.of(1, 1, 2))
    for asked in (ask(), ask((1, 1)), ask(units=Units.of(1, 1, 1))):
        with pytest.raises(Refused, match="return can be asked for"):
            done(order, asked, order.handed([parcel]))
    order = came_back(order, is_back(Units.of(1, 1, 2))).state
    assert asked_of(done(order, ask((1, 1)), order.handed([parcel])))


def test_a_parcel_that_was_lost_before_it_shipped_stays_lost() -> None:
    """Topics have no common order: Shipped may come after ParcelReturned."""
    order = came_back(an_order(2), is_back(Units.of(1, 1, 2))).state
    assert order.handed([a_parcel(Units.of(1, 1, 2))]) == Units()
    assert order.handed([a_parcel(Units.of(1, 1, 2)), a_parcel(Units.of(1, 2, 2), "P2")]) == Units.of(1, 2, 2)


def test_what_was_delivered_is_not_with_the_carrier() -> None:
    """A8: also when Shipped comes after Delivered."""
    order = delivered(an_order(3), is_delivered(Units.of(1, 1, 2)), POLICY).state
    assert order.handed([a_parcel(Units.of(1, 1, 2)), a_parcel(Units.of(1, 3, 3), "P2")]) == Units.of(1, 3, 3)


def test_a_quantity_prefers_units_that_are_still_here() -> None:
    """A8: the carrier's units are asked for only when no others are left."""
    order, gone = an_order(3), Units.of(1, 3, 3)
    first = done(order, ask((1, 1)), gone)
    assert asked_of(first)[0].units == Units.of(1, 2, 2)
    assert asked_of(done(order, ask((1, 3)), gone))[0].units == Units.of(1, 1, 3)
    refused = hear(first.state, no(f"{ID}-C1", Units.of(1, 2, 2)), gone)
    assert asked_of(refused)[0].units == Units.of(1, 1, 1)


def test_partly_gone_is_asked_and_answered_per_unit() -> None:
    """A8"""
    order = delivered(an_order(3), is_delivered(Units.of(1, 1, 1)), POLICY).state
    assert asked_of(done(order, ask()))[0].units == Units.of(1, 1, 3)


@pytest.mark.parametrize(
    ("asked", "code", "pointer"),
    [
        (ask((9, 1)), "unknown-line", "/lines/0/line"),
        (ask(units=Units.of(1, 3, 4)), "unknown-units", "/units/0"),
        (ask((1, 1), units=Units.of(1, 1, 1)), "choose-one", "/units"),
    ],
)
def test_what_the_order_does_not_have_is_named(asked: CancelAsk, code: str, pointer: str) -> None:
    """A8: bad input names the field."""
    with pytest.raises(Refused) as refused:
        done(an_order(), asked)
    assert (refused.value.code, refused.value.pointer) == (code, pointer)


def test_a_held_order_is_cancelled_at_once_by_intake_itself() -> None:
    """A8, A4: nobody else has seen it; its holds end with it."""
    decision = done(an_order(2, sku="NOPE"), ask())
    assert [type(e) for e in decision.events] == [OrderHoldReleased, OrderCancelled]
    assert decision.events[0].outcome == "cancelled"  # type: ignore[attr-defined]
    assert decision.state.cancels[0].cancelled == Units.of(1, 1, 2)
    assert done(decision.state, ask()).outcome is Outcome.ALREADY_DONE


def test_part_of_a_held_order_is_asked_of_inventory_which_never_saw_it() -> None:
    """A8: inventory answers at once for units it has never seen; the last answer ends the order and its holds."""
    first = done(an_order(2, sku="NOPE"), ask((1, 1)))
    assert asked_of(first)[0].units == Units.of(1, 2, 2)
    order = hear(first.state, yes(f"{ID}-C1", Units.of(1, 2, 2))).state
    rest = done(order, ask((1, 1)))
    assert rest.state.state is State.CANCELLED


def test_a_held_order_whose_remaining_lines_are_removed_is_cancelled_not_announced() -> None:
    """A4, A8, I2: one line was cancelled while the order waited, the other is removed: nothing is left to deliver."""
    asked = done(an_order(2, 3, sku="NOPE"), ask((2, 3)))
    waits = hear(asked.state, yes(f"{ID}-C1", Units.of(2, 1, 3))).state
    assert waits.state is State.HELD
    channel = Channel(id="web", code="EC")
    patch = Patch(lines=(LinePatch(line=1, remove=True),))
    decision = complete(waits, patch, channel, {}, NOW, POLICY, by="shop")
    assert decision.state.state is State.CANCELLED
    *released, cancelled = decision.events
    assert {e.outcome for e in released} == {"cancelled"}  # type: ignore[attr-defined]
    assert isinstance(cancelled, OrderCancelled) and cancelled.units == Units.of(2, 1, 3)
    assert not decision.state.open_holds
    with pytest.raises(Refused):
        confirm(decision.state, "shop", NOW)
    again = complete(decision.state, patch, channel, {}, NOW, POLICY, by="shop")
    assert again.outcome is Outcome.ALREADY_DONE


def test_answers_nobody_asked_for_are_a_bug() -> None:
    """A8: illegal answers park."""
    order = done(an_order(), ask(units=Units.of(1, 1, 1))).state
    for event in (yes(f"{ID}-C9", Units.of(1, 1, 1)), yes(f"{ID}-C1", Units.of(1, 2, 2))):
        with pytest.raises(Illegal):
            hear(order, event)


def test_a_unit_is_never_both_delivered_and_cancelled() -> None:
    """A8: contradictions park."""
    order = done(an_order(1), ask()).state
    cancelled = hear(order, yes(f"{ID}-C1", Units.of(1, 1, 1))).state
    with pytest.raises(Illegal):
        delivered(cancelled, is_delivered(Units.of(1, 1, 1)), POLICY)
    arrived = delivered(order, is_delivered(Units.of(1, 1, 1)), POLICY).state
    with pytest.raises(Illegal):
        hear(arrived, yes(f"{ID}-C1", Units.of(1, 1, 1)))
    with pytest.raises(Illegal):
        delivered(order, is_delivered(Units.of(7, 1, 1)), POLICY)


def test_the_confirm_clock_starts_with_the_last_unit_and_closes_the_order() -> None:
    """A10: 72 hours after the last delivery."""
    order = delivered(an_order(2), is_delivered(Units.of(1, 1, 1)), POLICY).state
    with pytest.raises(Refused, match="1 of 2 units"):
        confirm(order, "customer", NOW)
    last = delivered(order, is_delivered(Units.of(1, 2, 2), "P2"), POLICY)
    assert last.timers == (SetTimer("confirm", ID, NOW + timedelta(hours=72)),)
    closed = confirm_by_clock(last.state, NOW + timedelta(hours=72))
    (event,) = closed.events
    assert isinstance(event, OrderClosed)
    assert (event.confirmed_by, event.delivered) == ("clock", Units.of(1, 1, 2))
    assert confirm_by_clock(closed.state, NOW).outcome is Outcome.TOO_LATE
    assert confirm(closed.state, "customer", NOW).outcome is Outcome.ALREADY_DONE
    with pytest.raises(Refused, match="closed"):
        done(closed.state, ask((1, 1)))


def test_partly_cancelled_orders_close_too() -> None:
    """A8, A10: every unit is delivered or cancelled."""
    order = done(an_order(2), ask((1, 1))).state
    order = delivered(order, is_delivered(Units.of(1, 1, 1)), POLICY).state
    decision = hear(order, yes(f"{ID}-C1", Units.of(1, 2, 2)))
    assert decision.timers == (SetTimer("confirm", ID, NOW + timedelta(hours=72)),)
    (event,) = confirm(decision.state, "customer", NOW).events
    assert isinstance(event, OrderClosed)
    assert (event.delivered, event.cancelled) == (Units.of(1, 1, 1), Units.of(1, 2, 2))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_random_custodians_lose_no_unit_and_cancel_no_more_than_asked(data: st.DataObject) -> None:
    """A8: whatever each custodian answers, in whatever order and however often, every unit ends once, every request is
    answered, quantities never exceed what was asked, and the last unit ends the order or starts its confirm clock."""
    quantities = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    order, wanted, standing = an_order(*quantities), 0, Units()
    answers: list[Any] = []
    fate: dict[tuple[int, int], str] = {}  # how a unit ends, once a custodian decided
    refusals: set[tuple[str, tuple[int, int]]] = set()
    ended: list[Any] = []

    def take(decision: Decision[Order]) -> None:
        nonlocal order
        order = decision.state
        ended.extend(e for e in decision.events if isinstance(e, OrderCancelled))
        for event in decision.events:
            if isinstance(event, CancelRequested):
                answers.extend((event.request_id, unit) for unit in event.units.each())

    for _ in range(data.draw(st.integers(0, 60))):
        choice = data.draw(st.sampled_from(["quantity", "named", "whole", "answer", "answer", "answer", "deliver"]))
        if choice in ("quantity", "named", "whole"):
            line = data.draw(st.integers(1, len(quantities)))
            n = data.draw(st.integers(1, quantities[line - 1]))
            asked = {"quantity": ask((line, n)), "named": ask(units=Units.of(line, n, n)), "whole": ask()}[choice]
            before = len(order.cancels)
            try:
                take(done(order, asked))
            except Refused:
                continue
            for request in order.cancels[before:]:
                wanted += 0 if request.standing else len(request.units - order.cancelled)
                standing |= request.units if request.standing else Units()
        elif choice == "answer" and answers:
            request_id, unit = data.draw(st.sampled_from(answers))
            units = Units.of(unit[0], unit[1], unit[1])
            if (request_id, unit) in refusals:
                take(hear(order, no(request_id, units)))
                continue
            if unit not in fate:
                fate[unit] = data.draw(st.sampled_from(["cancelled", "handed"]))
            if fate[unit] == "cancelled":
                take(hear(order, yes(request_id, units)))
            else:
                refusals.add((request_id, unit))
                take(hear(order, no(request_id, units)))
        elif choice == "deliver":
            free = [u for u in order.units.each() if fate.get(u, "handed") == "handed"]
            if free:
                unit = data.draw(st.sampled_from(free))
                fate[unit] = "handed"
                take(delivered(order, is_delivered(Units.of(unit[0], unit[1], unit[1]), f"P{unit}"), POLICY))

    for request_id, unit in iter(lambda: next((a for a in answers if _open(order, *a)), None), None):
        units = Units.of(unit[0], unit[1], unit[1])
        cancelled = fate.setdefault(unit, "cancelled") == "cancelled"
        take(hear(order, yes(request_id, units) if cancelled else no(request_id, units)))
    assert not order.delivered & order.cancelled
    assert all(not request.pending for request in order.cancels)
    assert len(order.cancelled - standing) <= wanted
    if not order.ended:
        for unit in (order.units - order.out).each():
            take(delivered(order, is_delivered(Units.of(unit[0], unit[1], unit[1]), f"P{unit}"), POLICY))
    assert order.out == order.units
    assert len(ended) == (not order.delivered)
    assert order.state is (State.CANCELLED if not order.delivered else State.RECEIVED)
    if order.delivered:
        assert isinstance(confirm(order, "customer", NOW).events[0], OrderClosed)


def _open(order: Order, request_id: str, unit: tuple[int, int]) -> bool:
    request = order.request(request_id)
    return request is not None and unit in request.pending
