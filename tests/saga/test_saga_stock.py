"""Goods are missing, elsewhere, or not where the books say: sourcing, transfers, backorders, short picks."""

from __future__ import annotations

from expedite_saga.masters import LAMP, LIL, LON, MAN, MUG, customer
from expedite_saga.people import House

from expedite_events import (
    OrderBackordered,
    PickShort,
    Remedy,
    StockReserved,
    StockShort,
    TransferDispatched,
    TransferReceived,
    TransferRequested,
    Units,
)


async def test_a_shortage_is_transferred_and_reserved_on_receipt(house: House) -> None:
    """D3 D4 E5: all units leave together, so one warehouse's piece moves to the other first."""
    await house.planner.opens({(MUG, LON): 1, (MUG, MAN): 1})
    order = await house.channel.places((MUG, 2), partial_shipment=False)
    await house.world.settle()
    (short,) = house.world.said(StockShort)
    assert short.chosen is Remedy.TRANSFER and len(short.considered) >= 2
    (asked,) = house.world.said(TransferRequested)
    sender, receiver = house.crews[asked.from_warehouse_id], house.crews[asked.to_warehouse_id]
    assert not house.world.said(StockReserved), "nobody picks before all units are there"
    await sender.dispatches(order)
    await house.world.settle()
    await receiver.receives(order)
    await house.world.settle()
    (reserved,) = house.world.said(StockReserved)
    assert reserved.units == Units.quantity(1, 2) and reserved.complete
    await house.delivers(order, await receiver.ships(order))


async def test_what_a_transfer_does_not_find_is_sourced_again(house: House) -> None:
    """D4 E4 E5: the sender's shelf is empty, so the unit waits for a receipt."""
    await house.planner.opens({(MUG, LON): 1, (MUG, MAN): 1})
    order = await house.channel.places((MUG, 2), partial_shipment=False)
    await house.world.settle()
    (asked,) = house.world.said(TransferRequested)
    sender, receiver = house.crews[asked.from_warehouse_id], house.crews[asked.to_warehouse_id]
    await sender.dispatches(order, lines=[])
    await house.world.settle()
    (sent,) = house.world.said(TransferDispatched)
    assert len(sent.missing) == 1 and len(house.world.said(OrderBackordered)) == 1
    await receiver.receives_goods(house.planner, MUG=1)
    await house.world.settle()
    await house.delivers(order, await receiver.ships(order))


async def test_a_transfer_loses_a_piece_on_the_road(house: House) -> None:
    """D4 E5: one piece less arrives than was sent; its unit is sourced again, from the next receipt."""
    await house.planner.opens({(MUG, LON): 1, (MUG, MAN): 2})
    order = await house.channel.places((MUG, 3), partial_shipment=False)
    await house.world.settle()
    (asked,) = house.world.said(TransferRequested)
    receiver = house.crews[asked.to_warehouse_id]
    await house.crews[asked.from_warehouse_id].dispatches(order)
    await house.world.settle()
    await receiver.receives(order, lines=[{"line": 1, "quantity": len(asked.units) - 1}])
    await house.world.settle()
    (arrived,) = house.world.said(TransferReceived)
    assert len(arrived.missing) == 1
    await receiver.receives_goods(house.planner, MUG=1)
    await house.world.settle()
    await house.delivers(order, await receiver.ships(order))


async def test_goods_of_a_dead_order_become_available_where_they_arrive(house: House) -> None:
    """A8 D4: the order is cancelled while its goods are on the road; the next order gets them."""
    await house.planner.opens({(MUG, LON): 1, (MUG, MAN): 1})
    dead = await house.channel.places((MUG, 2), partial_shipment=False)
    await house.world.settle()
    (asked,) = house.world.said(TransferRequested)
    sender, receiver = house.crews[asked.from_warehouse_id], house.crews[asked.to_warehouse_id]
    await sender.dispatches(dead)
    await house.channel.cancels(dead)
    await house.world.settle()
    assert (await house.channel.sees(dead))["state"] == "cancelled"
    heir = await house.channel.places((MUG, 2))
    await house.world.settle()
    first = await house.london.ships(heir)
    await receiver.receives(dead)
    await house.world.settle()
    second = await receiver.ships(heir)
    await house.delivers(heir, first)
    await house.delivers(heir, second)


async def test_an_order_is_split_over_two_warehouses(house: House) -> None:
    """D3: what London has not, Manchester sends by itself; two parcels, one order."""
    await house.planner.opens({(MUG, LON): 1, (LAMP, MAN): 1})
    order = await house.channel.places((MUG, 1), (LAMP, 1), tags=["urgent"])
    await house.world.settle()
    assert {e.warehouse_id for e in house.world.said(StockReserved)} == {LON, MAN}
    (short,) = house.world.said(StockShort)
    assert short.chosen is Remedy.SPLIT
    first, second = await house.london.ships(order), await house.manchester.ships(order)
    await house.delivers(order, first)
    assert (await house.channel.sees(order))["state"] == "received"
    await house.delivers(order, second)
    assert house.world.mail.of(order).count("shipped") == 2


async def test_a_backorder_is_filled_by_itself_most_urgent_first(house: House) -> None:
    """D5 G1: the later but urgent order gets the first goods that arrive; the other one gets the next."""
    await house.planner.opens({})
    regular = await house.channel.places((MUG, 1))
    await house.world.settle()
    urgent = await house.channel.places((MUG, 1), tags=["urgent"])
    await house.world.settle()
    assert [e.order_id for e in house.world.said(OrderBackordered)] == [regular, urgent]
    assert house.world.mail.of(regular) == ["receipt", "backorder"]
    (level,) = (await house.world.ok("inventory", "GET", f"/stock?sku={MUG}&warehouse_id={LON}"))["items"]
    assert level["available"] == -2
    for expected in (urgent, regular):
        await house.london.receives_goods(house.planner, MUG=1)
        await house.world.settle()
        assert house.world.said(StockReserved)[-1].order_id == expected
    for order in (urgent, regular):
        await house.delivers(order, await house.london.ships(order))


async def test_an_order_that_ships_whole_waits_for_its_last_unit(house: House) -> None:
    """D2 D5: all or nothing: the piece that is there waits for the one that is not."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1), (LAMP, 1), partial_shipment=False)
    await house.world.settle()
    assert not house.world.said(StockReserved)
    await house.london.receives_goods(house.planner, LAMP=1)
    await house.world.settle()
    (reserved,) = house.world.said(StockReserved)
    assert len(reserved.units) == 2
    await house.delivers(order, await house.london.ships(order))


async def test_an_empty_shelf_is_compensated_from_another_warehouse(house: House) -> None:
    """E4 D3: London reports two of three short; Manchester sends them."""
    await house.planner.opens({(MUG, LON): 3, (MUG, MAN): 2})
    order = await house.channel.places((MUG, 3))
    await house.world.settle()
    await house.london.finds_too_little(order, line=1, quantity=2)
    await house.world.settle()
    (short,) = house.world.said(PickShort)
    assert len(short.units) == 2
    first = await house.london.ships(order)
    second = await house.manchester.ships(order)
    await house.delivers(order, first)
    await house.delivers(order, second)


async def test_a_count_finds_what_a_picker_did_not(house: House) -> None:
    """E4 D5 D11: nobody else has it, so it is backordered; the count finds it behind the shelf, and it is sent."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    await house.london.finds_too_little(order, line=1, quantity=1)
    await house.world.settle()
    assert len(house.world.said(OrderBackordered)) == 1
    await house.planner.counts(MUG, LON, found=1)
    await house.world.settle()
    await house.delivers(order, await house.london.ships(order))


async def test_one_fulfilment_order_leaves_in_two_parcels(house: House) -> None:
    """E2 E3: a partial pick is packed and sent, the rest follows."""
    await house.planner.opens({(MUG, LIL): 3})
    who = customer(1, ship_to={"line1": "3 Rue Haute", "city": "Lille", "postcode": "59000", "country": "FR"})
    order = await house.channel.places((MUG, 3), customer=who)
    await house.world.settle()
    first = await house.lille.picks_and_packs(order, {MUG: 2})
    second = await house.lille.picks_and_packs(order)
    for parcel in (first, second):
        await house.lille.hands_over(parcel)
        await house.world.settle()
        await house.delivers(order, parcel)
    assert house.world.mail.of(order).count("delivered") == 2
