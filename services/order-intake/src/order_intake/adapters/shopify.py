"""Shopify webhooks, unchanged: the bare order object, signed by the shop."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from order_intake.adapters.fields import (
    Json,
    Mapped,
    Unmappable,
    amount,
    end_of_day,
    first,
    moment,
    offset_of,
    order_id,
    parse,
    part,
    quantity,
    rows,
    text,
)
from order_intake.domain.content import LEVELS, Content, DraftAddress, DraftCustomer, DraftLine

SIGNATURE = "x-shopify-hmac-sha256"
TOPIC = "x-shopify-topic"
_PAID = {"paid": "paid", "authorized": "authorized"}
_ACTIONS = {"orders/create": "order", "orders/paid": "order", "orders/cancelled": "cancel"}


def read(headers: Mapping[str, str], body: bytes, channel_id: str) -> Mapped:
    """What a delivery asks for; raises `Unmappable`. The shop's domain belongs to the identity: order ids of two shops
    may be equal."""
    shop = headers.get("x-shopify-shop-domain", "").strip().lower()[:200] or channel_id
    webhook_id = headers.get("x-shopify-webhook-id", "").strip()[:200]
    topic = headers.get(TOPIC, "").strip().lower()
    delivery = ("shopify-delivery", f"{shop}|{webhook_id}") if webhook_id else None
    action = _ACTIONS.get(topic)
    if action is None:
        return Mapped("ignore", delivery_claim=delivery, detail=f"topic {topic[:60] or '(none)'} is not handled")
    order = parse(body)
    if set(order) == {"order"}:
        raise Unmappable("the webhook body is the bare order, without the wrapper of the REST API", "/order")
    claim = ("shopify-order", f"{shop}|{order_id(order)}")
    content = content_of(order)
    if action == "order" and not content.lines and rows(order, "line_items"):
        return Mapped("ignore", claim, delivery, detail="nothing in this order is shipped")
    if action == "cancel" and text(order, "cancelled_at") is None:
        # The topic is not signed: a replayed order must not become a cancellation by another header.
        raise Unmappable("the order does not say that it was cancelled", "/cancelled_at")
    detail = text(order, "cancel_reason") if action == "cancel" else None
    return Mapped(action, claim, delivery, content, detail)


def content_of(order: Json) -> Content:
    """The canonical content. Names, phone and addresses may all be null: shops without access to protected customer
    data send them so."""
    shipping = rows(order, "shipping_lines")
    notes = {str(text(note, "name")).casefold(): text(note, "value") for note in rows(order, "note_attributes")}
    placed = first(order, "processed_at", "created_at")
    return Content(
        external_id=order_id(order),
        external_number=first(order, "name", "order_number"),
        placed_at=moment(placed),
        currency=text(order, "currency") or "",
        total=amount(order, "total_price"),
        payment_state=_payment(order),
        customer=_customer(order),
        lines=tuple(_lines(order)),
        tags=tuple((text(order, "tags") or "").split(",")),
        shipping_method=tuple(name for line in shipping for name in (text(line, "code"), text(line, "title")) if name),
        promise_by=end_of_day(notes.get("delivery_date"), offset_of(placed)),
        note=text(order, "note"),
        test=order.get("test") is True,
    )


def _payment(order: Json) -> str:
    total = amount(order, "total_price")
    if total is not None and total == 0:
        return "paid"
    return _PAID.get((text(order, "financial_status") or "").lower(), "unpaid")


def _customer(order: Json) -> DraftCustomer:
    customer, to = part(order, "customer"), part(order, "shipping_address")
    full = " ".join(name for name in (text(customer, "first_name"), text(customer, "last_name")) if name)
    tags = {tag.strip().casefold() for tag in (text(customer, "tags") or "").split(",")}
    return DraftCustomer(
        name=first(to, "name") or full or text(part(order, "billing_address"), "name"),
        email=first(order, "email", "contact_email") or text(customer, "email"),
        phone=text(order, "phone") or text(to, "phone") or text(customer, "phone"),
        language=text(order, "customer_locale"),
        company=text(to, "company"),
        level=next((level for level in LEVELS if level in tags), None),
        ship_to=_address(to) if to else None,
    )


def _address(to: Json) -> DraftAddress:
    return DraftAddress(
        line1=text(to, "address1"),
        line2=text(to, "address2"),
        city=text(to, "city"),
        region=first(to, "province_code", "province"),
        postcode=text(to, "zip"),
        country=text(to, "country_code"),
    )


def _lines(order: Json) -> list[DraftLine]:
    found = []
    for index, line in enumerate(rows(order, "line_items")):
        if line.get("requires_shipping") is False:
            continue
        where = f"/line_items/{index}"
        found.append(
            DraftLine(
                line=index + 1,
                sku=first(line, "sku", "variant_id", "product_id"),
                name=first(line, "name", "title"),
                quantity=quantity(line, where),
                unit_price=amount(line, "price", where) or Decimal(0),
            )
        )
    return found
