"""Who answers for units on the dock and on the road."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from expedite_events import (
    CancelRefused,
    Delivered,
    DeliveryDelayed,
    HoldKind,
    HoldSummary,
    Illegal,
    OrderHeld,
    OrderHoldReleased,
    Outcome,
    ParcelReturned,
    PriorityAssigned,
    Settled,
    ShipmentLost,
    ShipmentTracked,
    Shipped,
    Tier,
    Units,
    UnitsCancelled,
)
from expedite_events import TrackingStatus as S
from shipping.domain import custody, journey, labels, orders
from shipping.domain.custody import Refused
from shipping.domain.desk import Desk
from shipping.domain.state import End, LabelState, OrderLeg, Station
from shipping.domain.tracking import Fate


def kinds(decision: Any) -> list[str]:
    return [type(event).__name__ for event in decision.events]


def test_a_packed_parcel_asks_for_rates(given: Any) -> None:
    """F2: a parcel on the dock gets its label by itself."""
    decision = custody.receive(OrderLeg(order_id=given.order_id), given.packed(), given.desk(), given.now)
    assert [(e.kind, e.subject) for e in decision.effects] == [("quote_rates", f"{given.parcel_id}#1")]
    again = custody.receive(decision.state, given.packed(), given.desk(), given.now)
    assert again.outcome is Outcome.ALREADY_DONE and not again.effects


def test_a_parcel_announced_with_other_units_is_a_bug(given: Any) -> None:
    """I4: a contradiction parks instead of guessing."""
    with pytest.raises(Illegal):
        custody.receive(given.on_dock(), given.packed(units=Units.of(1, 1, 2)), given.desk(), given.now)


def test_a_cancel_on_the_dock_is_answered_after_the_put_back(given: Any) -> None:
    """A8: the units leave the parcel at once, the answer follows the confirmed put-back, and the label is voided."""
    cancelled = custody.cancel(given.on_dock(), given.cancel(), given.now)
    parcel = cancelled.state.parcels[0]
    assert cancelled.events == () and not parcel.packed and parcel.held_back == Units.of(1, 1, 3)
    with pytest.raises(Refused, match="put-back"):
        custody.hand_over(cancelled.state, given.parcel_id, "bob", None, given.now)
    done = custody.put_back(cancelled.state, given.parcel_id, given.desk(), given.now)
    (answer,) = done.events
    assert isinstance(answer, UnitsCancelled)
    assert (answer.container_id, answer.warehouse_id, answer.units) == (given.parcel_id, "LON", Units.of(1, 1, 3))
    assert done.state.parcels[0].end is End.CANCELLED
    assert [e.kind for e in done.effects] == ["void_label"]
    assert custody.put_back(done.state, given.parcel_id, given.desk(), given.now).outcome is Outcome.ALREADY_DONE


def test_a_partial_cancel_lets_the_rest_go_after_the_put_back(given: Any) -> None:
    """A8: one of three units is taken out; the parcel leaves with two."""
    leg = custody.cancel(given.on_dock(), given.cancel(Units.of(1, 3, 3)), given.now).state
    with pytest.raises(Refused) as refusal:
        custody.hand_over(leg, given.parcel_id, "bob", None, given.now)
    assert refusal.value.code == "parcel-cancelled"
    leg = custody.put_back(leg, given.parcel_id, given.desk(), given.now).state
    (shipped,) = custody.hand_over(leg, given.parcel_id, "bob", None, given.now).events
    assert isinstance(shipped, Shipped) and shipped.units == Units.of(1, 1, 2)


def test_a_cancel_that_came_before_the_parcel_is_applied_on_arrival(given: Any) -> None:
    """A8: requests are remembered for ever, whatever overtakes what."""
    early = custody.cancel(OrderLeg(order_id=given.order_id), given.cancel(), given.now)
    assert early.events == ()
    arrived = custody.receive(early.state, given.packed(), given.desk(), given.now)
    assert arrived.state.parcels[0].held_back == Units.of(1, 1, 3)
    assert not arrived.effects  # no label for what will not be sent


def test_a_settled_request_is_not_applied_again_unless_it_stands(given: Any) -> None:
    """A8: a quantity cancel refused upstream travels with the units; a standing one holds again."""
    settled = (Settled(request_id=given.cancel().request_id, units=Units.of(1, 1, 3)),)
    for standing, held in ((False, Units()), (True, Units.of(1, 1, 3))):
        leg = custody.cancel(OrderLeg(order_id=given.order_id), given.cancel(standing=standing), given.now).state
        leg = custody.receive(leg, given.packed(settled=settled), given.desk(), given.now).state
        assert leg.parcels[0].held_back == held


def test_a_cancel_after_the_hand_over_is_refused_and_travels_with_a_loss(given: Any) -> None:
    """A8: too late says so and offers a return; the refusal goes back with the units."""
    refused = custody.cancel(given.handed(), given.cancel(Units.of(1, 2, 3), standing=False), given.now)
    (answer,) = refused.events
    assert isinstance(answer, CancelRefused) and "return" in answer.reason and answer.units == Units.of(1, 2, 3)
    again = custody.cancel(refused.state, given.cancel(Units.of(1, 2, 3), standing=False), given.now)
    assert again.outcome is Outcome.ALREADY_DONE
    (loss,) = custody.lost(refused.state, given.parcel_id, "search failed", given.now).events
    assert isinstance(loss, ShipmentLost)
    assert loss.settled == (Settled(request_id=answer.request_id, units=Units.of(1, 2, 3)),)


def test_a_lost_parcel_leaves_the_answer_to_the_next_custodian(given: Any) -> None:
    """A8: exactly one service answers for a unit."""
    leg = custody.lost(given.handed(), given.parcel_id, "gone", given.now).state
    assert custody.cancel(leg, given.cancel(), given.now).events == ()


def test_a_second_request_for_cancelled_units_gets_its_yes(given: Any) -> None:
    """A8: every request is answered, also the one that came second."""
    leg = custody.cancel(given.on_dock(), given.cancel(), given.now).state
    leg = custody.cancel(leg, given.cancel(request=2), given.now).state
    done = custody.put_back(leg, given.parcel_id, given.desk(), given.now)
    assert {e.request_id for e in done.events} == {f"{given.order_id}-C1", f"{given.order_id}-C2"}  # type: ignore[attr-defined]
    late = custody.cancel(done.state, given.cancel(request=3), given.now)
    assert kinds(late) == ["UnitsCancelled"]


def test_the_first_carrier_scan_is_the_hand_over_and_refuses_what_was_waiting(given: Any) -> None:
    """F3: the driver took a parcel that was to be put back: it is shipped, and the cancel is refused."""
    leg = custody.cancel(given.on_dock(), given.cancel(Units.of(1, 3, 3)), given.now).state
    decision = journey.track(leg, given.parcel_id, (given.update(S.PICKED_UP, 0),), given.desk(), given.now)
    assert kinds(decision) == ["CancelRefused", "Shipped", "ShipmentTracked"]
    parcel = decision.state.parcels[0]
    assert parcel.packed == Units.of(1, 1, 3) and parcel.handed_by == "swift-post"
    (loss,) = custody.lost(decision.state, given.parcel_id, "gone", given.now).events
    assert isinstance(loss, ShipmentLost)
    assert loss.settled == (Settled(request_id=given.cancel().request_id, units=Units.of(1, 3, 3)),)


def test_a_carrier_whose_clock_is_wrong_ships_nothing_before_it_was_packed(given: Any) -> None:
    """F3: a first scan of an hour ago, of a parcel packed just now: it left when it was packed, not before."""
    leg = given.on_dock()
    (packed_at,) = (parcel.packed_at for parcel in leg.parcels)
    early = custody.scanned_by_carrier(leg, given.parcel_id, packed_at - timedelta(hours=1), packed_at)
    (left,) = early.events
    assert isinstance(left, Shipped) and left.shipped_at == packed_at
    late = custody.scanned_by_carrier(
        leg, given.parcel_id, packed_at + timedelta(hours=2), packed_at + timedelta(hours=1)
    )
    (left,) = late.events
    assert isinstance(left, Shipped) and left.shipped_at == packed_at + timedelta(hours=1)


def test_a_label_scan_before_the_pick_up_ships_nothing(given: Any) -> None:
    """F3: "label created" is not a hand-over."""
    decision = journey.track(given.on_dock(), given.parcel_id, (given.update(S.PENDING, 0),), given.desk(), given.now)
    assert decision.events == () and decision.state.parcels[0].station is Station.DOCK


def test_delivered_late_scans_and_a_return_after_delivery(given: Any) -> None:
    """F3: delivered ends custody; a return afterwards is followed and shown to a person, and announces no second end."""
    later = given.now + timedelta(days=3)
    leg = given.handed()
    told = (given.update(S.DELIVERED, 20, signed_by="Ada"), given.update(S.OUT_FOR_DELIVERY, 18))
    decision = journey.track(leg, given.parcel_id, told, given.desk(), later)
    assert kinds(decision) == ["ShipmentTracked", "ShipmentTracked", "Delivered"]
    (delivered,) = [e for e in decision.events if isinstance(e, Delivered)]
    assert (delivered.signed_by, delivered.units) == ("Ada", Units.of(1, 1, 3))
    back = journey.track(decision.state, given.parcel_id, (given.update(S.RETURN_TO_SENDER, 40),), given.desk(), later)
    assert kinds(back) == ["ShipmentTracked"] and back.state.parcels[0].problem


def test_lost_ends_custody_and_a_find_is_a_contradiction(given: Any) -> None:
    """F4: a lost parcel's units are sourced again; when it turns up a person decides."""
    later = given.now + timedelta(days=5)
    lost = journey.track(
        given.handed(), given.parcel_id, (given.update(S.DELIVERY_FAILED, 40, fate=Fate.LOST),), given.desk(), later
    )
    assert kinds(lost) == ["ShipmentTracked", "ShipmentLost"]
    found = journey.track(lost.state, given.parcel_id, (given.update(S.DELIVERED, 60),), given.desk(), later)
    assert found.events == () and "check with" in (found.state.parcels[0].problem or "")


def test_a_return_gives_the_units_back_when_it_has_arrived(given: Any) -> None:
    """F4: on its way back nothing ends; back at the dock custody passes to inventory."""
    later = given.now + timedelta(days=5)
    way = journey.track(given.handed(), given.parcel_id, (given.update(S.RETURN_TO_SENDER, 30),), given.desk(), later)
    assert kinds(way) == ["ShipmentTracked"]
    told = (given.update(S.RETURN_TO_SENDER, 50, raw_status="returned", fate=Fate.BACK),)
    back = journey.track(way.state, given.parcel_id, told, given.desk(), later)
    assert kinds(back) == ["ParcelReturned"]
    assert isinstance(back.events[0], ParcelReturned)
    by_hand = custody.returned(way.state, given.parcel_id, "seen at the gate", later)
    assert kinds(by_hand) == ["ParcelReturned"]


def test_one_message_per_delay(given: Any) -> None:
    """F4: a delay is told once per occasion, with old and new date."""
    late = given.now + timedelta(hours=60)
    first = journey.track(
        given.handed(),
        given.parcel_id,
        (given.update(S.DELIVERY_DELAYED, 5, expected_at=late),),
        given.desk(),
        given.now,
    )
    (delay,) = [e for e in first.events if isinstance(e, DeliveryDelayed)]
    assert (delay.delay_id, delay.new_expected_at) == (f"{given.parcel_id}-D1", late)
    same = journey.track(
        first.state, given.parcel_id, (given.update(S.IN_TRANSIT, 6, expected_at=late),), given.desk(), given.now
    )
    assert kinds(same) == ["ShipmentTracked"]
    worse = journey.track(
        same.state, given.parcel_id, (given.update(S.IN_TRANSIT, 7, expected_at=late + timedelta(hours=9)),),
        given.desk(), given.now,
    )  # fmt: skip
    assert [e.delay_id for e in worse.events if isinstance(e, DeliveryDelayed)] == [f"{given.parcel_id}-D2"]


def test_a_new_date_within_the_promise_is_no_delay(given: Any) -> None:
    """F4: the customer hears of what breaks the promise."""
    soon = given.update(S.IN_TRANSIT, 5, expected_at=given.now + timedelta(hours=30))
    decision = journey.track(given.handed(), given.parcel_id, (soon,), given.desk(), given.now)
    assert kinds(decision) == ["ShipmentTracked"]


def hold(given: Any, number: int = 1) -> OrderHeld:
    return OrderHeld(
        order_id=given.order_id, hold_id=f"{given.order_id}-H{number}", kind=HoldKind.REVIEW, owner="ops",
        held_at=given.now, due_at=given.now, received_at=given.now,
        summary=HoldSummary(channel="EC"),
    )  # fmt: skip


def release(given: Any, number: int = 1) -> OrderHoldReleased:
    return OrderHoldReleased(
        order_id=given.order_id, hold_id=f"{given.order_id}-H{number}", kind=HoldKind.REVIEW, outcome="approved",
        released_by="ops", released_at=given.now,
    )  # fmt: skip


def test_a_held_order_does_not_leave(given: Any) -> None:
    """A5: no label and no hand-over while a hold is open; the last release starts the work again."""
    held = orders.hold(OrderLeg(order_id=given.order_id), hold(given)).state
    held = orders.hold(held, hold(given, 2)).state
    arrived = custody.receive(held, given.packed(), given.desk(), given.now)
    assert not arrived.effects
    one = orders.release(arrived.state, release(given), given.desk(), given.now)
    assert not one.effects
    two = orders.release(one.state, release(given, 2), given.desk(), given.now)
    assert [e.kind for e in two.effects] == ["quote_rates"]
    with pytest.raises(Refused) as refusal:
        custody.hand_over(orders.hold(given.on_dock(), hold(given)).state, given.parcel_id, "bob", None, given.now)
    assert refusal.value.code == "order-held"


def test_a_release_that_comes_first_ends_its_hold(given: Any) -> None:
    """A5: holds and releases travel on topics of their own."""
    leg = orders.release(OrderLeg(order_id=given.order_id), release(given), given.desk(), given.now).state
    assert not orders.hold(leg, hold(given)).state.held


def assigned(given: Any, revision: int) -> PriorityAssigned:
    return PriorityAssigned(
        order_id=given.order_id, brief=given.brief(), lines=(),
        urgency=given.urgency(revision=revision, tier=Tier.URGENT, express=True), reasons=(), assigned_at=given.now,
    )  # fmt: skip


def test_a_raised_order_announces_what_is_not_concluded(given: Any) -> None:
    """B3: the wave: the same business ids again, on the express lane, once per revision."""
    wave = orders.raise_urgency(given.handed(), assigned(given, 2), wave=True)
    assert kinds(wave) == ["Shipped"] and wave.express
    assert orders.raise_urgency(wave.state, assigned(given, 2), wave=True).outcome is Outcome.ALREADY_DONE
    lost = custody.lost(wave.state, given.parcel_id, "gone", given.now).state
    assert kinds(orders.raise_urgency(lost, assigned(given, 3), wave=True)) == ["ShipmentLost"]
    again = custody.receive(lost, given.packed(parcel=2), given.desk(), given.now).state
    assert kinds(orders.raise_urgency(again, assigned(given, 3), wave=True)) == []


RATE = {
    "carrier_id": "swift-post", "quote_id": "q", "service": "EXPRESS_24", "name": "Express 24", "price": 9.8,
    "currency": "GBP", "transit_hours": 24, "insured": True, "signature": True, "reliability": 0.94,
}  # fmt: skip
SOLD = {"label_id": "lbl_1", "tracking_number": "SP1"}


def buying(given: Any) -> tuple[OrderLeg, Any]:
    """An order whose label is being bought, and the effect that buys it."""
    start = custody.receive(OrderLeg(order_id=given.order_id), given.packed(), given.desk(), given.now)
    (ask,) = start.effects
    chosen = labels.quoted(
        start.state, given.parcel_id, ask.subject, {"rates": [RATE]}, ask.data, given.desk(), given.now
    )
    (buy,) = chosen.effects
    assert buy.kind == "buy_label"
    return chosen.state, buy


def test_a_label_makes_the_parcel_ready(given: Any) -> None:
    """F1, F2: chosen with a reason, tracking number kept."""
    leg, buy = buying(given)
    leg = labels.bought(leg, given.parcel_id, SOLD, buy.data, given.now).state
    label = leg.parcels[0].label
    assert label is not None and label.tracking_number == "SP1" and "cheapest of 1" in label.chosen_because
    assert kinds(custody.hand_over(leg, given.parcel_id, "bob", "SP1", given.now)) == ["Shipped"]


def test_a_label_for_a_parcel_cancelled_meanwhile_is_voided(given: Any) -> None:
    """A8: the result of an effect is decided on the state of now."""
    leg, buy = buying(given)
    leg = custody.cancel(leg, given.cancel(), given.now).state
    result = labels.bought(leg, given.parcel_id, SOLD, buy.data, given.now)
    assert [(e.kind, e.subject) for e in result.effects] == [("void_label", "lbl_1")]
    assert result.state.parcels[0].label is None


def test_a_refused_label_goes_to_the_next_carrier_then_to_a_person(given: Any) -> None:
    """F1, F5: backup carriers; when none is left the problem is visible and a timer tries again."""
    leg, buy = buying(given)
    one = labels.not_bought(leg, given.parcel_id, buy.subject, "no capacity", buy.data, given.desk(), given.now)
    (ask,) = one.effects
    assert [c["carrier_id"] for c in ask.data["carriers"]] == ["city-dash"]
    dash = RATE | {"carrier_id": "city-dash"}
    two = labels.quoted(one.state, given.parcel_id, ask.subject, {"rates": [dash]}, ask.data, given.desk(), given.now)
    (buy,) = two.effects
    three = labels.not_bought(two.state, given.parcel_id, buy.subject, "closed", buy.data, given.desk(), given.now)
    parcel = three.state.parcels[0]
    assert parcel.label_state is LabelState.FAILED and "city-dash refused" in (parcel.problem or "")
    assert [t.kind for t in three.timers] == ["label_retry"]
    again = labels.try_again(three.state, given.parcel_id, given.desk(), given.now)
    assert [e.subject for e in again.effects] == [f"{given.parcel_id}#4"]
    assert len(again.effects[0].data["carriers"]) == 2


def test_an_answer_to_an_earlier_attempt_is_void(given: Any) -> None:
    """F2: one label per parcel, whatever answers late."""
    leg, buy = buying(given)
    decision = labels.not_bought(leg, given.parcel_id, f"{given.parcel_id}#9", "x", buy.data, given.desk(), given.now)
    assert decision.state is leg


def test_a_withdrawn_label_is_bought_anew(given: Any) -> None:
    """F4: a cancelled label cannot carry a parcel; the dock gets another one."""
    told = (given.update(S.CANCELLED, 0),)
    decision = journey.track(given.on_dock(), given.parcel_id, told, given.desk(), given.now)
    assert [e.kind for e in decision.effects] == ["quote_rates"]
    assert not [e for e in decision.events if isinstance(e, ShipmentTracked)]


def test_the_end_of_an_order_stops_its_timers(given: Any) -> None:
    """C4: nothing starts any more; only a label that failed can have a timer."""
    over = orders.end(given.on_dock(labelled=False), "cancelled")
    assert not over.timers
    nobody = custody.receive(OrderLeg(order_id=given.order_id), given.packed(), Desk(), given.now)
    assert [t.kind for t in nobody.timers] == ["label_retry"]
    assert [t.kind for t in orders.end(nobody.state, "cancelled").timers] == ["label_retry"]
    assert not labels.try_again(over.state, given.parcel_id, given.desk(), given.now).effects
