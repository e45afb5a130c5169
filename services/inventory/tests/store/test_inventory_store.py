"""Inventory on a real PostgreSQL: concurrency, constraints, and every query the service makes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import inventory_harness as kit
import pytest
from inventory_harness import held, prepare, sound

from expedite_chassis.testing import client
from expedite_events import Lane, Tier
from expedite_messaging.clock import anchor
from expedite_messaging.memory import MemoryClock
from expedite_messaging.migrate import drift
from expedite_messaging.testing import create_database, drop_database, postgres_engine
from expedite_messaging.tx import Tx
from inventory import jobs
from inventory.domain.bookings import BookingLine, book_in
from inventory.domain.stock import Because
from inventory.handlers import handlers
from inventory.main import spec
from inventory.shelves import Stockroom
from inventory.store import BACKORDERS, SHELVES


@pytest.fixture
async def url() -> Any:
    """A database in which it is as early as the harness says: what is promised there is as far away as it seems."""
    made = await create_database("inventory")
    await anchor(made, 1.0, MemoryClock().now)
    yield made
    await drop_database(made)


async def test_two_engines_never_oversell_a_hot_sku(url: str) -> None:
    """D2: two processes reserve from one shelf at once, batch after batch: exactly what is there is reserved, the rest
    waits, and nothing is lost between the books."""
    harness = kit.Harness()
    ids = [f"o{i:03d}" for i in range(120)]
    sent = [harness.envelope(harness.assigned(i, {"hot": 1, f"cold{n % 7}": 1})) for n, i in enumerate(ids)]
    async with postgres_engine(handlers, "inventory", url) as one, postgres_engine(handlers, "inventory", url) as two:
        await prepare(one, {("hot", "LON"): 40, ("hot", "MAN"): 10} | {(f"cold{n}", "LON"): 100 for n in range(7)})

        async def consume(engine: Any, mine: list[Any]) -> None:
            for i in range(0, len(mine), 10):
                await engine.deliver(mine[i : i + 10])

        await asyncio.gather(consume(one, sent[::2]), consume(two, sent[1::2]))
        # 40 leave from London, Manchester's 10 are moved there, 70 wait; each of the 120 cold ones is there.
        assert await held(one, ids) == {"announced": 40 + 120, "transfer": 10, "backordered": 70}
        shelves = {(s.sku, s.warehouse_id): s for s in await one.read(lambda tx: tx.find(SHELVES, {"sku": "hot"}))}
        assert sum(s.free for s in shelves.values()) == 0
        assert sum(s.allocated + s.leaving for s in shelves.values()) == 50
        assert sum(s.backordered for s in shelves.values()) == 70
        await sound(one, ["hot", *(f"cold{n}" for n in range(7))])


async def test_the_fill_serves_the_queue_in_order_while_orders_arrive(url: str) -> None:
    """D5: a receipt is filled by urgency, by two replicas' jobs and a consumer at once."""
    harness = kit.Harness()
    low = [harness.envelope(harness.assigned(f"low{i:02d}", {"x": 1}, tier=Tier.LOW)) for i in range(20)]
    high = [harness.envelope(harness.assigned(f"high{i:02d}", {"x": 1}, tier=Tier.HIGH)) for i in range(20)]
    late = [harness.envelope(harness.assigned(f"late{i:02d}", {"x": 1}, tier=Tier.LOW, score=-1)) for i in range(20)]
    async with postgres_engine(handlers, "inventory", url) as one, postgres_engine(handlers, "inventory", url) as two:
        await prepare(one, {("y", "LON"): 1})
        await one.deliver(low)
        await one.deliver(high)
        await prepare(one, {("x", "LON"): 25})
        await asyncio.gather(jobs.fill(one), jobs.fill(two), two.deliver(late))
        await jobs.fill(one)
        assert await held(one, [f"high{i:02d}" for i in range(20)]) == {"announced": 20}
        assert await held(one, [f"low{i:02d}" for i in range(20)]) == {"announced": 5, "backordered": 15}
        assert await held(one, [f"late{i:02d}" for i in range(20)]) == {"backordered": 20}
        rows = await one.read(lambda tx: tx.find(BACKORDERS, {"open": True}))
        assert len(rows) == 35
        await sound(one, ["x"])


async def test_nobody_waits_in_a_circle_for_hot_shelves(url: str) -> None:
    """D2: two standard consumers, an express one, counts of new stock, the fill and the published levels, all at once on
    the same few shelves, some of which do not exist yet: everybody locks in the same order, so there is no deadlock, and
    what is sold is exactly what there was."""
    harness = kit.Harness()
    mixed = [{"hot": 1, f"new{n % 9}": 1} if n % 2 else {f"new{(n + 5) % 9}": 1, "hot": 1} for n in range(160)]
    sent = [harness.envelope(harness.assigned(f"o{n:03d}", lines)) for n, lines in enumerate(mixed)]
    urgent = [
        harness.envelope(harness.assigned(f"u{n:02d}", {"new3": 1, "hot": 1}), lane=Lane.EXPRESS) for n in range(20)
    ]
    async with AsyncExitStack() as stack:
        one, two, fast, api = [
            await stack.enter_async_context(postgres_engine(handlers, "inventory", url)) for _ in range(4)
        ]
        await prepare(one, {("hot", "LON"): 60, ("hot", "MAN"): 20})

        async def consume(engine: Any, mine: list[Any], size: int) -> None:
            for i in range(0, len(mine), size):
                await engine.deliver(mine[i : i + size])

        async def receive() -> None:
            for n in range(12):

                async def book(tx: Tx, n: int = n) -> None:
                    keys = [(f"new{k % 9}", ("LON", "MAN")[k % 2]) for k in range(n, n + 3)]
                    room = await Stockroom.exact(tx, keys)
                    lines = tuple(BookingLine(sku=s, warehouse_id=w, quantity=20) for s, w in keys)
                    book_in(room.world.stock, Because("opening", str(n), tx.now), lines)
                    room.save()

                await api.transact([], book)

        async def jobs_of(engine: Any) -> None:
            for _ in range(12):
                await jobs.fill(engine)
                await jobs.publish_levels(engine)

        await asyncio.gather(
            consume(one, sent[::2], 20), consume(two, sent[1::2], 20), consume(fast, urgent, 1), receive(), jobs_of(one)
        )
        await jobs.fill(one)
        connection = await asyncpg.connect(url)
        deadlocks = await connection.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        await connection.close()
        assert deadlocks == 0
        assert [engine.retries for engine in (one, two, fast, api)] == [0, 0, 0, 0]
        assert await one.parked() == []
        hot = await one.read(lambda tx: tx.find(SHELVES, {"sku": "hot"}))
        assert sum(s.free for s in hot) == 0
        assert sum(s.allocated + s.leaving for s in hot) == 80
        assert sum(s.backordered for s in hot) == 100
        await sound(one, ["hot", *(f"new{n}" for n in range(9))])


async def test_the_database_itself_refuses_a_negative_shelf(url: str) -> None:
    """D2: CHECK constraints hold whatever the code does."""
    async with postgres_engine(handlers, "inventory", url) as engine:
        await prepare(engine, {("x", "LON"): 1})
        connection = await asyncpg.connect(url)
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("UPDATE shelf SET free = -1")
        await connection.close()


async def test_the_api_reads_and_writes_on_postgresql(url: str) -> None:
    """D1, D3, D5, D10: every query of the API runs on the real database."""
    harness = kit.Harness()
    async with postgres_engine(handlers, "inventory", url) as engine:
        await prepare(engine, {("x", "LON"): 1})
        await engine.deliver([harness.envelope(harness.assigned("a", {"x": 2}))])
        await jobs.publish_levels(engine)
        async with client(spec, engine) as api:
            row = {"name": "X", "sku": "x"}
            assert (await api.put("/products", json=[row])).json() == {"changed": 1, "unchanged": 0}
            assert (await api.put("/products/x", json=row)).json()["revision"] == 1
            booking = {
                "lines": [{"sku": "x", "warehouse_id": "MAN", "quantity": 3}], "reason": "r", "reference": "open",
            }  # fmt: skip
            assert (await api.post("/stock/opening", json=booking)).status_code == 201
            assert (await api.post("/stock/opening", json=booking)).status_code == 201
            await jobs.fill(engine)
            stock = (await api.get("/stock", params={"sku": "x"})).json()["items"]
            assert {(s["warehouse_id"], s["free"], s["allocated"]) for s in stock} == {("LON", 0, 1), ("MAN", 2, 1)}
            assert (await api.get("/stock", params={"in_count": True})).json()["items"] == []
            assert (await api.get("/backorders")).json()["items"] == []
            assert len((await api.get("/stock/movements", params={"order_id": "a"})).json()["items"]) == 4
            (verdict,) = (await api.get("/stock/conservation")).json()["items"]
            assert verdict["conserved"] and verdict["booked"] == 4
            assert (await api.get("/orders/a/allocation")).json()["fulfilment_orders"][1]["warehouse_id"] == "MAN"
            assert (await api.get("/warehouses")).status_code == 200
            assert (await api.get("/products", params={"limit": 1})).json()["next"] is None


def test_the_migrations_make_what_the_store_declares(url: str) -> None:
    """I2: a migrated database has no drift from the collections."""
    assert drift(url, "inventory") == []
