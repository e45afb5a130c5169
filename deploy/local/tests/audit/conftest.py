"""A small house on real PostgreSQL: all seven services with their real handlers and routes, and a few orders that went
each its way. Kafka is a list of records here; tests damage copies of one database, or that list."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

import control_tower.main
import fulfillment.main
import inventory.main
import notifier.main
import order_intake.main
import prioritizer.main
import shipping.main
from expedite_chassis import ServiceSpec
from expedite_chassis.testing import client
from expedite_events import Lane, TrackingStatus
from expedite_events.envelope import decode
from expedite_local.audit.finding import Finding
from expedite_local.audit.run import check
from expedite_local.audit.topics import Places
from expedite_local.home import Home
from expedite_local.mail import Keeper
from expedite_local.state import State
from expedite_messaging import EffectCall, RawRecord, Root, Tx
from expedite_messaging.bundles import unpacked
from expedite_messaging.clock import anchor
from expedite_messaging.effects import EffectWorker
from expedite_messaging.kafka import group_of
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.records import wire_headers
from expedite_messaging.testing import create_database, drop_database, on_server, server_url
from notifier.domain.telling import EMAIL
from notifier.effects import wire
from notifier.settings import settings as mail_settings
from shipping.domain.journey import track
from shipping.domain.tracking import Update
from shipping.store import Desktop

SPECS: dict[str, ServiceSpec] = {
    module.spec.name: module.spec
    for module in (
        order_intake.main, prioritizer.main, inventory.main, fulfillment.main, shipping.main, notifier.main,
        control_tower.main,
    )
}  # fmt: skip
START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
ADDRESS = {"line1": "1 Dock Road", "city": "London", "postcode": "NW10 7PH", "country": "GB"}
CUSTOMER = {"name": "Ada Byron", "email": "ada@example.com", "ship_to": {**ADDRESS, "line1": "2 St James's Square"}}


@dataclass
class FakeTopics:
    """Records instead of a broker: one partition per topic; every group has consumed everything."""

    kept: list[RawRecord]

    async def places(self, services: Iterable[str]) -> Places:
        ends: dict[tuple[str, int], int] = {}
        for record in self.kept:
            ends[record.topic, 0] = max(ends.get((record.topic, 0), 0), record.offset + 1)
        return Places(ends, {group_of(service, lane): ends for service in services for lane in Lane})

    async def records(self) -> AsyncIterator[RawRecord]:
        for record in self.kept:
            yield record


@dataclass
class House:
    """What the tests look at: databases, records, mail, and the orders by their fate."""

    state: State
    home: Home
    records: list[RawRecord]
    orders: dict[str, str]

    async def check(
        self, *, records: list[RawRecord] | None = None, home: Home | None = None, ended: bool = False, **databases: str
    ) -> dict[str, Finding]:
        """The audit's findings by check; `databases` replaces some by damaged copies."""
        state = replace(self.state, databases={**self.state.databases, **_dashed(databases)})
        topics = FakeTopics(self.records if records is None else records)
        return {f.check: f for f in await check(state, home or self.home, topics, ended=ended)}


def _dashed(databases: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): url for name, url in databases.items()}


@dataclass
class Builder:
    """Runs the services: relays, delivers, performs, until nothing moves."""

    folder: Path
    engines: dict[str, PostgresEngine] = field(default_factory=dict)
    records: list[RawRecord] = field(default_factory=list)
    offsets: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def open(self) -> None:
        performers: dict[str, dict[str, Any]] = {
            "notifier": {EMAIL: self._mail},
            "shipping": {"quote_rates": _quote, "buy_label": _label, "void_label": _void},
        }
        for name, spec in SPECS.items():
            url = await create_database(spec.migrations_module)
            await anchor(url, 0, START)
            handlers = replace(spec.handlers, performers={}, performed_at_once={})
            for kind, performer in performers.get(name, {}).items():
                handlers.performs(kind, performer)
            self.engines[name] = PostgresEngine(handlers, url, pool_size=2)
        self.box = Keeper(self.folder)

    async def call(self, service: str, method: str, path: str, body: Any = None) -> Any:
        async with client(SPECS[service], self.engines[service]) as http:
            response = await http.request(method, path, json=body)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()

    async def settle(self) -> None:
        while True:
            moved = await self._relay()
            for name, engine in self.engines.items():
                for lane in Lane if engine.handlers.performers else ():
                    worker = EffectWorker(engine, lane)
                    moved += sum([await worker.perform_some(kind) for kind in engine.handlers.performers])
                for job in engine.handlers.jobs if name != "order-intake" else ():
                    await job.run(engine)
            if not moved and not await self._relay():
                return

    async def _relay(self) -> int:
        found: list[RawRecord] = []
        for engine in self.engines.values():
            for table in ("outbox", "outbox_express"):
                rows = await engine.connections.fetch(f"DELETE FROM {table} RETURNING id, shard, body")
                for bundle in sorted([unpacked(*row) for row in rows], key=lambda b: b.number):
                    for event in bundle.events:
                        at, self.offsets[event.topic] = self.offsets[event.topic], self.offsets[event.topic] + 1
                        headers = tuple(wire_headers(event.headers, bundle.number + event.place))
                        found.append(RawRecord(event.topic, event.key.encode(), event.value, headers, 0, at))
        by_topic: dict[str, list[RawRecord]] = defaultdict(list)
        for record in found:
            by_topic[record.topic].append(record)
        for topic, records in by_topic.items():
            envelopes = [decode(topic, r.key, r.value, r.headers) for r in records]
            for service in envelopes[0].row.hearers:
                if mine := [e for e in envelopes if service in e.hearers]:
                    await self.engines[service].deliver(mine)
        self.records += found
        return len(found)

    async def _mail(self, call: EffectCall) -> dict[str, Any]:
        mail = wire(call, "http://status.test", mail_settings, START)
        self.box.keep(mail.content, mail.sender.encode())
        return {"message_id": call.subject}

    # -- people

    async def places(self, name: str, lines: list[tuple[str, int]], **customer: Any) -> str:
        body = {
            "channel": "web", "reference": name, "currency": "GBP", "customer": {**CUSTOMER, **customer},
            "lines": [{"sku": sku, "quantity": n, "unit_price": "9.50"} for sku, n in lines],
        }  # fmt: skip
        answer = await self.call("order-intake", "POST", "/orders", body)
        await self.settle()
        return str(answer["order_id"])

    async def packs(self, order_id: str, *scans: tuple[str, int]) -> str:
        path = f"/fulfilment-orders/{order_id}-F1"
        body = {"by": "tom", "scans": [{"sku": sku, "quantity": n} for sku, n in scans]}
        await self.call("fulfillment", "POST", f"{path}/scans", body)
        await self.call("fulfillment", "POST", f"{path}/pack", {"by": "tom"})
        await self.settle()
        return f"{order_id}-P1"

    async def hands_over(self, parcel_id: str) -> None:
        await self.call("shipping", "POST", f"/parcels/{parcel_id}/hand-over", {"by": "tom"})
        await self.settle()

    async def delivers(self, order_id: str, parcel_id: str) -> None:
        """The carrier says so; how its words arrive is no matter of the audit."""

        async def work(tx: Tx) -> None:
            desktop = await Desktop.load(tx, [order_id])
            update = Update(
                carrier_id="swift", tracking_number=f"T-{parcel_id}", status=TrackingStatus.DELIVERED, raw_status="D",
                occurred_at=tx.now,
            )  # fmt: skip
            leg = desktop.orders[order_id]
            desktop.save(Root(order_id), track(leg, parcel_id, (update,), desktop.desk, tx.now))

        await self.engines["shipping"].transact([order_id], work)
        await self.settle()

    async def cancels(self, order_id: str, **what: Any) -> None:
        await self.call("order-intake", "POST", f"/orders/{order_id}/cancel", {"reason": "changed my mind", **what})
        await self.settle()

    async def live(self) -> dict[str, str]:
        """The story. One order for each end and each place where units can be; each with other quantities, for equal
        ones would be held as duplicates."""
        warehouse = {"name": "London", "address": ADDRESS, "time_zone": "Europe/London", "opens": "06:00",
                     "closes": "22:00", "working_days": [0, 1, 2, 3, 4, 5, 6], "serves": ["GB"]}  # fmt: skip
        await self.call("inventory", "PUT", "/warehouses/LON", warehouse)
        products = [{"sku": sku, "name": sku.title(), "weight_g": 200, "unit_price": "9.50"} for sku in ("MUG", "LAMP")]
        await self.call("inventory", "PUT", "/products", products)
        await self.call("shipping", "PUT", "/carriers/swift", {"name": "Swift", "base_url": "http://swift.test"})
        await self.call("order-intake", "PUT", "/channels/web", {"code": "EC", "owner": "lena"})
        await self.settle()
        lines = [{"sku": sku, "warehouse_id": "LON", "quantity": n} for sku, n in (("MUG", 20), ("LAMP", 3))]
        opening = {"lines": lines, "reason": "opening", "reference": "opening-1"}
        await self.call("inventory", "POST", "/stock/opening", opening)
        await self.settle()
        orders = {"closed": await self.places("closed", [("MUG", 2), ("LAMP", 1)])}
        parcel = await self.packs(orders["closed"], ("MUG", 2), ("LAMP", 1))
        await self.hands_over(parcel)
        await self.delivers(orders["closed"], parcel)
        await self.call("order-intake", "POST", f"/orders/{orders['closed']}/confirm")
        orders["cancelled"] = await self.places("cancelled", [("MUG", 1)])
        await self.cancels(orders["cancelled"])
        orders["reduced"] = await self.places("reduced", [("MUG", 4)])
        await self.cancels(orders["reduced"], lines=[{"line": 1, "quantity": 1}])
        await self.hands_over(await self.packs(orders["reduced"], ("MUG", 3)))
        orders["packed"] = await self.places("packed", [("MUG", 2)])
        await self.packs(orders["packed"], ("MUG", 2))
        orders["picking"] = await self.places("picking", [("MUG", 6)])
        orders["backordered"] = await self.places("backordered", [("LAMP", 5)])
        orders["held"] = await self.places("held", [("MUG", 7)], ship_to={**ADDRESS, "postcode": None})
        receipt = {"receipt_id": "R-1", "warehouse_id": "LON", "by": "tom", "lines": [{"sku": "MUG", "quantity": 5}]}
        await self.call("fulfillment", "POST", "/receipts", receipt)
        await self.settle()
        return orders


async def _quote(call: EffectCall) -> dict[str, Any]:
    rate = {
        "carrier_id": "swift",
        "service": "day",
        "name": "Day",
        "price": "5",
        "currency": "GBP",
        "transit_hours": 24,
    }
    return {"rates": [rate], "errors": {}}


async def _label(call: EffectCall) -> dict[str, Any]:
    parcel = call.data["shipment"]["parcel_id"]
    return {"label_id": f"L-{parcel}", "tracking_number": f"T-{parcel}", "zpl": "^XA^XZ", "pdf_base64": ""}


async def _void(call: EffectCall) -> dict[str, Any]:
    return {}


async def _build(root: Path) -> House:
    home = Home(root / "home")
    home.create()
    builder = Builder(home.mail)
    await builder.open()
    orders = await builder.live()
    databases = {name: engine.connections.url for name, engine in builder.engines.items()}
    for engine in builder.engines.values():
        await engine.close()
    return House(State(0, 0.0, phase="ready", databases=databases), home, builder.records, orders)


def run_apart(work: Callable[[], Any]) -> Any:
    """Run a coroutine function in a thread of its own, whatever loop runs here."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    server_url()  # started here: it dies with the thread that started it
    root = tmp_path_factory.mktemp("house")
    built: House = run_apart(lambda: _build(root))
    yield built

    async def drop() -> None:
        for url in built.state.databases.values():
            await drop_database(url)

    run_apart(drop)


@pytest.fixture
async def damaged(house: House) -> AsyncIterator[Callable[..., Any]]:
    """`await damaged(service, statement, …)`: the URL of a copy of that service's database in which they ran; the last
    statement must have hit something."""
    made: list[str] = []

    async def damage(service: str, *statements: str) -> str:
        source = urlsplit(house.state.databases[service.replace("_", "-")]).path[1:]
        name = f"test_{uuid4().hex[:16]}"
        admin = await asyncpg.connect(server_url())
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}" STRATEGY FILE_COPY')
        await admin.close()
        made.append(on_server(name))
        connection = await asyncpg.connect(made[-1])
        for statement in statements:
            done = await connection.execute(statement)
        assert not done.endswith(" 0"), f"nothing was damaged: {done}"
        await connection.close()
        return made[-1]

    yield damage
    for url in made:
        await drop_database(url)
