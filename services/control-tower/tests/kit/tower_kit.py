"""The tower alone: a test speaks as the other services and reads what the tower keeps and says."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from control_tower.domain.card import Card
from control_tower.handlers import handlers
from control_tower.main import spec
from control_tower.store import CARDS, TALLIES
from expedite_chassis.testing import client
from expedite_events import (
    Address,
    Customer,
    CustomerNotified,
    Delivered,
    Event,
    Lane,
    LineGoods,
    OrderBrief,
    OrderCancelled,
    OrderClosed,
    OrderLine,
    OrderReceived,
    OrderState,
    Packed,
    PriorityAssigned,
    Reason,
    ShipmentTracked,
    Shipped,
    Stage,
    StockReserved,
    Tier,
    TrackingStatus,
    Units,
    Urgency,
    row_of,
)
from expedite_events.envelope import Envelope
from expedite_events.ids import uuid7
from expedite_messaging import Engine
from expedite_messaging.memory import MemoryClock, MemoryEngine

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
UNITS = Units.quantity(1, 2) | Units.quantity(2, 1)


def at(minutes: float) -> datetime:
    """A moment of the test's day."""
    return NOW + timedelta(minutes=minutes)


def urgency(tier: Tier = Tier.REGULAR, revision: int = 1, promise: float = 600) -> Urgency:
    deadlines = {stage: at(60 * (place + 1)) for place, stage in enumerate(Stage)}
    return Urgency(tier=tier, score=10.0, revision=revision, promise_by=at(promise), deadlines=deadlines)


class Story:
    """The events of one order that goes well."""

    def __init__(
        self, order_id: str, name: str = "Mia Jansen", tags: tuple[str, ...] = (), channel: str = "web",
        tier: Tier = Tier.REGULAR, promise: float = 600,
    ) -> None:  # fmt: skip
        self.order_id, self.parcel_id, self.pick_id = order_id, f"{order_id}-P1", f"{order_id}-F1"
        self.tracking = f"SP{order_id[-6:]}"
        self.customer = Customer(
            name=name, email="mia@example.com", ship_to=Address(line1="1 High St", city="Ede", country="NL")
        )
        self.brief = OrderBrief(channel=channel, placed_at=NOW, tags=tags, customer=self.customer)
        self.lines = (
            OrderLine(line=1, sku="mug", name="Mug", quantity=2, unit_price=Decimal("4.95")),
            OrderLine(line=2, sku="jar", name="Jar", quantity=1, unit_price=Decimal("2.50")),
        )
        self.goods = (LineGoods(line=1, sku="mug", name="Mug"), LineGoods(line=2, sku="jar", name="Jar"))
        self.urgency = urgency(tier, promise=promise)

    def received(self) -> Event:
        return OrderReceived(
            order_id=self.order_id, received_at=at(0), brief=self.brief, lines=self.lines, total=Decimal("12.40")
        )

    def assigned(self) -> Event:
        return PriorityAssigned(
            order_id=self.order_id, brief=self.brief, lines=self.lines, urgency=self.urgency, assigned_at=at(1),
            reasons=(Reason(rule="none", points=0, text="no rule raised it"),),
        )  # fmt: skip

    def reserved(self) -> Event:
        return StockReserved(
            order_id=self.order_id, fulfilment_order_id=self.pick_id, warehouse_id="LON", units=UNITS, goods=self.goods,
            brief=self.brief, urgency=self.urgency, reserved_at=at(2),
        )  # fmt: skip

    def packed(self) -> Event:
        return Packed(
            order_id=self.order_id, parcel_id=self.parcel_id, fulfilment_order_id=self.pick_id, warehouse_id="LON",
            units=UNITS, goods=self.goods, box="small", weight_g=900, packed_by="tom", packed_at=at(30), brief=self.brief,
            urgency=self.urgency,
        )  # fmt: skip

    def shipped(self) -> Event:
        return Shipped(
            order_id=self.order_id, parcel_id=self.parcel_id, warehouse_id="LON", units=UNITS, carrier_id="swift-post",
            service="ECONOMY", tracking_number=self.tracking, cost=Decimal("4.27"), currency="GBP", expected_at=at(500),
            promise_by=self.urgency.promise_by, shipped_at=at(60), chosen_because="cheapest", customer=self.customer,
        )  # fmt: skip

    def tracked(self, status: TrackingStatus = TrackingStatus.IN_TRANSIT, minutes: float = 90) -> Event:
        return ShipmentTracked(
            order_id=self.order_id, parcel_id=self.parcel_id, tracking_number=self.tracking, status=status,
            raw_status=status.value, occurred_at=at(minutes),
        )  # fmt: skip

    def delivered(self) -> Event:
        return Delivered(
            order_id=self.order_id, parcel_id=self.parcel_id, units=UNITS, delivered_at=at(400), signed_by="Mia",
            customer=self.customer,
        )  # fmt: skip

    def closed(self) -> Event:
        return OrderClosed(
            order_id=self.order_id, delivered=UNITS, cancelled=Units(), confirmed_by="customer", closed_at=at(500),
            customer=self.customer,
        )  # fmt: skip

    def cancelled(self) -> Event:
        return OrderCancelled(order_id=self.order_id, units=UNITS, reason="changed my mind", cancelled_at=at(5))

    def told(self, kind: str) -> Event:
        return CustomerNotified(
            order_id=self.order_id, message_id=f"{self.order_id}.{kind}", kind=kind, occasion=self.order_id,
            language="en", sent_at=at(3),
        )  # fmt: skip

    def whole(self) -> list[Event]:
        """From the first event to the last."""
        return [
            self.received(), self.told("receipt"), self.assigned(), self.reserved(), self.told("order_confirmation"),
            self.packed(), self.shipped(), self.told("shipped"), self.tracked(), self.delivered(), self.closed(),
        ]  # fmt: skip


def sealed(event: Event, lane: Lane = Lane.STANDARD) -> Envelope:
    """The event as it comes from its owner."""
    row = row_of(event)
    lane = row.lane_on(lane)
    event_id = uuid7()
    return Envelope(
        id=event_id, service=row.owners[0], row=row, key=row.key_of(event), lane=lane, event=event, time=NOW,
        correlation_id=event_id, causation_id=event_id, sequence=1,
    )  # fmt: skip


class Tower:
    """One tower on a MemoryEngine, or on the engine given."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine: Any = engine or MemoryEngine(handlers, MemoryClock(NOW))

    async def hears(self, *events: Event, lane: Lane = Lane.STANDARD) -> None:
        """One poll."""
        await self.hears_sealed([sealed(event, lane) for event in events])

    async def hears_sealed(self, envelopes: list[Envelope]) -> None:
        by_handler: dict[Any, list[Envelope]] = {}
        for envelope in envelopes:
            by_handler.setdefault(handlers.events[type(envelope.event)], []).append(envelope)
        for group in by_handler.values():
            await self.engine.deliver(group)

    async def card(self, order_id: str) -> Card | None:
        return (await self.engine.read(lambda tx: tx.load(CARDS, [order_id]))).get(order_id)

    async def tally(self) -> dict[str, int]:
        """Orders by place, as counted."""
        found: Counter[str] = Counter()
        for tally in await self.engine.read(lambda tx: tx.find(TALLIES)):
            found.update(tally.orders)
        return {place: n for place, n in found.items() if n}

    def states(self) -> list[OrderState]:
        """What BI was told, on a MemoryEngine."""
        return [e.event for e in self.engine.db.ledger if isinstance(e.event, OrderState)]

    async def asks(self, path: str, **params: Any) -> Any:
        """An answer of the API."""
        async with client(spec, self.engine, ["read"]) as api:
            answer = await api.get(f"/api{path}", params=params)
            assert answer.status_code == 200, answer.text
            return answer.json()

    async def ids(self, path: str = "/board", **params: Any) -> list[str]:
        return [row["order_id"] for row in (await self.asks(path, **params))["items"]]
