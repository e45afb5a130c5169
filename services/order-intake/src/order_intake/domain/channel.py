"""A sales channel and the policy that orders are judged by."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from expedite_events import Value
from order_intake.domain.content import Content

CHANNEL_ID = r"^[a-z0-9][a-z0-9._-]{0,39}$"


class Format(StrEnum):
    """Whose bodies a channel posts."""

    NATIVE = "native"
    SHOPIFY = "shopify"
    WOOCOMMERCE = "woocommerce"


class Channel(Value):
    """Where orders come from. `code` is the middle of its order numbers; several channels may share one. Limits of
    what it holds are checked where it is set up (`api.channels`)."""

    id: str
    code: str
    format: Format = Format.NATIVE
    owner: str = "operators"  # person or team that owns its holds
    urgent_methods: tuple[str, ...] = ()  # codes or titles
    high_value_limit: Decimal | None = None  # reviewed from this total on, in order currency

    def urgent(self, content: Content) -> bool:
        """The 24-hour mark: an urgent tag, or a shipping method this channel sells as such (B1)."""
        if content.urgent_tag or not content.shipping_method:
            return content.urgent_tag
        mapped = {method.strip().casefold() for method in self.urgent_methods}
        return any(method.strip().casefold() in mapped for method in content.shipping_method)


class Policy(Value):
    """The limits intake judges by. All times are hours of the business clock."""

    completion_time: timedelta = timedelta(hours=2)  # to supply what is missing (A4)
    review_time: timedelta = timedelta(hours=2)
    payment_time: timedelta = timedelta(hours=24)
    confirm_time: timedelta = timedelta(hours=72)  # after the last delivery, then the clock confirms (A10)
    duplicate_window: timedelta = timedelta(hours=24)  # equal content within it is suspected (A6)
    future_tolerance: timedelta = timedelta(hours=48)  # an order placed later than this from now has a wrong time
    large_quantity: int = 10_000  # a line above it is looked at by a person


DEFAULT_POLICY = Policy()


def order_number(day: str, code: str, serial: int) -> str:
    """`YYYYMMDD-CODE-SERIAL` (A2); the serial has six digits or, after the millionth of a day, more.

    >>> order_number("20261122", "EC", 1)
    '20261122-EC-000001'
    """
    return f"{day}-{code}-{serial:06d}"


class Counter(Value):
    """The last serial given for a business day (UTC) and a channel code."""

    day: str
    code: str
    last: int = 0

    def next(self) -> Counter:
        return self.put(last=self.last + 1)

    @property
    def number(self) -> str:
        return order_number(self.day, self.code, self.last)


def value_of(amount: Decimal, currency: str) -> str:
    """An amount as people read it."""
    return f"{amount.quantize(Decimal('0.01'))} {currency}"
