"""Custody on the floor: arrival, cancels before, during and after picking, put-back, holds, the express wave."""

from __future__ import annotations

from typing import Any

from expedite_events import (
    Lane,
    OrderCancelled,
    OrderClosed,
    Packed,
    PickShort,
    Settled,
    Tier,
    TransferDispatched,
    TransferReceived,
    Units,
    UnitsCancelled,
)
from fulfillment.domain import changes, custody, floor, transfers
from fulfillment.domain.floor import Missing, Scan, Wrapping
from fulfillment.domain.model import Order
from fulfillment.domain.tasks import Status, tasks_of
from fulfillment.handlers import handlers

THREE = Units.of(1, 1, 3)
BOX = Wrapping(box="small", weight_g=1, valuable=False)


def blank(make: Any) -> Order:
    return Order(order_id=make.order)


def arrived(make: Any, units: Units = THREE, **more: Any) -> Order:
    return custody.arrive(blank(make), make.reserved(units, **more), None, make.now).state


def fo(make: Any, name: str = "F1") -> str:
    return f"{make.order}-{name}"


def scanned(make: Any, order: Order, quantity: int, name: str = "F1") -> Order:
    return floor.scan(
        order, fo(make, name), [Scan(code="SKU-1", sku="SKU-1", quantity=quantity)], "pete", make.now
    ).state


def packed(make: Any, order: Order, name: str = "F1", units: Units | None = None) -> Order:
    return floor.pack(order, fo(make, name), units, BOX, "pete", make.now).state


def test_nothing_that_is_heard_goes_unhandled():
    assert handlers.missing() == ()


def test_work_arrives_once_and_again_only_raises_urgency(make: Any):
    """E1: a repeated announcement makes no second work; its higher revision moves the first."""
    order = arrived(make)
    again = custody.arrive(order, make.reserved(THREE, urgency=make.urgency(Tier.URGENT, 2)), None, make.now)
    assert again.outcome == "already_done" and again.events == ()
    assert len(again.state.fulfilment_orders) == 1
    assert tasks_of(again.state)[fo(make)].tier is Tier.URGENT
    late = custody.arrive(again.state, make.reserved(THREE), None, make.now)
    assert late.state is again.state


def test_units_cancelled_before_they_came_are_cancelled_on_arrival(make: Any):
    """A8: the cancel overtook the units; the others are picked."""
    order = custody.cancel(blank(make), make.cancel(Units.of(1, 3, 3)), make.now)
    assert order.outcome == "not_yet"
    decision = custody.arrive(order.state, make.reserved(THREE), None, make.now)
    (answer,) = decision.events
    assert isinstance(answer, UnitsCancelled)
    assert (answer.units, answer.container_id, answer.warehouse_id) == (Units.of(1, 3, 3), fo(make), "HUL")
    assert decision.state.fulfilment_orders[0].open == Units.of(1, 1, 2)


def test_open_units_are_cancelled_at_once_and_picked_ones_after_put_back(make: Any):
    """A8: the answer for picked goods waits until they are on the shelf."""
    order = scanned(make, arrived(make), 2)
    decision = custody.cancel(order, make.cancel(THREE), make.now)
    (answer,) = decision.events
    assert isinstance(answer, UnitsCancelled) and answer.units == Units.of(1, 3, 3)
    work = decision.state.fulfilment_orders[0]
    assert work.to_put_back == Units.of(1, 1, 2) and not work.picked
    tasks = tasks_of(decision.state)
    assert tasks[fo(make)].status is Status.DONE and tasks[f"{fo(make)}-B1"].status is Status.OPEN
    confirmed = custody.confirm_put_back(decision.state, f"{fo(make)}-B1", "pete", make.now)
    (answer,) = confirmed.events
    assert isinstance(answer, UnitsCancelled) and answer.units == Units.of(1, 1, 2)
    assert custody.confirm_put_back(confirmed.state, f"{fo(make)}-B1", "pete", make.now).outcome == "already_done"


def test_each_request_gets_its_own_answer(make: Any):
    """A8: a second request for units cancelled already is answered at once, one for units being put back with them."""
    order = scanned(make, arrived(make), 2)
    order = custody.cancel(order, make.cancel(THREE), make.now).state
    second = custody.cancel(order, make.cancel(THREE, "C2"), make.now)
    assert [e.units for e in second.events if isinstance(e, UnitsCancelled)] == [Units.of(1, 3, 3)]
    put_back = custody.confirm_put_back(second.state, f"{fo(make)}-B1", "pete", make.now)
    assert {(e.request_id[-2:], len(e.units)) for e in put_back.events if isinstance(e, UnitsCancelled)} == {
        ("C1", 2), ("C2", 2),
    }  # fmt: skip
    assert custody.cancel(put_back.state, make.cancel(THREE), make.now).outcome == "already_done"


def test_units_that_left_us_are_not_answered_for(make: Any):
    """A8: packed units are shipping's, short ones inventory's."""
    order = packed(make, scanned(make, arrived(make), 2))
    order = floor.report_short(order, fo(make), [Missing(line=1, quantity=1)], "empty", None, "pete", make.now).state
    decision = custody.cancel(order, make.cancel(THREE), make.now)
    assert decision.events == () and decision.outcome == "not_yet"


def test_a_settled_request_is_not_applied_again_but_a_standing_one_is(make: Any):
    """A8: shipping refused both; the units came back and were reserved anew."""
    order = custody.cancel(blank(make), make.cancel(Units.of(1, 1, 1), "C1", standing=False), make.now).state
    order = custody.cancel(order, make.cancel(Units.of(1, 2, 2), "C2"), make.now).state
    settled = tuple(Settled(request_id=f"{make.order}-{c}", units=THREE) for c in ("C1", "C2"))
    decision = custody.arrive(order, make.reserved(THREE, "F2", settled=settled), None, make.now)
    assert [e.units for e in decision.events if isinstance(e, UnitsCancelled)] == [Units.of(1, 2, 2)]
    late = custody.cancel(decision.state, make.cancel(THREE, "C3", standing=False), make.now)
    assert len(late.events) == 2, "a new request holds for open and for cancelled units"


def test_settled_requests_travel_on_with_their_units(make: Any):
    """A8: Packed and PickShort carry what was answered before, cut to their units."""
    settled = (Settled(request_id="C9", units=Units.of(1, 2, 3)),)
    order = scanned(make, arrived(make, settled=settled), 2)
    sent = floor.pack(order, fo(make), None, BOX, "pete", make.now)
    (event,) = sent.events
    assert isinstance(event, Packed) and event.settled == (Settled(request_id="C9", units=Units.of(1, 2, 2)),)
    short = floor.report_short(sent.state, fo(make), [Missing(line=1, quantity=1)], "empty", None, "pete", make.now)
    (event,) = short.events
    assert isinstance(event, PickShort) and event.settled == (Settled(request_id="C9", units=Units.of(1, 3, 3)),)


async def test_units_in_two_fulfilment_orders_park_the_key(make: Any, service: Any):
    """Custody doubled is a bug somewhere: the event is parked, nothing of it is kept."""
    await service.hear(make.reserved(THREE), make.reserved(Units.of(1, 3, 3), "F2"))
    assert list(service.parked) == [make.order]
    assert len((await service.order()).fulfilment_orders) == 1


async def test_held_work_waits_and_a_release_that_came_first_counts(make: Any, service: Any):
    """E1, A5: waiting work is not offered; the tombstone of H2 keeps the order free."""
    await service.hear(make.held("H1"), make.released("H2"), make.reserved(THREE), make.held("H2"))
    assert (await service.tasks())[fo(make)].status is Status.WAITING
    await service.hear(make.released("H1"), make.held("H1"))
    assert (await service.tasks())[fo(make)].status is Status.OPEN


async def test_a_cancel_in_a_held_order_still_frees_its_goods(make: Any, service: Any):
    """A8: a hold stops new work, not the answer to a cancel."""
    await service.hear(make.reserved(THREE), make.held(), make.cancel(THREE))
    assert [type(e) for e in service.said] == [UnitsCancelled]


async def test_a_raised_order_moves_up_and_its_parcels_are_announced_again_on_the_express_lane(make: Any, service: Any):
    """B3, E1: the wave. Same business id, express; outcomes overtaken by later work stay silent."""
    order = scanned(make, arrived(make), 2)
    order = packed(make, order, units=Units.of(1, 1, 1))
    order = packed(make, order)
    order = floor.report_short(order, fo(make), [Missing(line=1, quantity=1)], "empty", None, "pete", make.now).state
    order = custody.arrive(order, make.reserved(Units.of(1, 1, 1), "F2"), None, make.now).state  # P1 came back
    raised = make.priority(make.urgency(Tier.URGENT, 2, express=True))
    decision = changes.prioritise(order, raised, overtakes=True)
    assert decision.express is True
    assert [getattr(e, "parcel_id", "short") for e in decision.events] == [f"{make.order}-P2", "short"]
    assert all(t.tier is Tier.URGENT for t in tasks_of(decision.state).values())
    assert changes.prioritise(decision.state, raised, overtakes=True).outcome == "already_done"

    await service.hear(make.reserved(THREE), lane=Lane.STANDARD)
    await service.hear(make.priority(make.urgency(Tier.URGENT, 2, express=True)), lane=Lane.EXPRESS)
    await service.hear(make.reserved(THREE))
    assert (await service.tasks())[fo(make)].tier is Tier.URGENT, "the slow copy lowers nothing"


def test_transfers_are_announced_again_until_their_units_are_reserved(make: Any):
    """B3, E5: the wave says the latest of a transfer; units that came back as work need no second word."""
    wave = [make.priority(make.urgency(Tier.URGENT, n, express=True)) for n in (2, 3, 4)]
    order = transfers.request(blank(make), make.transfer(THREE), make.now).state
    assert changes.prioritise(order, wave[0], overtakes=True).events == ()
    order = transfers.dispatch(order, f"{make.order}-T1", None, "pete", make.now).state
    assert [type(e) for e in changes.prioritise(order, wave[0], overtakes=True).events] == [TransferDispatched]
    order = transfers.receive(order, f"{make.order}-T1", None, "pete", make.now).state
    assert [type(e) for e in changes.prioritise(order, wave[1], overtakes=True).events] == [TransferReceived]
    order = custody.arrive(order, make.reserved(THREE), None, make.now).state
    assert changes.prioritise(order, wave[2], overtakes=True).events == ()


async def test_urgency_that_came_before_the_work_is_kept(make: Any, service: Any):
    """E1: the raise overtook the fulfilment order."""
    await service.hear(make.priority(make.urgency(Tier.HIGH, 3)), make.reserved(THREE))
    assert (await service.tasks())[fo(make)].tier is Tier.HIGH


async def test_the_first_revision_costs_no_row(make: Any, service: Any):
    """Revision 1 travels with the work: nothing is stored for an order still upstream."""
    await service.hear(make.priority(make.urgency()))
    assert not service.engine.db.rows["orders"]


async def test_the_end_of_an_order_is_remembered_and_its_transfer_goes_on(make: Any, service: Any):
    """E5, A8: OrderCancelled ends the order; the goods on the road still arrive somewhere, held or not."""
    await service.hear(make.transfer(THREE), make.held())
    assert (await service.tasks())[f"{make.order}-T1"].status is Status.WAITING
    await service.hear(
        OrderCancelled(order_id=make.order, units=THREE, reason="changed my mind", cancelled_at=make.now)
    )
    assert (await service.tasks())[f"{make.order}-T1"].status is Status.OPEN
    closed = OrderClosed(
        order_id=make.order, delivered=Units(), cancelled=THREE, confirmed_by="clock", closed_at=make.now
    )
    await service.hear(closed)
    assert (await service.order()).ended == "cancelled"
    await service.hear(make.reserved(THREE))
    assert list(service.parked) == [make.order], "no work may begin after the end"
