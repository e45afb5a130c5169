"""Holds over HTTP: completion, review, payment, and products that appear."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from expedite_chassis import links
from expedite_events import (
    Address,
    CancelRefused,
    Customer,
    Delivered,
    HoldKind,
    OrderCancelled,
    OrderHeld,
    OrderHoldReleased,
    OrderReceived,
    Shipped,
    Units,
    UnitsCancelled,
)
from order_intake.handlers import find_missed_products, handlers
from order_intake.store import AWAITED
from order_intake.testing import CHANNEL_ROWS, SKUS, World, native, product

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


def shipped(world: World, order_id: str, units: Units) -> Shipped:
    now = world.clock.now
    return Shipped(
        order_id=order_id, parcel_id="P1", warehouse_id="W", units=units, carrier_id="c", service="s",
        tracking_number="t", cost=Decimal(1), currency="USD", expected_at=now, promise_by=now, shipped_at=now,
        chosen_because="x", customer=ADA,
    )  # fmt: skip


ALL = Units(((1, 1, 3), (2, 1, 1)))
NO_ADDRESS = {"name": "Ada", "email": "ada@example.com"}
GB = {"line1": "1 High St", "city": "London", "postcode": "SW1Y 4LB", "country": "GB"}


async def test_every_event_this_service_is_to_hear_has_a_handler() -> None:
    """I1: the catalogue is the contract."""
    assert handlers.missing() == ()


async def test_completion_releases_the_hold_and_the_order_is_received(world: World, api: httpx.AsyncClient) -> None:
    """A4: completed through the API; the hold's end is told before the order is received."""
    order_id = await placed(api, customer=NO_ADDRESS)
    body = await send(api, f"/orders/{order_id}/completion", 200, {"customer": {"ship_to": GB}})
    assert body["state"] == "received"
    assert body["customer"]["name"] == "Ada"
    (released,) = world.said(OrderHoldReleased)
    assert (released.hold_id, released.outcome, released.released_by) == (f"{order_id}-H1", "completed", "test")
    assert [type(e) for e in world.said()] == [OrderHeld, OrderHoldReleased, OrderReceived]


async def test_a_customer_completes_with_a_signed_link_for_that_order_only(
    world: World, api: httpx.AsyncClient
) -> None:
    """A4, I5: the link's purpose and order are checked; no key is needed."""
    order_id = await placed(api, customer=NO_ADDRESS)
    body = {"customer": {"ship_to": GB}}
    async with world.client(anonymous=True) as customer:
        for purpose, subject in (("confirm", order_id), ("complete", "20261123-EC-000009")):
            wrong = {"token": links.sign(LINK, purpose, subject)}
            await send(customer, f"/orders/{order_id}/completion", 401, body, params=wrong)
        await send(customer, f"/orders/{order_id}/completion", 401, body)
        await send(customer, f"/orders/{order_id}/completion", 401, body, params={"token": "x"})
        right = {"token": links.sign(LINK, "complete", order_id)}
        done = await send(customer, f"/orders/{order_id}/completion", 200, body, params=right)
        again = await send(customer, f"/orders/{order_id}/completion", 200, body, params=right)
    assert done == again
    assert world.said(OrderHoldReleased)[0].released_by == "customer"
    async with world.client(["orders:read"]) as reader:
        await send(reader, f"/orders/{order_id}/completion", 403, body)


async def test_a_price_that_is_taken_away_is_zero(world: World, api: httpx.AsyncClient) -> None:
    """A4: null takes a value away."""
    order_id = await placed(api, customer=NO_ADDRESS)
    patch = {"customer": {"ship_to": GB}, "lines": [{"line": 1, "unit_price": None}]}
    body = await send(api, f"/orders/{order_id}/completion", 200, patch)
    assert (body["state"], body["total"], body["lines"][0]["unit_price"]) == ("received", "0", "0")


async def test_completion_is_verified_again(world: World, api: httpx.AsyncClient) -> None:
    """A4: what is still wrong stays held under its id; a new problem is a new hold."""
    order_id = await placed(api, customer=NO_ADDRESS, lines=[{"sku": "NOPE", "quantity": 0}])
    body = await send(api, f"/orders/{order_id}/completion", 200, {"customer": {"ship_to": {**GB, "postcode": "1"}}})
    assert [(h["hold_id"][-2:], h["problem"]["code"]) for h in body["open_holds"]] == [
        ("H2", "sku_unknown"), ("H3", "quantity_not_positive"), ("H4", "postcode_malformed"),
    ]  # fmt: skip
    patch = {
        "customer": {"ship_to": {"postcode": "SW1Y 4LB"}},
        "lines": [{"line": 1, "remove": True}, {"sku": "A", "quantity": 2}],
    }
    done = await send(api, f"/orders/{order_id}/completion", 200, patch)
    assert done["state"] == "received"
    assert [(x.line, x.sku, x.quantity) for x in world.said(OrderReceived)[0].lines] == [(2, "A", 2)]


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"lines": [{"line": 7, "quantity": 1}]}, 422, "/lines/0/line"),
        ({"lines": [{"line": 0}]}, 422, "/lines/0/line"),
        ({"lines": [{"line": 1, "quantity": "2"}]}, 422, "/lines/0/quantity"),
        ({"customer": {"name": 3}}, 422, "/customer/name"),
        ({"tags": []}, 422, "/tags"),
        ({"placed_at": "soon"}, 422, "/placed_at"),
    ],
)
async def test_completion_names_what_it_cannot_take(
    world: World, api: httpx.AsyncClient, body: Any, status: int, pointer: str
) -> None:
    """A4"""
    order_id = await placed(api, customer=NO_ADDRESS)
    answer = await send(api, f"/orders/{order_id}/completion", status, body)
    assert answer["errors"][0]["pointer"] == pointer


async def test_a_received_order_cannot_be_completed(world: World, api: httpx.AsyncClient) -> None:
    """A4"""
    order_id = await placed(api)
    answer = await send(api, f"/orders/{order_id}/completion", 409, {"customer": {"name": "Eve"}})
    assert answer["type"] == "/problems/not-held"


async def test_lines_with_cancels_cannot_be_changed(world: World, api: httpx.AsyncClient) -> None:
    """A8: numbered units that were asked for are not renumbered."""
    order_id = await placed(api, customer=NO_ADDRESS)
    await send(api, f"/orders/{order_id}/cancel", 202, {"lines": [{"line": 1, "quantity": 1}], "reason": "r"})
    answer = await send(api, f"/orders/{order_id}/completion", 409, {"lines": [{"line": 1, "quantity": 1}]})
    assert answer["type"] == "/problems/line-has-cancels"


async def test_an_approved_review_lets_the_order_go_on(world: World, api: httpx.AsyncClient) -> None:
    """A5: with a reason; the same verdict again is fine, the other one is not."""
    order_id = await placed(api, tags=["custom"], payment_state="unpaid")
    hold = f"/orders/{order_id}/holds/{order_id}-H1"
    assert (await send(api, f"{hold}/approve", 200, {"reason": "can be made"}))["state"] == "held"
    await send(api, f"{hold}/approve", 200, {"reason": "again"})
    assert (await send(api, f"{hold}/reject", 409, {"reason": "no"}))["type"] == "/problems/hold-ended"
    assert (await send(api, f"/orders/{order_id}/payment", 200, {"state": "paid"}))["state"] == "received"
    assert [(e.kind, e.outcome) for e in world.said(OrderHoldReleased)] == [
        (HoldKind.REVIEW, "approved"), (HoldKind.UNPAID, "paid"),
    ]  # fmt: skip
    assert world.said(OrderReceived)[0].payment_state == "paid"


async def test_a_rejected_order_is_cancelled(world: World, api: httpx.AsyncClient) -> None:
    """A5"""
    order_id = await placed(api, tags=["custom"], payment_state="unpaid")
    body = await send(api, f"/orders/{order_id}/holds/{order_id}-H1/reject", 200, {"reason": "cannot be made"})
    assert body["state"] == "cancelled"
    assert [e.outcome for e in world.said(OrderHoldReleased)] == ["rejected", "cancelled"]
    assert world.said(OrderCancelled)[0].reason == "Rejected: cannot be made"


async def test_an_approval_covers_what_was_approved(world: World, api: httpx.AsyncClient) -> None:
    """A5: an order that grows after its approval is looked at again."""
    lines = [{"sku": "A", "quantity": 600, "unit_price": "10"}]
    order_id = await placed(api, customer=NO_ADDRESS, lines=lines)
    await send(api, f"/orders/{order_id}/holds/{order_id}-H2/approve", 200, {"reason": "ok"})
    grown = {"customer": {"ship_to": GB}, "lines": [{"line": 1, "quantity": 900}]}
    body = await send(api, f"/orders/{order_id}/completion", 200, grown)
    assert [h["problem"]["code"] for h in body["open_holds"]] == ["high_value"]


@pytest.mark.parametrize(
    ("hold", "scopes", "status", "code"),
    [
        ("H1", ["orders:write"], 403, "missing-scope"),
        ("H9", ["orders:review"], 404, "unknown-hold"),
        ("H1", ["orders:review"], 409, "not-a-review"),
    ],
)
async def test_only_reviews_are_decided_and_only_by_reviewers(
    world: World, api: httpx.AsyncClient, hold: str, scopes: list[str], status: int, code: str
) -> None:
    """A5, I5"""
    order_id = await placed(api, customer=NO_ADDRESS)
    async with world.client(scopes) as caller:
        body = await send(caller, f"/orders/{order_id}/holds/{order_id}-{hold}/approve", status, {"reason": "x"})
    assert body["type"] == f"/problems/{code}"


async def test_a_product_that_appears_frees_the_orders_that_waited_for_it(world: World, api: httpx.AsyncClient) -> None:
    """A3, A4: verified again, each under its own lock; other holds stay."""
    free = await placed(api, lines=[{"sku": "NEW", "quantity": 1}])
    stuck = await placed(api, lines=[{"sku": "NEW", "quantity": 2}, {"sku": "NOPE", "quantity": 1}])
    await world.hear(product("NEW"))
    await world.fire_due()
    assert [world.order(o).state for o in (free, stuck)] == ["received", "held"]
    assert [h.problem.code for h in world.order(stuck).open_holds] == ["sku_unknown"]
    waiting = {(r.sku, r.order_id): r.waiting for r in world.engine.db.rows[AWAITED.name].values()}  # type: ignore[attr-defined]
    assert waiting == {("NEW", free): False, ("NEW", stuck): False, ("NOPE", stuck): True}
    await world.hear(product("NEW", revision=2))
    assert await world.fire_due() == 0


async def test_products_that_were_missed_are_found_later(world: World, api: httpx.AsyncClient) -> None:
    """A4: an order accepted at the very moment its product appears is not forgotten."""
    order_id = await placed(api, lines=[{"sku": "NEW", "quantity": 1}])
    world.engine.db.rows["product"]["NEW"] = product("NEW")
    await find_missed_products(world.engine)
    assert world.order(order_id).state == "received"


async def test_older_revisions_of_master_data_change_nothing(world: World) -> None:
    """I1: compacted events may come again and out of order."""
    await world.hear(product("A", revision=3, product_class="fragile"))
    await world.hear(product("A", revision=2, active=False))
    assert world.engine.db.rows["product"]["A"].revision == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["completion", "cancel", "confirm", "payment", "holds/x/approve", "holds/x/reject"])
async def test_changes_of_unknown_orders_are_404(world: World, api: httpx.AsyncClient, path: str) -> None:
    """A2"""
    body = {"payment": {"state": "paid"}, "completion": {}}.get(path, {"reason": "r"})
    for number in ("20261123-EC-000099", "%00"):
        await send(api, f"/orders/{number}/{path}", 404, body)
    assert (await api.get("/orders/20261123-EC-000099/cancels/x")).status_code == 404


async def test_channels_are_set_up_by_planners(world: World, api: httpx.AsyncClient) -> None:
    """A1: several channels may share a code, and then share its serials."""
    body = {"code": "EC", "owner": "bob", "urgent_methods": ["FLASH"], "high_value_limit": "10"}
    assert (await api.put("/channels/dealer", json=body)).status_code == 200
    found = (await api.get("/channels")).json()["items"]
    assert [c["id"] for c in found] == sorted([*(c.id for c in CHANNEL_ROWS), "dealer"])
    one, two = await placed(api), await placed(api, channel="dealer")
    assert [one[-6:], two[-6:]] == ["000001", "000002"]
    assert [h.owner for h in world.order(two).holds] == ["bob"]
    for wrong, pointer in (({"code": "e"}, "/code"), ({"code": "EC", "format": "x"}, "/format"), ({"code": "EC", "high_value_limit": 0}, "/high_value_limit")):  # fmt: skip
        answer = await api.put("/channels/dealer", json=wrong)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert (await api.put("/channels/Bad Name", json={"code": "EC"})).status_code == 422
    async with world.client(["orders:write"]) as channel:
        assert (await channel.put("/channels/dealer", json=body)).status_code == 403


def test_the_demo_products_are_known_here() -> None:
    """A3: the fixtures' SKUs exist in the test world."""
    assert {"A", "B"} <= set(SKUS)
