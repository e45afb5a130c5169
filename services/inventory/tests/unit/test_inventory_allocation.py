"""Reservation, sourcing, transfers and backorders, decided at inventory's border."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import asdict

from expedite_events import (
    CarrierChanged,
    CarrierService,
    Lane,
    OrderBackordered,
    OrderHeld,
    OrderHoldReleased,
    Remedy,
    StockReserved,
    StockShort,
    Tier,
    TransferDispatched,
    TransferReceived,
    TransferRequested,
    Units,
)
from expedite_events.intake import HoldKind, HoldSummary
from inventory import jobs, shelves
from inventory.domain.order import Status
from inventory.domain.sourcing import Policy, estimate
from inventory.domain.world import Waiting


def kinds(events: list[Any]) -> list[str]:
    return [type(e).__name__ for e in events]


def only(events: list[Any], kind: type[Any]) -> Any:
    (found,) = [e for e in events if isinstance(e, kind)]
    return found


async def test_last_unit_goes_to_the_urgent_order_and_the_other_is_told_why(inv: Any) -> None:
    """D2: one batch, one unit: the urgent order gets it although it came second; D5: the other waits, with a date."""
    await inv.stock(LON_x=1)
    events = await inv.send(inv.assigned("slow", {"x": 1}), inv.assigned("fast", {"x": 1}, tier=Tier.URGENT))
    assert only(events, StockReserved).order_id == "fast"
    short, told = only(events, StockShort), only(events, OrderBackordered)
    assert short.order_id == told.order_id == "slow"
    assert short.chosen is Remedy.BACKORDER
    assert {r.remedy for r in short.considered} == set(Remedy)
    assert told.estimated_at > inv.clock.now
    assert inv.shelf("x", "LON").available == -1
    await inv.conserved()


async def test_nearest_warehouse_with_all_units_serves_the_order(inv: Any) -> None:
    """D3: a warehouse of the destination's country that has everything is preferred, and it says why."""
    await inv.stock(LIL_x=5, LON_x=5, MAN_x=5)
    british = only(await inv.send(inv.assigned("gb", {"x": 2})), StockReserved)
    french = only(await inv.send(inv.assigned("fr", {"x": 2}, country="FR")), StockReserved)
    assert (british.warehouse_id, french.warehouse_id) == ("LON", "LIL")
    assert british.complete and british.units == Units.of(1, 1, 2)
    assert inv.order("gb").sourced == ("2 from LON: 0 points",)
    await inv.conserved()


async def test_a_single_other_warehouse_serves_when_the_nearest_has_nothing(inv: Any) -> None:
    """D3: ship from there when it is as good."""
    await inv.stock(MAN_x=5)
    events = await inv.send(inv.assigned("a", {"x": 2}))
    assert kinds(events) == ["StockReserved"]
    assert events[0].warehouse_id == "MAN"


async def test_shortage_at_the_nearest_becomes_a_transfer_and_is_reserved_on_receipt(inv: Any) -> None:
    """D4: the nearest has part, another one of the country the rest, the promise has time: move it, do not split."""
    await inv.stock(LON_x=1, MAN_x=2)
    events = await inv.send(inv.assigned("a", {"x": 3}))
    assert kinds(events) == ["StockShort", "TransferRequested", "StockReserved"]
    short, moved, first = events
    assert short.chosen is Remedy.TRANSFER
    assert (moved.from_warehouse_id, moved.to_warehouse_id, len(moved.units)) == ("MAN", "LON", 2)
    assert not first.complete and len(first.units) == 1
    chosen = next(r for r in short.considered if r.chosen)
    assert (chosen.remedy, chosen.warehouse_id, chosen.quantity) == (Remedy.TRANSFER, "MAN", 2)
    assert (inv.shelf("x", "MAN").leaving, inv.shelf("x", "MAN").free) == (2, 0)
    told = {"transfer_id": moved.transfer_id, "from_warehouse_id": "MAN", "to_warehouse_id": "LON", "order_id": "a"}
    at = inv.clock.now
    await inv.send(TransferDispatched(**told, units=moved.units, missing=Units(), dispatched_by="bo", at=at))
    assert inv.shelf("x", "LON").in_transit == 2
    events = await inv.send(TransferReceived(**told, units=moved.units, missing=Units(), received_by="cy", at=at))
    second = only(events, StockReserved)
    assert second.fulfilment_order_id == "a-F2" and second.warehouse_id == "LON" and second.complete
    await inv.conserved()


async def test_an_urgent_order_is_split_instead_of_waiting_for_a_transfer(inv: Any) -> None:
    """D3: with no time for a transfer, two warehouses ship: two fulfilment orders."""
    await inv.stock(LON_x=1, MAN_x=2)
    events = await inv.send(inv.assigned("a", {"x": 3}, tier=Tier.URGENT, hours=20))
    assert only(events, StockShort).chosen is Remedy.SPLIT
    made = [e for e in events if isinstance(e, StockReserved)]
    assert [(e.warehouse_id, len(e.units), e.complete) for e in made] == [("LON", 1, True), ("MAN", 2, True)]
    assert {e.fulfilment_order_id for e in made} == {"a-F1", "a-F2"}
    await inv.conserved()


async def test_the_carriers_transit_time_counts_against_the_promise(inv: Any) -> None:
    """D3: 40 hours look enough for a transfer, but the only carrier needs 30 of them."""
    service = CarrierService(code="S", name="Slow", transit_hours=30, base_price=Decimal(1), price_per_kg=Decimal(1))
    await inv.send(CarrierChanged(carrier_id="c", name="C", services=(service,)))
    await inv.stock(LON_x=1, MAN_x=2)
    events = await inv.send(inv.assigned("a", {"x": 3}, hours=40))
    assert only(events, StockShort).chosen is Remedy.SPLIT


async def test_an_order_that_must_leave_together_waits_for_its_siblings(inv: Any) -> None:
    """D2: all-or-nothing: nothing is announced until the transfer arrived; then one fulfilment order has everything."""
    await inv.stock(LON_x=1, LON_y=2, MAN_x=5)
    events = await inv.send(inv.assigned("a", {"x": 3, "y": 2}, partial=False, hours=10))
    assert kinds(events) == ["StockShort", "TransferRequested"]
    moved = events[1]
    received = TransferReceived(
        order_id="a", transfer_id=moved.transfer_id, from_warehouse_id="MAN", to_warehouse_id="LON", units=moved.units,
        missing=Units(), received_by="cy", at=inv.clock.now,
    )  # fmt: skip
    # Heard before its dispatch: topics have no common order.
    made = only(await inv.send(received), StockReserved)
    assert len(made.units) == 5 and made.complete
    told = {name: value for name, value in asdict(received).items() if name != "received_by"}
    late = TransferDispatched(**told, dispatched_by="bo")
    assert await inv.send(late) == []
    await inv.conserved()


async def test_transfer_differences_are_counted_lost_and_sourced_again(inv: Any) -> None:
    """E5, D10: not on the sender's shelf → in count there; dispatched but not arrived → lost; the units are sourced
    again."""
    await inv.stock(LON_x=2, MAN_x=4, LIL_x=9)
    moved = only(await inv.send(inv.assigned("a", {"x": 5})), TransferRequested)
    told = {"order_id": "a", "transfer_id": moved.transfer_id, "from_warehouse_id": "MAN", "to_warehouse_id": "LON"}
    gone, rest = moved.units.first_n(1), moved.units - moved.units.first_n(1)
    at = inv.clock.now
    events = await inv.send(TransferDispatched(**told, units=rest, missing=gone, dispatched_by="bo", at=at))
    assert inv.shelf("x", "MAN").in_count == 1
    assert kinds(events) == ["StockReserved"] and events[0].warehouse_id == "MAN"
    lost, arrived = rest.first_n(1), rest.last_n(1)
    events = await inv.send(TransferReceived(**told, units=arrived, missing=lost, received_by="cy", at=at))
    assert inv.shelf("x", "LON").lost == 1
    assert only(events, StockReserved).units == arrived
    again = only(events, TransferRequested)
    assert (again.from_warehouse_id, again.units) == ("LIL", lost)
    assert inv.where("a") == {Status.ANNOUNCED: 4, Status.TRANSFER: 1}
    await inv.conserved()


async def test_nothing_is_backordered_while_some_warehouse_has_it(inv: Any) -> None:
    """D4: two warehouses and a transfer, then only the true rest waits."""
    await inv.stock(LON_x=1, MAN_x=1, LIL_x=1)
    events = await inv.send(inv.assigned("a", {"x": 5}))
    assert len(only(events, OrderBackordered).units) == 2
    assert inv.where("a")[Status.BACKORDERED] == 2
    assert all(inv.shelf("x", w).free == 0 for w in ("LON", "MAN", "LIL"))
    await inv.conserved()


async def test_backorders_are_filled_by_themselves_in_priority_order(inv: Any) -> None:
    """D5: a receipt serves who is most urgent, not who came first; shipping starts by itself; the rest keeps waiting."""
    await inv.send(inv.assigned("first", {"x": 2}))
    await inv.send(inv.assigned("vip", {"x": 2}, tier=Tier.HIGH))
    await inv.send(inv.assigned("low", {"x": 1}, tier=Tier.LOW))
    events = await inv.receive("r1", "LON", x=3)
    made = [(e.order_id, len(e.units)) for e in events if isinstance(e, StockReserved)]
    assert made == [("vip", 2), ("first", 1)]
    assert inv.shelf("x", "LON").available == -2
    await inv.conserved()
    events = await inv.receive("r2", "LON", x=10)
    made = [(e.order_id, len(e.units)) for e in events if isinstance(e, StockReserved)]
    assert made == [("first", 1), ("low", 1)]
    assert inv.shelf("x", "LON").available == 8
    await inv.conserved()


async def test_a_raised_order_moves_up_in_the_backorder_queue(inv: Any) -> None:
    """B3, D5: urgency of the present, not of the day it was backordered."""
    await inv.send(inv.assigned("a", {"x": 1}))
    await inv.send(inv.assigned("b", {"x": 1}))
    await inv.send(inv.assigned("b", {"x": 1}, tier=Tier.URGENT, revision=2), lane=Lane.EXPRESS)
    assert only(await inv.receive("r1", "LON", x=1), StockReserved).order_id == "b"


async def test_a_newcomer_does_not_take_what_others_wait_for(inv: Any) -> None:
    """D5: between a receipt and the fill, free stock belongs to who waits; a more urgent newcomer may go first."""
    await inv.send(inv.assigned("waits", {"x": 2}))
    inv.clock.advance(timedelta(minutes=1))
    await inv.stock(LON_x=2)
    assert kinds(await inv.send(inv.assigned("late", {"x": 1}))) == ["StockShort", "OrderBackordered"]
    assert only(await inv.send(inv.assigned("now", {"x": 1}, tier=Tier.URGENT)), StockReserved).order_id == "now"
    assert only(await inv.fill(), StockReserved).order_id == "waits"
    assert inv.where("late") == {Status.BACKORDERED: 1}
    await inv.conserved()


async def test_a_fill_at_another_warehouse_is_shipped_from_there(inv: Any) -> None:
    """D5: the receipt need not come where the order would be served."""
    await inv.send(inv.assigned("a", {"x": 1}, hours=10))
    assert only(await inv.receive("r", "MAN", x=1), StockReserved).warehouse_id == "MAN"
    await inv.conserved()


async def test_a_parked_order_does_not_stop_the_fill_of_others(inv: Any) -> None:
    """I4, D5: who is parked is passed over and keeps its place."""
    await inv.send(inv.assigned("stuck", {"x": 1}, tier=Tier.HIGH))
    await inv.send(inv.assigned("next", {"x": 1}))
    bad = TransferReceived(
        order_id="stuck", transfer_id="nope", from_warehouse_id="LON", to_warehouse_id="MAN", units=Units.of(1, 1, 1),
        missing=Units(), received_by="x", at=inv.clock.now,
    )  # fmt: skip
    await inv.send(bad, parks=True)
    await inv.stock(LON_x=1)
    assert only(await inv.fill(), StockReserved).order_id == "next"


async def test_a_receipt_is_booked_once(inv: Any) -> None:
    """D10: the same receipt under another event id books nothing."""
    await inv.receive("r", "LON", x=4)
    await inv.receive("r", "LON", x=4)
    assert inv.shelf("x", "LON").free == 4
    await inv.conserved()


async def test_a_hold_keeps_work_from_starting_and_stock_stays_locked(inv: Any) -> None:
    """A5, D2: holds stop announcements of picks and transfers, not the reservation; the last release starts them."""
    await inv.stock(LON_x=1, MAN_x=1)
    await inv.send(hold(inv, "h1"))
    await inv.send(hold(inv, "h2"))
    events = await inv.send(inv.assigned("a", {"x": 2}))
    assert kinds(events) == ["StockShort"]
    assert inv.shelf("x", "LON").allocated == 1 and inv.shelf("x", "MAN").leaving == 1
    assert await inv.send(release(inv, "h1")) == []
    assert kinds(await inv.send(release(inv, "h2"))) == ["TransferRequested", "StockReserved"]
    await inv.conserved()


async def test_a_release_before_its_hold_is_a_tombstone(inv: Any) -> None:
    """A5: topics have no common order."""
    await inv.stock(LON_x=1)
    await inv.send(release(inv, "h1"))
    await inv.send(hold(inv, "h1"))
    assert kinds(await inv.send(inv.assigned("a", {"x": 1}))) == ["StockReserved"]


async def test_the_wave_announces_again_what_is_not_concluded(inv: Any) -> None:
    """B3: same ids, express lane, new urgency; a lower revision afterwards changes nothing."""
    await inv.stock(LON_x=1, MAN_x=1)
    await inv.send(inv.assigned("a", {"x": 2}))
    before = len(inv.engine.db.ledger)
    again = await inv.send(inv.assigned("a", {"x": 2}, tier=Tier.URGENT, revision=3), lane=Lane.EXPRESS)
    assert kinds(again) == ["StockReserved", "TransferRequested"]
    assert again[0].fulfilment_order_id == "a-F1" and again[1].transfer_id == "a-T1"
    assert again[0].urgency.revision == 3
    assert all(e.topic.endswith(".express") for e in inv.engine.db.ledger[before:])
    assert await inv.send(inv.assigned("a", {"x": 2}, revision=2)) == []
    assert inv.content("a").urgency.revision == 3
    await inv.conserved()


async def test_without_warehouses_orders_wait_for_master_data(inv: Any) -> None:
    """D3: named outcome "not yet": the event is retried, not lost and not poison."""
    inv.engine.db.rows["warehouse"].clear()
    await inv.send(inv.assigned("a", {"x": 1}), parks=True)
    (parked,) = inv.engine.db.parked["a"]
    assert parked.retry_after_s is not None


@pytest.mark.parametrize(("days", "expected"), [(1, "2026-11-23"), (2, "2026-11-24"), (9, "2026-11-25")])
def test_backorder_dates_skip_days_off_and_never_exceed_three_working_days(
    make_warehouse: Any, days: int, expected: str
) -> None:
    """D4: from a Friday evening, in working days, at most 3."""
    friday = datetime(2026, 11, 20, 18, tzinfo=UTC)
    due = estimate(friday, days, make_warehouse("LON", "GB"))
    assert due.date().isoformat() == expected
    assert due - friday <= timedelta(days=Policy.MAX_DAYS + 2)


def hold(inv: Any, hold_id: str, order_id: str = "a") -> OrderHeld:
    now = inv.clock.now
    return OrderHeld(
        order_id=order_id, hold_id=hold_id, kind=HoldKind.REVIEW, owner="x", held_at=now, due_at=now, received_at=now,
        summary=HoldSummary(channel="EC"),
    )  # fmt: skip


def release(inv: Any, hold_id: str, order_id: str = "a") -> OrderHoldReleased:
    return OrderHoldReleased(
        order_id=order_id, hold_id=hold_id, kind=HoldKind.REVIEW, outcome="approved", released_by="x",
        released_at=inv.clock.now,
    )  # fmt: skip


async def test_a_long_queue_is_read_as_far_as_free_stock_goes(inv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """D5: whoever comes after enough waiting orders gets none of the free pieces, whoever is more urgent gets them, and
    the rest of the queue is not even looked at."""
    monkeypatch.setattr(shelves, "_SHORT_QUEUE", 3)
    monkeypatch.setattr(shelves, "_ROWS_AT_ONCE", 2)
    await inv.send(*(inv.assigned(f"o{n}", {"x": 1}, score=10 - n) for n in range(10)))
    await inv.stock(LON_x=3)  # and the fill has not run yet
    read: list[Waiting] = []
    ahead = shelves._ahead

    async def watched(*asked: Any) -> Any:
        found = await ahead(*asked)
        read.extend(found["x"])
        return found

    monkeypatch.setattr(shelves, "_ahead", watched)
    late = await inv.send(inv.assigned("late", {"x": 1}, score=-1))
    assert kinds(late) == ["StockShort", "OrderBackordered"]
    assert [w.order_id for w in read] == ["o0", "o1", "o2"]
    urgent = await inv.send(inv.assigned("urgent", {"x": 1}, tier=Tier.URGENT))
    assert kinds(urgent) == ["StockReserved"]
    await jobs.fill(inv.engine)
    assert [inv.order(f"o{n}").segments[0].status for n in range(3)] == [
        Status.ANNOUNCED, Status.ANNOUNCED, Status.BACKORDERED,
    ]  # fmt: skip
    await inv.conserved()
