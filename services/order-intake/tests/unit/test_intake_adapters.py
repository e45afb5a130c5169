"""Shopify and WooCommerce bodies, unchanged, with the traps of the formats reference (2.2)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from expedite_chassis import webhooks
from expedite_events import ProductChanged
from order_intake.adapters import shopify, woocommerce
from order_intake.adapters.fields import Mapped, Unmappable, end_of_day, parse
from order_intake.domain.channel import Channel, Policy
from order_intake.domain.content import Content, normalised
from order_intake.domain.verify import verify

NOW = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
SHOPIFY = {
    "x-shopify-topic": "orders/create",
    "x-shopify-shop-domain": "expedite-demo.myshopify.com",
    "x-shopify-webhook-id": "9b1e6c1a",
}
WOO = {"x-wc-webhook-topic": "order.created", "x-wc-webhook-source": "https://shop.example.com/"}
FIXTURES = Path(__file__).parent.parent / "fixtures"


def fixture_body(name: str) -> bytes:
    return (FIXTURES / f"{name}.json").read_bytes()


def shop_order(**changes: Any) -> bytes:
    return json.dumps(json.loads(fixture_body("shopify_orders_create")) | changes).encode()


def woo_order(**changes: Any) -> bytes:
    return json.dumps(json.loads(fixture_body("woocommerce_order_created")) | changes).encode()


def content_of(mapped: Mapped) -> Content:
    assert mapped.content is not None
    return normalised(mapped.content)


def codes(content: Content, *skus: str) -> list[str]:
    products = {sku: ProductChanged(sku=sku, name=sku) for sku in skus}
    return [p.code for p in verify(content, products, NOW, Policy())]


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("shopify_orders_create", "A5FVXxjRN+/xGy7xzCO/wG41rYJAEKLi74nK4jnyOQA="),
        ("shopify_orders_create_no_address", "aVlt61buOg25DKESd/cFNvi+QOmeI4FS0pJLqvJIc8U="),
        ("woocommerce_order_created", "70aC1rT5scIfJRBl7Qz+a0//CPSlqFHUbREu/rxLxDU="),
    ],
)
def test_the_examples_carry_their_executed_signatures(name: str, signature: str) -> None:
    """I5, trap 5: over raw bytes; one changed byte or a re-serialised body is not signed."""
    body = fixture_body(name)
    verify_of = webhooks.verify_woocommerce if name.startswith("woo") else webhooks.verify_base64
    assert verify_of(body, signature, ("test-secret",))
    assert not verify_of(body[:-1] + b" ", signature, ("test-secret",))
    assert not verify_of(json.dumps(json.loads(body)).encode(), signature, ("test-secret",))
    assert not verify_of(body, signature, ("other",))
    assert not verify_of(body, None, ("test-secret",))
    assert not verify_of(body, "", ("test-secret",))


def test_a_woo_secret_is_decoded_as_wordpress_does() -> None:
    """Trap 3"""
    body = b'{"id":1}'
    signature = webhooks.sign_base64(body, 'a&b"c')
    assert webhooks.verify_woocommerce(body, signature, ("a&amp;b&quot;c",))


def test_the_complete_shopify_example() -> None:
    """A1, formats 5.1: as its expectations say."""
    mapped = shopify.read(SHOPIFY, fixture_body("shopify_orders_create"), "shop")
    assert mapped.order_claim == ("shopify-order", "expedite-demo.myshopify.com|5912340771001")
    assert mapped.delivery_claim == ("shopify-delivery", "expedite-demo.myshopify.com|9b1e6c1a")
    content = content_of(mapped)
    assert content.placed_at == datetime(2026, 11, 23, 17, 14, 30, tzinfo=UTC)
    assert (content.amount, content.currency, content.payment_state) == (Decimal("488.97"), "USD", "paid")
    assert [(x.quantity, x.sku, x.unit_price) for x in content.lines] == [
        (2, "OXY-REG-02", Decimal("189")), (3, "CAN-10-AD", Decimal("14.5")),
    ]  # fmt: skip
    assert content.shipping_method[0] == "EXPRESS_NEXT_DAY"
    assert content.promise_by == datetime(2026, 11, 25, 7, 59, 59, tzinfo=UTC)  # end of the 24th in Seattle
    assert content.tags == ("urgent", "clinic")
    assert (content.customer.level, content.customer.language) == ("vip", "en")
    assert codes(content, "OXY-REG-02", "CAN-10-AD") == []
    assert Channel(id="shop", code="SH").urgent(content)


@pytest.mark.parametrize("removed", [False, True])
def test_shopify_without_customer_data_is_accepted(removed: bool) -> None:
    """Traps 7 and 9, formats 5.2: null or absent names, phone and addresses give the same; money in shop currency."""
    order = json.loads(fixture_body("shopify_orders_create_no_address"))
    if removed:
        for name in ("phone", "shipping_address", "billing_address"):
            del order[name]
    content = content_of(shopify.read(SHOPIFY, json.dumps(order).encode(), "shop"))
    assert (content.amount, content.currency, content.payment_state) == (Decimal(108), "USD", "authorized")
    assert content.tags == ("rush", "wholesale")
    assert (content.customer.email, content.customer.phone) == ("ward.desk@example.com", None)
    assert codes(content, "GLV-NIT-M") == ["name_missing", "address_missing"]


def test_the_woocommerce_example() -> None:
    """A1, formats 5.3: phone from billing, no SKU falls back to the product id, urgency from note, title and meta."""
    mapped = woocommerce.read(WOO, fixture_body("woocommerce_order_created"), "woo")
    assert mapped.order_claim == ("woocommerce-order", "https://shop.example.com|48213")
    content = content_of(mapped)
    assert content.placed_at == datetime(2026, 11, 23, 15, 5, 41, tzinfo=UTC)
    assert (content.amount, content.currency, content.payment_state) == (Decimal("157.86"), "CAD", "paid")
    assert content.customer.phone == "+1 416 555 0147"
    assert [(x.sku, x.quantity, x.unit_price) for x in content.lines] == [
        ("IPF-SET-4", 4, Decimal("19.95")), ("2230", 10, Decimal("4.5")),
    ]  # fmt: skip
    assert content.shipping_method == ("flat_rate", "Express 24 h")
    assert content.tags == ("urgent",)
    assert content.promise_by == datetime(2026, 11, 25, 4, 59, 59, tzinfo=UTC)  # end of the 24th in Toronto
    assert codes(content, "IPF-SET-4", "2230") == []


@pytest.mark.parametrize(
    ("changes", "urgent"),
    [
        ({"customer_note": "", "meta_data": []}, False),
        ({"customer_note": "not insurgent", "meta_data": None}, False),
        ({"customer_note": "请加急", "meta_data": []}, True),
        ({"customer_note": "", "meta_data": [{"key": "_is_urgent", "value": "yes"}]}, True),
        ({"customer_note": "", "meta_data": [{"key": "_is_urgent", "value": {"odd": 1}}]}, False),
    ],
)
def test_woo_urgency_comes_from_note_and_meta(changes: dict[str, Any], urgent: bool) -> None:
    """Trap 8: WooCommerce has no tags."""
    content = content_of(woocommerce.read(WOO, woo_order(**changes), "woo"))
    assert ("urgent" in content.tags) is urgent


def test_woo_deliveries_are_known_by_what_they_are_about() -> None:
    """Trap 1: the delivery id is not unique; source, order, topic and time of modification are."""
    one = woocommerce.read(WOO, woo_order(), "woo").delivery_claim
    same = woocommerce.read(WOO | {"x-wc-webhook-delivery-id": "other"}, woo_order(), "woo").delivery_claim
    later = woocommerce.read(WOO, woo_order(date_modified_gmt="2026-11-23T15:06:00"), "woo").delivery_claim
    other = woocommerce.read(WOO, woo_order(id=48214), "woo").delivery_claim
    assert one == same
    assert len({one, later, other}) == 3


@pytest.mark.parametrize(
    ("status", "action"),
    [("processing", "order"), ("pending", "order"), ("cancelled", "cancel"), ("checkout-draft", "ignore")],
)
def test_woo_updates_create_cancel_or_are_no_order_yet(status: str, action: str) -> None:
    """Trap 4: order.updated for an unseen order is a create; the status cancels."""
    updated = WOO | {"x-wc-webhook-topic": "order.updated"}
    mapped = woocommerce.read(updated, woo_order(status=status), "woo")
    assert mapped.action == action


def test_woo_ships_to_billing_when_shipping_is_empty() -> None:
    """Formats 2.3"""
    content = content_of(woocommerce.read(WOO, woo_order(shipping={"address_1": ""}), "woo"))
    assert content.customer.ship_to is not None
    assert content.customer.ship_to.line1 == "120 Harbour Row"


@pytest.mark.parametrize(
    ("financial", "total", "state"),
    [("paid", "1", "paid"), ("authorized", "1", "authorized"), ("pending", "1", "unpaid"),
     ("partially_paid", "1", "unpaid"), (None, "1", "unpaid"), (None, "0.00", "paid"), ("voided", "1", "unpaid")],
)  # fmt: skip
def test_payment_of_a_shopify_order(financial: str | None, total: str, state: str) -> None:
    """A5"""
    body = shop_order(financial_status=financial, total_price=total)
    assert content_of(shopify.read(SHOPIFY, body, "shop")).payment_state == state


def test_what_is_not_shipped_is_no_line() -> None:
    """Formats 2.3: requires_shipping."""
    lines = json.loads(fixture_body("shopify_orders_create"))["line_items"]
    lines[0]["requires_shipping"] = False
    content = content_of(shopify.read(SHOPIFY, shop_order(line_items=lines), "shop"))
    assert [(x.line, x.sku) for x in content.lines] == [(1, "CAN-10-AD")]
    lines[1]["requires_shipping"] = False
    assert shopify.read(SHOPIFY, shop_order(line_items=lines), "shop").action == "ignore"


@pytest.mark.parametrize("topic", ["orders/updated", "customers/redact", "", "order.deleted"])
def test_other_topics_are_left_alone(topic: str) -> None:
    """A1: an unknown topic is no order, and its body is not read."""
    assert shopify.read(SHOPIFY | {"x-shopify-topic": topic}, b"not json", "shop").action == "ignore"
    assert woocommerce.read(WOO | {"x-wc-webhook-topic": topic}, b"not json", "woo").action == "ignore"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "/"), (b"[]", "/"), (b"null", "/"), (b'{"id":1', "/"), (b"\xff\xfe", "/"), (b'{"id": NaN}', "/"),
        (b"[" * 50_000, "/"), (b"{}", "/id"), (b'{"id": null}', "/id"), (b'{"id": true}', "/id"),
        (b'{"id": {"a": 1}}', "/id"), (b'{"id": 1, "line_items": 3}', "/line_items"),
        (b'{"id": 1, "line_items": [3]}', "/line_items"),
        (b'{"id": 1, "line_items": [{"quantity": "many"}]}', "/line_items/0/quantity"),
        (b'{"id": 1, "line_items": [{"quantity": 1.5}]}', "/line_items/0/quantity"),
        (b'{"id": 1, "line_items": [{"quantity": 1e400}]}', "/line_items/0/quantity"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_order_says_where(body: bytes, where: str) -> None:
    """A4: unmappable bodies are named, never guessed."""
    for adapter, headers in ((shopify, SHOPIFY), (woocommerce, WOO)):
        with pytest.raises(Unmappable) as error:
            adapter.read(headers, body, "x")
        assert str(error.value).startswith(where)


def test_an_amount_that_is_none_says_where() -> None:
    """Trap 9"""
    with pytest.raises(Unmappable, match="/total_price: not an amount"):
        shopify.read(SHOPIFY, shop_order(total_price="free"), "shop")
    with pytest.raises(Unmappable, match="/total: not an amount"):
        woocommerce.read(WOO, woo_order(total="NaN"), "woo")


def test_the_rest_wrapper_is_not_a_webhook() -> None:
    """Trap 6: the webhook body is the bare order."""
    wrapped = json.dumps({"order": json.loads(fixture_body("shopify_orders_create"))}).encode()
    with pytest.raises(Unmappable, match="bare order"):
        shopify.read(SHOPIFY, wrapped, "shop")


@pytest.mark.parametrize("odd", [7, True, [], {}, None, "", "   "])
def test_oddly_typed_optional_fields_never_lose_an_order(odd: Any) -> None:
    """A4: an adapter requires nothing that the reference does not promise."""
    shop = shop_order(
        processed_at=odd, created_at=odd, tags=odd, note=odd, customer=odd, customer_locale=odd, currency=odd,
        shipping_address=odd, financial_status=odd, email=odd, phone=odd,
    )  # fmt: skip
    mapped = shopify.read(SHOPIFY, shop, "shop")
    assert "time_missing" in codes(content_of(mapped))
    woo = woo_order(billing=odd, shipping=odd, date_created_gmt=odd, date_created=odd, customer_note=odd, currency=odd)
    assert "time_missing" in codes(content_of(woocommerce.read(WOO, woo, "woo")))


def test_text_that_cannot_be_stored_is_taken_out() -> None:
    """A4: NUL and lone surrogates would be refused by the database, and the order lost."""
    assert parse(b'{"a\\u0000": ["x\\u0000y", {"z": "\\ud800"}]}') == {"a": ["xy", {"z": ""}]}


def test_the_ping_is_a_form_with_a_number() -> None:
    """Formats 2.1: the only unsigned body that is answered."""
    form = "application/x-www-form-urlencoded; charset=UTF-8"
    assert woocommerce.is_ping(form, b"webhook_id=17")
    assert not woocommerce.is_ping("application/json", b"webhook_id=17")
    assert not woocommerce.is_ping(form, b"webhook_id=17&order=1")


@pytest.mark.parametrize("text", ["9999-12-31", "9998-01-01", "2200-01-01", "1999-12-31", "0001-01-01"])
def test_a_date_nobody_can_plan_with_is_no_promise(text: str) -> None:
    """B1, I3: the planner adds hours to a promised date; at the end of the calendar it would stop there for good."""
    assert end_of_day(text, UTC) is None
    assert end_of_day("2199-12-31", UTC) == datetime(2199, 12, 31, 23, 59, 59, tzinfo=UTC)
