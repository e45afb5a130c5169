"""The collections of shipping, and the one way orders are saved: with the rows by which their parcels are found."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa

from expedite_events import Decision, ProductChanged, Stage, Tier, TrackingStatus, Value, WarehouseChanged
from expedite_events.base import Moment
from expedite_messaging import Book, Cause, Collection, Column, Tx
from expedite_messaging.collection import metadata_naming
from shipping.domain.desk import Carrier, Desk
from shipping.domain.state import LabelState, OrderLeg, Parcel, Station

metadata = sa.MetaData(naming_convention=metadata_naming)
_TIME = sa.TIMESTAMP(timezone=True)


class ParcelStatus(StrEnum):
    """What a parcel waits for, in the words of lists. The first five stand on the dock."""

    LABELLING = "labelling"
    LABEL_FAILED = "label_failed"
    READY = "ready"
    HELD = "held"
    PUT_BACK = "put_back"
    HANDED = "handed"
    DELIVERED = "delivered"
    LOST = "lost"
    RETURNED = "returned"
    CANCELLED = "cancelled"


ON_DOCK = (
    ParcelStatus.READY,
    ParcelStatus.PUT_BACK,
    ParcelStatus.LABELLING,
    ParcelStatus.LABEL_FAILED,
    ParcelStatus.HELD,
)


class ParcelRow(Value):
    """A parcel as lists show it: derived from its order with every save, for finding and sorting only."""

    parcel_id: str
    order_id: str
    warehouse_id: str
    status: ParcelStatus
    carrier_id: str | None = None
    service: str | None = None
    tracking_number: str | None = None
    tracking_status: TrackingStatus | None = None
    tier: Tier
    tier_rank: int
    cut_off_at: Moment | None = None
    deadline: Moment
    promise_by: Moment
    expected_at: Moment | None = None
    handed_at: Moment | None = None
    box: str
    weight_g: int
    quantity: int
    cost: Decimal | None = None
    currency: str | None = None
    problem: str | None = None
    overdue: bool = False


class DeliveryState(StrEnum):
    """What came of a webhook."""

    APPLIED = "applied"
    UNMATCHED = "unmatched"  # no parcel has this number yet: a carrier may be faster than its own answer to us
    WAITING = "waiting"  # events of the order wait for repair: applied after it
    IGNORED = "ignored"  # not about tracking
    UNREADABLE = "unreadable"
    BAD_SIGNATURE = "bad_signature"


class TrackingDelivery(Value):
    """One webhook as it came. The raw body is kept, so that anything can be looked at and applied again."""

    delivery_id: str
    carrier_id: str
    format: str
    event_id: str | None = None
    tracking_number: str | None = None
    state: DeliveryState
    received_at: Moment
    parcel_id: str | None = None
    unmapped: tuple[str, ...] = ()
    error: str | None = None
    body: str


class LabelFile(Value):
    """A label as bought from the carrier."""

    label_id: str
    parcel_id: str
    zpl: str | None = None
    pdf_base64: str | None = None


ORDERS: Collection[OrderLeg] = Collection(
    "order_leg", OrderLeg, metadata=metadata, new=lambda order_id: OrderLeg(order_id=order_id)
)
PARCELS: Collection[ParcelRow] = Collection(
    "parcel",
    ParcelRow,
    metadata=metadata,
    key=("parcel_id",),
    columns=(
        Column("order_id", sa.Text(), index=True),
        Column("warehouse_id", sa.Text()),
        Column("status", sa.Text()),
        Column("carrier_id", sa.Text()),
        Column("tracking_number", sa.Text(), index=True),
        Column("tracking_status", sa.Text()),
        Column("tier_rank", sa.SmallInteger()),
        Column("cut_off_at", _TIME),
        Column("deadline", _TIME),
    ),
    constraints=(
        # The dock list: what stands in one warehouse, most urgent first.
        sa.Index("ix_parcel_dock", "warehouse_id", "status", "tier_rank", "cut_off_at", "deadline"),
        sa.Index("ix_parcel_carrier", "carrier_id", "status", "parcel_id"),
    ),
)
DELIVERIES: Collection[TrackingDelivery] = Collection(
    "tracking_delivery",
    TrackingDelivery,
    metadata=metadata,
    key=("delivery_id",),
    columns=(
        Column("carrier_id", sa.Text()),
        Column("tracking_number", sa.Text(), index=True),
        Column("state", sa.Text()),
        Column("received_at", _TIME),
    ),
    constraints=(sa.Index("ix_tracking_delivery_state", "state", "received_at"),),
)
LABELS: Collection[LabelFile] = Collection("label_file", LabelFile, metadata=metadata, key=("label_id",))
CARRIERS: Collection[Carrier] = Collection("carrier", Carrier, metadata=metadata, key=("carrier_id",))
WAREHOUSES: Collection[WarehouseChanged] = Collection(
    "warehouse", WarehouseChanged, metadata=metadata, key=("warehouse_id",)
)
PRODUCTS: Collection[ProductChanged] = Collection("product", ProductChanged, metadata=metadata, key=("sku",))


def rows_of(leg: OrderLeg) -> dict[str, ParcelRow]:
    """The rows of an order's parcels, by parcel id."""
    return {parcel.parcel_id: _row(leg, parcel) for parcel in leg.parcels}


def _row(leg: OrderLeg, parcel: Parcel) -> ParcelRow:
    urgency, label, shown = leg.urgency_known(), parcel.label, parcel.tracking.shown
    subjects = (leg.order_id, parcel.parcel_id)
    return ParcelRow(
        parcel_id=parcel.parcel_id, order_id=leg.order_id, warehouse_id=parcel.warehouse_id,
        status=status_of(leg, parcel), carrier_id=label.carrier_id if label else None,
        service=label.service if label else None, tracking_number=label.tracking_number if label else None,
        tracking_status=shown.status if shown else None, tier=urgency.tier, tier_rank=urgency.tier.rank,
        cut_off_at=label.leaves_at if label else None, deadline=leg.deadline(), promise_by=urgency.promise_by,
        expected_at=parcel.expected_at, handed_at=parcel.handed_at, box=parcel.box, weight_g=parcel.weight_g,
        quantity=len(parcel.packed | parcel.held_back), cost=label.cost if label else None,
        currency=label.currency if label else None, problem=parcel.problem,
        overdue=any(b.subject in subjects and b.stage in (Stage.SHIP, Stage.TRACK) for b in leg.breaches),
    )  # fmt: skip


def status_of(leg: OrderLeg, parcel: Parcel) -> ParcelStatus:
    """What a parcel waits for; what a person must do first comes first."""
    if parcel.station is Station.HANDED:
        return ParcelStatus.HANDED
    if parcel.end is not None:
        return ParcelStatus(parcel.end.value)
    if parcel.waiting:
        return ParcelStatus.PUT_BACK
    if leg.held:
        return ParcelStatus.HELD
    if parcel.label is not None:
        return ParcelStatus.READY
    return ParcelStatus.LABEL_FAILED if parcel.label_state is LabelState.FAILED else ParcelStatus.LABELLING


class Desktop:
    """The orders of one transaction and the desk beside them; `save` keeps orders and parcel rows together."""

    def __init__(self, tx: Tx, orders: Book[OrderLeg], rows: Book[ParcelRow], desk: Desk) -> None:
        self.tx, self.orders, self._rows, self.desk = tx, orders, rows, desk

    @classmethod
    async def load(cls, tx: Tx, order_ids: Iterable[str], *, desk: bool = False, skus: Iterable[str] = ()) -> Desktop:
        """Orders by id. `desk` also loads carriers and warehouses; `skus` the products whose care and weight matter."""
        orders, rows = await tx.load(ORDERS, order_ids), await tx.load(PARCELS, ())
        return cls(tx, orders, rows, await load_desk(tx, skus) if desk else Desk())

    @property
    def now(self) -> datetime:
        return self.tx.now

    def save(self, cause: Cause, decision: Decision[OrderLeg]) -> None:
        """Put the order, the rows of its parcels that changed, and emit what was decided."""
        before, after = self.orders[decision.state.order_id], decision.state
        if after is not before:
            old = rows_of(before) if before.parcels else {}
            for parcel_id, row in (rows_of(after) if after.parcels else {}).items():
                if old.get(parcel_id) != row:
                    self._rows.put(row)
        self.tx.apply(cause, self.orders, decision)


async def load_desk(tx: Tx, skus: Iterable[str] = ()) -> Desk:
    """Master data for label decisions. Carriers and warehouses are few; products are loaded as named."""
    carriers = await tx.find(CARRIERS, order_by=("carrier_id",))
    sites = await tx.find(WAREHOUSES)
    products = await tx.load(PRODUCTS, dict.fromkeys(skus))
    return Desk(
        carriers=tuple(carriers),
        sites={site.warehouse_id: site for site in sites},
        products={product.sku: product for product in products},
    )
