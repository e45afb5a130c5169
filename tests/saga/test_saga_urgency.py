"""Raising orders: at any moment, before anybody has seen them, and past everything that is queued."""

from __future__ import annotations

from expedite_saga.masters import LON, MAN, MUG
from expedite_saga.people import House

from expedite_events import (
    Lane,
    OrderReceived,
    Packed,
    PriorityAssigned,
    RaiseRequested,
    Shipped,
    StockReserved,
    TransferRequested,
)


async def test_a_raised_order_overtakes_what_is_queued(house: House) -> None:
    """B3 B4: its StockReserved is stuck on the standard lane; raised, it is announced again on the express one."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    assert await house.planner.raises(order) == "raised"
    await house.world.settle()
    lanes = [e.lane for e in house.world.envelopes(StockReserved)]
    assert lanes == [Lane.STANDARD, Lane.EXPRESS]
    assert [e.event.urgency.revision for e in house.world.envelopes(PriorityAssigned)] == [1, 2]
    assert (await house.london.task("pick", order))["tier"] == "urgent"
    parcel = await house.london.ships(order)
    assert [e.lane for e in house.world.envelopes(Shipped)] == [Lane.EXPRESS]
    await house.delivers(order, parcel)


async def test_the_wave_arrives_before_the_first_announcement(house: House) -> None:
    """B3: fulfillment and shipping hear the express copies only; the late originals create nothing."""
    await house.planner.opens({(MUG, LON): 1})
    queues = house.world.bus.queues
    order = await house.channel.places((MUG, 1))
    with house.world.late((StockReserved, "fulfillment")):
        await house.world.settle()
        await house.planner.raises(order)
        await house.world.settle()
    held = queues["StockReserved", order, "fulfillment"]
    assert len(held) == 1 and len(queues["StockReserved.express", order, "fulfillment"]) == 1
    stuck = [held.popleft()]
    await house.world.settle()
    parcel = await house.london.picks_and_packs(order)
    held.extend(stuck)
    await house.world.settle()
    await house.london.hands_over(parcel)
    await house.world.settle()
    await house.delivers(order, parcel)


async def test_a_packed_order_is_raised(house: House) -> None:
    """B3: fulfillment says again that it is packed, under the same parcel; shipping sorts it first."""
    await house.planner.opens({(MUG, LON): 2})
    other, order = await house.channel.places((MUG, 1)), await house.channel.places((MUG, 1))
    await house.world.settle()
    first, second = await house.london.picks_and_packs(other), await house.london.picks_and_packs(order)
    await house.planner.raises(order)
    await house.world.settle()
    packed = [e.event.parcel_id for e in house.world.envelopes(Packed, order_id=order)]
    assert packed == [second, second]
    dock = (await house.world.ok("shipping", "GET", f"/warehouses/{LON}/dock"))["items"]
    assert [p["parcel_id"] for p in dock] == [second, first]
    for number, parcel in ((order, second), (other, first)):
        await house.london.hands_over(parcel)
        await house.world.settle()
        await house.delivers(number, parcel)


async def test_an_order_is_raised_before_anybody_has_seen_it(house: House) -> None:
    """B3 B4: the prioritizer asks intake, which announces the order again on the express lane."""
    await house.planner.opens({(MUG, LON): 1})
    with house.world.late((OrderReceived, "prioritizer")):
        order = await house.channel.places((MUG, 1))
        assert await house.planner.raises(order) == "requested"
        await house.world.settle()
    assert len(house.world.said(RaiseRequested)) == 1
    assert [e.lane for e in house.world.envelopes(OrderReceived)] == [Lane.STANDARD, Lane.EXPRESS]
    await house.world.settle()
    (assigned,) = house.world.said(PriorityAssigned)
    assert assigned.urgency.tier.value == "urgent" and assigned.urgency.express
    await house.delivers(order, await house.london.ships(order))


async def test_a_transfer_is_raised(house: House) -> None:
    """B3 D4: the transfer is announced again on the express lane, and moved once."""
    await house.planner.opens({(MUG, LON): 1, (MUG, MAN): 1})
    order = await house.channel.places((MUG, 2), partial_shipment=False)
    await house.world.settle()
    await house.planner.raises(order)
    await house.world.settle()
    asked = house.world.envelopes(TransferRequested)
    assert [e.lane for e in asked] == [Lane.STANDARD, Lane.EXPRESS]
    sender, receiver = (
        house.crews[w] for w in (asked[0].event.from_warehouse_id, asked[0].event.to_warehouse_id)
    )  # fmt: skip
    await sender.dispatches(order)
    await house.world.settle()
    await receiver.receives(order)
    await house.world.settle()
    await house.delivers(order, await receiver.ships(order))


async def test_a_raise_expires(house: House) -> None:
    """B4: reversible: after its hour the rules decide again."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    await house.planner.raises(order, expires_at="2026-11-23T10:00:00+00:00")
    await house.world.settle()
    await house.world.wait(minutes=61)
    assert [e.urgency.tier.value for e in house.world.said(PriorityAssigned)] == ["regular", "urgent", "regular"]
    await house.delivers(order, await house.london.ships(order))
