"""WooCommerce webhooks, unchanged (REST v3 order), signed by the shop."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal

from order_intake.adapters.fields import (
    Json,
    Mapped,
    Unmappable,
    amount,
    end_of_day,
    first,
    moment,
    order_id,
    parse,
    part,
    quantity,
    rows,
    text,
    yes,
)
from order_intake.domain.content import Content, DraftAddress, DraftCustomer, DraftLine

SIGNATURE = "x-wc-webhook-signature"
TOPIC = "x-wc-webhook-topic"
_PING = re.compile(rb"webhook_id=\d{1,20}")
_PAID = {"processing", "completed"}
_DEAD = {"cancelled", "refunded", "failed"}
_DRAFTS = {"checkout-draft", "auto-draft", "draft", "trash"}
_URGENT_NOTE = re.compile(r"\burgent\b|加急", re.IGNORECASE)
_URGENT_KEYS = {"_is_urgent", "is_urgent", "_urgent", "urgent"}
_DATE_KEYS = {"_requested_delivery_date", "requested_delivery_date", "_delivery_date", "delivery_date"}


def is_ping(content_type: str, body: bytes) -> bool:
    """The unsigned form that WooCommerce posts when a webhook is set up."""
    form = content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"
    return form and _PING.fullmatch(body.strip()) is not None


def read(headers: Mapping[str, str], body: bytes, channel_id: str) -> Mapped:
    """What a delivery asks for; raises `Unmappable`. The delivery id of WooCommerce is not unique (two orders of one
    second share it), so a delivery is known by source, order, topic and time of modification."""
    source = headers.get("x-wc-webhook-source", "").strip().rstrip("/").lower()[:200] or channel_id
    topic = headers.get(TOPIC, "").strip().lower()
    if topic not in ("order.created", "order.updated"):
        return Mapped("ignore", detail=f"topic {topic[:60] or '(none)'} is not handled")
    order = parse(body)
    number = order_id(order)
    modified = text(order, "date_modified_gmt") or hashlib.sha256(body).hexdigest()
    delivery = ("woocommerce-delivery", f"{source}|{number}|{topic}|{modified[:80]}")
    claim = ("woocommerce-order", f"{source}|{number}")
    status = (text(order, "status") or "").lower().removeprefix("wc-")
    if status in _DRAFTS:
        return Mapped("ignore", claim, delivery, detail=f"{status} is not an order yet")
    content = content_of(order)
    if status in _DEAD:
        return Mapped("cancel", claim, delivery, content, f"{status} in the shop")
    return Mapped("order", claim, delivery, content)


def content_of(order: Json) -> Content:
    """The canonical content. WooCommerce has no tags: urgency is read from the note and from meta data."""
    billing, shipping = part(order, "billing"), part(order, "shipping")
    meta = {str(text(item, "key")).casefold(): item.get("value") for item in rows(order, "meta_data")}
    note = text(order, "customer_note")
    urgent = any(yes(meta.get(key)) for key in _URGENT_KEYS) or _URGENT_NOTE.search(note or "")
    requested = next((str(meta[key]) for key in sorted(_DATE_KEYS) if key in meta), None)
    methods = rows(order, "shipping_lines")
    return Content(
        external_id=order_id(order),
        external_number=first(order, "number", "order_key"),
        placed_at=moment(text(order, "date_created_gmt"), UTC),
        currency=text(order, "currency") or "",
        total=amount(order, "total"),
        payment_state="paid" if (text(order, "status") or "").lower().removeprefix("wc-") in _PAID else "unpaid",
        customer=_customer(billing, shipping),
        lines=tuple(_lines(order)),
        tags=("urgent",) if urgent else (),
        shipping_method=tuple(
            name for line in methods for name in (text(line, "method_id"), text(line, "method_title")) if name
        ),
        promise_by=end_of_day(requested, _shop_zone(order)),
        note=note,
    )


def _shop_zone(order: Json) -> tzinfo:
    """The shop's UTC offset, from the two spellings of the same time."""
    try:
        local = datetime.fromisoformat(text(order, "date_created") or "").replace(tzinfo=None)
        gmt = datetime.fromisoformat(text(order, "date_created_gmt") or "").replace(tzinfo=None)
        return timezone(timedelta(minutes=round((local - gmt).total_seconds() / 60)))
    except (ValueError, OverflowError):
        return UTC


def _customer(billing: Json, shipping: Json) -> DraftCustomer:
    # A shop that ships to the billing address leaves the shipping fields empty.
    to = shipping if text(shipping, "address_1") else billing
    name = " ".join(part for part in (text(to, "first_name"), text(to, "last_name")) if part)
    buyer = " ".join(part for part in (text(billing, "first_name"), text(billing, "last_name")) if part)
    return DraftCustomer(
        name=name or buyer or None,
        email=text(billing, "email"),
        phone=text(shipping, "phone") or text(billing, "phone"),
        company=text(to, "company"),
        ship_to=DraftAddress(
            line1=text(to, "address_1"),
            line2=text(to, "address_2"),
            city=text(to, "city"),
            region=text(to, "state"),
            postcode=text(to, "postcode"),
            country=text(to, "country"),
        ),
    )


def _lines(order: Json) -> list[DraftLine]:
    found = []
    for index, line in enumerate(rows(order, "line_items")):
        where = f"/line_items/{index}"
        count = quantity(line, where)
        variation = text(line, "variation_id")
        found.append(
            DraftLine(
                line=index + 1,
                sku=text(line, "sku") or (variation if variation not in (None, "0") else text(line, "product_id")),
                name=text(line, "name"),
                quantity=count,
                unit_price=_unit_price(line, count, where),
            )
        )
    return found


def _unit_price(line: Json, count: int | None, where: str) -> Decimal:
    """From the line's total, which is text; `price` is a float rounded by the shop."""
    total = amount(line, "total", where)
    if total is None or not count:
        return Decimal(0)
    return (total / count).quantize(Decimal("0.0001")).normalize() + Decimal(0)


__all__ = ["SIGNATURE", "TOPIC", "Unmappable", "content_of", "is_ping", "read"]
