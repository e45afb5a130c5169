"""The tower's read models."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import Field

from control_tower.domain.card import Card
from expedite_events import PersonChanged, StockLevelChanged, Value
from expedite_messaging import Collection, Column
from expedite_messaging.collection import metadata_naming


class Entry(Value):
    """One event on an order's timeline: who said what, when, on which lane, caused by what."""

    order_id: str
    event_id: str
    topic: str
    service: str
    lane: str
    at: datetime
    sequence: int
    causation_id: str
    correlation_id: str
    trace: str | None = None
    said: str
    data: dict[str, Any] = Field(default_factory=dict)


class Snapshot(Value):
    """The newest snapshot of an entity the tower only counts: products, warehouses, carriers, receipts."""

    kind: str
    entity: str
    at: datetime


metadata = sa.MetaData(naming_convention=metadata_naming)

CARDS = Collection(
    "card",
    Card,
    metadata=metadata,
    new=lambda order_id: Card(order_id=order_id),
    columns=(
        Column("stage", sa.Text()),
        Column("light", sa.Text()),
        Column("channel", sa.Text()),
        Column("tier", sa.Text()),
        Column("tier_rank", sa.Integer()),
        Column("deadline", sa.DateTime(timezone=True)),
        Column("promise_by", sa.DateTime(timezone=True)),
        Column("is_open", sa.Boolean()),
        Column("ended_at", sa.DateTime(timezone=True)),
        Column("needs_publishing", sa.Boolean()),
        Column("changed_at", sa.DateTime(timezone=True), index=True),
        Column("search_text", sa.Text()),
    ),
)
CARDS.table.append_constraint(
    sa.Index(
        "ix_card_board", CARDS.table.c.is_open, CARDS.table.c.stage, CARDS.table.c.tier_rank, CARDS.table.c.deadline
    )
)
CARDS.table.append_constraint(
    sa.Index("ix_card_unpublished", CARDS.table.c.order_id, postgresql_where=CARDS.table.c.needs_publishing)
)
ENTRIES = Collection(
    "entry",
    Entry,
    metadata=metadata,
    key=("order_id", "event_id"),
    columns=(Column("at", sa.DateTime(timezone=True)),),
)
PEOPLE = Collection("person", PersonChanged, metadata=metadata, key=("person_id",))
LEVELS = Collection("stock_level", StockLevelChanged, metadata=metadata, key=("sku", "warehouse_id"))
SNAPSHOTS = Collection("snapshot", Snapshot, metadata=metadata, key=("kind", "entity"))
