"""The floor on a real PostgreSQL: schema, the one-query queue, a job from event to parcel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from expedite_chassis.testing import client
from expedite_events import Tier, Units
from expedite_messaging.migrate import drift
from expedite_messaging.statements import find_statement
from expedite_messaging.testing import create_database, drop_database, postgres_engine
from fulfillment.handlers import handlers
from fulfillment.main import spec
from fulfillment.store import TASKS

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


@pytest.mark.parametrize(
    ("where", "index", "entries"),
    [
        ({"queue": "open/W0"}, "ix_task_queue", 30_000),
        ({"queue": "open/W0", "kind": "pick"}, "ix_task_queue", 30_000),
        ({"chore": "open/W0/put_back"}, "ix_task_chore", 1_000),
    ],
)
async def test_the_queue_is_one_indexed_query(database: str, where: dict[str, str], index: str, entries: int):
    """E1: PostgreSQL answers every page of a queue in its order from an index, without sorting; finished work is not
    in it, and looking for rare work does not walk past the picks."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            "INSERT INTO task (task_id, queue, chore, place, kind, doc) "
            "SELECT 'T' || n, CASE WHEN n % 10 < 3 THEN 'open/W' || n % 3 END, "
            "CASE WHEN n % 10 < 3 AND n % 100 = 11 THEN 'open/W' || n % 3 || '/put_back' END, "
            "n % 4 || lpad(n::text, 13, '0') || repeat('9', 13) || 'T' || n, "
            "CASE WHEN n % 100 = 11 THEN 'put_back' ELSE 'pick' END, '{}' FROM generate_series(1, 100000) n"
        )
        await connection.execute("ANALYZE task")
        statement, values = find_statement(TASKS, where | {"place__gt": "1"}, ("place",), 51, 0)
        # A plan for any values, as PostgreSQL may come to use for a prepared statement: the hardest case.
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        plan = await connection.fetch(f"EXPLAIN (ANALYZE) {statement}", *values)
        size, most = await connection.fetchrow(
            "SELECT pg_relation_size($1::text::regclass), pg_relation_size('pk_task')", index
        )
    finally:
        await connection.close()
    text = "\n".join(row[0] for row in plan)
    assert index in text and "Sort" not in text, text
    assert size < most * entries / 100_000 * 4


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


async def test_a_conveyor_confirms_on_postgresql(make: Any, stored: Any):
    """E2: hundreds of fulfilment orders in one request and one transaction; the refused one undoes nothing, and the
    same request again answers the same parcels."""
    orders = [f"20261123-EC-{n:06d}" for n in range(1, 301)]
    await stored.hear(make.product(1), make.warehouse())
    await stored.engine.deliver([make.envelope(make.reserved(UNITS, order=order)) for order in orders])
    await stored.hear(make.held(order=orders[7]))
    async with client(spec, stored.engine) as api:
        page = (await api.get("/warehouses/HUL/queue?limit=500")).json()
        assert [t["order_id"] for t in page["items"]] == [o for o in orders if o != orders[7]]
        said = [
            {"fulfilment_order_id": f"{order}-F1", "by": "belt-1", "pack": {},
             "scans": [{"barcode": "5900000000001", "quantity": 2, "scan_id": f"{order}/1"}]}
            for order in orders
        ]  # fmt: skip
        before = stored.engine.transactions
        first = (await api.post("/warehouses/HUL/confirmations", json={"confirmations": said})).json()["results"]
        assert stored.engine.transactions == before + 1
        again = (await api.post("/warehouses/HUL/confirmations", json={"confirmations": said})).json()["results"]
        assert not (await api.get("/warehouses/HUL/queue")).json()["items"]
        trace = (await api.get(f"/fulfilment-orders/{orders[0]}-F1")).json()["trace"]
    held = first.pop(7)
    assert (held["outcome"], held["code"]) == ("refused", "held") and again.pop(7) == held
    del orders[7]
    assert [r["outcome"] for r in first] == ["done"] * 299 and [r["outcome"] for r in again] == ["already_done"] * 299
    assert [r["parcel_id"] for r in first] == [r["parcel_id"] for r in again] == [f"{order}-P1" for order in orders]
    assert [(t["did"], t["by"]) for t in trace] == [
        ("arrived", "expedite"), ("picked", "belt-1"), ("packed", "belt-1"),
    ]  # fmt: skip


async def test_every_task_of_an_order_has_its_row(make: Any, stored: Any):
    """E1: rows are written without being read; whatever a batch holds, each task has one and it says what is now."""
    urgent = make.urgency(Tier.URGENT, revision=2)
    batch = [make.reserved(UNITS), make.transfer(Units.of(2, 1, 2)), make.priority(urgent)]
    await stored.engine.deliver([make.envelope(event) for event in batch])
    assert {(t.kind, t.tier) for t in (await stored.tasks()).values()} == {
        ("pick", "urgent"),
        ("transfer_out", "urgent"),
    }
    work, transfer = f"{make.order}-F1", f"{make.order}-T1"
    async with client(spec, stored.engine) as api:
        scan = {"by": "pete", "scans": [{"sku": "SKU-1", "quantity": 1}]}
        assert (await api.post(f"/fulfilment-orders/{work}/scans", json=scan)).status_code == 200
        await stored.hear(make.cancel(UNITS))
        assert (await api.post(f"/transfers/{transfer}/dispatch", json={"by": "pete"})).status_code == 200
        assert {t.task_id: (t.kind, t.status) for t in (await stored.tasks()).values()} == {
            work: ("pick", "done"), f"{work}-B1": ("put_back", "open"), transfer: ("transfer_in", "open"),
        }  # fmt: skip
        assert (await api.post(f"/put-backs/{work}-B1/confirm", json={"by": "pete"})).status_code == 200
        assert {t.status for t in (await stored.tasks(kind="put_back")).values()} == {"done"}
