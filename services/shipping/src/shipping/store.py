"""The collections of shipping, and the one way orders are saved: with the rows by which their parcels are found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter

import sqlalchemy as sa

from expedite_events import Decision, ProductChanged, Stage, Tier, TrackingStatus, Value, WarehouseChanged
from expedite_events.base import Moment
from expedite_messaging import Book, Cause, Collection, Column, Tx
from expedite_messaging.collection import Key, metadata_naming
from shipping.domain.desk import Carrier, Desk
from shipping.domain.state import LabelState, OrderLeg, Parcel, Station, order_of
from shipping.quotes import KEPT

metadata = sa.MetaData(naming_convention=metadata_naming)
_TIME = sa.TIMESTAMP(timezone=True)
_PLACE = sa.Text(collation="C")


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
    """A parcel as lists show it: derived from its order with every save, for finding and sorting only.

    Lists page through two texts that sort as the list does, byte by byte, and are there only while the parcel is on the
    list: `dock_place` and `handed_place`."""

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

    @property
    def dock_place(self) -> str | None:
        """Where it stands on the dock list of its warehouse: tier, then the truck it must catch, then its deadline.
        Without a truck yet it comes last in its tier."""
        if self.status not in ON_DOCK:
            return None
        truck = place_of(self.cut_off_at) if self.cut_off_at else "~"
        return f"{self.warehouse_id}|{self.tier_rank}|{truck}|{place_of(self.deadline)}|{self.parcel_id}"

    @property
    def handed_place(self) -> str | None:
        """Where it stands on the manifest of the carrier that has it: by its hand-over."""
        if self.status is not ParcelStatus.HANDED or self.handed_at is None:
            return None
        return f"{self.carrier_id}|{place_of(self.handed_at)}|{self.parcel_id}"


@lru_cache(maxsize=4_096)  # parcels share their trucks and deadlines
def place_of(at: datetime) -> str:
    """A time as text that sorts as the times do; whole milliseconds."""
    return f"{int(at.timestamp() * 1000):014d}"


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

    @property
    def open_state(self) -> DeliveryState | None:
        """Its state while somebody has to look at it again."""
        return None if self.state in (DeliveryState.APPLIED, DeliveryState.IGNORED) else self.state


class LabelFile(Value):
    """A label as bought from the carrier. The page behind `pdf_url` is fetched, and kept, when somebody asks for it."""

    label_id: str
    parcel_id: str
    zpl: str | None = None
    pdf_base64: str | None = None
    pdf_url: str | None = None


ORDERS: Collection[OrderLeg] = Collection(
    "order_leg", OrderLeg, metadata=metadata, new=lambda order_id: OrderLeg(order_id=order_id), remembered=True
)
PARCELS: Collection[ParcelRow] = Collection(
    "parcel",
    ParcelRow,
    metadata=metadata,
    key=("parcel_id",),
    columns=(
        Column("warehouse_id", sa.Text()),
        Column("status", sa.Text()),
        Column("carrier_id", sa.Text()),
        Column("tracking_number", sa.Text()),
        Column("tracking_status", sa.Text()),
        Column("dock_place", _PLACE),
        Column("handed_place", _PLACE),
    ),
    constraints=(
        # A parcel is in an index only while it may be found by it: most rows are written several times.
        sa.Index("ix_parcel_dock_place", "dock_place", postgresql_where=sa.text("dock_place IS NOT NULL")),
        sa.Index("ix_parcel_handed_place", "handed_place", postgresql_where=sa.text("handed_place IS NOT NULL")),
        sa.Index("ix_parcel_tracking", "tracking_number", postgresql_where=sa.text("tracking_number IS NOT NULL")),
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
        Column("open_state", sa.Text()),
        Column("received_at", _TIME, index=True),
    ),
    constraints=(
        sa.Index(
            "ix_tracking_delivery_open", "open_state", "received_at", postgresql_where=sa.text("open_state IS NOT NULL")
        ),
    ),
)
LABELS: Collection[LabelFile] = Collection("label_file", LabelFile, metadata=metadata, key=("label_id",))
CARRIERS: Collection[Carrier] = Collection("carrier", Carrier, metadata=metadata, key=("carrier_id",))
WAREHOUSES: Collection[WarehouseChanged] = Collection(
    "warehouse", WarehouseChanged, metadata=metadata, key=("warehouse_id",)
)
PRODUCTS: Collection[ProductChanged] = Collection("product", ProductChanged, metadata=metadata, key=("sku",))


def row_of(leg: OrderLeg, parcel: Parcel) -> ParcelRow:
    """The row of one of an order's parcels."""
    urgency, label, shown = leg.urgency_known(), parcel.label, parcel.tracking.shown
    return ParcelRow(
        parcel_id=parcel.parcel_id, order_id=leg.order_id, warehouse_id=parcel.warehouse_id,
        status=status_of(leg, parcel), carrier_id=label.carrier_id if label else None,
        service=label.service if label else None, tracking_number=label.tracking_number if label else None,
        tracking_status=shown.status if shown else None, tier=urgency.tier, tier_rank=_RANKS[urgency.tier],
        cut_off_at=label.leaves_at if label else None, deadline=leg.deadline(), promise_by=urgency.promise_by,
        expected_at=parcel.expected_at, handed_at=parcel.handed_at, box=parcel.box, weight_g=parcel.weight_g,
        quantity=len(parcel.packed | parcel.held_back if parcel.waiting else parcel.packed),
        cost=label.cost if label else None, currency=label.currency if label else None, problem=parcel.problem,
        overdue=bool(leg.breaches) and _overdue(leg, parcel),
    )  # fmt: skip


_RANKS = {tier: tier.rank for tier in Tier}
# What of a parcel its row is made of.
_SHOWN = attrgetter(
    "station", "end", "packed", "waiting", "label", "tracking", "expected_at", "handed_at", "problem", "label_state"
)


def _overdue(leg: OrderLeg, parcel: Parcel) -> bool:
    subjects = (leg.order_id, parcel.parcel_id)
    return any(b.subject in subjects and b.stage in (Stage.SHIP, Stage.TRACK) for b in leg.breaches)


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

    def __init__(self, tx: Tx, orders: Book[OrderLeg], rows: Book[ParcelRow]) -> None:
        self.tx, self.orders, self.rows = tx, orders, rows
        self._desk: Desk | None = None

    @classmethod
    async def load(cls, tx: Tx, order_ids: Iterable[str], skus: Iterable[str] = ()) -> Desktop:
        """Orders by id, and the desk with the products in their parcels and those named: whatever may start a label needs
        them."""
        desktop = await cls.of_orders(tx, order_ids)
        await desktop.open(skus)
        return desktop

    @classmethod
    async def of_orders(cls, tx: Tx, order_ids: Iterable[str]) -> Desktop:
        """Orders by id, for what starts no label: the desk stays closed until somebody opens it."""
        return cls(tx, await tx.load(ORDERS, order_ids), await tx.load(PARCELS, ()))

    async def open(self, skus: Iterable[str] = ()) -> None:
        """Load the desk, if it is not there yet."""
        if self._desk is None:
            known = {goods.sku for leg in self.orders for parcel in leg.parcels for goods in parcel.goods}
            self._desk = await load_desk(self.tx, known.union(skus))

    @property
    def desk(self) -> Desk:
        """The desk; that it is not open is a bug."""
        if self._desk is None:
            raise LookupError("the desk was not opened")
        return self._desk

    @property
    def now(self) -> datetime:
        return self.tx.now

    def save(self, cause: Cause, decision: Decision[OrderLeg]) -> None:
        """Put the order, the rows of its parcels that changed, and emit what was decided."""
        before, after = self.orders[decision.state.order_id], decision.state
        if after is not before:
            same = after.urgency is before.urgency and after.holds == before.holds and after.breaches == before.breaches
            for parcel in after.parcels:
                known = before.parcel(parcel.parcel_id)
                if not same or known is None or (known is not parcel and _SHOWN(known) != _SHOWN(parcel)):
                    # A parcel and its row come in one transaction: nobody has to look whether there is a row.
                    if known is None:
                        self.rows.stored((parcel.parcel_id,), {})
                    else:
                        self.rows.exist((parcel.parcel_id,))
                    self.rows.put(row_of(after, parcel))
        self.tx.apply(cause, self.orders, decision)


async def load_desk(tx: Tx, skus: Iterable[str] = ()) -> Desk:
    """Master data and quotes for label decisions. Carriers and warehouses are few; products are loaded as named."""
    carriers, sites = await tx.masters(CARRIERS), await tx.masters(WAREHOUSES)
    # Read by their plain keys: a SKU, and below a warehouse id.
    products = await tx.glance(PRODUCTS, skus)
    return replace(_DESKS.of(carriers, sites), products=products, quotes=KEPT.valid())  # type: ignore[arg-type]


class _Desks:
    """The desk of before, with all that was once looked up on it, while carriers and warehouses are the same objects."""

    def __init__(self) -> None:
        self._made_of: tuple[Mapping[Key, Carrier], Mapping[Key, WarehouseChanged]] = ({}, {})
        self._desk = Desk()

    def of(self, carriers: Mapping[Key, Carrier], sites: Mapping[Key, WarehouseChanged]) -> Desk:
        if self._made_of[0] is not carriers or self._made_of[1] is not sites:
            in_order = tuple(sorted(carriers.values(), key=lambda carrier: carrier.carrier_id))
            self._made_of, self._desk = (carriers, sites), Desk(in_order, sites)  # type: ignore[arg-type]
        return self._desk


_DESKS = _Desks()


async def load_parcel(tx: Tx, parcel_id: str) -> tuple[OrderLeg, Parcel] | None:
    """A parcel and its order."""
    leg = (await tx.load(ORDERS, [order_of(parcel_id)])).get(order_of(parcel_id))
    parcel = leg.parcel(parcel_id) if leg else None
    return (leg, parcel) if leg and parcel else None
