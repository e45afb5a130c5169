"""Collections of the sample service: one per order, one shared between orders, one written once."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from expedite_events import Value
from expedite_messaging import Collection, Column
from expedite_messaging.collection import metadata_naming

metadata = sa.MetaData(naming_convention=metadata_naming)


class Mood(StrEnum):
    CALM = "calm"
    BUSY = "busy"


class Tally(Value):
    """What one order saw, in order."""

    order_id: str
    seen: tuple[str, ...] = ()
    count: int = 0
    mood: Mood = Mood.CALM
    amount: Decimal | None = None
    at: datetime | None = None
    tags: tuple[str, ...] = ()


class Shelf(Value):
    """A row that orders share."""

    sku: str
    place: str
    taken: int = 0


class Movement(Value):
    """A row written once."""

    order_id: str
    number: str


TALLIES = Collection(
    "tally",
    Tally,
    metadata=metadata,
    columns=[
        Column("count", sa.Integer, index=True),
        Column("mood", sa.Text),
        Column("amount", sa.Numeric(14, 4)),
        Column("at", sa.TIMESTAMP(timezone=True)),
        Column("tags", ARRAY(sa.Text)),
    ],
    new=lambda order_id: Tally(order_id=order_id),
)
SHELVES = Collection(
    "shelf",
    Shelf,
    metadata=metadata,
    key=("sku", "place"),
    columns=[Column("taken", sa.Integer)],
    new=lambda sku, place: Shelf(sku=sku, place=place),
    lock=True,
    constraints=[sa.CheckConstraint("taken <= 1000000", name="capacity")],
)
MOVEMENTS = Collection("movement", Movement, metadata=metadata, key=("order_id", "number"))
EPOCH = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
