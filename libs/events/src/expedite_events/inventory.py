"""Events that inventory owns: stock locked, missing, moved, and the master data of goods and places."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, field

from expedite_events.base import Address, Event, LineGoods, Moment, OrderBrief, OrderEvent, Settled, Urgency
from expedite_events.units import Units
from expedite_events.value import Value


class Remedy(StrEnum):
    """What can be done about missing stock (D4)."""

    TRANSFER = "transfer"
    SPLIT = "split"
    BACKORDER = "backorder"


class ConsideredRemedy(Value):
    """A remedy that was weighed: where from, how many units it covers, and why it was or was not chosen."""

    remedy: Remedy
    warehouse_id: str | None = None
    quantity: int = 0
    chosen: bool
    reason: str


class StockReserved(OrderEvent):
    """A fulfilment order: pick these units in this warehouse now. Custody passes to fulfillment. Announced again (same
    `fulfilment_order_id`) it may only create missing work or raise urgency."""

    order_version: int = 1
    fulfilment_order_id: str
    warehouse_id: str
    units: Units
    goods: tuple[LineGoods, ...]
    brief: OrderBrief
    urgency: Urgency
    settled: tuple[Settled, ...] = ()
    reserved_at: Moment
    complete: bool = True  # these units complete the order's allocation


class StockShort(OrderEvent):
    """Units that the best warehouse cannot serve, the remedies weighed and the one chosen."""

    units: Units
    goods: tuple[LineGoods, ...]
    considered: tuple[ConsideredRemedy, ...]
    chosen: Remedy
    at: Moment


class TransferRequested(OrderEvent):
    """Move these pegged units from one warehouse to another (D4, 待调货). Custody of the units stays with inventory."""

    transfer_id: str
    from_warehouse_id: str
    to_warehouse_id: str
    units: Units
    goods: tuple[LineGoods, ...]
    urgency: Urgency
    requested_at: Moment


class OrderBackordered(OrderEvent):
    """No stock anywhere: these units wait for receipts, filled in priority order (D5)."""

    units: Units
    goods: tuple[LineGoods, ...]
    since: Moment
    estimated_at: Moment
    brief: OrderBrief
    urgency: Urgency


class StockLevelChanged(Event):
    """The level of one SKU in one warehouse (compacted by SKU and warehouse, coalesced)."""

    sku: str
    warehouse_id: str
    on_hand: int  # free + allocated, on the shelf
    free: int
    allocated: int
    in_count: int
    quality_check: int
    backordered: int  # of the SKU in all warehouses
    revision: int
    at: Moment

    @property
    def key(self) -> str:
        return f"{self.sku}|{self.warehouse_id}"


class ProductChanged(Event):
    """A product as every station needs to know it (compacted by SKU)."""

    sku: str
    name: str
    names: dict[str, str] = field(default_factory=dict)  # by language
    barcodes: tuple[str, ...] = ()
    length_mm: int = 0
    width_mm: int = 0
    height_mm: int = 0
    weight_g: int = 0
    product_class: str = "standard"
    unit_price: str | None = None
    revision: int = 1
    active: bool = True


class CutOff(Value):
    """The last local time of day at which a carrier takes parcels."""

    carrier_id: str
    local_time: Annotated[str, Meta(pattern=r"^[0-2]\d:[0-5]\d$")]


class WarehouseChanged(Event):
    """A warehouse: place, hours, time zone, carrier cut-offs (compacted by warehouse id)."""

    warehouse_id: str
    name: str
    address: Address
    time_zone: str  # IANA name
    opens: Annotated[str, Meta(pattern=r"^[0-2]\d:[0-5]\d$")]
    closes: Annotated[str, Meta(pattern=r"^[0-2]\d:[0-5]\d$")]
    working_days: tuple[int, ...] = (0, 1, 2, 3, 4)  # Monday is 0
    holidays: tuple[str, ...] = ()  # ISO dates
    cut_offs: tuple[CutOff, ...] = ()
    serves: tuple[str, ...] = ()  # countries (ISO alpha-2) it is nearest to
    revision: int = 1
    active: bool = True


class CancelOutcome(OrderEvent):
    """The custodian's answer to a cancel request, per unit."""

    request_id: str
    units: Units
    answered_by: str  # inventory, fulfillment, shipping
    container_id: str | None = None  # fulfilment order or parcel the units were in
    at: Moment


class UnitsCancelled(CancelOutcome):
    """These units will not be delivered. From fulfillment or shipping the goods are back on the shelf of
    `warehouse_id` (put-back confirmed) and inventory frees them once per (container, unit)."""

    warehouse_id: str | None = None


class CancelRefused(CancelOutcome):
    """Too late for these units; the reason says what can be done instead."""

    reason: str
