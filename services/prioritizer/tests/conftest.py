"""Builders of events of one order, in business time of a Monday."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from expedite_events import (
    Address,
    CancelRequested,
    CarrierChanged,
    CarrierService,
    Customer,
    CustomerNotified,
    Decision,
    Delivered,
    Event,
    HoldKind,
    HoldSummary,
    Lane,
    LineGoods,
    OrderBrief,
    OrderClosed,
    OrderEvent,
    OrderHeld,
    OrderHoldReleased,
    OrderLine,
    OrderReceived,
    Packed,
    PickShort,
    PriorityAssigned,
    SetTimer,
    Settled,
    ShipmentLost,
    ShipmentTracked,
    Shipped,
    SLABreached,
    Stage,
    StockReserved,
    Tier,
    TrackingStatus,
    Units,
    Urgency,
    WarehouseChanged,
)
from expedite_events.catalogue import row_of
from expedite_events.envelope import Envelope
from expedite_events.ids import uuid7
from prioritizer.domain.assign import observe
from prioritizer.domain.clocks import TIMER, Clock, clocks, reschedule, ring
from prioritizer.domain.order import Order
from prioritizer.domain.priority import Priority
from prioritizer.domain.world import People, World

NINE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
ORDER = "20261123-EC-000001"


def at(hours: float) -> datetime:
    """Business time, in hours after Monday 09:00 UTC."""
    return NINE + timedelta(hours=hours)


class Story:
    """Events of the order `ORDER`: two lines, 2 and 3 units; times are hours after Monday 09:00 UTC."""

    order_id = ORDER
    at = staticmethod(at)
    goods = (LineGoods(line=1, sku="A", name="A"), LineGoods(line=2, sku="B", name="B"))
    all = Units.quantity(1, 2) | Units.quantity(2, 3)
    address = Address(line1="1 High St", city="London", postcode="N1", country="GB")
    customer = Customer(name="Ann", email="ann@example.com", ship_to=address)

    def brief(self, *, level: str | None = None, tags: tuple[str, ...] = (), currency: str = "GBP") -> OrderBrief:
        customer = self.customer.put(level=level)
        return OrderBrief(channel="EC", placed_at=at(0), currency=currency, tags=tags, customer=customer)

    def received(
        self,
        hours: float = 0,
        *,
        level: str | None = None,
        tags: tuple[str, ...] = (),
        currency: str = "GBP",
        total: float = 50,
        klass: str = "standard",
        **more: Any,
    ) -> OrderReceived:
        lines = (
            OrderLine(line=1, sku="A", name="A", quantity=2, product_class=klass),
            OrderLine(line=2, sku="B", name="B", quantity=3),
        )
        brief = self.brief(level=level, tags=tags, currency=currency)
        return OrderReceived(
            order_id=ORDER, received_at=at(hours), brief=brief, lines=lines, total=Decimal(str(total)), **more
        )

    def held(
        self, hours: float, hold: int = 1, kind: HoldKind = HoldKind.NEEDS_INFO, owner: str = "intake", due: float = 2
    ) -> OrderHeld:
        return OrderHeld(
            order_id=ORDER,
            hold_id=f"{ORDER}-H{hold}",
            kind=kind,
            owner=owner,
            held_at=at(hours),
            due_at=at(hours + due),
            received_at=at(0),
            summary=HoldSummary(channel="EC"),
        )

    def released(self, hours: float, hold: int = 1, kind: HoldKind = HoldKind.NEEDS_INFO) -> OrderHoldReleased:
        return OrderHoldReleased(
            order_id=ORDER,
            hold_id=f"{ORDER}-H{hold}",
            kind=kind,
            outcome="completed",
            released_by="ann",
            released_at=at(hours),
        )

    def urgency(self) -> Urgency:
        return Urgency(tier=Tier.REGULAR, score=0, revision=1, promise_by=at(99), deadlines={})

    def reserved(self, hours: float, fo: int, units: Units) -> StockReserved:
        return StockReserved(
            order_id=ORDER,
            fulfilment_order_id=f"{ORDER}-F{fo}",
            warehouse_id="W1",
            units=units,
            goods=self.goods,
            brief=self.brief(),
            urgency=self.urgency(),
            reserved_at=at(hours),
        )

    def short(self, hours: float, fo: int, units: Units) -> PickShort:
        return PickShort(
            order_id=ORDER,
            fulfilment_order_id=f"{ORDER}-F{fo}",
            warehouse_id="W1",
            units=units,
            goods=self.goods,
            reported_by="c",
            at=at(hours),
        )

    def packed(self, hours: float, fo: int, parcel: int, units: Units) -> Packed:
        return Packed(
            order_id=ORDER,
            parcel_id=f"{ORDER}-P{parcel}",
            fulfilment_order_id=f"{ORDER}-F{fo}",
            warehouse_id="W1",
            units=units,
            goods=self.goods,
            box="S",
            weight_g=1,
            packed_by="c",
            packed_at=at(hours),
            brief=self.brief(),
            urgency=self.urgency(),
        )

    def shipped(self, hours: float, parcel: int, units: Units) -> Shipped:
        return Shipped(
            order_id=ORDER,
            parcel_id=f"{ORDER}-P{parcel}",
            warehouse_id="W1",
            units=units,
            carrier_id="c",
            service="s",
            tracking_number="t",
            cost=Decimal(1),
            currency="GBP",
            expected_at=at(hours + 24),
            promise_by=at(99),
            shipped_at=at(hours),
            chosen_because="b",
            customer=self.customer,
        )

    def told(self, hours: float, parcel: int) -> CustomerNotified:
        return CustomerNotified(
            order_id=ORDER,
            message_id=f"m{parcel}",
            kind="shipped",
            occasion=f"{ORDER}-P{parcel}",
            language="en",
            sent_at=at(hours),
        )

    def tracked(self, hours: float, parcel: int) -> ShipmentTracked:
        return ShipmentTracked(
            order_id=ORDER,
            parcel_id=f"{ORDER}-P{parcel}",
            tracking_number="t",
            status=TrackingStatus.IN_TRANSIT,
            raw_status="t",
            occurred_at=at(hours),
        )

    def delivered(self, hours: float, parcel: int, units: Units) -> Delivered:
        return Delivered(
            order_id=ORDER, parcel_id=f"{ORDER}-P{parcel}", units=units, delivered_at=at(hours), customer=self.customer
        )

    def lost(self, hours: float, parcel: int, units: Units, settled: tuple[Settled, ...] = ()) -> ShipmentLost:
        return ShipmentLost(
            order_id=ORDER,
            parcel_id=f"{ORDER}-P{parcel}",
            fulfilment_order_id=f"{ORDER}-F1",
            warehouse_id="W1",
            units=units,
            goods=self.goods,
            settled=settled,
            cause="fire",
            at=at(hours),
            customer=self.customer,
        )

    def cancel(self, hours: float, units: Units, *, standing: bool = False) -> CancelRequested:
        return CancelRequested(
            order_id=ORDER,
            request_id=f"{ORDER}-C1",
            units=units,
            standing=standing,
            reason="r",
            requested_by="ann",
            requested_at=at(hours),
        )

    def closed(self, hours: float) -> OrderClosed:
        return OrderClosed(
            order_id=ORDER, delivered=self.all, cancelled=Units(), confirmed_by="clock", closed_at=at(hours)
        )

    def warehouse(self, warehouse_id: str = "W1", **more: Any) -> WarehouseChanged:
        given: dict[str, Any] = {"time_zone": "Europe/London", "opens": "08:00", "closes": "18:00", "serves": ("GB",)}
        return WarehouseChanged(warehouse_id=warehouse_id, name=warehouse_id, address=self.address, **(given | more))

    def carrier(self, hours: int = 24) -> CarrierChanged:
        service = CarrierService(
            code="x", name="x", transit_hours=hours, base_price=Decimal(1), price_per_kg=Decimal(1)
        )
        return CarrierChanged(carrier_id="c", name="c", services=(service,))

    def envelope(self, event: Event, service: str | None = None, lane: Lane = Lane.STANDARD) -> Envelope:
        """The event as its owner sends it."""
        row = row_of(event)
        new = uuid7()
        lane = row.lane_on(lane)
        return Envelope(
            id=new,
            service=service or row.owners[0],
            row=row,
            key=row.key_of(event),
            lane=lane,
            event=event,
            time=NINE,
            correlation_id=new,
            causation_id=new,
        )


class Desk:
    """One order at the prioritizer, fed by hand: its file, what was announced, its timer and the breaches told."""

    def __init__(self, story: Story, world: World | None = None, people: People | None = None) -> None:
        self.story, self.world, self.people = story, world or World(), people or {}
        self.order = Order.unseen(story.order_id)
        self.priority = Priority.unseen(story.order_id)
        self.content: OrderReceived | None = None
        self.rings_at: datetime | None = None
        self.breaches: list[SLABreached] = []
        self.assigned: list[PriorityAssigned] = []

    def apply(self, decision: Decision[Order]) -> Decision[Order]:
        self.order = decision.state
        for timer in decision.timers:
            if timer.kind == TIMER:
                self.rings_at = timer.due_at if isinstance(timer, SetTimer) else None
        assert self.rings_at == self.order.rings_at
        for event in decision.events:
            if isinstance(event, SLABreached):
                self.breaches.append(event)
            elif isinstance(event, PriorityAssigned):
                self.assigned.append(event)
                self.priority = self.priority.announced(event, self.content)
        return decision

    def see(self, event: OrderEvent, now: datetime | None = None) -> Decision[Order]:
        """An event comes, at `now` or on Monday 09:00."""
        if isinstance(event, OrderReceived):
            self.content = event
        known, decision = observe(self.order, event, self.priority, self.world, now or at(0))
        moved = reschedule(known, self.world)
        return self.apply(decision.and_then(moved) if decision else moved)

    def fire(self, now: datetime) -> None:
        """Let the timer ring while it is due."""
        while self.rings_at and self.rings_at <= now:
            self.rings_at = None
            self.apply(ring(self.order, self.world, self.people, now))

    @property
    def clocks(self) -> tuple[Clock, ...]:
        return clocks(self.order, self.world)

    def running(self) -> set[tuple[str, Stage]]:
        """Subject (without the order's number) and stage of each clock that runs."""
        return {(c.subject.removeprefix(ORDER), c.stage) for c in self.clocks}


@pytest.fixture(scope="session")
def story() -> Story:
    return Story()


@pytest.fixture(scope="session")
def desk_of(story: Story) -> Callable[..., Desk]:
    """Makes a desk: `desk_of(world=..., people=...)`."""
    return lambda **given: Desk(story, **given)
