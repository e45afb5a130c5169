"""The carrier leg: lost, returned, delayed, told twice and in the wrong order."""

from __future__ import annotations

from datetime import timedelta

from expedite_saga.masters import LON, MUG
from expedite_saga.people import House

from expedite_events import (
    Delivered,
    DeliveryDelayed,
    ParcelReturned,
    ShipmentLost,
    ShipmentTracked,
    Shipped,
)
from expedite_messaging import EffectCall, EffectResult


async def shipped(house: House, stock: int = 2) -> tuple[str, str]:
    """An order of one mug with the carrier."""
    await house.planner.opens({(MUG, LON): stock})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    return order, await house.london.ships(order)


async def test_a_lost_parcel_is_sent_again(house: House) -> None:
    """F4 G2: the goods are gone, the unit is sourced again, the customer is told."""
    order, parcel = await shipped(house)
    await house.carriers.says(parcel, "lost")
    assert len(house.world.said(ShipmentLost)) == 1
    await house.delivers(order, await house.london.ships(order))
    assert house.world.mail.of(order).count("lost") == 1


async def test_a_returned_parcel_goes_to_quality_check(house: House) -> None:
    """F4 D11: what came back is inspected before it is sold; another piece is sent."""
    order, parcel = await shipped(house)
    await house.carriers.says(parcel, "returned")
    assert len(house.world.said(ParcelReturned)) == 1
    (level,) = (await house.world.ok("inventory", "GET", f"/stock?sku={MUG}&warehouse_id={LON}"))["items"]
    assert level["quality_check"] == 1
    await house.delivers(order, await house.london.ships(order))


async def test_a_lost_parcel_waits_for_goods(house: House) -> None:
    """F4 D5: there is no other piece, so the unit is backordered and filled by itself."""
    order, parcel = await shipped(house, stock=1)
    await house.carriers.says(parcel, "lost")
    await house.london.receives_goods(house.planner, MUG=1)
    await house.world.settle()
    await house.delivers(order, await house.london.ships(order))


async def test_a_delay_is_told_once_per_occasion(house: House) -> None:
    """F4 G2 G5: the same bad news twice is one message; worse news is another."""
    order, parcel = await shipped(house)
    first, second = (house.world.clock.now + timedelta(days=d) for d in (6, 9))
    for at, eta in ((1, first), (1, first), (2, second)):
        when = house.world.clock.now - timedelta(minutes=10 - at)
        await house.carriers.says(parcel, "delivery_delayed", expected_at=eta.isoformat(), occurred_at=when.isoformat())
    assert [e.new_expected_at for e in house.world.said(DeliveryDelayed)] == [first, second]
    assert house.world.mail.of(order).count("delayed") == 2
    await house.delivers(order, parcel)


async def test_tracking_never_moves_backwards(house: House) -> None:
    """F3: delivered first, then an older scan, then delivered again: one Delivered, and nothing after it."""
    order, parcel = await shipped(house)
    await house.world.wait(hours=5)
    early = (house.world.clock.now - timedelta(hours=2)).isoformat()
    await house.carriers.says(parcel, "delivered")
    await house.carriers.says(parcel, "in_transit", occurred_at=early)
    await house.carriers.says(parcel, "delivered")
    assert len(house.world.said(Delivered)) == 1
    assert [e.status.value for e in house.world.said(ShipmentTracked)] == ["delivered"]
    await house.channel.confirms(order)


async def test_the_carrier_s_scan_is_the_hand_over(house: House) -> None:
    """F3: nobody scanned the parcel at the truck, the carrier did: it is shipped, and cannot be cancelled."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    parcel = await house.london.picks_and_packs(order)
    await house.carriers.says(parcel, "picked_up")
    assert [e.parcel_id for e in house.world.said(Shipped)] == [parcel]
    await house.delivers(order, parcel)


async def test_a_cancelled_parcel_that_left_all_the_same(house: House) -> None:
    """A8 F3: the cancel waited for its put-back; the carrier took the parcel: now the answer is no."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    parcel = await house.london.picks_and_packs(order)
    request = await house.channel.cancels(order)
    await house.world.settle()
    await house.carriers.says(parcel, "in_transit")
    assert (await house.channel.answer(order, request))["refused"] == 1
    await house.delivers(order, parcel)
    assert (await house.channel.sees(order))["state"] == "closed"


async def test_the_carrier_is_faster_than_its_own_answer(house: House) -> None:
    """F3: the first scan comes before shipping knows the number it bought: it is kept, and counts when it does."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    shipping, performed = house.world.engines["shipping"], house.world.result_of
    bought = []

    async def slow(service: str, call: EffectCall) -> EffectResult | None:
        result = await performed(service, call)
        if call.kind != "buy_label" or result is None:
            return result
        bought.append(result)
        return None

    house.world.result_of = slow  # type: ignore[method-assign]
    parcel = await house.london.packs(await house.london.picks(order))
    await house.world.settle()
    result = bought[-1]
    carrier = house.world.carrier_http.post(
        f"/{result.request['offer']['carrier_id']}/scans",
        json={"tracking_number": result.data["tracking_number"], "status": "picked_up"},
    )
    assert (await carrier).json()["accepted"]
    await house.world.settle()
    assert not house.world.said(Shipped)
    house.world.result_of = performed  # type: ignore[method-assign]
    await shipping.conclude([result])
    await house.world.settle()
    assert [e.parcel_id for e in house.world.said(Shipped)] == [parcel]
    await house.delivers(order, parcel)


async def test_the_customer_s_page_follows_the_parcel(house: House) -> None:
    """G3: the signed link shows each step, and nothing to whoever has no link."""
    order, parcel = await shipped(house)
    link = (await house.world.ok("notifier", "GET", f"/orders/{order}/status-link"))["url"]
    page = await house.world.call("notifier", "GET", "/s/" + link.rpartition("/")[2])
    assert page.status_code == 200 and order in page.text
    assert (await house.world.call("notifier", "GET", "/s/forged.token")).status_code == 404
    await house.delivers(order, parcel)
