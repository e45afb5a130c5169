"""The tables of inventory. Lock order of every writer: orders (keys), then shelves by (SKU, warehouse)."""

from __future__ import annotations

import sqlalchemy as sa

from expedite_events import CarrierChanged, ProductChanged, WarehouseChanged
from expedite_messaging.collection import Collection, Column, metadata_naming
from inventory.domain.backorder import Backorder
from inventory.domain.bookings import Booking
from inventory.domain.order import Order, new_order
from inventory.domain.stock import Movements, Shelf

metadata = sa.MetaData(naming_convention=metadata_naming)

_COUNTS = ("free", "allocated", "leaving", "in_transit", "in_count", "quality_check", "out", "lost", "backordered")

ORDERS: Collection[Order] = Collection("stock_order", Order, metadata=metadata, new=new_order, remembered=True)

# The counts are columns so that the database itself refuses to oversell, whatever the code does (D2). A shelf comes into
# being in `Stockroom`, never by loading it.
SHELVES: Collection[Shelf] = Collection(
    "shelf",
    Shelf,
    metadata=metadata,
    key=("sku", "warehouse_id"),
    columns=(
        *(Column(name, sa.BigInteger()) for name in (*_COUNTS, "booked", "seq", "level_revision")),
        Column("dirty", sa.Boolean()),
        Column("fill_wanted", sa.Boolean()),
    ),
    lock=True,
    remembered=True,
    constraints=(
        *(sa.CheckConstraint(f'"{name}" >= 0', name=f"{name}_not_negative") for name in _COUNTS),
        sa.Index("ix_shelf_dirty", "dirty", postgresql_where=sa.text("dirty")),
        sa.Index("ix_shelf_in_count", "in_count", postgresql_where=sa.text("in_count > 0")),
        sa.Index("ix_shelf_fill_wanted", "fill_wanted", postgresql_where=sa.text("fill_wanted")),
    ),
)

# One row per shelf and transaction. `orders` names those it is about: who asks for the movements of an order reads the
# rows of its SKUs, so that no index has to grow with every order.
MOVEMENTS: Collection[Movements] = Collection(
    "movement",
    Movements,
    metadata=metadata,
    key=("sku", "warehouse_id", "entry"),
    columns=(Column("orders", sa.Text()),),
)

BACKORDERS: Collection[Backorder] = Collection(
    "backorder",
    Backorder,
    metadata=metadata,
    key=("order_id", "sku"),
    columns=(
        Column("open", sa.Boolean()),
        Column("tier_rank", sa.Integer()),
        Column("score_rank", sa.Float()),
        Column("promise_by", sa.DateTime(timezone=True)),
        Column("since", sa.DateTime(timezone=True)),
    ),
    constraints=(
        sa.Index(
            "ix_backorder_queue", "sku", "tier_rank", "score_rank", "promise_by", postgresql_where=sa.text("open")
        ),
    ),
)
QUEUE = ("tier_rank", "score_rank", "promise_by", "since", "order_id")

BOOKINGS: Collection[Booking] = Collection("booking", Booking, metadata=metadata, key=("kind", "reference"))
PRODUCTS: Collection[ProductChanged] = Collection("product", ProductChanged, metadata=metadata, key=("sku",))
WAREHOUSES: Collection[WarehouseChanged] = Collection(
    "warehouse", WarehouseChanged, metadata=metadata, key=("warehouse_id",)
)
CARRIERS: Collection[CarrierChanged] = Collection("carrier", CarrierChanged, metadata=metadata, key=("carrier_id",))
