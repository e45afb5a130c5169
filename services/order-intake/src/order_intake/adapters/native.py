"""The native JSON of an order: every field has one name and one type; values may be missing or wrong, which verification
names (A4). Unknown fields are refused, so that a misspelt one is not silently lost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt

from expedite_chassis import Amount, Instant, Written, storable
from order_intake.domain.channel import CHANNEL_ID
from order_intake.domain.content import Content, DraftAddress, DraftCustomer, DraftLine, digest, in_utc

Short = Annotated[str, Field(max_length=200), AfterValidator(storable)]
Long = Annotated[str, Field(max_length=2000), AfterValidator(storable)]
Count = Annotated[StrictInt, Field(ge=-(10**9), le=10**9)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def given(model: BaseModel) -> dict[str, Any]:
    """The fields that were given, by name."""
    names = model.__pydantic_fields_set__
    return {name: value for name, value in model.__dict__.items() if name in names}


class NativeAddress(_Strict):
    """Where to deliver. `country` is ISO 3166-1 alpha-2."""

    line1: Short | None = None
    line2: Short | None = None
    city: Short | None = None
    region: Short | None = None
    postcode: Short | None = None
    country: Short | None = None


class NativeCustomer(_Strict):
    """Who ordered. Phone or e-mail is needed; `language` is BCP 47; `level` the channel's own class (diamond, vip)."""

    name: Short | None = None
    email: Annotated[str, Field(max_length=320), AfterValidator(storable)] | None = None
    phone: Short | None = None
    language: Short | None = None
    company: Short | None = None
    level: Short | None = None
    ship_to: NativeAddress | None = None

    def draft(self) -> DraftCustomer:
        """As canonical content."""
        fields = given(self)
        if self.ship_to is not None:
            fields["ship_to"] = DraftAddress(**given(self.ship_to))
        return DraftCustomer(**fields)


class NativeLine(_Strict):
    """One ordered line."""

    sku: Short | None = None
    name: Short | None = None
    quantity: Count | None = None
    unit_price: Amount = Decimal(0)
    custom: StrictBool = False

    def draft(self, number: int) -> DraftLine:
        """As canonical content."""
        return DraftLine(line=number, **given(self))


_SAID_ALIKE = frozenset(
    (
        "currency",
        "total",
        "payment_state",
        "tags",
        "carrier_preference",
        "partial_shipment",
        "promise_by",
        "note",
        "test",
    )
)


class NativeOrder(_Strict):
    """An order as a channel posts it. `reference` is the channel's own id of the order: the same reference again is the
    same order. Without `placed_at` the order was placed when it was posted."""

    channel: Annotated[str, Field(pattern=CHANNEL_ID)]
    reference: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)] | None = None
    placed_at: Written | None = None
    currency: Short = "USD"
    total: Amount | None = None
    payment_state: Literal["paid", "authorized", "unpaid"] = "paid"
    customer: NativeCustomer = NativeCustomer()
    lines: Annotated[tuple[NativeLine, ...], Field(max_length=2000)] = ()
    tags: Annotated[tuple[Short, ...], Field(max_length=100)] = ()
    shipping_method: Short | None = None
    carrier_preference: Short | None = None
    partial_shipment: StrictBool = True
    promise_by: Instant | None = None
    note: Long | None = None
    test: StrictBool = False

    def content(self, now: datetime | None = None) -> Content:
        """The canonical content. Without a time of its own the order was placed `now` (business time)."""
        fields = {name: value for name, value in given(self).items() if name in _SAID_ALIKE}
        placed_at = self.placed_at or now
        if placed_at:
            fields["placed_at"] = in_utc(placed_at)
        if self.reference:
            fields |= {"external_id": self.reference, "reference": self.reference}
        if self.shipping_method:
            fields["shipping_method"] = (self.shipping_method,)
        lines = tuple([line.draft(number) for number, line in enumerate(self.lines, 1)])
        return Content(customer=self.customer.draft(), lines=lines, **fields)

    @property
    def fingerprint(self) -> str:
        """Equal exactly when the same order was said."""
        return digest(self.model_dump_json().encode())
