"""The tables of the prioritizer."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from expedite_events import SLABreached, Stage, Tier, Value
from expedite_messaging import Collection, Column
from expedite_messaging.collection import metadata_naming
from prioritizer.domain.order import Order
from prioritizer.domain.priority import Priority
from prioritizer.domain.world import Carrier, Person, Product, Warehouse

metadata = sa.MetaData(naming_convention=metadata_naming)


class Breach(Value):
    """A stage that ran over, told to one person. It stays open until somebody records the cause (C3)."""

    breach_id: str  # subject, stage and level: each is told once
    order_id: str
    subject: str
    stage: Stage
    level: int
    owner: str
    tier: Tier
    due_at: datetime
    breached_at: datetime
    cause: str | None = None
    recorded_by: str | None = None
    recorded_at: datetime | None = None

    @property
    def open(self) -> bool:
        return self.cause is None

    @classmethod
    def of(cls, event: SLABreached) -> Breach:
        return cls(
            breach_id=f"{event.subject}.{event.stage}.{event.level}", order_id=event.order_id, subject=event.subject,
            stage=event.stage, level=event.level, owner=event.owner, tier=Tier(event.tier), due_at=event.due_at,
            breached_at=event.breached_at,
        )  # fmt: skip


ORDERS = Collection("orders", Order, metadata=metadata, new=Order.unseen)
PRIORITIES = Collection("priorities", Priority, metadata=metadata, new=Priority.unseen)
BREACHES = Collection(
    "breaches",
    Breach,
    metadata=metadata,
    key=("breach_id",),
    columns=[
        Column("order_id", sa.Text(), index=True),
        Column("open", sa.Boolean()),
        Column("stage", sa.Text()),
        Column("owner", sa.Text()),
        Column("breached_at", sa.DateTime(timezone=True)),
    ],
    constraints=[sa.Index("ix_breaches_open_breached_at", "open", "breached_at")],
)
PEOPLE = Collection("people", Person, metadata=metadata, key=("person_id",))
WAREHOUSES = Collection(
    "warehouses", Warehouse, metadata=metadata, key=("warehouse_id",), columns=[Column("active", sa.Boolean())]
)
CARRIERS = Collection(
    "carriers", Carrier, metadata=metadata, key=("carrier_id",), columns=[Column("active", sa.Boolean())]
)
PRODUCTS = Collection("products", Product, metadata=metadata, key=("sku",))
