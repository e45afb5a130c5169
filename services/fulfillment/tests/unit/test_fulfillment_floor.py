"""What people do: scan, report short, pack, move goods; which box; the next cut-off."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from expedite_events import Packed, PickShort, Stage, TransferDispatched, TransferReceived, Units
from expedite_events.inventory import CutOff
from fulfillment.domain import changes, custody, floor, packing, transfers
from fulfillment.domain.copies import next_cut_off, owner_of_prepare
from fulfillment.domain.floor import Missing, Scan, Wrapping
from fulfillment.domain.model import Order, Refused

TWO_LINES = Units.of(1, 1, 3) | Units.of(2, 1, 1)
BOX = Wrapping(box="small", weight_g=500, valuable=False)


@pytest.fixture
def order(make: Any) -> Order:
    return custody.arrive(Order(order_id=make.order), make.reserved(TWO_LINES), None, make.now).state


def sku(number: int, quantity: int = 1, scan_id: str | None = None) -> Scan:
    return Scan(code=f"code-{number}", sku=f"SKU-{number}", quantity=quantity, scan_id=scan_id)


def refusal(make: Any, order: Order, *scans: Scan) -> Refused:
    with pytest.raises(Refused) as caught:
        floor.scan(order, f"{make.order}-F1", scans, "pete", make.now)
    return caught.value


def scan(make: Any, order: Order, *scans: Scan) -> Order:
    return floor.scan(order, f"{make.order}-F1", scans, "pete", make.now).state


def test_a_scan_confirms_pieces_and_claims_the_work(make: Any, order: Order):
    """E2, E6: who picked is written down."""
    after = scan(make, order, sku(1, 2))
    work = after.fulfilment_orders[0]
    assert work.picked == Units.of(1, 1, 2) and work.claimed_by == "pete"
    assert (after.notes[-1].by, after.notes[-1].did, after.notes[-1].quantity) == ("pete", "picked", 2)


def test_wrong_item_unknown_code_and_wrong_quantity_say_what_was_expected(make: Any, order: Order):
    """E2: refused with a reason, and nothing of the request is kept."""
    wrong = refusal(make, order, sku(1), sku(7))
    assert (wrong.code, wrong.index) == ("wrong-item", 1)
    assert wrong.expected == "SKU-1 (Thing 1), SKU-2 (Thing 2)"
    unknown = refusal(make, order, Scan(code="4711", sku=None))
    assert unknown.code == "unknown-code" and "4711" in unknown.detail
    many = refusal(make, order, sku(1, 4))
    assert (many.code, many.expected) == ("wrong-quantity", "3")


def test_a_repeated_scan_is_already_done(make: Any, order: Order):
    """E2: by its id at any time, by what it says once the line is complete."""
    once = scan(make, order, sku(1, 1, "scan-0001"))
    assert floor.scan(once, f"{make.order}-F1", [sku(1, 1, "scan-0001")], "pete", make.now).state is once
    full = scan(make, order, sku(1, 3))
    assert floor.scan(full, f"{make.order}-F1", [sku(1, 3)], "pete", make.now).outcome == "already_done"
    assert refusal(make, full, sku(1, 4)).code == "wrong-quantity"


def test_pieces_cancelled_in_the_pickers_hand_are_not_called_right(make: Any, order: Order):
    """A8, E2: two picked, the third cancelled: scanning it must not sound like success."""
    order = scan(make, order, sku(1, 2))
    order = custody.cancel(order, make.cancel(Units.of(1, 3, 3)), make.now).state
    assert refusal(make, order, sku(1)).code == "cancelled"


def test_a_held_order_is_refused_by_name_and_a_cancelled_one_says_what_to_do(make: Any, order: Order):
    """A5, A8: 409 with a remedy, not a dead end."""
    from fulfillment.domain import changes

    held = changes.hold(order, make.held()).state
    said = refusal(make, held, sku(1))
    assert said.code == "held" and f"{make.order}-H1" in said.detail and "olga" in said.detail
    dead = custody.cancel(order, make.cancel(TWO_LINES), make.now).state
    with pytest.raises(Refused, match="leave the goods on the shelf"):
        floor.claim(dead, f"{make.order}-F1", "pete", take_over=False, now=make.now)


def test_work_is_claimed_by_one_person_until_taken_over(make: Any, order: Order):
    """E6: the named owner of a task."""
    mine = floor.claim(order, f"{make.order}-F1", "pete", take_over=False, now=make.now)
    assert floor.claim(mine.state, f"{make.order}-F1", "pete", take_over=False, now=make.now).outcome == "already_done"
    with pytest.raises(Refused, match="pete works on"):
        floor.claim(mine.state, f"{make.order}-F1", "anna", take_over=False, now=make.now)
    theirs = floor.claim(mine.state, f"{make.order}-F1", "anna", take_over=True, now=make.now).state
    assert theirs.fulfilment_orders[0].claimed_by == "anna"


def test_a_short_pick_gives_custody_back_and_the_rest_goes_on(make: Any, order: Order):
    """E4: one of three is missing; two are picked, packed and leave."""
    short = floor.report_short(
        order, f"{make.order}-F1", [Missing(line=1, quantity=1)], "empty", "rep-0001", "pete", make.now
    )
    (event,) = short.events
    assert isinstance(event, PickShort) and event.units == Units.of(1, 3, 3) and event.reported_by == "pete"
    again = floor.report_short(
        short.state, f"{make.order}-F1", [Missing(line=1, quantity=1)], "empty", "rep-0001", "pete", make.now
    )
    assert again.outcome == "already_done"
    done = floor.pack(scan(make, short.state, sku(1, 2), sku(2)), f"{make.order}-F1", None, BOX, "pete", make.now)
    (event,) = done.events
    assert isinstance(event, Packed) and len(event.units) == 3
    assert not done.state.fulfilment_orders[0].in_custody


def test_more_cannot_be_short_than_is_left(make: Any, order: Order):
    """E4, E2: picked pieces are not missing."""
    picked = scan(make, order, sku(1, 2))
    for lines, code in (
        ([Missing(line=1, quantity=2)], "wrong-quantity"),
        ([Missing(line=9, quantity=1)], "unknown-line"),
    ):
        with pytest.raises(Refused) as caught:
            floor.report_short(picked, f"{make.order}-F1", lines, "empty", None, "pete", make.now)
        assert caught.value.code == code


def test_several_parcels_per_fulfilment_order_are_numbered_per_order(make: Any, order: Order):
    """E3: ids come from the order's own counter; packing again what is packed changes nothing."""
    order = scan(make, order, sku(1, 3), sku(2))
    first = floor.pack(order, f"{make.order}-F1", Units.of(1, 1, 2), BOX, "pete", make.now).state
    again = floor.pack(first, f"{make.order}-F1", Units.of(1, 1, 2), BOX, "pete", make.now)
    assert again.outcome == "already_done"
    second = floor.pack(first, f"{make.order}-F1", None, BOX, "pete", make.now).state
    assert [p.parcel_id for p in second.parcels] == [f"{make.order}-P1", f"{make.order}-P2"]
    assert floor.pack(second, f"{make.order}-F1", None, BOX, "pete", make.now).outcome == "already_done"


def test_nothing_is_packed_that_was_not_scanned(make: Any, order: Order):
    """E2: confirmation before the box is closed."""
    for units in (None, Units.of(1, 1, 1)):
        with pytest.raises(Refused) as caught:
            floor.pack(order, f"{make.order}-F1", units, BOX, "pete", make.now)
        assert caught.value.code == "not-picked"
    with pytest.raises(Refused) as caught:
        floor.pack(order, f"{make.order}-F1", Units.of(5, 1, 1), BOX, "pete", make.now)
    assert caught.value.code == "unknown-line"


def test_a_transfer_leaves_and_arrives_with_its_differences(make: Any):
    """E5: three asked for, two found, one arrived."""
    order = transfers.request(Order(order_id=make.order), make.transfer(Units.of(1, 1, 3)), make.now).state
    with pytest.raises(Refused, match="has not left"):
        transfers.receive(order, f"{make.order}-T1", None, "lena", make.now)
    sent = transfers.dispatch(order, f"{make.order}-T1", [Missing(line=1, quantity=2)], "pete", make.now)
    (event,) = sent.events
    assert isinstance(event, TransferDispatched)
    assert (event.units, event.missing) == (Units.of(1, 1, 2), Units.of(1, 3, 3))
    assert transfers.dispatch(sent.state, f"{make.order}-T1", None, "pete", make.now).outcome == "already_done"
    got = transfers.receive(sent.state, f"{make.order}-T1", [Missing(line=1, quantity=1)], "lena", make.now)
    (event,) = got.events
    assert isinstance(event, TransferReceived)
    assert (event.units, event.missing) == (Units.of(1, 1, 1), Units.of(1, 2, 2))
    assert transfers.request(got.state, make.transfer(Units.of(1, 1, 3)), make.now).outcome == "already_done"


def test_a_transfer_with_an_empty_shelf_ends_where_it_began(make: Any):
    """E5: nothing travels, nobody waits for it."""
    order = transfers.request(Order(order_id=make.order), make.transfer(Units.of(1, 1, 1)), make.now).state
    sent = transfers.dispatch(order, f"{make.order}-T1", [], "pete", make.now).state
    assert sent.transfers[0].status == "received"
    with pytest.raises(Refused, match="nothing was found"):
        transfers.receive(sent, f"{make.order}-T1", None, "lena", make.now)


@pytest.mark.parametrize(
    ("item", "box"),
    [
        (packing.Item(length_mm=200, width_mm=150, height_mm=20, weight_g=300, quantity=1), "mailer"),
        (packing.Item(length_mm=200, width_mm=150, height_mm=20, weight_g=300, quantity=4), "small"),  # too heavy
        (packing.Item(length_mm=280, width_mm=20, height_mm=20, weight_g=50, quantity=1), "small"),  # too long
        (packing.Item(length_mm=100, width_mm=100, height_mm=100, weight_g=10, quantity=20), "medium"),  # volume
        (packing.Item(length_mm=1100, width_mm=700, height_mm=900, weight_g=80_000, quantity=9), "pallet"),
    ],
)
def test_the_smallest_box_that_carries_the_goods(item: packing.Item, box: str):
    """E3: by volume, longest side and weight."""
    assert packing.plan([item]).box == box


def test_classes_bring_their_materials_and_checks():
    """E3: a checklist per product class; a valuable parcel says so."""
    plan = packing.plan([packing.Item(product_class=c, quantity=1, weight_g=100) for c in ("fragile", "valuable")])
    assert plan.valuable and "bubble wrap" in plan.materials and len(plan.checklist) == 3
    assert plan.weight_g == 240


def test_the_next_cut_off_is_on_a_working_day_in_local_time(make: Any):
    """E1: Friday 17:00 in London was missed in winter time; the next one is Monday's first."""
    hull = make.warehouse(
        cut_offs=(CutOff(carrier_id="swift-post", local_time="17:00"), CutOff(carrier_id="x", local_time="12:00"))
    )
    friday = datetime(2026, 11, 27, 17, 1, tzinfo=UTC)
    assert next_cut_off(hull, None, friday) == datetime(2026, 11, 30, 12, tzinfo=UTC)
    assert next_cut_off(hull, "swift-post", friday) == datetime(2026, 11, 30, 17, tzinfo=UTC)
    assert next_cut_off(None, None, friday) is None
    assert next_cut_off(hull.put(time_zone="Mars/Base"), None, friday) is None


def test_somebody_answers_for_each_stage(make: Any):
    """E6: the person named for this warehouse before one named for all."""
    stage = (Stage.PREPARE,)
    crew = [make.person("all", stages=stage), make.person("hull", stages=stage, warehouses=("HUL",)),
            make.person("left", stages=stage, warehouses=("HUL",), active=False), make.person("pete")]  # fmt: skip
    owner = owner_of_prepare(crew, "HUL")
    assert owner is not None and owner.person_id == "hull"
    assert owner_of_prepare(crew[2:], "HUL") is None


@pytest.mark.parametrize(
    "scans",
    [
        [sku(1, 3, "scan-0001"), sku(2, 1, "scan-0002")],
        [sku(1, 1, "scan-0001"), sku(2, 1, "scan-0002"), sku(1, 2, "scan-0003")],
    ],
)
@pytest.mark.parametrize("claimed", [None, "lena"])
def test_a_confirmation_in_one_step_is_scan_then_pack(
    make: Any, order: Order, scans: list[Scan], claimed: str | None, monkeypatch: pytest.MonkeyPatch
):
    """E2: the short way of the plain case leads exactly where scanning and packing lead, and says the same."""
    work_id = f"{make.order}-F1"
    if claimed:
        order = floor.claim(order, work_id, claimed, take_over=False, now=make.now).state
    asked = (order, work_id, scans, lambda work, units: BOX, "pete", make.now)
    assert floor._is_all(order, order.fulfilment_orders[0], scans)
    short = floor.confirm(*asked)
    monkeypatch.setattr(floor, "_is_all", lambda *_: False)
    assert short == floor.confirm(*asked)


@pytest.mark.parametrize(
    "scans",
    [
        [sku(1, 3, "scan-0001")],  # not all
        [sku(1, 3, "scan-0001"), sku(2, 2, "scan-0002")],  # more than all
        [sku(1, 3, "scan-0001"), sku(2, 1, "scan-0001")],  # the same scan twice
        [sku(1, 3, "scan-0001"), sku(2, 1)],  # one that would not be recognised
        [sku(1, 3, "scan-0001"), sku(7, 1, "scan-0002")],
        [],
    ],
)
def test_anything_but_all_goods_once_is_confirmed_scan_by_scan(make: Any, order: Order, scans: list[Scan]):
    """E2: only work nobody began, of an order nobody holds, with a scan of each piece is confirmed in one step."""
    assert not floor._is_all(order, order.fulfilment_orders[0], scans)
    everything = [sku(1, 3, "scan-0001"), sku(2, 1, "scan-0002")]
    begun, held = scan(make, order, sku(1)), changes.hold(order, make.held()).state
    assert not floor._is_all(begun, begun.fulfilment_orders[0], everything)
    assert not floor._is_all(held, held.fulfilment_orders[0], everything)
