"""Native orders as nearly all are written, read at once: what a bulk upload's lines cost is what an order costs to post.

`NativeOrder` says what an order may be and names what is wrong with one. What is read here it would have read alike; all
else (amounts as numbers, text that cannot be stored, mistakes) is left to it.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder, encode

from expedite_chassis.inputs import suspect
from order_intake.domain.channel import CHANNEL_ID
from order_intake.domain.content import Content, DraftAddress, DraftCustomer, DraftLine, digest, in_utc

Short = Annotated[str, Meta(max_length=200)]
Amount = Annotated[str, Meta(pattern=r"^-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,4})?\Z")]  # as a Decimal is written
Moment = Annotated[datetime, Meta(tz=True)]
_FINER = re.compile(rb"\.[0-9]{7}")  # than microseconds: rounded here, cut off there
_YEARS = range(1970, 2200)  # of `Instant`


class _Strict(Struct, frozen=True, forbid_unknown_fields=True):
    """Its fields stand in the order of the model of the same name: `fingerprint` is of its JSON."""


class PlainAddress(_Strict, frozen=True):
    line1: Short | None = None
    line2: Short | None = None
    city: Short | None = None
    region: Short | None = None
    postcode: Short | None = None
    country: Short | None = None


class PlainCustomer(_Strict, frozen=True):
    name: Short | None = None
    email: Annotated[str, Meta(max_length=320)] | None = None
    phone: Short | None = None
    language: Short | None = None
    company: Short | None = None
    level: Short | None = None
    ship_to: PlainAddress | None = None

    def draft(self) -> DraftCustomer:
        """As canonical content."""
        to = self.ship_to
        return DraftCustomer(
            name=self.name, email=self.email, phone=self.phone, language=self.language, company=self.company,
            level=self.level,
            ship_to=DraftAddress(
                line1=to.line1, line2=to.line2, city=to.city, region=to.region, postcode=to.postcode,
                country=to.country,
            ) if to else None,
        )  # fmt: skip


class PlainLine(_Strict, frozen=True):
    sku: Short | None = None
    name: Short | None = None
    quantity: Annotated[int, Meta(ge=-(10**9), le=10**9)] | None = None
    unit_price: Amount = "0"
    custom: bool = False

    def draft(self, number: int) -> DraftLine:
        """As canonical content."""
        return DraftLine(
            line=number, sku=self.sku, name=self.name, quantity=self.quantity, unit_price=Decimal(self.unit_price),
            custom=self.custom,
        )  # fmt: skip


class PlainOrder(_Strict, frozen=True, kw_only=True):
    """What `NativeOrder` is for an order that is written plainly."""

    channel: Annotated[str, Meta(pattern=CHANNEL_ID.removesuffix("$") + r"\Z")]
    reference: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    placed_at: Moment | None = None
    currency: Short = "USD"
    total: Amount | None = None
    payment_state: Literal["paid", "authorized", "unpaid"] = "paid"
    customer: PlainCustomer = PlainCustomer()
    lines: Annotated[tuple[PlainLine, ...], Meta(max_length=2000)] = ()
    tags: Annotated[tuple[Short, ...], Meta(max_length=100)] = ()
    shipping_method: Short | None = None
    carrier_preference: Short | None = None
    partial_shipment: bool = True
    promise_by: Moment | None = None
    note: Annotated[str, Meta(max_length=2000)] | None = None
    test: bool = False

    def content(self) -> Content:
        """The canonical content."""
        reference = self.reference or None
        return Content(
            external_id=reference,
            reference=reference,
            placed_at=self.placed_at and in_utc(self.placed_at),
            currency=self.currency,
            total=None if self.total is None else Decimal(self.total),
            payment_state=self.payment_state,
            customer=self.customer.draft(),
            lines=tuple([line.draft(number) for number, line in enumerate(self.lines, 1)]),
            tags=self.tags,
            shipping_method=(self.shipping_method,) if self.shipping_method else (),
            carrier_preference=self.carrier_preference,
            partial_shipment=self.partial_shipment,
            promise_by=self.promise_by,
            note=self.note,
            test=self.test,
        )

    @property
    def fingerprint(self) -> str:
        """That of the same order as a `NativeOrder`."""
        return digest(encode(self))


_decoder: Decoder[Any] = Decoder(PlainOrder)


def read_plain(text: bytes) -> PlainOrder | None:
    """The order of a JSON text; None when it is not written plainly, or is none."""
    if b"\\u" in text and suspect(text):
        return None
    try:
        order: PlainOrder = _decoder.decode(text)
    except (MsgspecError, UnicodeDecodeError):
        return None
    if (order.placed_at or order.promise_by) and _FINER.search(text):
        return None
    return order if order.promise_by is None or order.promise_by.year in _YEARS else None
