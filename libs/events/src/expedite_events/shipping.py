"""Events that shipping owns: the carrier leg, from hand-over to the door."""

from __future__ import annotations

from enum import StrEnum

from msgspec import field

from expedite_events.base import Customer, Event, LineGoods, Moment, Money, OrderEvent, Settled
from expedite_events.units import Units
from expedite_events.value import Value


class TrackingStatus(StrEnum):
    """The normalised carrier status (vocabulary of 12; formats reference 3.3)."""

    PENDING = "pending"
    PICKED_UP = "picked_up"
    IN_TRANSIT = "in_transit"
    OUT_FOR_DELIVERY = "out_for_delivery"
    READY_FOR_PICKUP = "ready_for_pickup"
    DELIVERED = "delivered"
    DELIVERY_FAILED = "delivery_failed"
    DELIVERY_DELAYED = "delivery_delayed"
    ON_HOLD = "on_hold"
    RETURN_TO_SENDER = "return_to_sender"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Shipped(OrderEvent):
    """The parcel is in the carrier's hands: handed over or first carrier scan, never "label bought"."""

    parcel_id: str
    warehouse_id: str
    units: Units
    carrier_id: str
    service: str
    tracking_number: str
    tracking_url: str | None = None
    cost: Money
    currency: str
    expected_at: Moment
    promise_by: Moment
    shipped_at: Moment
    chosen_because: str
    customer: Customer


class ShipmentTracked(OrderEvent):
    """The parcel's normalised status moved forward."""

    parcel_id: str
    tracking_number: str
    status: TrackingStatus
    raw_status: str
    occurred_at: Moment
    location: str | None = None


class DeliveryDelayed(OrderEvent):
    """The parcel will be late: old and new date and the cause."""

    parcel_id: str
    delay_id: str  # the occasion: one message per delay
    old_expected_at: Moment
    new_expected_at: Moment
    cause: str
    customer: Customer


class Delivered(OrderEvent):
    """The units are with the customer."""

    parcel_id: str
    units: Units
    delivered_at: Moment
    signed_by: str | None = None
    customer: Customer


class CarrierLoss(OrderEvent):
    """Units that will not reach the customer in this parcel. Custody goes back to inventory."""

    parcel_id: str
    fulfilment_order_id: str
    warehouse_id: str
    units: Units
    goods: tuple[LineGoods, ...]
    settled: tuple[Settled, ...] = ()  # requests refused on the way, they travel with the units
    cause: str
    at: Moment
    customer: Customer


class ShipmentLost(CarrierLoss):
    """The carrier lost the parcel: the goods are gone, the units are sourced again."""


class ParcelReturned(CarrierLoss):
    """The parcel came back: the goods go to quality check, the units are sourced again."""


class CarrierService(Value):
    """A service a carrier sells. Transit is door to door in real hours of the business clock."""

    code: str
    name: str
    transit_hours: int
    base_price: Money
    price_per_kg: Money
    countries: tuple[str, ...] = ()  # empty: everywhere


class CarrierChanged(Event):
    """A carrier and its services (compacted by carrier id)."""

    carrier_id: str
    name: str
    services: tuple[CarrierService, ...]
    reliability: float = 1.0  # share of parcels on time, 0..1
    webhook_format: str = "native"  # native, easypost
    names: dict[str, str] = field(default_factory=dict)
    revision: int = 1
    active: bool = True
