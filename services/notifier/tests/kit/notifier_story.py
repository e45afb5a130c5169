"""What happens to one order, as the notifier hears it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from expedite_events import (
    Address,
    Customer,
    Delivered,
    Event,
    HoldKind,
    HoldSummary,
    Lane,
    LineGoods,
    OrderBrief,
    OrderHeld,
    OrderHoldReleased,
    OrderLine,
    OrderReceived,
    Problem,
    Shipped,
    Stage,
    StockReserved,
    Tier,
    Units,
    Urgency,
    row_of,
)
from expedite_events.envelope import Envelope
from expedite_events.ids import uuid7

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
ORDER = "20261123-EC-000001"
ANNA = Customer(
    name="Anna Lee",
    email="anna@example.com",
    language="en",
    ship_to=Address(line1="1 High St", city="Leeds", country="GB"),
)
BRIEF = OrderBrief(channel="web", placed_at=NOW, customer=ANNA)
URGENCY = Urgency(
    tier=Tier.URGENT, score=1, revision=1, promise_by=NOW + timedelta(hours=24), deadlines={Stage.SHIP: NOW}
)
GOODS = (LineGoods(line=1, sku="85123A", name="Heart"),)
ALL = Units.quantity(1, 3)


def received() -> OrderReceived:
    lines = (OrderLine(line=1, sku="85123A", name="Heart", quantity=3),)
    return OrderReceived(order_id=ORDER, received_at=NOW, brief=BRIEF, lines=lines, total=Decimal("9.90"))


def reserved(units: Units = ALL) -> StockReserved:
    return StockReserved(
        order_id=ORDER, fulfilment_order_id=f"{ORDER}-F1", warehouse_id="LON", units=units, goods=GOODS, brief=BRIEF,
        urgency=URGENCY, reserved_at=NOW,
    )  # fmt: skip


def shipped(parcel: str = f"{ORDER}-P1") -> Shipped:
    return Shipped(
        order_id=ORDER, parcel_id=parcel, warehouse_id="LON", units=ALL, carrier_id="swift-post", service="EXPRESS_24",
        tracking_number="SP1", cost=Decimal("9.80"), currency="GBP", expected_at=NOW, promise_by=NOW, shipped_at=NOW,
        chosen_because="cheapest in time", customer=ANNA,
    )  # fmt: skip


def delivered() -> Delivered:
    return Delivered(order_id=ORDER, parcel_id=f"{ORDER}-P1", units=ALL, delivered_at=NOW, customer=ANNA)


def held() -> OrderHeld:
    problem = Problem(field="/customer/ship_to/postcode", code="missing", message="The postcode is missing.")
    return OrderHeld(
        order_id=ORDER, hold_id=f"{ORDER}-H1", kind=HoldKind.NEEDS_INFO, problems=(problem,), owner="lena", held_at=NOW,
        due_at=NOW + timedelta(hours=2), received_at=NOW, summary=HoldSummary(channel="web"), customer=ANNA,
    )  # fmt: skip


def released() -> OrderHoldReleased:
    return OrderHoldReleased(
        order_id=ORDER, hold_id=f"{ORDER}-H1", kind=HoldKind.NEEDS_INFO, outcome="completed", released_by="anna",
        released_at=NOW,
    )  # fmt: skip


def envelope(event: Event, service: str) -> Envelope:
    cause = uuid7()
    row = row_of(event)
    return Envelope(cause, service, row, row.key_of(event), Lane.STANDARD, event, NOW, cause, cause)
