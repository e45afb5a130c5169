"""Cancels, losses, returns, counts: inventory's part of the custody protocol, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from expedite_events import (
    CancelRefused,
    CancelRequested,
    Lane,
    OrderCancelled,
    OrderClosed,
    OrderHeld,
    Packed,
    ParcelReturned,
    PickShort,
    Settled,
    ShipmentLost,
    StockReserved,
    TransferReceived,
    TransferRequested,
    Units,
    UnitsCancelled,
    from_json,
    to_json,
)
from expedite_events.intake import HoldKind, HoldSummary
from inventory.domain.conservation import replay
from inventory.domain.order import Order, Status
from inventory.domain.stock import Illegal, Shelf


def kinds(events: list[Any]) -> list[str]:
    return [type(e).__name__ for e in events]


def ask(inv: Any, units: Units, request_id: str = "a-C1", standing: bool = True) -> CancelRequested:
    return CancelRequested(
        order_id="a", request_id=request_id, units=units, standing=standing, reason="r", requested_by="c",
        requested_at=inv.clock.now,
    )  # fmt: skip


def short(inv: Any, units: Units, fo: str = "a-F1", settled: tuple[Settled, ...] = ()) -> PickShort:
    return PickShort(
        order_id="a", fulfilment_order_id=fo, warehouse_id="LON", units=units, goods=(), settled=settled,
        reported_by="p", at=inv.clock.now,
    )  # fmt: skip


def pack(inv: Any, units: Units, parcel: str = "a-P1", fo: str = "a-F1") -> Packed:
    return Packed(
        order_id="a", parcel_id=parcel, fulfilment_order_id=fo, warehouse_id="LON", units=units, goods=(), box="S",
        weight_g=1, packed_by="p", packed_at=inv.clock.now, brief=inv.brief(), urgency=inv.urgency(),
    )  # fmt: skip


def loss(inv: Any, kind: Any, units: Units, settled: tuple[Settled, ...] = ()) -> Any:
    return kind(
        order_id="a", parcel_id="a-P1", fulfilment_order_id="a-F1", warehouse_id="LON", units=units, goods=(),
        settled=settled, cause="c", at=inv.clock.now, customer=inv.brief().customer,
    )  # fmt: skip


def put_back(
    inv: Any, units: Units, container: str, by: str = "fulfillment", request_id: str = "a-C1"
) -> UnitsCancelled:
    return UnitsCancelled(
        order_id="a", request_id=request_id, units=units, answered_by=by, container_id=container, warehouse_id="LON",
        at=inv.clock.now,
    )  # fmt: skip


async def test_a_cancel_before_the_order_is_answered_and_nothing_is_sourced(inv: Any) -> None:
    """A8, D2: units never seen can only be upstream: inventory says yes at once and drops them when they come."""
    await inv.stock(LON_x=2)
    events = await inv.send(ask(inv, Units.of(1, 1, 2)))
    assert kinds(events) == ["UnitsCancelled"] and events[0].answered_by == "inventory"
    assert await inv.send(inv.assigned("a", {"x": 2})) == []
    assert inv.shelf("x", "LON").free == 2
    await inv.conserved()


async def test_a_cancel_of_what_waits_here_frees_it_and_lets_the_rest_start(inv: Any) -> None:
    """A8, D2: the missing unit of a leave-together order is cancelled: its siblings start by themselves."""
    await inv.stock(LON_x=2)
    assert kinds(await inv.send(inv.assigned("a", {"x": 3}, partial=False))) == ["StockShort", "OrderBackordered"]
    events = await inv.send(ask(inv, Units.of(1, 3, 3)))
    assert kinds(events) == ["UnitsCancelled", "StockReserved"]
    assert inv.engine.db.ledger[-1].lane is Lane.STANDARD  # a change request does not make a regular order express
    assert inv.shelf("x", "LON").backordered == 0
    assert await inv.send(ask(inv, Units.of(1, 3, 3))) == []
    await inv.conserved()


async def test_a_cancel_of_units_handed_over_is_left_to_their_custodian(inv: Any) -> None:
    """A8: fulfillment answers; its put-back frees the goods once, whatever number of requests it answers."""
    await inv.stock(LON_x=2)
    await inv.send(inv.assigned("a", {"x": 2}))
    assert await inv.send(ask(inv, Units.of(1, 1, 2))) == []
    for request_id in ("a-C1", "a-C2", "a-C1"):
        await inv.send(put_back(inv, Units.of(1, 1, 2), "a-F1", request_id=request_id), service="fulfillment")
    assert (inv.shelf("x", "LON").free, inv.shelf("x", "LON").allocated) == (2, 0)
    assert inv.where("a") == {Status.DEAD: 2}
    events = await inv.send(ask(inv, Units.of(1, 1, 1), "a-C3"))
    assert kinds(events) == ["UnitsCancelled"]
    await inv.conserved()


async def test_a_put_back_by_shipping_heard_before_packed(inv: Any) -> None:
    """D10: topics have no common order: the goods still looked allocated; the late Packed moves nothing."""
    await inv.stock(LON_x=2)
    await inv.send(inv.assigned("a", {"x": 2}))
    await inv.send(put_back(inv, Units.of(1, 1, 1), "a-P1", "shipping"), service="shipping")
    await inv.send(pack(inv, Units.of(1, 1, 2)))
    assert (inv.shelf("x", "LON").free, inv.shelf("x", "LON").out) == (1, 1)
    await inv.conserved()


async def test_a_short_pick_is_counted_before_the_shelf_is_used_again(inv: Any) -> None:
    """E4, D10: the goods of the short units are in count; the units are sourced elsewhere; repetition changes nothing."""
    await inv.stock(LON_x=2, MAN_x=2)
    await inv.send(inv.assigned("a", {"x": 2}))
    events = await inv.send(short(inv, Units.of(1, 2, 2)))
    assert inv.shelf("x", "LON").in_count == 1
    (again,) = [e for e in events if isinstance(e, StockReserved)]
    assert (again.warehouse_id, again.units) == ("MAN", Units.of(1, 2, 2))
    assert await inv.send(short(inv, Units.of(1, 2, 2))) == []
    await inv.conserved()


async def test_units_that_come_back_die_of_a_standing_request_but_not_of_a_settled_one(inv: Any) -> None:
    """A8: a quantity cancel that shipping refused is over; a cancel of named units holds again."""
    await inv.stock(LON_x=5)
    await inv.send(inv.assigned("a", {"x": 2}))
    await inv.send(pack(inv, Units.of(1, 1, 2)))
    await inv.send(ask(inv, Units.of(1, 1, 1), "a-C1", standing=False))
    await inv.send(ask(inv, Units.of(1, 2, 2), "a-C2", standing=True))
    refused = (Settled(request_id="a-C1", units=Units.of(1, 1, 1)), Settled(request_id="a-C2", units=Units.of(1, 2, 2)))
    events = await inv.send(loss(inv, ShipmentLost, Units.of(1, 1, 2), refused))
    assert kinds(events) == ["UnitsCancelled", "StockReserved"]
    assert (events[0].request_id, events[0].units) == ("a-C2", Units.of(1, 2, 2))
    assert events[1].units == Units.of(1, 1, 1)
    assert [s.request_id for s in events[1].settled] == ["a-C1"]
    assert inv.shelf("x", "LON").lost == 2
    await inv.conserved()


async def test_a_refusal_heard_before_its_request_settles_it(inv: Any) -> None:
    """A8: settled downstream before it was heard here."""
    await inv.send(inv.assigned("a", {"x": 1}))
    refusal = CancelRefused(
        order_id="a", request_id="a-C1", units=Units.of(1, 1, 1), answered_by="shipping", at=inv.clock.now, reason="r"
    )
    await inv.send(refusal, service="shipping")
    assert await inv.send(ask(inv, Units.of(1, 1, 1), standing=False)) == []
    assert inv.where("a") == {Status.BACKORDERED: 1}


async def test_returned_goods_wait_for_inspection_and_units_are_sourced_again(inv: Any) -> None:
    """D11: a returned parcel is not available until it was inspected."""
    await inv.stock(LON_x=1, MAN_x=1)
    await inv.send(inv.assigned("a", {"x": 1}))
    await inv.send(pack(inv, Units.of(1, 1, 1)))
    events = await inv.send(loss(inv, ParcelReturned, Units.of(1, 1, 1)))
    assert (inv.shelf("x", "LON").quality_check, inv.shelf("x", "LON").free) == (1, 0)
    assert [e.warehouse_id for e in events if isinstance(e, StockReserved)] == ["MAN"]
    await inv.conserved()


async def test_a_dead_orders_transfer_becomes_available_where_it_arrives(inv: Any) -> None:
    """D4: pegged goods outlive their order."""
    await inv.stock(LON_x=1, MAN_x=1)
    events = await inv.send(inv.assigned("a", {"x": 2}))
    (moved,) = [e for e in events if isinstance(e, TransferRequested)]
    assert kinds(await inv.send(ask(inv, moved.units))) == ["UnitsCancelled"]
    arrived = TransferReceived(
        order_id="a", transfer_id=moved.transfer_id, from_warehouse_id="MAN", to_warehouse_id="LON", units=moved.units,
        missing=Units(), received_by="c", at=inv.clock.now,
    )  # fmt: skip
    await inv.send(arrived)
    assert inv.shelf("x", "LON").free == 1
    await inv.conserved()


async def test_stock_freed_by_a_cancel_serves_who_waits(inv: Any) -> None:
    """D5: not only receipts fill backorders."""
    await inv.stock(LON_x=1)
    await inv.send(inv.assigned("a", {"x": 1}))
    await inv.send(inv.assigned("b", {"x": 1}))
    await inv.send(put_back(inv, Units.of(1, 1, 1), "a-F1"), service="fulfillment")
    assert [(type(e).__name__, e.order_id) for e in await inv.fill()] == [("StockReserved", "b")]
    await inv.conserved()


@pytest.mark.parametrize("end", ["cancelled", "closed"])
async def test_nothing_starts_after_the_end(inv: Any, end: str) -> None:
    """I2: an ended order is not filled and sources nothing."""
    await inv.send(inv.assigned("a", {"x": 1}))
    ends = {
        "cancelled": OrderCancelled(order_id="a", units=Units.of(1, 1, 1), reason="r", cancelled_at=inv.clock.now),
        "closed": OrderClosed(
            order_id="a", delivered=Units(), cancelled=Units.of(1, 1, 1), confirmed_by="clock", closed_at=inv.clock.now
        ),
    }
    await inv.send(ends[end])
    assert await inv.receive("r", "LON", x=1) == []


async def test_a_contradiction_parks_the_event_and_changes_nothing(inv: Any) -> None:
    """I4: a short pick of what was never announced is a bug somewhere, not a movement of stock."""
    await inv.stock(LON_x=1)
    await inv.send(short(inv, Units.of(1, 1, 1)), parks=True)
    assert inv.shelf("x", "LON").in_count == 0
    assert "not all of them were handed over" in inv.engine.db.parked["a"][0].reason


async def test_the_ledger_names_the_movement_that_leaked(inv: Any) -> None:
    """D10: break one movement and one shelf: the check names row and cause, then the shelf."""
    await inv.stock(LON_x=5)
    await inv.send(inv.assigned("a", {"x": 2}))
    shelf = inv.shelf("x", "LON")
    rows = sorted((m for row in inv.engine.db.rows["movement"].values() for m in row.each()), key=lambda m: m.seq)
    assert replay(shelf, rows) is None
    wrong = rows[1].put(changes={"free": -1, "allocated": 2})
    leak = replay(shelf, [rows[0], wrong])
    assert leak is not None and leak.movement is not None and leak.movement.cause == "PriorityAssigned"
    assert leak.movement.order_id == "a" and leak.bucket == "free"
    lost = replay(shelf.put(free=2), rows)
    assert lost is not None and (lost.bucket, lost.expected, lost.found) == ("free", 3, 2)
    gone = replay(shelf, rows[1:])
    assert gone is not None and gone.text == "movement 1 is missing"


def test_a_bucket_never_goes_below_zero() -> None:
    """D2: the arithmetic itself refuses to oversell."""
    from datetime import UTC, datetime

    from inventory.domain.stock import Because, Bucket, StockBook

    stock = StockBook({("x", "LON"): Shelf(sku="x", warehouse_id="LON", free=1)})
    with pytest.raises(Illegal):
        stock.move(Because("t", "1", datetime.now(UTC)), "x", "LON", Bucket.FREE, Bucket.ALLOCATED, Units.of(1, 1, 2))


def test_a_changed_copy_of_an_order_survives_json() -> None:
    """Copies with the same changes are equal, leave the original alone and survive JSON."""
    order = Order(order_id="a", holds=("h",))
    fast, slow = order.put(f_count=3), Order(order_id="a", holds=("h",), f_count=3)
    assert fast == slow and order.f_count == 0
    assert from_json(Order, to_json(fast)) == fast


async def test_one_poll_may_hold_everything_about_an_order(inv: Any) -> None:
    """D2, A5, A8: what is heard of orders at once is one load and one save; a hold and a cancel of the same poll come
    before the reservation, and what a short pick sends elsewhere is found there by the next event."""
    await inv.stock(LON_x=4, MAN_x=3)
    hold = OrderHeld(
        order_id="b", hold_id="h", kind=HoldKind.REVIEW, owner="x", held_at=inv.clock.now, due_at=inv.clock.now,
        received_at=inv.clock.now, summary=HoldSummary(channel="EC"),
    )  # fmt: skip
    events = await inv.send(
        inv.assigned("a", {"x": 3}), inv.assigned("b", {"x": 1}), ask(inv, Units.of(1, 3, 3)), hold,
    )  # fmt: skip
    assert sorted((type(e).__name__, e.order_id) for e in events) == [("StockReserved", "a"), ("UnitsCancelled", "a")]
    assert inv.where("a") == {Status.DEAD: 1, Status.ANNOUNCED: 2} and inv.where("b") == {Status.ALLOCATED: 1}
    assert inv.shelf("x", "LON").allocated == 3
    await inv.stock(MAN_x=1)
    # Both units are short and sent for in Manchester; the cancel of the same poll finds them handed over again.
    events = await inv.send(short(inv, Units.of(1, 1, 2)), ask(inv, Units.of(1, 2, 2), "a-C2"))
    assert kinds(events) == ["StockReserved"] and events[0].warehouse_id == "MAN"
    await inv.conserved()


async def test_packed_told_again_moves_nothing(inv: Any) -> None:
    """D10: without a memory of its own: the units are in another place now."""
    await inv.stock(LON_x=2)
    await inv.send(inv.assigned("a", {"x": 2}))
    for _ in range(2):
        await inv.send(pack(inv, Units.of(1, 1, 2)), pack(inv, Units.of(1, 1, 2)))
    assert (inv.shelf("x", "LON").allocated, inv.shelf("x", "LON").out) == (0, 2)
    await inv.send(loss(inv, ShipmentLost, Units.of(1, 1, 2)))
    await inv.send(pack(inv, Units.of(1, 1, 2)))
    assert inv.where("a") == {Status.BACKORDERED: 2} and inv.shelf("x", "LON").lost == 2
    await inv.conserved()
