"""An order from HTTP to its end, and everything that may keep it at intake."""

from __future__ import annotations

from expedite_saga.masters import LAMP, LON, MAN, MUG, RING, customer
from expedite_saga.people import House

from expedite_events import (
    OrderCancelled,
    OrderClosed,
    OrderHeld,
    OrderHoldReleased,
    OrderReceived,
    PriorityAssigned,
    SLABreached,
    StockReserved,
)


async def test_an_order_runs_from_http_to_the_door(house: House) -> None:
    """A1 A10 B2 D2 E2 F1 F2 G1 H1: nothing goes wrong, and everybody is told."""
    await house.planner.opens({(MUG, LON): 5, (LAMP, LON): 5})
    order = await house.channel.places((MUG, 2), (LAMP, 1))
    await house.world.settle()
    assert order == "20261123-EC-000001"
    parcel = await house.london.ships(order)
    assert (await house.channel.sees(order))["units"]["counts"]["handed_over"] == 3
    await house.delivers(order, parcel)
    assert (await house.channel.sees(order))["state"] == "closed"
    assert house.world.mail.of(order) == ["receipt", "order_confirmation", "shipped", "delivered", "closed"]
    page = await house.world.ok("control-tower", "GET", f"/api/orders/{order}")
    assert page["row"]["stage"] == "closed"
    assert {entry["service"] for entry in page["timeline"]} == {
        "order-intake", "prioritizer", "inventory", "fulfillment", "shipping", "notifier",
    }  # fmt: skip


async def test_nobody_confirms_so_the_clock_does(house: House) -> None:
    """A10: three days after the last delivery."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    parcel = await house.london.ships(order)
    await house.carriers.says(parcel, "delivered")
    await house.world.wait(hours=71)
    assert (await house.channel.sees(order))["state"] == "received"
    await house.world.wait(hours=2)
    (closed,) = house.world.said(OrderClosed)
    assert closed.confirmed_by == "clock"


async def test_a_missing_postcode_is_asked_for_and_supplied(house: House) -> None:
    """A3 A4 G6: held with a named problem, the owner and the customer are told, and it goes on when it is complete."""
    await house.planner.opens({(MUG, LON): 1})
    who = customer(1)
    who["ship_to"]["postcode"] = None
    order = await house.channel.places((MUG, 1), customer=who)
    await house.world.settle()
    seen = await house.channel.sees(order)
    assert [h["problem"]["code"] for h in seen["open_holds"]] == ["postcode_missing"]
    assert house.world.mail.of(order) == ["needs_info"]
    assert house.world.mail.of(order, "staff") == ["hold"]
    assert not house.world.said(OrderReceived)
    await house.channel.completes(order, customer={"ship_to": {"postcode": "SW1Y 4LB"}})
    await house.world.settle()
    await house.delivers(order, await house.london.ships(order))


async def test_nobody_completes_it_in_time(house: House) -> None:
    """A4 C3: after two hours the owner is told again as a breach, then the superior; completion still works."""
    await house.planner.opens({(MUG, LON): 1})
    who = customer(1)
    who["ship_to"]["postcode"] = None
    order = await house.channel.places((MUG, 1), customer=who)
    await house.world.settle()
    await house.world.wait(hours=8)
    assert [(e.level, e.owner) for e in house.world.said(SLABreached)] == [(0, "lena"), (1, "dora")]
    assert house.world.mail.of(order, "staff") == ["hold", "breach", "breach"]
    await house.channel.completes(order, customer={"ship_to": {"postcode": "SW1Y 4LB"}})
    await house.world.settle()
    await house.delivers(order, await house.london.ships(order))


async def test_an_unknown_product_appears(house: House) -> None:
    """A3 A4: an order for an unknown SKU is verified again by itself when the product is announced."""
    await house.planner.opens({})
    order = await house.channel.places(("FAN", 1))
    await house.world.settle()
    assert [h["problem"]["code"] for h in (await house.channel.sees(order))["open_holds"]] == ["sku_unknown"]
    await house.planner.adds_product("FAN")
    await house.world.settle()
    await house.world.fire_due()
    await house.world.settle()
    assert [e.outcome for e in house.world.said(OrderHoldReleased)] == ["completed"]
    await house.london.receives_goods(house.planner, FAN=1)
    await house.world.settle()
    await house.delivers(order, await house.london.ships(order))


async def test_an_unpaid_order_waits_without_holding_stock(house: House) -> None:
    """A5: somebody else gets the only piece meanwhile; payment lets it go on."""
    await house.planner.opens({(MUG, LON): 1})
    unpaid = await house.channel.places((MUG, 1), payment_state="unpaid")
    paid = await house.channel.places((MUG, 1))
    await house.world.settle()
    assert [e.order_id for e in house.world.said(StockReserved)] == [paid]
    await house.world.ok("order-intake", "POST", f"/orders/{unpaid}/payment", {"state": "paid"})
    await house.world.settle()
    await house.delivers(paid, await house.london.ships(paid))
    await house.london.receives_goods(house.planner, MUG=1)
    await house.world.settle()
    await house.delivers(unpaid, await house.london.ships(unpaid))


async def test_a_custom_order_is_approved_and_another_rejected(house: House) -> None:
    """A5 A7: custom work waits for a person; rejected means cancelled."""
    await house.planner.opens({(MUG, LON): 2})
    yes, no = await house.channel.places((MUG, 1), tags=["custom"]), await house.channel.places((MUG, 1), tags=["定制"])
    await house.world.settle()
    for order, verdict in ((yes, "approve"), (no, "reject")):
        path = f"/orders/{order}/holds/{order}-H1/{verdict}"
        await house.world.ok("order-intake", "POST", path, {"reason": "the workshop says so"})
    await house.world.settle()
    assert [e.order_id for e in house.world.said(OrderCancelled)] == [no]
    await house.delivers(yes, await house.london.ships(yes))


async def test_the_same_order_twice_is_one_order(house: House) -> None:
    """A6: the channel repeats its reference; the goods are reserved once."""
    await house.planner.opens({(MUG, LON): 5})
    body = house.channel.order((MUG, 2))
    first, again = await house.channel.posts(body), await house.channel.posts(body)
    assert first["order_id"] == again["order_id"]
    await house.world.settle()
    assert len(house.world.said(StockReserved)) == 1
    await house.delivers(first["order_id"], await house.london.ships(first["order_id"]))


async def test_an_urgent_order_is_express_from_its_first_event(house: House) -> None:
    """B1 B3: every event that has an express twin travels on it, from OrderReceived to OrderClosed."""
    await house.planner.opens({(MUG, LON): 2})
    urgent, regular = await house.channel.places((MUG, 1), tags=["urgent"]), await house.channel.places((MUG, 1))
    await house.world.settle()
    for order in (regular, urgent):
        await house.delivers(order, await house.london.ships(order))
    twins = [e for e in house.world.bus.log if e.row.routing == "twin"]
    assert {e.lane.value for e in twins if e.key == urgent} == {"express"}
    assert {e.lane.value for e in twins if e.key == regular} == {"standard"}
    tiers = {e.order_id: e.urgency.tier.value for e in house.world.said(PriorityAssigned)}
    assert tiers == {urgent: "urgent", regular: "regular"}


async def test_urgent_work_is_first_in_the_queue(house: House) -> None:
    """B1 E1: the later urgent order is offered before the earlier regular one."""
    await house.planner.opens({(RING, MAN): 2, (RING, LON): 0})
    regular = await house.channel.places((RING, 1))
    await house.world.settle()
    urgent = await house.channel.places((RING, 1), tags=["urgent"])
    await house.world.settle()
    assert [t["order_id"] for t in await house.manchester.queue("pick")] == [urgent, regular]
    for order in (urgent, regular):
        await house.delivers(order, await house.manchester.ships(order))


async def test_a_release_that_comes_before_its_hold(house: House) -> None:
    """A4: services that hear of the release first never hold the order."""
    await house.planner.opens({(MUG, LON): 1})
    who = customer(1)
    who["ship_to"]["postcode"] = None
    everybody = [
        (OrderHeld, service) for service in ("prioritizer", "inventory", "fulfillment", "shipping", "notifier")
    ]
    with house.world.late(*everybody):
        order = await house.channel.places((MUG, 1), customer=who)
        await house.channel.completes(order, customer={"ship_to": {"postcode": "SW1Y 4LB"}})
        await house.world.settle()
    await house.world.settle()
    await house.delivers(order, await house.london.ships(order))
    assert house.world.mail.of(order)[0] == "receipt"


async def test_a_hold_is_heard_only_after_the_units_have_come(house: House) -> None:
    """A4 E1: fulfillment has the work already when it hears of the hold; it is not offered until the release is heard."""
    await house.planner.opens({(MUG, LON): 1})
    who = customer(1)
    who["ship_to"]["postcode"] = None
    with house.world.late((OrderHeld, "fulfillment"), (OrderHoldReleased, "fulfillment")):
        order = await house.channel.places((MUG, 1), customer=who)
        await house.channel.completes(order, customer={"ship_to": {"postcode": "SW1Y 4LB"}})
        await house.world.settle()
        assert len(await house.london.queue("pick")) == 1
    with house.world.late((OrderHoldReleased, "fulfillment")):
        await house.world.settle()
        assert await house.london.queue("pick") == []
        refused = await house.world.call(
            "fulfillment", "POST", f"/fulfilment-orders/{order}-F1/scans",
            {"by": "tom", "scans": [{"barcode": "bar-MUG"}]},
        )  # fmt: skip
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/held")
    await house.world.settle()
    await house.delivers(order, await house.london.ships(order))


async def test_a_hold_keeps_inventory_from_announcing(house: House) -> None:
    """A4 D2: stock is allocated, but nobody may pick while a hold is open; the release starts it."""
    await house.planner.opens({(MUG, LON): 1})
    who = customer(1)
    who["ship_to"]["postcode"] = None
    with house.world.late((OrderHoldReleased, "inventory")):
        order = await house.channel.places((MUG, 1), customer=who)
        await house.channel.completes(order, customer={"ship_to": {"postcode": "SW1Y 4LB"}})
        await house.world.settle()
        assert not house.world.said(StockReserved)
    await house.world.settle()
    await house.delivers(order, await house.london.ships(order))
