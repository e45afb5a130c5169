"""The floor on a real PostgreSQL: schema, the one-query queue, a job from event to parcel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest_asyncio

from expedite_chassis.testing import client
from expedite_events import Tier, Units
from expedite_messaging.migrate import drift
from expedite_messaging.testing import create_database, drop_database, postgres_engine
from fulfillment.handlers import handlers
from fulfillment.main import spec

UNITS = Units.of(1, 1, 2)


@pytest_asyncio.fixture
async def database() -> AsyncIterator[str]:
    """The URL of a migrated database of this service."""
    url = await create_database("fulfillment")
    yield url
    await drop_database(url)


@pytest_asyncio.fixture
async def stored(make: Any, service_over: Callable[..., Any]) -> AsyncIterator[Any]:
    async with postgres_engine(handlers, "fulfillment") as engine:
        yield service_over(make, engine)


async def test_the_schema_is_what_the_collections_declare(database: str):
    """The migration and the metadata agree."""
    assert await asyncio.to_thread(drift, database, "fulfillment") == []


async def test_the_queue_is_one_indexed_query(database: str):
    """E1: PostgreSQL answers a queue in its order from the index, without sorting."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            "INSERT INTO task (task_id, warehouse_id, kind, status, rank, deadline, order_id, doc) "
            "SELECT 'T' || n, 'W' || n % 5, 'pick', CASE WHEN n % 2 = 0 THEN 'open' ELSE 'done' END, n % 4, "
            "now() + n * interval '1 second', 'O' || n, '{}' FROM generate_series(1, 40000) n"
        )
        await connection.execute("ANALYZE task")
        plan = await connection.fetch(
            "EXPLAIN SELECT doc FROM task WHERE warehouse_id = 'W0' AND status = 'open' "
            "ORDER BY rank, deadline, cut_off, task_id LIMIT 50"
        )
    finally:
        await connection.close()
    text = "\n".join(row[0] for row in plan)
    assert "ix_task_queue" in text and "Sort" not in text, text


async def test_a_job_on_postgresql(make: Any, stored: Any):
    """E1, E2, E6: urgent work first; scans, a parcel and the trace survive as rows."""
    await stored.hear(make.product(1), make.warehouse(), make.person())
    await stored.hear(make.reserved(UNITS))
    other = "20261123-EC-000002"
    await stored.hear(make.reserved(UNITS, order=other, urgency=make.urgency(Tier.URGENT)), make.held(order=make.order))
    async with client(spec, stored.engine) as api:
        (task,) = (await api.get("/warehouses/HUL/queue")).json()["items"]
        assert task["order_id"] == other
        await stored.hear(make.released())
        items = (await api.get("/warehouses/HUL/queue")).json()["items"]
        assert [t["order_id"] for t in items] == [other, make.order]
        path = f"/fulfilment-orders/{other}-F1"
        scan = {"by": "pete", "scans": [{"barcode": "5900000000001", "quantity": 2}]}
        assert (await api.post(f"{path}/scans", json=scan)).json()["outcome"] == "done"
        assert (await api.post(f"{path}/pack", json={"by": "pete"})).json()["parcel"]["parcel_id"] == f"{other}-P1"
        assert [t["did"] for t in (await api.get(path)).json()["trace"]] == ["arrived", "picked", "packed"]
        wrong = await api.post(f"/fulfilment-orders/{make.order}-F1/scans", json=scan | {"scans": [{"sku": "X"}]})
        assert wrong.status_code == 422
        receipt = {
            "receipt_id": "PO-1",
            "warehouse_id": "HUL",
            "by": "pete",
            "lines": [{"sku": "SKU-1", "quantity": 3}],
        }
        for outcome in ("done", "already_done"):
            assert (await api.post("/receipts", json=receipt)).json()["outcome"] == outcome
