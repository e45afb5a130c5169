"""The one-step decisions of plain cases say what the general ones say."""

from __future__ import annotations

from typing import Any

import pytest

from expedite_events import Decision, Packed, PriorityAssigned, StockReserved, Tier, Units
from inventory.domain import custody, plain
from inventory.domain.order import Order, new_order
from inventory.domain.stock import Because, Bucket, Shelf, StockBook
from inventory.domain.world import World
from inventory.settling import moving


def world(inv: Any, **free: int) -> World:
    """LON with these pieces of each SKU, MAN with nothing."""
    levels = {(sku, "LON"): n for sku, n in free.items()} | {(sku, "MAN"): 0 for sku in free}
    shelves = {(sku, w): Shelf(sku=sku, warehouse_id=w, free=n, booked=n) for (sku, w), n in levels.items()}
    places = tuple(w for w in inv.engine.db.rows["warehouse"].values() if w.warehouse_id in ("LON", "MAN"))
    return World(StockBook(shelves), places, inv.clock.now)


def assign(inv: Any, order: Order, event: PriorityAssigned, place: World) -> Decision[Order]:
    because = Because("PriorityAssigned", "1", inv.clock.now, order.order_id)
    return custody.assigned(order, event, place, because, express=False)


def pack(inv: Any, order: Order, reserved: StockReserved, place: World) -> Decision[Order]:
    event = Packed(
        order_id=order.order_id, parcel_id=f"{order.order_id}-P1", fulfilment_order_id=reserved.fulfilment_order_id,
        warehouse_id=reserved.warehouse_id, units=reserved.units, goods=reserved.goods, box="small", weight_g=1,
        packed_by="pete", packed_at=inv.clock.now, brief=reserved.brief, urgency=reserved.urgency,
    )  # fmt: skip
    return custody.packed(order, event, place, Because("Packed", "2", inv.clock.now, order.order_id))


@pytest.mark.parametrize("tier", [Tier.REGULAR, Tier.URGENT])
@pytest.mark.parametrize("lines", [{"x": 2}, {"x": 2, "y": 1, "z": 3}])
@pytest.mark.parametrize("partial", [True, False])
def test_one_step_leads_where_all_steps_lead(
    inv: Any, tier: Tier, lines: dict[str, int], partial: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D2 D3: same state, same words, same shelves, same movements, same memory of the order."""
    event = inv.assigned("o", lines, tier=tier, partial=partial)
    outcomes = []
    for short in (True, False):
        if not short:
            monkeypatch.setattr(plain, "reserve", lambda *_: None)
            monkeypatch.setattr(plain, "packed", lambda *_: None)
        place = world(inv, x=9, y=9, z=9)
        if short:
            because = Because("PriorityAssigned", "1", inv.clock.now, "o")
            assert plain.reserve(new_order("o"), event, world(inv, x=9, y=9, z=9), because) is not None
        made = assign(inv, new_order("o"), event, place)
        done = pack(inv, made.state, made.events[0], place)  # type: ignore[arg-type]
        buckets = {name for row in place.stock.movements() for change in row.changes for name in change.buckets}
        assert buckets == {"free", "allocated", "out"}, "what the database's function moves"
        outcomes.append((made, done, place.stock.changed(), place.stock.movements()))
    assert outcomes[0] == outcomes[1]


def test_what_is_not_plain_goes_the_general_way(inv: Any) -> None:
    """D4 A5: short stock, the same SKU on two lines, a hold, an order that is known: nothing is decided or moved."""
    because = Because("PriorityAssigned", "1", inv.clock.now, "o")
    event = inv.assigned("o", {"x": 2})
    twice = event.put(lines=(event.lines[0], event.lines[0].put(line=2)))
    held = new_order("o").put(holds=("H1",))
    known = assign(inv, new_order("o"), event, world(inv, x=9)).state
    for order, asked, free in (
        (new_order("o"), event, 1), (new_order("o"), twice, 9), (held, event, 9), (known, event, 9),
    ):  # fmt: skip
        place = world(inv, x=free)
        assert plain.reserve(order, asked, place, because) is None
        assert not place.stock.changed()
    contested = world(inv, x=9)
    contested.ahead = {"x": ()}
    assert plain.reserve(new_order("o"), event, contested, because) is None


def test_shelves_settled_without_a_lock_are_moved_plainly_or_not_at_all(inv: Any) -> None:
    """`settle_shelves` is told of the buckets of plain decisions only: goods of others would vanish from their shelf."""
    place = world(inv, x=5)
    because = Because("PriorityAssigned", "1", inv.clock.now, "A")
    place.stock.move(because, "x", "LON", Bucket.FREE, Bucket.ALLOCATED, Units.quantity(1, 2))
    assert moving(place.stock, ["x"]) is not None
    place.stock.shift(because, "x", "LON", {Bucket.BACKORDERED: 1})
    with pytest.raises(ValueError, match="only free, allocated, out"):
        moving(place.stock, ["x"])
