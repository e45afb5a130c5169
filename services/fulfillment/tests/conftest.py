"""Events as others would send them, and a fulfillment service in memory to send them to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from expedite_events import (
    Address,
    CancelRequested,
    Customer,
    Event,
    HoldKind,
    HoldSummary,
    Lane,
    LineGoods,
    OrderBrief,
    OrderHeld,
    OrderHoldReleased,
    OrderLine,
    PersonChanged,
    PriorityAssigned,
    ProductChanged,
    Settled,
    Stage,
    StockReserved,
    Tier,
    TransferRequested,
    Units,
    Urgency,
    WarehouseChanged,
    row_of,
)
from expedite_events.envelope import Envelope
from expedite_events.ids import uuid7
from expedite_events.inventory import CutOff
from expedite_messaging import Engine
from expedite_messaging.memory import MemoryClock, MemoryEngine
from fulfillment.domain.model import Order
from fulfillment.domain.tasks import Task
from fulfillment.handlers import handlers
from fulfillment.store import ORDERS, TASKS

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)  # a Monday
ORDER = "20261123-EC-000001"
CUSTOMER = Customer(
    name="Anna Lee", email="anna@example.com", ship_to=Address(line1="1 Mill Lane", city="Leeds", country="GB")
)
BRIEF = OrderBrief(channel="EC", placed_at=NOW, customer=CUSTOMER)
ADDRESS = Address(line1="Dock 1", city="Hull", country="GB")


class Make:
    """Builds events; what a test does not say is filled in."""

    now, order, brief = NOW, ORDER, BRIEF

    def urgency(
        self, tier: Tier = Tier.REGULAR, revision: int = 1, *, express: bool = False, hours: float = 24
    ) -> Urgency:
        by = NOW + timedelta(hours=hours)
        return Urgency(
            tier=tier, score=0, revision=revision, promise_by=by + timedelta(hours=48), express=express,
            deadlines={Stage.PREPARE: by, Stage.STOCK_LOCK: by},
        )  # fmt: skip

    def goods(self, units: Units) -> tuple[LineGoods, ...]:
        """Line 1 is SKU-1 and so on."""
        return tuple(LineGoods(line=n, sku=f"SKU-{n}", name=f"Thing {n}") for n in units.lines)

    def reserved(
        self, units: Units, fo: str = "F1", *, order: str = ORDER, warehouse: str = "HUL",
        settled: tuple[Settled, ...] = (), urgency: Urgency | None = None,
    ) -> StockReserved:  # fmt: skip
        return StockReserved(
            order_id=order, fulfilment_order_id=f"{order}-{fo}", warehouse_id=warehouse, units=units,
            goods=self.goods(units), brief=BRIEF, urgency=urgency or self.urgency(), settled=settled, reserved_at=NOW,
        )  # fmt: skip

    def cancel(
        self, units: Units, request: str = "C1", *, standing: bool = True, order: str = ORDER
    ) -> CancelRequested:
        return CancelRequested(
            order_id=order, request_id=f"{order}-{request}", units=units, standing=standing, reason="changed my mind",
            requested_by="customer", requested_at=NOW,
        )  # fmt: skip

    def held(self, hold: str = "H1", order: str = ORDER) -> OrderHeld:
        return OrderHeld(
            order_id=order, hold_id=f"{order}-{hold}", kind=HoldKind.REVIEW, owner="olga", held_at=NOW,
            due_at=NOW + timedelta(hours=2), received_at=NOW, summary=HoldSummary(channel="EC"),
        )  # fmt: skip

    def released(self, hold: str = "H1", order: str = ORDER) -> OrderHoldReleased:
        return OrderHoldReleased(
            order_id=order, hold_id=f"{order}-{hold}", kind=HoldKind.REVIEW, outcome="approved", released_by="olga",
            released_at=NOW,
        )  # fmt: skip

    def priority(self, urgency: Urgency, order: str = ORDER) -> PriorityAssigned:
        line = OrderLine(line=1, sku="SKU-1", name="Thing 1", quantity=3, unit_price=Decimal(5))
        return PriorityAssigned(
            order_id=order, brief=BRIEF, lines=(line,), urgency=urgency, reasons=(), assigned_at=NOW
        )

    def transfer(self, units: Units, transfer: str = "T1", order: str = ORDER) -> TransferRequested:
        return TransferRequested(
            order_id=order, transfer_id=f"{order}-{transfer}", from_warehouse_id="HUL", to_warehouse_id="LDS",
            units=units, goods=self.goods(units), urgency=self.urgency(), requested_at=NOW,
        )  # fmt: skip

    def product(self, number: int = 1, **fields: Any) -> ProductChanged:
        base = {
            "length_mm": 100,
            "width_mm": 80,
            "height_mm": 30,
            "weight_g": 200,
            "barcodes": (f"590000000000{number}",),
        }
        return ProductChanged(sku=f"SKU-{number}", name=f"Thing {number}", **(base | fields))

    def warehouse(self, warehouse: str = "HUL", cut_offs: tuple[CutOff, ...] = ()) -> WarehouseChanged:
        return WarehouseChanged(
            warehouse_id=warehouse, name=f"Warehouse {warehouse}", address=ADDRESS, time_zone="Europe/London",
            opens="08:00", closes="18:00", cut_offs=cut_offs,
        )  # fmt: skip

    def person(self, person: str = "pete", **fields: Any) -> PersonChanged:
        base = {"name": person.title(), "email": f"{person}@example.com", "roles": ("picker",)}
        return PersonChanged(person_id=person, **(base | fields))

    def envelope(self, event: Event, lane: Lane = Lane.STANDARD, id_: UUID | None = None) -> Envelope:
        """The event as it comes from its owner."""
        row, made = row_of(event), id_ or uuid7()
        real = row.lane_on(lane)
        return Envelope(
            id=made, service=row.owners[0], row=row, key=row.key_of(event), lane=real, event=event, time=NOW,
            correlation_id=made, causation_id=made,
        )  # fmt: skip


class Service:
    """A fulfillment service to send events to."""

    def __init__(self, make: Make, engine: Engine) -> None:
        self.make, self.engine = make, engine

    async def hear(self, *events: Event, lane: Lane = Lane.STANDARD) -> None:
        for event in events:
            await self.engine.deliver([self.make.envelope(event, lane)])

    async def order(self, order_id: str = ORDER) -> Order:
        found = await self.engine.read(lambda tx: tx.load(ORDERS, [order_id]))
        return found[order_id]

    async def tasks(self, **where: Any) -> dict[str, Task]:
        found: Sequence[Task] = await self.engine.read(lambda tx: tx.find(TASKS, where))
        return {task.task_id: task for task in found}


class MemoryService(Service):
    """The same in memory: what it said and what it parked can be looked at."""

    engine: MemoryEngine

    def __init__(self, make: Make) -> None:
        super().__init__(make, MemoryEngine(handlers, MemoryClock(NOW)))

    @property
    def said(self) -> list[Event]:
        return [e.event for e in self.engine.db.ledger]

    @property
    def lanes(self) -> list[tuple[str, Lane]]:
        return [(e.row.topic, e.lane) for e in self.engine.db.ledger]

    @property
    def parked(self) -> dict[str, list[Any]]:
        return self.engine.db.parked


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def service(make: Make) -> MemoryService:
    return MemoryService(make)


@pytest.fixture
def new_service(make: Make) -> type[MemoryService]:
    """For tests that need many services."""
    return MemoryService


@pytest.fixture
def service_over(make: Make) -> type[Service]:
    """For tests that bring an engine of their own."""
    return Service
