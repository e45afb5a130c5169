"""Orders as shops send them: the native JSON, Shopify's `orders/create`, WooCommerce's `order.created`, really signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
import zlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from expedite_local.demo.invoices import PlannedOrder

CURRENCY = "GBP"


@dataclass(frozen=True)
class Posting:
    """One HTTP request of a shop: path below order-intake's URL, headers, the exact bytes that were signed."""

    path: str
    headers: dict[str, str]
    body: bytes


def external_id(reference: str) -> int:
    """A shop's numeric order id for our reference: stable, positive, 13 digits."""
    return 5_000_000_000_000 + zlib.crc32(reference.encode()) * 100 + len(reference)


def posting(order: PlannedOrder, now: datetime, api_key: str, secrets: dict[str, str]) -> Posting:
    """The request that brings this order in. `secrets` holds the signing secret per webhook format."""
    if order.format == "shopify":
        return _shopify(order, now, secrets["shopify"])
    if order.format == "woocommerce":
        return _woocommerce(order, now, secrets["woocommerce"])
    body = json.dumps(native(order, now), ensure_ascii=False).encode()
    headers = {
        "authorization": f"Bearer {api_key}",
        "content-type": "application/json",
        "idempotency-key": f"demo-order-{order.reference}",
    }
    return Posting("/orders", headers, body)


def cancellation(order: PlannedOrder, now: datetime, secrets: dict[str, str]) -> Posting | None:
    """A whole cancellation as the shop's own software says it; None for native orders, which use the API."""
    if order.format == "shopify":
        body = {**shopify(order, now), "cancelled_at": now.isoformat(), "cancel_reason": "customer"}
        return _shopify_posting(body, order, "orders/cancelled", secrets["shopify"])
    if order.format == "woocommerce":
        body = {**woocommerce(order, now), "status": "cancelled"}
        return _woo_posting(body, order, "updated", secrets["woocommerce"])
    return None


def _tags(order: PlannedOrder) -> list[str]:
    return [tag for tag, on in (("urgent", order.urgent), ("custom", order.custom)) if on]


def native(order: PlannedOrder, now: datetime) -> dict[str, Any]:
    person = order.person
    customer: dict[str, Any] = {
        "name": person.name, "email": person.email, "language": person.language,
        "ship_to": {"line1": person.line1, "city": person.city, "postcode": person.postcode, "country": person.country},
    }  # fmt: skip
    if person.region:
        customer["ship_to"]["region"] = person.region
    if person.level:
        customer["level"] = person.level
    if order.missing == "postcode":
        del customer["ship_to"]["postcode"]
    if order.missing == "contact":
        del customer["email"]
    lines = [
        {"sku": line.sku, "name": line.name, "quantity": line.quantity, "unit_price": str(line.unit_price)}
        for line in order.lines
    ]
    if order.missing == "sku":
        lines[0]["sku"] = f"{lines[0]['sku']}-OLD"
    return {
        "channel": order.channel, "reference": order.reference, "placed_at": now.isoformat(), "currency": CURRENCY,
        "total": str(order.total), "payment_state": "paid" if order.paid else "unpaid", "customer": customer,
        "lines": lines, "tags": _tags(order), "partial_shipment": order.partial_shipment,
    }  # fmt: skip


def shopify(order: PlannedOrder, now: datetime) -> dict[str, Any]:
    """Shopify's bare order object: the fields a real one has and an adapter may rely on."""
    person, number = order.person, external_id(order.reference)
    first, _, last = person.name.partition(" ")
    address: dict[str, Any] | None = {
        "first_name": first, "last_name": last or first, "name": person.name, "company": None, "address1": person.line1,
        "address2": None, "city": person.city, "province_code": person.region, "zip": person.postcode,
        "country_code": person.country, "phone": None,
    }  # fmt: skip
    if order.missing == "postcode":
        address = None
    email = None if order.missing == "contact" else person.email
    skus = [line.sku for line in order.lines]
    if order.missing == "sku":
        skus[0] += "-OLD"
    return {
        "id": number, "admin_graphql_api_id": f"gid://shopify/Order/{number}", "name": f"#{number % 100000}",
        "order_number": number % 100000, "test": False, "created_at": now.isoformat(), "processed_at": now.isoformat(),
        "updated_at": now.isoformat(), "cancelled_at": None, "cancel_reason": None, "email": email,
        "contact_email": email, "phone": None, "currency": CURRENCY, "presentment_currency": CURRENCY,
        "total_price": str(order.total), "subtotal_price": str(order.total), "total_tax": "0.00",
        "financial_status": "paid" if order.paid else "pending", "fulfillment_status": None,
        "customer_locale": "zh-CN" if person.language == "zh" else "en-GB", "note": None, "note_attributes": [],
        "tags": ", ".join(_tags(order)),
        "customer": {"id": number - 7, "email": email, "first_name": first, "last_name": last or first,
                     "tags": person.level or ""},
        "billing_address": address, "shipping_address": address,
        "shipping_lines": [{"code": "EXPRESS_NEXT_DAY" if order.urgent else "STANDARD", "title": "Delivery",
                            "source": "shopify", "price": "0.00"}],
        "line_items": [
            {"id": number * 10 + n, "sku": sku, "title": line.name, "name": line.name, "quantity": line.quantity,
             "current_quantity": line.quantity, "fulfillable_quantity": line.quantity, "grams": 100,
             "requires_shipping": True, "price": str(line.unit_price), "properties": []}
            for n, (sku, line) in enumerate(zip(skus, order.lines, strict=True), 1)
        ],
    }  # fmt: skip


def _shopify(order: PlannedOrder, now: datetime, secret: str) -> Posting:
    return _shopify_posting(shopify(order, now), order, "orders/create", secret)


def _shopify_posting(body: dict[str, Any], order: PlannedOrder, topic: str, secret: str) -> Posting:
    raw = json.dumps(body, ensure_ascii=False).encode()
    headers = {
        "content-type": "application/json", "x-shopify-topic": topic,
        "x-shopify-shop-domain": "expedite-demo.myshopify.com", "x-shopify-api-version": "2026-07",
        "x-shopify-webhook-id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{topic}/{order.reference}")),
        "x-shopify-hmac-sha256": _base64_hmac(raw, secret),
    }  # fmt: skip
    return Posting(f"/webhooks/shopify/{order.channel}", headers, raw)


def woocommerce(order: PlannedOrder, now: datetime) -> dict[str, Any]:
    """WooCommerce's v3 order object."""
    person, number = order.person, external_id(order.reference)
    first, _, last = person.name.partition(" ")
    naive = now.replace(tzinfo=None).isoformat(timespec="seconds")
    address = {
        "first_name": first, "last_name": last or first, "company": "", "address_1": person.line1, "address_2": "",
        "city": person.city, "state": person.region or "", "postcode": person.postcode, "country": person.country,
    }  # fmt: skip
    if order.missing == "postcode":
        address["postcode"] = ""
    skus = [line.sku for line in order.lines]
    if order.missing == "sku":
        skus[0] += "-OLD"
    return {
        "id": number, "parent_id": 0, "number": str(number), "order_key": f"wc_order_{number}",
        "status": "processing" if order.paid else "pending", "currency": CURRENCY, "date_created": naive,
        "date_created_gmt": naive, "date_modified": naive, "date_modified_gmt": naive, "total": str(order.total),
        "customer_id": 0, "customer_note": "URGENT please" if order.urgent else "",
        "billing": {**address, "email": "" if order.missing == "contact" else person.email, "phone": ""},
        "shipping": {**address, "phone": ""},
        "line_items": [
            {"id": n, "name": line.name, "product_id": n, "variation_id": 0, "quantity": line.quantity, "sku": sku,
             "price": float(line.unit_price), "subtotal": str(line.unit_price * line.quantity),
             "total": str(line.unit_price * line.quantity), "meta_data": []}
            for n, (sku, line) in enumerate(zip(skus, order.lines, strict=True), 1)
        ],
        "shipping_lines": [{"id": 1, "method_title": "Delivery", "method_id": "express_24" if order.urgent else "flat_rate",
                            "total": "0.00"}],
        "meta_data": [{"id": 1, "key": "_language", "value": person.language}]
        + [{"id": 2 + n, "key": "tag", "value": tag} for n, tag in enumerate(_tags(order))],
    }  # fmt: skip


def _woocommerce(order: PlannedOrder, now: datetime, secret: str) -> Posting:
    return _woo_posting(woocommerce(order, now), order, "created", secret)


def _woo_posting(body: dict[str, Any], order: PlannedOrder, event: str, secret: str) -> Posting:
    raw = json.dumps(body, ensure_ascii=False).encode()
    headers = {
        "content-type": "application/json", "x-wc-webhook-topic": f"order.{event}", "x-wc-webhook-resource": "order",
        "x-wc-webhook-event": event, "x-wc-webhook-source": "https://shop.example.com/", "x-wc-webhook-id": "17",
        "x-wc-webhook-delivery-id": hashlib.md5(order.reference.encode(), usedforsecurity=False).hexdigest(),
        "x-wc-webhook-signature": _base64_hmac(raw, secret),
    }  # fmt: skip
    return Posting(f"/webhooks/woocommerce/{order.channel}", headers, raw)


SIGNATURES = {"shopify": "x-shopify-hmac-sha256", "woocommerce": "x-wc-webhook-signature"}


def signed(said: Posting, format_: str, secret: str) -> Posting:
    """The request with the signature of its present bytes."""
    return replace(said, headers={**said.headers, SIGNATURES[format_]: _base64_hmac(said.body, secret)})


def _base64_hmac(body: bytes, secret: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
