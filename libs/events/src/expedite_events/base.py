"""The base of every event and the value objects that several events share."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from msgspec import Meta
from pydantic import Field, GetPydanticSchema
from pydantic_core import core_schema

from expedite_events.units import Units
from expedite_events.value import Value

# Limits stand twice where both read them: `Meta` is checked as JSON comes in, `Field` is for APIs and contracts.
OrderId = Annotated[
    str,
    Meta(min_length=1, max_length=64),
    Field(min_length=1, max_length=64, description="Order number, e.g. 20261122-EC-000001"),
]
Money = Annotated[Decimal, Field(max_digits=14, decimal_places=4, description="Amount in the order's currency")]
Moment = Annotated[
    datetime,
    Meta(tz=True),
    GetPydanticSchema(lambda source, handler: core_schema.datetime_schema(tz_constraint="aware")),
]


class Event(Value):
    """A fact one service states. Its class name is never the wire name: `expedite_events.catalogue` maps it."""


class OrderEvent(Event):
    """A fact about one order; the order id is its Kafka key."""

    order_id: OrderId


class Tier(StrEnum):
    """Urgency of an order, most urgent first (B1)."""

    URGENT = "urgent"
    HIGH = "high"
    REGULAR = "regular"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for the most urgent tier; sorts queues."""
        return _RANKS[self]


_RANKS = {tier: rank for rank, tier in enumerate(Tier)}


class Stage(StrEnum):
    """The six stages an order's clock runs through (C1)."""

    AUDIT = "audit"
    STOCK_LOCK = "stock_lock"
    PREPARE = "prepare"
    SHIP = "ship"
    TRACK = "track"
    CONFIRM = "confirm"


class Address(Value):
    """Where goods go or come from. `country` is ISO 3166-1 alpha-2."""

    line1: str
    line2: str | None = None
    city: str
    region: str | None = None
    postcode: str | None = None
    country: Annotated[str, Meta(min_length=2, max_length=2)]


class Customer(Value):
    """All personal data of an event, in this one sub-object (I5)."""

    name: str
    email: str | None = None
    phone: str | None = None
    language: str = "en"  # BCP 47: en, zh
    company: str | None = None
    ship_to: Address
    level: str | None = None  # e.g. diamond, gold: the channel's own customer class


class OrderLine(Value):
    """One line as ordered. Its units are numbered 1..quantity."""

    line: int
    sku: str
    name: str
    quantity: Annotated[int, Meta(ge=1, le=100_000)]
    unit_price: Money = Decimal(0)
    product_class: str = "standard"  # standard, fragile, perishable, valuable

    @property
    def units(self) -> Units:
        return Units.quantity(self.line, self.quantity)


class LineGoods(Value):
    """What the units of a line are: enough to pick, pack and name them."""

    line: int
    sku: str
    name: str


class Reason(Value):
    """Why a tier was given: the rule that fired, its points and a sentence a person understands (B2)."""

    rule: str
    points: float
    text: str


class Urgency(Value):
    """How urgent an order is and by when each stage must be done. The highest `revision` wins, whichever event
    brings it."""

    tier: Tier
    score: float
    revision: Annotated[int, Meta(ge=1)]
    promise_by: Moment  # delivered at the customer's door by
    deadlines: dict[Stage, Moment]
    express: bool = False  # travels on the express lane

    @property
    def sort_key(self) -> tuple[int, float, datetime]:
        """Queue position, most urgent first: tier, then score (higher first), then the promise."""
        return (self.tier.rank, -self.score, self.promise_by)


class Settled(Value):
    """A non-standing cancel request that was already answered for these units: it travels with them, so that no later
    station applies it again (design section 2)."""

    request_id: str
    units: Units


class OrderBrief(Value):
    """What every station needs to work on an order without asking another service."""

    channel: str
    placed_at: Moment
    currency: str = "USD"
    partial_shipment: bool = True  # False: all units leave only when all are there
    carrier_preference: str | None = None
    tags: tuple[str, ...] = ()
    customer: Customer
