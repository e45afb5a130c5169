"""Inventory alone on a MemoryEngine: a test speaks as the other services and reads what inventory says."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from expedite_events import (
    Address,
    Customer,
    Event,
    GoodsReceived,
    Lane,
    OrderBrief,
    OrderLine,
    PriorityAssigned,
    Reason,
    ReceiptLine,
    Tier,
    Urgency,
    WarehouseChanged,
    row_of,
)
from expedite_events.envelope import Envelope
from expedite_events.ids import uuid7
from expedite_messaging.memory import MemoryClock, MemoryEngine
from expedite_messaging.tx import Tx
from inventory import audit, jobs
from inventory.domain.bookings import BookingLine, book_in
from inventory.domain.order import Content, Order, Status
from inventory.domain.stock import Because, Shelf
from inventory.handlers import handlers
from inventory.shelves import Stockroom
from inventory.store import ORDERS, WAREHOUSES


def warehouse(warehouse_id: str, country: str, serves: Sequence[str] = (), **more: Any) -> WarehouseChanged:
    address = Address(line1="1 Dock Road", city="Town", country=country)
    return WarehouseChanged(
        warehouse_id=warehouse_id, name=warehouse_id, address=address, time_zone="Europe/London", opens="06:00",
        closes="22:00", serves=tuple(serves), **more,
    )  # fmt: skip


async def prepare(engine: Any, stock: dict[tuple[str, str], int]) -> None:
    """Warehouses and opening stock in a database of its own."""

    async def work(tx: Tx) -> None:
        book = await tx.load(WAREHOUSES, ["LON", "MAN"])
        for warehouse_id in ("LON", "MAN"):
            book.put(warehouse(warehouse_id, "GB", ["GB"]))
        room = await Stockroom.exact(tx, stock)
        lines = tuple(BookingLine(sku=s, warehouse_id=w, quantity=n) for (s, w), n in stock.items())
        book_in(room.world.stock, Because("opening", "1", tx.now), lines)
        room.save()

    await engine.transact([], work)


async def sound(engine: Any, skus: list[str]) -> None:
    for verdict in await audit.check(engine, skus):
        assert verdict.conserved, verdict.leaks


async def held(engine: Any, order_ids: list[str]) -> dict[str, int]:
    """Units by status over these orders."""
    out: dict[str, int] = {}
    for order in await engine.read(lambda tx: tx.load(ORDERS, order_ids)):
        for segment in order.segments:
            out[segment.status.value] = out.get(segment.status.value, 0) + len(segment.units)
    return out


class Harness:
    """One inventory. `send` delivers an event as another service and returns what inventory emitted for it."""

    def __init__(self) -> None:
        self.clock = MemoryClock()
        self.engine = MemoryEngine(handlers, self.clock)
        self.opened = itertools.count(1)
        for made in (
            warehouse("LON", "GB", ["GB"]),
            warehouse("MAN", "GB", ["GB"]),
            warehouse("LIL", "FR", ["FR", "DE"]),
        ):
            self.place(made)

    def place(self, made: WarehouseChanged) -> None:
        self.engine.db.rows["warehouse"][made.warehouse_id] = made

    async def stock(self, **levels: int) -> None:
        """Open stock: ``LON_x=3`` puts 3 of SKU x into LON."""

        async def work(tx: Tx) -> None:
            lines = []
            for name, quantity in levels.items():
                warehouse_id, _, sku = name.partition("_")
                lines.append(BookingLine(sku=sku, warehouse_id=warehouse_id, quantity=quantity))
            room = await Stockroom.exact(tx, [(line.sku, line.warehouse_id) for line in lines])
            book_in(room.world.stock, Because("opening", f"opening-{next(self.opened)}", tx.now), tuple(lines))
            room.save()

        await self.engine.transact([], work)

    def urgency(self, tier: Tier = Tier.REGULAR, revision: int = 1, score: float = 0, hours: float = 96) -> Urgency:
        return Urgency(
            tier=tier, score=score, revision=revision, promise_by=self.clock.now + timedelta(hours=hours), deadlines={},
            express=tier is Tier.URGENT,
        )  # fmt: skip

    def brief(self, country: str = "GB", partial: bool = True) -> OrderBrief:
        to = Address(line1="9 High Street", city="Leeds", postcode="LS1 1AA", country=country)
        return OrderBrief(
            channel="EC", placed_at=self.clock.now, partial_shipment=partial, customer=Customer(name="Ann", ship_to=to)
        )

    def assigned(
        self, order_id: str, lines: dict[str, int], *, partial: bool = True, country: str = "GB", version: int = 1,
        urgency: Urgency | None = None, **more: Any,
    ) -> PriorityAssigned:  # fmt: skip
        return PriorityAssigned(
            order_id=order_id,
            order_version=version,
            brief=self.brief(country, partial),
            lines=tuple(
                OrderLine(line=i, sku=sku, name=sku.upper(), quantity=n) for i, (sku, n) in enumerate(lines.items(), 1)
            ),
            urgency=urgency or self.urgency(**more),
            reasons=(Reason(rule="test", points=1, text="because"),),
            assigned_at=self.clock.now,
        )

    def envelope(self, event: Event, service: str | None = None, lane: Lane = Lane.STANDARD) -> Envelope:
        row, event_id = row_of(event), uuid7()
        on = row.lane_on(lane)
        return Envelope(
            id=event_id, service=service or row.owners[0], row=row, key=row.key_of(event), lane=on, event=event,
            time=self.clock.now, correlation_id=event_id, causation_id=event_id,
        )  # fmt: skip

    async def send(
        self, *events: Event, service: str | None = None, lane: Lane = Lane.STANDARD, parks: bool = False
    ) -> list[Event]:
        """Deliver events in one batch; what inventory said. Fails when anything parked, unless `parks`."""
        return await self.deliver([self.envelope(e, service, lane) for e in events], parks=parks)

    async def deliver(self, envelopes: Sequence[Envelope], parks: bool = False) -> list[Event]:
        before = len(self.engine.db.ledger)
        await self.engine.deliver(envelopes)
        parked = [p.reason for rows in self.engine.db.parked.values() for p in rows]
        assert bool(parked) is parks, parked
        return [e.event for e in self.engine.db.ledger[before:]]

    async def receive(self, receipt_id: str, warehouse_id: str, **quantities: int) -> list[Event]:
        """A receipt, then the fill job. What the fill said."""
        before = len(self.engine.db.ledger)
        lines = tuple(ReceiptLine(sku=sku, quantity=n) for sku, n in quantities.items())
        await self.send(
            GoodsReceived(
                receipt_id=receipt_id, warehouse_id=warehouse_id, lines=lines, received_by="ann", at=self.clock.now
            )
        )
        await self.fill()
        return [e.event for e in self.engine.db.ledger[before:]]

    async def fill(self) -> list[Event]:
        before = len(self.engine.db.ledger)
        await jobs.fill(self.engine)
        return [e.event for e in self.engine.db.ledger[before:]]

    def order(self, order_id: str) -> Order:
        found = self.engine.db.rows["stock_order"][order_id]
        assert isinstance(found, Order)
        return found

    def content(self, order_id: str) -> Content:
        found = self.order(order_id).content
        assert found is not None
        return found

    def where(self, order_id: str) -> dict[Status, int]:
        out: dict[Status, int] = {}
        for segment in self.order(order_id).segments:
            out[segment.status] = out.get(segment.status, 0) + len(segment.units)
        return out

    def shelf(self, sku: str, warehouse_id: str) -> Shelf:
        found = self.engine.db.rows["shelf"].get((sku, warehouse_id))
        return found if isinstance(found, Shelf) else Shelf(sku=sku, warehouse_id=warehouse_id)

    async def conserved(self) -> None:
        """Every unit in one state, every piece accounted for, by three books (I1)."""
        skus = sorted({key[0] for key in self.engine.db.rows["shelf"]})
        for verdict in await audit.check(self.engine, skus):
            assert verdict.conserved, verdict.leaks
        for order in self.engine.db.rows["stock_order"].values():
            assert isinstance(order, Order)
            assert sum(len(s.units) for s in order.segments) == len(order.known), order.segments
