"""Cancels at every moment of an order's life: whoever has a unit answers for it (A8)."""

from __future__ import annotations

from expedite_saga.masters import LON, MAN, MUG, customer
from expedite_saga.people import House

from expedite_events import (
    CancelRefused,
    CancelRequested,
    OrderCancelled,
    OrderReceived,
    Packed,
    PriorityAssigned,
    Shipped,
    StockReserved,
    UnitsCancelled,
)


async def cancelled_by(house: House, order: str) -> set[str]:
    """Which services said yes, once the order is cancelled."""
    await house.world.settle()
    assert (await house.channel.sees(order))["state"] == "cancelled"
    assert house.world.mail.of(order)[-1] == "cancelled"
    return {e.answered_by for e in house.world.said(UnitsCancelled)}


async def test_cancelled_while_it_waits_at_intake(house: House) -> None:
    """A4 A8: nobody else ever saw the order; its holds end."""
    await house.planner.opens({(MUG, LON): 1})
    who = customer(1)
    who["ship_to"]["postcode"] = None
    order = await house.channel.places((MUG, 1), customer=who)
    await house.world.settle()
    await house.channel.cancels(order)
    assert await cancelled_by(house, order) == set()


async def test_the_cancel_overtakes_the_order_itself(house: House) -> None:
    """A8: inventory answers for units it has never seen, and drops them when they come."""
    await house.planner.opens({(MUG, LON): 1})
    with house.world.late((OrderReceived, "prioritizer")):
        order = await house.channel.places((MUG, 1))
        await house.channel.cancels(order)
        await house.world.settle()
    assert await cancelled_by(house, order) == {"inventory"}
    assert not house.world.said(StockReserved)


async def test_cancelled_while_it_waits_for_stock(house: House) -> None:
    """A8 D5: a backorder leaves the queue; goods that come later are for others."""
    await house.planner.opens({})
    order = await house.channel.places((MUG, 2))
    await house.world.settle()
    await house.channel.cancels(order)
    assert await cancelled_by(house, order) == {"inventory"}
    await house.london.receives_goods(house.planner, MUG=2)
    await house.world.settle()
    assert not house.world.said(StockReserved)


async def test_cancelled_in_the_pick_queue(house: House) -> None:
    """A8 E1: nobody has touched it: the task disappears."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    await house.channel.cancels(order)
    assert await cancelled_by(house, order) == {"fulfillment"}
    assert await house.london.queue() == []


async def test_the_cancel_reaches_fulfillment_before_the_work_does(house: House) -> None:
    """A8: between two custodians nobody answers; whoever receives the units acts on arrival."""
    await house.planner.opens({(MUG, LON): 1})
    with house.world.late((StockReserved, "fulfillment")):
        order = await house.channel.places((MUG, 1))
        await house.world.settle()
        await house.channel.cancels(order)
        await house.world.settle()
        assert not house.world.said(UnitsCancelled)
    assert await cancelled_by(house, order) == {"fulfillment"}


async def test_cancelled_in_the_picker_s_tote(house: House) -> None:
    """A8 E2: answered only when the goods are back on the shelf, where the next order finds them."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    await house.london.picks(order)
    request = await house.channel.cancels(order)
    await house.world.settle()
    assert (await house.channel.answer(order, request))["state"] == "pending"
    await house.london.puts_back(order)
    assert await cancelled_by(house, order) == {"fulfillment"}
    heir = await house.channel.places((MUG, 1))
    await house.world.settle()
    await house.delivers(heir, await house.london.ships(heir))


async def test_cancelled_on_the_dock(house: House) -> None:
    """A8 F2: the scan at the truck is refused; after the put-back the cancel is answered and the label given back."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    parcel = await house.london.picks_and_packs(order)
    await house.channel.cancels(order)
    await house.world.settle()
    refused = await house.world.call("shipping", "POST", f"/parcels/{parcel}/hand-over", {"by": "tom"})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/parcel-cancelled")
    await house.london.puts_parcel_back(parcel)
    assert await cancelled_by(house, order) == {"shipping"}
    assert len(house.world.carriers.voided) == 1


async def test_the_cancel_reaches_shipping_before_the_parcel_does(house: House) -> None:
    """A8: packed, not yet heard by shipping: the parcel is held back the moment it is."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    with house.world.late((Packed, "shipping"), (Packed, "inventory")):
        parcel = await house.london.picks_and_packs(order)
        await house.channel.cancels(order)
        await house.world.settle()
    await house.world.settle()
    await house.london.puts_parcel_back(parcel)
    assert await cancelled_by(house, order) == {"shipping"}


async def test_refused_after_the_hand_over(house: House) -> None:
    """A8: intake has not heard that it left, so it asks; shipping says no and why, the customer is told."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    with house.world.late((Shipped, "order-intake")):
        parcel = await house.london.ships(order)
        request = await house.channel.cancels(order)
        await house.world.settle()
    answer = await house.channel.answer(order, request)
    assert [row["answer"] for row in answer["units"]] == ["refused"]
    assert "carrier" in answer["units"][0]["reason"]
    assert "cancel_refused" in house.world.mail.of(order)
    await house.world.settle()
    await house.delivers(order, parcel)
    assert (await house.channel.sees(order))["state"] == "closed"


async def test_told_at_once_that_it_is_too_late(house: House) -> None:
    """A8: intake knows that everything left: 409 with the reason, nobody is asked."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    parcel = await house.london.ships(order)
    answer = await house.world.call("order-intake", "POST", f"/orders/{order}/cancel", {"reason": "too late?"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/too-late")
    assert not house.world.said(CancelRequested)
    await house.delivers(order, parcel)


async def test_a_part_is_cancelled_and_the_rest_delivered(house: House) -> None:
    """A8: two of three units by number; the order closes with what was left."""
    await house.planner.opens({(MUG, LON): 3})
    order = await house.channel.places((MUG, 3))
    await house.world.settle()
    request = await house.channel.cancels(order, units=[{"line": 1, "first": 2, "last": 3}])
    await house.world.settle()
    assert (await house.channel.answer(order, request))["cancelled"] == 2
    await house.delivers(order, await house.london.ships(order))
    seen = await house.channel.sees(order)
    assert (seen["state"], seen["units"]["counts"]["delivered"]) == ("closed", 1)


async def test_the_same_cancel_again_is_the_same_request(house: House) -> None:
    """A6 A8: the customer presses twice."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    first = await house.channel.cancels(order)
    assert await house.channel.cancels(order) == first
    assert await cancelled_by(house, order) == {"fulfillment"}
    assert len(house.world.said(CancelRequested)) == 1


async def test_a_quantity_cancel_asks_for_other_units_where_it_is_refused(house: House) -> None:
    """A8: one of three is cancelled. The last unit has left already, so the next one is asked for, on the shelf."""
    await house.planner.opens({(MUG, MAN): 1, (MUG, LON): 2})
    order = await house.channel.places((MUG, 3), tags=["urgent"])
    await house.world.settle()
    gone = {e.warehouse_id: e.units for e in house.world.said(StockReserved)}
    last = next(w for w, units in gone.items() if (1, 3) in units)
    other = next(w for w in gone if w != last)
    with house.world.late((Shipped, "order-intake")):
        parcel = await house.crews[last].ships(order)
        request = await house.channel.cancels(order, lines=[{"line": 1, "quantity": 1}])
        await house.world.settle()
        answer = await house.channel.answer(order, request)
        assert (answer["cancelled"], answer["refused"], len(answer["follow_ups"])) == (1, 0, 1)
    await house.world.settle()
    parcels = [parcel]
    if await house.crews[other].queue("pick"):
        parcels.append(await house.crews[other].ships(order))
    for one in parcels:
        await house.delivers(order, one)
    assert (await house.channel.sees(order))["units"]["counts"]["cancelled"] == 1


async def test_a_refused_whole_cancel_holds_again_when_the_parcel_is_lost(house: House) -> None:
    """A8 F4: a standing request was refused; the units come back, and now it is answered with yes."""
    await house.planner.opens({(MUG, LON): 2})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    with house.world.late((Shipped, "order-intake")):
        parcel = await house.london.ships(order)
        await house.channel.cancels(order)
        await house.world.settle()
        assert len(house.world.said(CancelRefused)) == 1
    await house.carriers.says(parcel, "lost")
    assert await cancelled_by(house, order) == {"inventory"}


async def test_a_refused_quantity_cancel_is_settled_for_good(house: House) -> None:
    """A8 F4: it was refused for the only unit; the parcel is lost, and the unit is sent again all the same."""
    await house.planner.opens({(MUG, LON): 2})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    with house.world.late((Shipped, "order-intake")):
        parcel = await house.london.ships(order)
        await house.channel.cancels(order, lines=[{"line": 1, "quantity": 1}])
        await house.world.settle()
    await house.carriers.says(parcel, "lost")
    again = await house.london.ships(order)
    await house.delivers(order, again)
    assert not house.world.said(UnitsCancelled, OrderCancelled)


async def test_a_settled_cancel_travels_with_the_units(house: House) -> None:
    """A8: fulfillment and shipping hear the old request only after the new work: it says it was settled."""
    await house.planner.opens({(MUG, LON): 2})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    late = [(CancelRequested, "fulfillment"), (CancelRequested, "inventory"), (CancelRefused, "inventory"),
            (Shipped, "order-intake")]  # fmt: skip
    with house.world.late(*late):
        parcel = await house.london.ships(order)
        await house.channel.cancels(order, lines=[{"line": 1, "quantity": 1}])
        await house.world.settle()
        await house.carriers.says(parcel, "lost")
    await house.world.settle()
    await house.delivers(order, await house.london.ships(order))
    assert not house.world.said(UnitsCancelled)


async def test_cancelled_before_anybody_gave_it_a_priority(house: House) -> None:
    """A8: the whole order dies while PriorityAssigned is on its way to inventory."""
    await house.planner.opens({(MUG, LON): 1})
    with house.world.late((PriorityAssigned, "inventory")):
        order = await house.channel.places((MUG, 1))
        await house.world.settle()
        await house.channel.cancels(order)
        await house.world.settle()
    assert await cancelled_by(house, order) == {"inventory"}
