"""Events that fulfillment owns: goods picked, packed, moved, received."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from expedite_events.base import Event, LineGoods, Moment, OrderBrief, OrderEvent, Settled, Urgency
from expedite_events.units import Units
from expedite_events.value import Value


class PickShort(OrderEvent):
    """The shelf had less than the system said: custody of these units goes back to inventory (E4)."""

    fulfilment_order_id: str
    warehouse_id: str
    units: Units
    goods: tuple[LineGoods, ...]
    settled: tuple[Settled, ...] = ()
    reported_by: str
    at: Moment


class Packed(OrderEvent):
    """A parcel stands on the dock. Custody passes to shipping. Announced again (same `parcel_id`) it may only create
    missing work or raise urgency."""

    parcel_id: str
    fulfilment_order_id: str
    warehouse_id: str
    units: Units
    goods: tuple[LineGoods, ...]
    box: str
    weight_g: Annotated[int, Meta(ge=0)]
    valuable: bool = False
    packed_by: str
    packed_at: Moment
    brief: OrderBrief
    urgency: Urgency
    settled: tuple[Settled, ...] = ()


class TransferDispatched(OrderEvent):
    """Units left the sending warehouse; `missing` were not on its shelf."""

    transfer_id: str
    from_warehouse_id: str
    to_warehouse_id: str
    units: Units
    missing: Units
    dispatched_by: str
    at: Moment


class TransferReceived(OrderEvent):
    """Units arrived at the receiving warehouse; `missing` were dispatched but did not arrive."""

    transfer_id: str
    from_warehouse_id: str
    to_warehouse_id: str
    units: Units
    missing: Units
    received_by: str
    at: Moment


class ReceiptLine(Value):
    sku: str
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)]


class GoodsReceived(Event):
    """Purchased goods were counted on the dock of a warehouse. Keyed by receipt id."""

    receipt_id: str
    warehouse_id: str
    lines: tuple[ReceiptLine, ...]
    received_by: str
    at: Moment
