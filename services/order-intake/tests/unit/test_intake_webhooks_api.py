"""Shops post as they are: signatures, repeats, order of arrival, the delivery log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from expedite_events import CancelRequested, Lane, OrderCancelled, OrderHeld, OrderHoldReleased, OrderReceived
from expedite_events import UnitsCancelled as Yes
from order_intake.handlers import retry_parked_deliveries
from order_intake.testing import World, shopify_headers, woo_headers

FIXTURES = Path(__file__).parent.parent / "fixtures"
SHOP, WOO = "/webhooks/shopify/shop", "/webhooks/woocommerce/woo"


def body_of(name: str, **changes: Any) -> bytes:
    raw = (FIXTURES / f"{name}.json").read_bytes()
    return json.dumps(json.loads(raw) | changes).encode() if changes else raw


def shop_body(**changes: Any) -> bytes:
    return body_of("shopify_orders_create", **changes)


def woo_body(**changes: Any) -> bytes:
    return body_of("woocommerce_order_created", **changes)


async def shopify(
    api: httpx.AsyncClient, body: bytes, topic: str = "orders/create", hook: str = "w-1"
) -> dict[str, Any]:
    answer = await api.post(SHOP, content=body, headers=shopify_headers(body, topic, hook))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def woo(api: httpx.AsyncClient, body: bytes, topic: str = "order.created") -> dict[str, Any]:
    answer = await api.post(WOO, content=body, headers=woo_headers(body, topic))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_shopify_example_becomes_an_express_order(world: World, api: httpx.AsyncClient) -> None:
    """A1, B1, formats 5.1: with its executed signature."""
    headers = shopify_headers(shop_body())
    assert headers["X-Shopify-Hmac-Sha256"] == "A5FVXxjRN+/xGy7xzCO/wG41rYJAEKLi74nK4jnyOQA="
    found = await shopify(api, shop_body())
    assert (found["verdict"], found["order_id"]) == ("accepted", "20261123-SH-000001")
    (envelope,) = world.envelopes(OrderReceived)
    assert envelope.lane is Lane.EXPRESS
    assert str(envelope.event.total) == "488.97"  # type: ignore[attr-defined]
    (delivery,) = world.deliveries
    assert delivery.body is not None
    assert delivery.body.encode() == shop_body()
    assert (delivery.topic, delivery.order_id) == ("orders/create", found["order_id"])


async def test_an_order_without_customer_data_is_held(world: World, api: httpx.AsyncClient) -> None:
    """A4, trap 7, formats 5.2"""
    assert (await shopify(api, body_of("shopify_orders_create_no_address")))["verdict"] == "accepted"
    assert {h.problems[0].code for h in world.said(OrderHeld)} == {"name_missing", "address_missing"}


async def test_the_woocommerce_example_becomes_an_order(world: World, api: httpx.AsyncClient) -> None:
    """A1, formats 5.3"""
    headers = woo_headers(woo_body())
    assert headers["X-WC-Webhook-Signature"] == "70aC1rT5scIfJRBl7Qz+a0//CPSlqFHUbREu/rxLxDU="
    assert (await woo(api, woo_body()))["order_id"] == "20261123-WC-000001"
    assert world.said(OrderReceived)[0].urgent_mark


@pytest.mark.parametrize("tamper", ["body", "secret", "absent", "empty", "reserialised"])
async def test_a_wrong_signature_is_401_and_only_logged(world: World, api: httpx.AsyncClient, tamper: str) -> None:
    """I5, trap 5: no detail, no body kept, no order."""
    body = shop_body()
    headers = shopify_headers(body)
    if tamper == "body":
        body = body.replace(b'"quantity":2', b'"quantity":9')
    elif tamper == "reserialised":
        body = json.dumps(json.loads(body)).encode()
    elif tamper == "absent":
        del headers["X-Shopify-Hmac-Sha256"]
    else:
        headers["X-Shopify-Hmac-Sha256"] = "" if tamper == "empty" else "nqFyEqyp4tqaZQs9Ldq8ook/siUomHfLrD9cAzgPM/o="
    answer = await api.post(SHOP, content=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/bad-signature")
    assert "detail" not in answer.json()
    (delivery,) = world.deliveries
    assert (delivery.verdict, delivery.body) == ("bad-signature", None)
    assert world.orders == []
    assert (await api.post(f"/deliveries/{delivery.delivery_id}/replay")).status_code == 409


async def test_a_channel_may_have_a_secret_of_its_own(world: World) -> None:
    """I5, trap 3: the secret is decoded as WordPress does; two secrets are valid while one is replaced."""
    body = woo_body()
    secrets = {"webhooks": {"woo": ["new", "test-secret"], "woocommerce": "unused"}}
    async with world.client(anonymous=True, secrets=secrets) as api:
        assert (await woo(api, body))["verdict"] == "accepted"
    async with world.client(anonymous=True, secrets={"webhooks": {}}) as api:
        assert (await api.post(WOO, content=body, headers=woo_headers(body))).status_code == 401


@pytest.mark.parametrize("path", ["/webhooks/shopify/nowhere", "/webhooks/shopify/woo", "/webhooks/woocommerce/web"])
async def test_unknown_channels_are_404(world: World, api: httpx.AsyncClient, path: str) -> None:
    """A1"""
    assert (await api.post(path, content=b"{}", headers=shopify_headers(b"{}"))).status_code == 404
    assert world.deliveries == []


async def test_the_unsigned_ping_is_answered(world: World, api: httpx.AsyncClient) -> None:
    """Formats 2.1: form-encoded, unsigned; anything else unsigned is 401."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await api.post(WOO, content=b"webhook_id=17", headers=form)
    assert (answer.status_code, answer.json()) == (200, {"verdict": "ping"})
    assert (await api.post(WOO, content=b"id=17", headers=form)).status_code == 401
    assert world.orders == []


async def test_a_shop_says_an_order_once(world: World, api: httpx.AsyncClient) -> None:
    """A6: by webhook id, and by shop and order whatever the webhook id; then by content of another order."""
    first = await shopify(api, shop_body(), hook="w-1")
    for hook in ("w-1", "w-2"):
        again = await shopify(api, shop_body(), hook=hook)
        assert (again["verdict"], again["order_id"]) == ("duplicate", first["order_id"])
    assert len(world.orders) == 1
    other = await shopify(api, shop_body(id=1), hook="w-3")
    assert [h.problem.code for h in world.order(other["order_id"]).holds] == ["suspected_duplicate"]


async def test_two_woo_orders_of_one_second_are_two_orders(world: World, api: httpx.AsyncClient) -> None:
    """Trap 1: they share a delivery id."""
    one = await woo(api, woo_body())
    two = await woo(api, woo_body(id=48214, customer_note="x", shipping={"address_1": ""}))
    assert one["order_id"] != two["order_id"]
    assert (await woo(api, woo_body()))["verdict"] == "duplicate"


async def test_a_woo_update_of_an_unseen_order_creates_it(world: World, api: httpx.AsyncClient) -> None:
    """Trap 4: and the create that comes later is a duplicate."""
    assert (await woo(api, woo_body(), "order.updated"))["verdict"] == "accepted"
    assert (await woo(api, woo_body()))["verdict"] == "duplicate"
    assert len(world.orders) == 1


async def test_a_woo_order_is_paid_by_its_update(world: World, api: httpx.AsyncClient) -> None:
    """A5: pending at checkout, processing when paid."""
    first = await woo(api, woo_body(status="pending"))
    assert world.order(first["order_id"]).state == "held"
    paid = await woo(api, woo_body(date_modified_gmt="2026-11-23T15:09:00"), "order.updated")
    assert paid["verdict"] == "paid"
    assert world.said(OrderHoldReleased)[0].outcome == "paid"
    assert world.order(first["order_id"]).state == "received"


@pytest.mark.parametrize("shop", ["shopify", "woo"])
async def test_a_cancel_in_the_shop_asks_for_the_whole_order(world: World, api: httpx.AsyncClient, shop: str) -> None:
    """A8: as a standing request to the custodians; repeated, it is the same request; too late is told, not lost."""
    later = {"status": "cancelled", "date_modified_gmt": "2026-11-23T15:09:00"}
    if shop == "shopify":
        order_id = (await shopify(api, shop_body()))["order_id"]
        again = [
            await shopify(
                api, shop_body(cancelled_at="2026-11-23T17:00:00Z", cancel_reason="customer"), "orders/cancelled", h
            )
            for h in ("w-2", "w-3")
        ]
    else:
        order_id = (await woo(api, woo_body()))["order_id"]
        again = [await woo(api, woo_body(**later), "order.updated"),
                 await woo(api, woo_body(**later | {"date_modified_gmt": "2026-11-23T15:10:00"}), "order.updated")]  # fmt: skip
    assert [a["verdict"] for a in again] == ["cancelled", "cancelled"]
    (event,) = world.said(CancelRequested)
    assert (event.order_id, event.standing, event.whole_order) == (order_id, True, True)
    yes = Yes(
        order_id=order_id, request_id=event.request_id, units=event.units, answered_by="inventory", at=world.clock.now
    )
    await world.hear(yes, Lane.EXPRESS)
    assert world.order(order_id).state == "cancelled"


@pytest.mark.parametrize("shop", ["shopify", "woo"])
async def test_a_cancel_that_comes_before_its_order_wins(world: World, api: httpx.AsyncClient, shop: str) -> None:
    """A8: shops promise no order of delivery; the order is on record as cancelled and never starts."""
    if shop == "shopify":
        first = await shopify(api, shop_body(cancelled_at="2026-11-23T17:00:00Z"), "orders/cancelled", "w-1")
        later = await shopify(api, shop_body(), hook="w-2")
    else:
        first = await woo(api, woo_body(status="cancelled"), "order.updated")
        later = await woo(api, woo_body())
    assert (first["verdict"], later["verdict"]) == ("cancelled", "duplicate")
    assert [type(e) for e in world.said()] == [OrderCancelled]


@pytest.mark.parametrize("body", [b"", b"not json", b"\xff\x00", b'{"id":5,"line_items":"x"}', b'{"order":{"id":1}}'])
async def test_what_cannot_be_mapped_is_kept_and_waits(world: World, api: httpx.AsyncClient, body: bytes) -> None:
    """A4: 2xx, the raw body is there, replay tries again."""
    found = await shopify(api, body)
    assert (found["verdict"], found["order_id"]) == ("needs-mapping", None)
    listed = (await api.get("/deliveries?verdict=needs-mapping")).json()["items"]
    assert [d["delivery_id"] for d in listed] == [found["delivery_id"]]
    assert "body" not in listed[0]
    kept = (await api.get(f"/deliveries/{found['delivery_id']}")).json()
    assert kept["size"] == len(body)
    again = (await api.post(f"/deliveries/{found['delivery_id']}/replay")).json()
    assert (again["verdict"], again["attempts"]) == ("needs-mapping", 2)
    assert world.orders == []


async def test_a_mistake_of_ours_keeps_the_delivery_and_replay_heals_it(
    world: World, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A4: some shops never send again, so even a failing adapter loses nothing; replay makes the order once."""

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("order_intake.inbound.shopify.read", broken)
        found = await shopify(api, shop_body())
    assert found["verdict"] == "needs-mapping"
    url = f"/deliveries/{found['delivery_id']}/replay"
    healed = (await api.post(url)).json()
    assert (healed["verdict"], len(world.orders)) == ("accepted", 1)
    assert (await api.post(url)).json()["verdict"] == "duplicate"
    assert len(world.orders) == 1


async def test_a_webhook_for_a_parked_order_waits_for_the_repair(world: World, api: httpx.AsyncClient) -> None:
    """I4: stored and answered; done when the order's events were repaired."""
    order_id = (await shopify(api, shop_body()))["order_id"]
    lie = Yes(order_id=order_id, request_id="x", units=world.order(order_id).units, answered_by="x", at=world.clock.now)
    await world.hear(lie)
    found = await shopify(api, shop_body(cancelled_at="2026-11-23T17:00:00Z"), "orders/cancelled", "w-2")
    assert found["verdict"] == "parked"
    world.engine.db.parked.clear()
    await retry_parked_deliveries(world.engine)
    assert len(world.said(CancelRequested)) == 1
    assert [d.verdict for d in world.deliveries] == ["accepted", "cancelled"]


@pytest.mark.parametrize("topic", ["orders/updated", "customers/redact"])
async def test_other_topics_are_kept_and_ignored(world: World, api: httpx.AsyncClient, topic: str) -> None:
    """A1"""
    assert (await shopify(api, b"anything", topic))["verdict"] == "ignored"
    assert world.orders == []


async def test_the_log_is_for_operators(world: World, api: httpx.AsyncClient) -> None:
    """I5: it holds personal data; credentials in headers are not kept."""
    body = shop_body()
    await api.post(SHOP, content=body, headers={**shopify_headers(body), "Cookie": "c=1"})
    assert not {"authorization", "cookie"} & set(world.deliveries[0].headers)
    async with world.client(["orders:write", "orders:read"]) as channel:
        assert (await channel.get("/deliveries")).status_code == 403
    assert (await api.get("/deliveries/nope")).status_code == 422
    assert (await api.get("/deliveries/00000000-0000-7000-8000-000000000000")).status_code == 404


async def test_an_oversized_webhook_is_413(world: World, api: httpx.AsyncClient) -> None:
    """A1"""
    body = b" " * (1024 * 1024 + 1)
    assert (await api.post(SHOP, content=body, headers=shopify_headers(body))).status_code == 413
    assert world.deliveries == []
