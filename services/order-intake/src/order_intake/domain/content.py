"""What a channel said about an order, in one form for all channels.

Everything a person may have left out or got wrong is optional here: an incomplete order is accepted and completed later
(A4). Only what cannot be represented at all (a quantity that is text) is refused before this point.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from expedite_events import Units, Value

MAX_QUANTITY = 100_000  # units of one line that can be numbered
URGENT_TAGS = frozenset({"urgent", "加急"})
CUSTOM_TAGS = frozenset({"custom", "定制"})
CARRIER_TAG = re.compile(r"carrier:\s*(?P<carrier>\S.*)", re.IGNORECASE)
LEVELS = ("diamond", "platinum", "gold", "silver", "vip")
_CENT_OF_CENT = Decimal("0.0001")
_AMOUNT_LIMIT = Decimal(10) ** 10


class DraftAddress(Value):
    """A delivery address as given; any part may be missing."""

    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postcode: str | None = None
    country: str | None = None


class DraftCustomer(Value):
    """A customer as given; any part may be missing."""

    name: str | None = None
    email: str | None = None
    phone: str | None = None
    language: str | None = None
    company: str | None = None
    level: str | None = None
    ship_to: DraftAddress | None = None


class DraftLine(Value):
    """A line as given. Line numbers are given once and never reused; a removed line keeps its number."""

    line: int
    sku: str | None = None
    name: str | None = None
    quantity: int | None = None
    unit_price: Decimal = Decimal(0)
    custom: bool = False
    removed: bool = False

    @property
    def units(self) -> Units:
        """The units this line numbers: none while its quantity is not one that can be delivered."""
        valid = not self.removed and self.quantity is not None and 1 <= self.quantity <= MAX_QUANTITY
        return Units.quantity(self.line, self.quantity or 0) if valid else Units()


class Content(Value):
    """A whole order as a channel said it."""

    external_id: str | None = None
    external_number: str | None = None
    reference: str | None = None
    placed_at: datetime | None = None
    currency: str = "USD"
    total: Decimal | None = None  # what the channel charged; the sum of the lines when it did not say
    payment_state: str = "paid"  # paid, authorized, unpaid
    customer: DraftCustomer = DraftCustomer()
    lines: tuple[DraftLine, ...] = ()
    tags: tuple[str, ...] = ()
    shipping_method: tuple[str, ...] = ()  # codes and titles, any of which may be mapped
    carrier_preference: str | None = None
    partial_shipment: bool = True
    promise_by: datetime | None = None
    note: str | None = None
    test: bool = False

    @property
    def live_lines(self) -> tuple[DraftLine, ...]:
        return tuple(line for line in self.lines if not line.removed)

    @property
    def amount(self) -> Decimal:
        """The order's total: as charged, else the sum of its lines."""
        if self.total is not None:
            return self.total
        return sum((line.unit_price * (line.quantity or 0) for line in self.live_lines), Decimal(0))

    @property
    def quantity(self) -> int:
        return sum(max(line.quantity or 0, 0) for line in self.live_lines)

    @property
    def custom(self) -> bool:
        """Whether anything of it is made to order (定制)."""
        return _has(self.tags, CUSTOM_TAGS) or any(line.custom for line in self.live_lines)

    @property
    def urgent_tag(self) -> bool:
        return _has(self.tags, URGENT_TAGS)

    @property
    def fingerprint(self) -> str | None:
        """Equal for orders of the same goods for the same person and place, whatever their ids; None when too little
        is known about the person to compare."""
        who, to = self.customer, self.customer.ship_to or DraftAddress()
        contact = [_folded(who.name), _folded(who.email), _folded(who.phone)]
        goods = sorted((_folded(line.sku), line.quantity or 0) for line in self.live_lines)
        if not any(contact) or not goods:
            return None
        place = [_folded(part) for part in (to.line1, to.city, to.postcode, to.country)]
        return digest([contact, place, goods])


def normalised(content: Content) -> Content:
    """Text trimmed (blank is missing), tags cleaned, repeated lines merged, a carrier named in a tag taken over."""
    tags = tuple(dict.fromkeys(tag for raw in content.tags if (tag := raw.strip())))
    preference = text(content.carrier_preference) or next(
        (found["carrier"].strip() for tag in tags if (found := CARRIER_TAG.fullmatch(tag))), None
    )
    return content.model_copy(
        update={
            "tags": tags,
            "carrier_preference": preference,
            "currency": content.currency.strip().upper(),
            "customer": clean_customer(content.customer),
            "lines": merged(content.lines),
        }
    )


def clean_customer(customer: DraftCustomer) -> DraftCustomer:
    """Blank parts are missing parts; the country is upper case, the language its primary tag (`en-US` is `en`)."""
    parts = {name: text(getattr(customer, name)) for name in DraftCustomer.model_fields if name != "ship_to"}
    if parts["language"]:
        parts["language"] = re.split("[-_]", parts["language"])[0].lower()
    address = None
    if customer.ship_to is not None:
        found = {name: text(getattr(customer.ship_to, name)) for name in DraftAddress.model_fields}
        found["country"] = found["country"].upper() if found["country"] else None
        address = DraftAddress(**found) if any(found.values()) else None
    return DraftCustomer(**parts, ship_to=address)


def merged(lines: Iterable[DraftLine]) -> tuple[DraftLine, ...]:
    """Lines of the same goods at the same price become one; numbered from 1 in the order given. A line whose quantity
    is not positive stays alone, so that its problem can be named."""
    kept: list[DraftLine] = []
    for line in lines:
        line = line.model_copy(update={"sku": text(line.sku), "name": text(line.name)})
        same = next((n for n, other in enumerate(kept) if _mergeable(other, line)), None)
        if same is None:
            kept.append(line.model_copy(update={"line": len(kept) + 1}))
        else:
            total = (kept[same].quantity or 0) + (line.quantity or 0)
            kept[same] = kept[same].model_copy(update={"quantity": total})
    return tuple(kept)


def _mergeable(one: DraftLine, other: DraftLine) -> bool:
    return (
        one.sku is not None
        and (one.sku, one.unit_price, one.custom) == (other.sku, other.unit_price, other.custom)
        and (one.quantity or 0) >= 1
        and (other.quantity or 0) >= 1
    )


def money(value: Any) -> Decimal:
    """An amount from a string or an integer, at most four decimals; ValueError for anything that is not one. Floats go
    through their shortest text, so that 19.95 stays 19.95."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"{value!r} is not an amount")
    try:
        amount = Decimal(str(value).strip())
        if not amount.is_finite() or abs(amount) >= _AMOUNT_LIMIT:
            raise ValueError(f"{value!r} is not an amount")
        return amount.quantize(_CENT_OF_CENT).normalize() + Decimal(0)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not an amount") from None


def text(value: str | None) -> str | None:
    """Trimmed text, or None when nothing is left."""
    return (value or "").strip() or None


def digest(value: Any) -> str:
    """A stable hash of plain JSON data."""
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(plain.encode()).hexdigest()


def _has(tags: Iterable[str], wanted: frozenset[str]) -> bool:
    return any(tag.strip().casefold() in wanted for tag in tags)


def _folded(value: str | None) -> str:
    return " ".join((value or "").casefold().split())
