"""What a channel said about an order, in one form for all channels.

Everything a person may have left out or got wrong is optional here: an incomplete order is accepted and completed later
(A4). Only what cannot be represented at all (a quantity that is text) is refused before this point.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from expedite_events import Units, Value

MAX_QUANTITY = 100_000  # units of one line that can be numbered
AMOUNT_LIMIT = Decimal(10) ** 10
URGENT_TAGS = frozenset({"urgent", "加急"})
CUSTOM_TAGS = frozenset({"custom", "定制"})
CARRIER_TAG = re.compile(r"carrier:\s*(?P<carrier>\S.*)", re.IGNORECASE)
LEVELS = ("diamond", "platinum", "gold", "silver", "vip")
_CENT_OF_CENT = Decimal("0.0001")
_ZERO = Decimal(0)


class DraftAddress(Value):
    """A delivery address as given; any part may be missing."""

    line1: str | None = None
    line2: str | None = None
    city: str | None = None
    region: str | None = None
    postcode: str | None = None
    country: str | None = None


_NOWHERE = DraftAddress()


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
        lines = self.lines
        for line in lines:
            if line.removed:
                return tuple([line for line in lines if not line.removed])
        return lines

    @property
    def amount(self) -> Decimal:
        """The order's total: as charged, else the sum of its lines."""
        if self.total is not None:
            return self.total
        return sum([line.unit_price * (line.quantity or 0) for line in self.live_lines], _ZERO)

    @property
    def quantity(self) -> int:
        return sum(max(line.quantity or 0, 0) for line in self.live_lines)

    @property
    def custom(self) -> bool:
        """Whether anything of it is made to order (定制)."""
        return _has(self.tags, CUSTOM_TAGS) or True in [line.custom for line in self.live_lines]

    @property
    def urgent_tag(self) -> bool:
        return _has(self.tags, URGENT_TAGS)

    @property
    def fingerprint(self) -> str | None:
        """Equal for orders of the same goods for the same person and place, whatever their ids; None when too little
        is known about the person to compare."""
        who, to = self.customer, self.customer.ship_to or _NOWHERE
        contact = [_folded(who.name), _folded(who.email), _folded(who.phone)]
        goods = sorted([(_folded(line.sku), line.quantity or 0) for line in self.live_lines])
        if not any(contact) or not goods:
            return None
        place = [_folded(to.line1), _folded(to.city), _folded(to.postcode), _folded(to.country)]
        # Folded text holds no separator: it counts as white space and was folded away.
        return digest("\x1f".join([*contact, *place, *[f"{sku}\x1f{quantity}" for sku, quantity in goods]]).encode())


def normalised(content: Content) -> Content:
    """Text trimmed (blank is missing), tags cleaned, repeated lines merged, a carrier named in a tag taken over."""
    tags = tuple(dict.fromkeys([tag for raw in content.tags if (tag := raw.strip())]))
    return content.put(
        tags=tags,
        carrier_preference=text(content.carrier_preference) or _carrier_in(tags),
        currency=content.currency.strip().upper(),
        customer=clean_customer(content.customer),
        lines=merged(content.lines),
    )


def _carrier_in(tags: Iterable[str]) -> str | None:
    for tag in tags:
        if found := CARRIER_TAG.fullmatch(tag):
            return found["carrier"].strip()
    return None


def clean_customer(customer: DraftCustomer) -> DraftCustomer:
    """Blank parts are missing parts; the country is upper case, the language its primary tag (`en-US` is `en`)."""
    language = text(customer.language)
    return DraftCustomer(
        name=text(customer.name),
        email=text(customer.email),
        phone=text(customer.phone),
        language=re.split("[-_]", language)[0].lower() if language else None,
        company=text(customer.company),
        level=text(customer.level),
        ship_to=_clean_address(customer.ship_to) if customer.ship_to else None,
    )


def _clean_address(address: DraftAddress) -> DraftAddress | None:
    country = text(address.country)
    found = DraftAddress(
        line1=text(address.line1),
        line2=text(address.line2),
        city=text(address.city),
        region=text(address.region),
        postcode=text(address.postcode),
        country=country.upper() if country else None,
    )
    return None if found == _NOWHERE else found


def merged(lines: Iterable[DraftLine]) -> tuple[DraftLine, ...]:
    """Lines of the same goods at the same price become one; numbered from 1 in the order given. A line whose quantity
    is not positive stays alone, so that its problem can be named."""
    kept: list[DraftLine] = []
    places: dict[tuple[str, Decimal, bool], int] = {}
    for line in lines:
        sku, name = text(line.sku), text(line.name)
        goods = (sku, line.unit_price, line.custom) if sku and (line.quantity or 0) >= 1 else None
        if goods in places:
            same = kept[places[goods]]
            kept[places[goods]] = same.put(quantity=(same.quantity or 0) + (line.quantity or 0))
            continue
        number = len(kept) + 1
        if goods:
            places[goods] = number - 1
        plain = line.line == number and line.sku == sku and line.name == name
        kept.append(line if plain else line.put(line=number, sku=sku, name=name))
    return tuple(kept)


def money(value: Any) -> Decimal:
    """An amount from a string or an integer, at most four decimals; ValueError for anything that is not one. Floats go
    through their shortest text, so that 19.95 stays 19.95."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"{value!r} is not an amount")
    try:
        amount = Decimal(str(value).strip())
        if not amount.is_finite() or abs(amount) >= AMOUNT_LIMIT:
            raise ValueError(f"{value!r} is not an amount")
        return amount.quantize(_CENT_OF_CENT).normalize() + Decimal(0)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not an amount") from None


def in_utc(moment: datetime) -> datetime:
    """A time in UTC; at the very ends of the calendar, where it cannot be written so, as it is."""
    return moment.astimezone(UTC) if 2 <= moment.year <= 9998 else moment


def text(value: str | None) -> str | None:
    """Trimmed text, or None when nothing is left."""
    return (value.strip() or None) if value else None


def digest(value: bytes) -> str:
    """A short stable hash."""
    return hashlib.blake2b(value, digest_size=16).hexdigest()


def _has(tags: tuple[str, ...], wanted: frozenset[str]) -> bool:
    return bool(tags) and any(tag.strip().casefold() in wanted for tag in tags)


def _folded(value: str | None) -> str:
    return " ".join(value.casefold().split()) if value else ""
