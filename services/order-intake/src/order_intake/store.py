"""The collections of order-intake."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from msgspec import field

from expedite_chassis import idempotency_collection
from expedite_events import ProductChanged, Value
from expedite_messaging import Collection, Column
from expedite_messaging.collection import metadata_naming
from order_intake.domain.channel import Channel, Counter
from order_intake.domain.order import Order, Parcel

metadata = sa.MetaData(naming_convention=metadata_naming)


Verdict = Literal[
    "accepted",  # became an order
    "cancelled",  # a cancel was asked for, or the order was taken in as cancelled
    "paid",  # a payment was recorded
    "duplicate",  # said before
    "too-late",  # a cancel that nobody can fulfil any more
    "ignored",  # a topic or an order that is not ours to handle
    "needs-mapping",  # could not be understood; kept for a person and for replay
    "parked",  # waits behind the parked events of its order
    "bad-signature",
]


class Claim(Value):
    """An identity under which an order (or a delivery) was seen: a client's reference, a shop's order id, a webhook id.
    The first to claim it wins. Whoever looks at a claim holds its key (`placing.locks_of`): a row
    that is not there yet cannot be locked, and inserting it first would write every claim twice."""

    scope: str
    key: str
    order_id: str | None = None
    fingerprint: str | None = None  # of the body that claimed it
    at: datetime | None = None  # None: not claimed yet

    @property
    def taken(self) -> bool:
        return self.at is not None


class Awaited(Value):
    """An order that waits for a product to appear, or once did."""

    sku: str
    order_id: str
    waiting: bool = True


class Delivery(Value):
    """One inbound webhook as it came, and what came of it."""

    delivery_id: str
    channel: str
    format: str
    topic: str = ""
    received_at: datetime  # business time
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None  # None: the signature was wrong, so the body is not kept
    size: int
    sha256: str
    verdict: Verdict
    detail: str | None = None
    order_id: str | None = None
    attempts: int = 1


def _counter(day: str, code: str) -> Counter:
    return Counter(day=day, code=code)


def _claim(scope: str, key: str) -> Claim:
    return Claim(scope=scope, key=key)


ORDERS: Collection[Order] = Collection(
    "intake_order",
    Order,
    metadata=metadata,
    columns=(
        Column("state", sa.Text(), index=True),
        Column("channel", sa.Text(), index=True),
        Column("accepted_at", sa.DateTime(timezone=True)),
        Column("alike", sa.Text(), index=True),
    ),
)
PARCELS: Collection[Parcel] = Collection("parcel", Parcel, metadata=metadata, key=("order_id", "parcel_id"))
CHANNELS: Collection[Channel] = Collection("channel", Channel, metadata=metadata, key=("id",))
COUNTERS: Collection[Counter] = Collection(
    "order_counter", Counter, metadata=metadata, key=("day", "code"), new=_counter, lock=True
)
CLAIMS: Collection[Claim] = Collection("claim", Claim, metadata=metadata, key=("scope", "key"), new=_claim)
DELIVERIES: Collection[Delivery] = Collection(
    "delivery",
    Delivery,
    metadata=metadata,
    key=("delivery_id",),
    columns=(Column("channel", sa.Text()), Column("verdict", sa.Text(), index=True)),
)
PRODUCTS: Collection[ProductChanged] = Collection("product", ProductChanged, metadata=metadata, key=("sku",))
AWAITED: Collection[Awaited] = Collection(
    "awaited_product",
    Awaited,
    metadata=metadata,
    key=("sku", "order_id"),
    columns=(Column("waiting", sa.Boolean(), index=True),),
)
IDEMPOTENCY = idempotency_collection(metadata)
