"""How orders end over HTTP and by events: cancels, answers, deliveries, confirmation, raises."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from expedite_chassis import links
from expedite_events import (
    Address,
    CancelRefused,
    CancelRequested,
    Customer,
    Delivered,
    Lane,
    OrderCancelled,
    OrderClosed,
    OrderReceived,
    RaiseRequested,
    ShipmentLost,
    Shipped,
    Units,
    UnitsCancelled,
)
from order_intake.testing import World, native

ADDRESS = Address(line1="x", city="London", country="GB")
ADA = Customer(name="Ada", ship_to=ADDRESS)
LINK = "link secret for tests"


async def placed(api: httpx.AsyncClient, **changes: Any) -> str:
    answer = await api.post("/orders", json=native(**changes))
    assert answer.status_code == 202
    return str(answer.json()["order_id"])


async def send(api: httpx.AsyncClient, path: str, status: int, body: Any = None, **more: Any) -> dict[str, Any]:
    answer = await api.post(path, json=body, **more)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def cancelled(world: World, order_id: str, request: str, units: Units) -> UnitsCancelled:
    return UnitsCancelled(
        order_id=order_id, request_id=request, units=units, answered_by="inventory", at=world.clock.now
    )


def refused(world: World, order_id: str, request: str, units: Units) -> CancelRefused:
    return CancelRefused(
        order_id=order_id, request_id=request, units=units, answered_by="shipping", at=world.clock.now,
        reason="with the carrier",
    )  # fmt: skip


def delivered(world: World, order_id: str, units: Units, parcel: str = "P1") -> Delivered:
    return Delivered(order_id=order_id, parcel_id=parcel, units=units, delivered_at=world.clock.now, customer=ADA)


def shipped(world: World, order_id: str, units: Units, parcel: str = "P1") -> Shipped:
    now = world.clock.now
    return Shipped(
        order_id=order_id, parcel_id=parcel, warehouse_id="W", units=units, carrier_id="c", service="s",
        tracking_number="t", cost=Decimal(1), currency="USD", expected_at=now, promise_by=now, shipped_at=now,
        chosen_because="x", customer=ADA,
    )  # fmt: skip


def lost(world: World, order_id: str, units: Units, parcel: str = "P1") -> ShipmentLost:
    return ShipmentLost(
        order_id=order_id, parcel_id=parcel, fulfilment_order_id="F", warehouse_id="W", units=units, goods=(), cause="x",
        at=world.clock.now, customer=ADA,
    )  # fmt: skip


async def handed_over(api: httpx.AsyncClient, order_id: str) -> list[tuple[int, int, int]]:
    units = (await api.get(f"/orders/{order_id}")).json()["units"]["handed_over"]
    return [(u["line"], u["first"], u["last"]) for u in units]


ALL = Units(((1, 1, 3), (2, 1, 1)))
NO_ADDRESS = {"name": "Ada", "email": "ada@example.com"}
GB = {"line1": "1 High St", "city": "London", "postcode": "SW1Y 4LB", "country": "GB"}


async def test_the_whole_order_is_cancelled_by_its_custodians(world: World, api: httpx.AsyncClient) -> None:
    """A8: 202 with a status link, answers per unit, OrderCancelled with the last."""
    order_id = await placed(api)
    answer = await api.post(f"/orders/{order_id}/cancel", json={"reason": "changed my mind"})
    body = answer.json()
    assert (answer.status_code, body["request_id"], body["state"]) == (202, f"{order_id}-C1", "pending")
    assert answer.headers["location"] == body["status_url"]
    (event,) = world.said(CancelRequested)
    assert (event.units, event.standing, event.requested_by) == (ALL, True, "test")
    assert world.envelopes(CancelRequested)[0].lane is Lane.EXPRESS
    await world.hear(cancelled(world, order_id, body["request_id"], Units.of(1, 1, 3)), Lane.EXPRESS)
    status = (await api.get(body["status_url"])).json()
    assert [(u["line"], u["first"], u["last"], u["answer"]) for u in status["units"]] == [
        (1, 1, 3, "cancelled"), (2, 1, 1, "pending"),
    ]  # fmt: skip
    await world.hear(cancelled(world, order_id, body["request_id"], Units.of(2, 1, 1)), Lane.EXPRESS)
    assert world.order(order_id).state == "cancelled"
    assert world.said(OrderCancelled)[0].units == ALL
    again = await send(api, f"/orders/{order_id}/cancel", 202, {"reason": "changed my mind"})
    assert (again["request_id"], again["state"]) == (body["request_id"], "answered")


async def test_a_refused_quantity_shows_as_one_request(world: World, api: httpx.AsyncClient) -> None:
    """A8: what was refused here and got elsewhere is not refused to the person."""
    order_id = await placed(api)
    asked = {"lines": [{"line": 1, "quantity": 1}], "reason": "one less"}
    url = (await send(api, f"/orders/{order_id}/cancel", 202, asked))["status_url"]
    await world.hear(refused(world, order_id, f"{order_id}-C1", Units.of(1, 3, 3)))
    status = (await api.get(url)).json()
    assert (status["state"], status["follow_ups"], status["refused"]) == ("pending", [f"{order_id}-C2"], 0)
    assert status["units"][0]["reason"] == "with the carrier"
    await world.hear(cancelled(world, order_id, f"{order_id}-C2", Units.of(1, 2, 2)))
    status = (await api.get(url)).json()
    assert (status["state"], status["cancelled"], status["refused"]) == ("answered", 1, 0)


async def test_cancel_after_hand_over_is_409_with_the_reason(world: World, api: httpx.AsyncClient) -> None:
    """A8: too late says so and offers a return; a lost parcel may be cancelled again."""
    order_id = await placed(api)
    await world.hear(shipped(world, order_id, ALL))
    body = await send(api, f"/orders/{order_id}/cancel", 409, {"reason": "late"})
    assert body["type"] == "/problems/too-late"
    assert "return" in body["detail"]
    await world.hear(lost(world, order_id, ALL))
    await send(api, f"/orders/{order_id}/cancel", 202, {"reason": "late"})
    assert world.order(order_id).status == "exceptional"


async def test_shipped_is_noted_beside_the_order(world: World, api: httpx.AsyncClient) -> None:
    """A8: the order's document stays as it is, the order shows what is with the carrier, and a refused unit is asked of
    one that is still here."""
    order_id = await placed(api)
    asked = {"lines": [{"line": 1, "quantity": 1}], "reason": "one less"}
    await send(api, f"/orders/{order_id}/cancel", 202, asked)
    before = world.order(order_id)
    await world.hear(shipped(world, order_id, Units.of(1, 2, 3)))
    assert world.order(order_id) is before
    assert await handed_over(api, order_id) == [(1, 2, 3)]
    await world.hear(refused(world, order_id, f"{order_id}-C1", Units.of(1, 3, 3)), Lane.EXPRESS)
    assert world.said(CancelRequested)[-1].units == Units.of(1, 1, 1)


async def test_parcels_are_told_in_any_order(world: World, api: httpx.AsyncClient) -> None:
    """A8: topics have no common order, and everything may come again."""
    order_id = await placed(api)
    one, two, three = Units.of(1, 1, 1), Units.of(1, 2, 3), Units.of(2, 1, 1)
    events = [
        lost(world, order_id, one, "P1"), shipped(world, order_id, one, "P1"),
        delivered(world, order_id, two, "P2"), shipped(world, order_id, two, "P2"),
        shipped(world, order_id, three, "P3"), shipped(world, order_id, one, "P4"),
    ]  # fmt: skip
    for event in (*events, *reversed(events)):
        await world.hear(event)
    assert await handed_over(api, order_id) == [(1, 1, 1), (2, 1, 1)]
    assert world.parked == {}


async def test_shipped_of_an_order_nobody_placed_changes_nothing(world: World, api: httpx.AsyncClient) -> None:
    """I4: no order is looked up for it; whatever follows about such an order is a contradiction."""
    nobody = "20261123-EC-000099"
    await world.hear(shipped(world, nobody, ALL))
    assert (await api.get(f"/orders/{nobody}")).status_code == 404
    assert (world.said(), world.parked) == ([], {})
    await world.hear(delivered(world, nobody, ALL))
    assert list(world.parked) == [nobody]


async def test_cancel_with_a_key_is_done_once(world: World, api: httpx.AsyncClient) -> None:
    """A6, A8"""
    order_id = await placed(api)
    body, headers = {"lines": [{"line": 1, "quantity": 1}], "reason": "r"}, {"Idempotency-Key": "0123456789abcdef"}
    one = await send(api, f"/orders/{order_id}/cancel", 202, body, headers=headers)
    two = await send(api, f"/orders/{order_id}/cancel", 202, body, headers=headers)
    assert one == two
    await send(api, f"/orders/{order_id}/cancel", 422, {"reason": "all"}, headers=headers)
    assert len(world.said(CancelRequested)) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/reason"),
        ({"reason": ""}, "/reason"),
        ({"reason": 5}, "/reason"),
        ({"reason": "a\x00"}, "/reason"),
        ({"reason": "r", "lines": []}, "/lines"),
        ({"reason": "r", "lines": [{"line": 1}]}, "/lines/0/quantity"),
        ({"reason": "r", "lines": [{"line": 1, "quantity": 0}]}, "/lines/0/quantity"),
        ({"reason": "r", "lines": [{"line": 9, "quantity": 1}]}, "/lines/0/line"),
        ({"reason": "r", "units": [{"line": 1, "first": 3, "last": 2}]}, "/units/0/last"),
        ({"reason": "r", "units": [{"line": 1, "first": 1, "last": 9}]}, "/units/0"),
        (
            {"reason": "r", "units": [{"line": 1, "first": 1, "last": 1}], "lines": [{"line": 1, "quantity": 1}]},
            "/units",
        ),
        ({"reason": "r", "all": True}, "/all"),
    ],
)
async def test_cancels_that_make_no_sense_are_named(
    world: World, api: httpx.AsyncClient, body: Any, pointer: str
) -> None:
    """A8"""
    order_id = await placed(api)
    answer = await send(api, f"/orders/{order_id}/cancel", 422, body)
    assert pointer in [e["pointer"] for e in answer["errors"]]
    assert world.said(CancelRequested) == []


async def test_the_customer_confirms_with_a_signed_link(world: World, api: httpx.AsyncClient) -> None:
    """A10: not before all is there; the confirm clock stops."""
    order_id = await placed(api)
    token = {"token": links.sign(LINK, "confirm", order_id)}
    async with world.client(anonymous=True) as customer:
        await world.hear(delivered(world, order_id, Units.of(1, 1, 3)))
        await send(customer, f"/orders/{order_id}/confirm", 409, params=token)
        await world.hear(delivered(world, order_id, Units.of(2, 1, 1), "P2"))
        assert len(world.engine.db.timers) == 1
        body = await send(customer, f"/orders/{order_id}/confirm", 200, params=token)
        await send(customer, f"/orders/{order_id}/confirm", 200, params=token)
        await send(customer, f"/orders/{order_id}/confirm", 401)
    assert body["state"] == "closed"
    assert [e.confirmed_by for e in world.said(OrderClosed)] == ["customer"]
    assert world.engine.db.timers == {}


async def test_the_confirm_clock_closes_what_nobody_confirms(world: World, api: httpx.AsyncClient) -> None:
    """A10: 72 hours of the business clock."""
    order_id = await placed(api)
    await world.hear(delivered(world, order_id, ALL))
    world.clock.advance(timedelta(hours=71, minutes=59))
    assert await world.fire_due() == 0
    world.clock.advance(timedelta(minutes=1))
    assert await world.fire_due() == 1
    assert world.order(order_id).state == "closed"
    assert world.said(OrderClosed)[0].confirmed_by == "clock"


async def test_a_raised_order_is_announced_again_express(world: World, api: httpx.AsyncClient) -> None:
    """B3: also when it is still held; an unknown number is nobody's order."""
    now, held = await placed(api), await placed(api, customer=NO_ADDRESS)
    for order_id in (now, held, "20261123-EC-000099"):
        asked = RaiseRequested(order_id=order_id, requested_by="anna", requested_at=world.clock.now, reason="vip")
        await world.hear(asked, Lane.EXPRESS)
    assert [(e.key, e.lane) for e in world.envelopes(OrderReceived)] == [(now, "standard"), (now, "express")]
    await send(api, f"/orders/{held}/completion", 200, {"customer": {"ship_to": GB}})
    assert world.envelopes(OrderReceived)[-1].lane is Lane.EXPRESS
    one, two, _ = world.said(OrderReceived)
    assert one == two
    assert world.parked == {}


async def test_redelivered_events_change_nothing(world: World, api: httpx.AsyncClient) -> None:
    """I4: every answer may come again."""
    order_id = await placed(api)
    await send(api, f"/orders/{order_id}/cancel", 202, {"lines": [{"line": 1, "quantity": 1}], "reason": "r"})
    events = [
        cancelled(world, order_id, f"{order_id}-C1", Units.of(1, 3, 3)),
        shipped(world, order_id, Units(((1, 1, 2), (2, 1, 1)))),
        delivered(world, order_id, Units(((1, 1, 2), (2, 1, 1)))),
    ]
    for event in (*events, *events):
        await world.hear(event)
    order = world.order(order_id)
    assert (order.delivered, order.cancelled) == (Units(((1, 1, 2), (2, 1, 1))), Units.of(1, 3, 3))
    assert await handed_over(api, order_id) == []
    assert world.parked == {}


async def test_contradictions_are_parked_with_their_order(world: World, api: httpx.AsyncClient) -> None:
    """I4, A8: a bug elsewhere stops this order and no other; people get 409."""
    order_id, other = await placed(api), await placed(api, lines=[{"sku": "A", "quantity": 1}])
    await world.hear(cancelled(world, order_id, f"{order_id}-C7", Units.of(1, 1, 1)))
    assert list(world.parked) == [order_id]
    assert (await send(api, f"/orders/{order_id}/cancel", 409, {"reason": "r"}))["type"] == "/problems/parked"
    await send(api, f"/orders/{other}/cancel", 202, {"reason": "r"})
