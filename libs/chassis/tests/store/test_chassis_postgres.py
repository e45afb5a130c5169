"""Idempotency, health and the composition root on a real PostgreSQL (A6, I1, I3)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from fastapi import APIRouter, Depends, Response
from sqlalchemy.ext.asyncio import create_async_engine

from expedite_chassis import (
    Answer,
    EngineDep,
    KeyedRequest,
    ServiceSpec,
    idempotency_collection,
    keyed,
    open_idempotency,
    testing,
)
from expedite_events import Value
from expedite_messaging import Collection, Handlers, Tx
from expedite_messaging.migrate import async_url, create_collections, create_messaging_tables
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.testing import create_database, drop_database

PROGRAM = Path(__file__).parent.parent / "unit" / "chassis_process_app.py"
KEY = "a-key-of-16-chars"
METADATA = sa.MetaData()
RECORDS = idempotency_collection(METADATA)


class Order(Value):
    order_id: str


ORDERS = Collection("orders", Order, metadata=METADATA)
router = APIRouter()


@router.post("/orders")
async def post(engine: EngineDep, request: Annotated[KeyedRequest, Depends(keyed("orders:write"))]) -> Response:
    async def work(tx: Tx) -> tuple[Answer, bool]:
        book = await open_idempotency(tx, RECORDS, [request])
        if earlier := book.earlier(request):
            return earlier, True
        number = await tx.count(ORDERS) + 1
        orders = await tx.load(ORDERS, ())
        orders.put(Order(order_id=f"O-{number}"))
        return book.remember(request, Answer.of(202, {"order_id": f"O-{number}"})), False

    answer, replayed = await engine.transact([], work)
    return answer.response(replayed=replayed)


SPEC = ServiceSpec("order-intake", Handlers("order-intake"), METADATA, router, "order_intake")


def _create(connection: sa.Connection) -> None:
    op = Operations(MigrationContext.configure(connection))
    create_messaging_tables(op)
    create_collections(op, METADATA)


@pytest.fixture
async def database() -> AsyncIterator[str]:
    """The URL of a fresh database with the tables of this test."""
    url = await create_database()
    engine = create_async_engine(async_url(url))
    async with engine.begin() as connection:
        await connection.run_sync(_create)
    await engine.dispose()
    yield url
    await drop_database(url)


async def test_equal_requests_at_once_do_their_work_once(database: str) -> None:
    """A6: the same key sent many times at once to two replicas: one order, one answer, all others replay it."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            engine = PostgresEngine(SPEC.handlers, database)
            stack.push_async_callback(engine.close)
            clients.append(await stack.enter_async_context(testing.client(SPEC, engine)))
        sent = [clients[i % 2].post("/orders", headers={"Idempotency-Key": KEY}) for i in range(12)]
        answers = await asyncio.gather(*sent)
        other = await clients[0].post("/orders?x=1", content=b"other", headers={"Idempotency-Key": KEY})
    assert {(a.status_code, a.text) for a in answers} == {(202, '{"order_id":"O-1"}')}
    assert sorted(a.headers.get("idempotency-replayed", "false") for a in answers) == ["false"] + ["true"] * 11
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")


async def test_a_database_that_is_away_is_not_ready_and_answers_503() -> None:
    """I3, I5: readiness says which part is missing, writes are told to come back, and no address gets out."""
    engine = PostgresEngine(SPEC.handlers, "postgresql://nobody@127.0.0.1:1/none")
    engine.patience_s = 0.05
    try:
        async with testing.client(SPEC, engine) as http:
            ready = await http.get("/readyz")
            refused = await http.post("/orders", headers={"Idempotency-Key": KEY})
    finally:
        await engine.close()
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, False)
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
    assert refused.headers["retry-after"]
    assert "127.0.0.1" not in ready.text + refused.text


class Child:
    """A role of the test service, started as `run` starts it, with its environment."""

    def __init__(self, role: str, database: str, folder: Path) -> None:
        secrets = folder / "secrets.json"
        secrets.write_text(json.dumps(testing.secrets_for({"ops": ["ops"]})))
        environment = {
            "PATH": os.environ.get("PATH", ""), "DATABASE_URL": database, "EXPEDITE_SECRETS": str(secrets), "PORT": "0",
            "EXPEDITE_SLOT": "1", "KAFKA_BOOTSTRAP": "127.0.0.1:1",
        }  # fmt: skip
        command = [sys.executable, str(PROGRAM), "run", "--role", role]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.child.stdout is not None
        self.started: dict[str, Any] = json.loads(next(line for line in self.child.stdout if '"started"' in line))

    def get(self, path: str) -> httpx.Response:
        url = f"http://127.0.0.1:{self.started['port']}{path}"
        return httpx.get(url, timeout=30, headers={"X-Api-Key": testing.key_of("ops")})

    def stop(self) -> int:
        self.child.send_signal(signal.SIGTERM)
        self.child.communicate(timeout=60)
        return self.child.returncode


async def played(role: str, database: str, folder: Path, paths: list[str]) -> tuple[Child, list[httpx.Response], int]:
    """Start a role, ask it, stop it: the child, its answers, its exit code."""

    def scenario() -> tuple[Child, list[httpx.Response], int]:
        child = Child(role, database, folder)
        try:
            return child, [child.get(path) for path in paths], child.stop()
        finally:
            child.child.kill()

    return await asyncio.to_thread(scenario)


async def test_the_api_role_runs_from_its_environment(database: str, tmp_path: Path) -> None:
    """I1, I3: `python -m <service> --role api` finds database and secrets by its environment, serves and ends cleanly."""
    child, answers, code = await played("api", database, tmp_path, ["/readyz", "/admin/parked", "/metrics"])
    ready, parked, metrics = answers
    assert (child.started["service"], child.started["role"], child.started["slot"]) == ("inventory", "api", 1)
    assert ready.json()["status"] == "ready"
    assert parked.json() == {"items": [], "next": None}
    assert 'expedite_process_info{role="api",service="inventory",slot="1"} 1.0' in metrics.text
    assert code == 0


@pytest.mark.parametrize("role", ["standard", "express"])
async def test_a_worker_without_a_broker_is_alive_but_not_ready(database: str, tmp_path: Path, role: str) -> None:
    """I1, I3: a worker waits for its broker, says so by name, serves nothing else, and still ends cleanly."""
    _, answers, code = await played(role, database, tmp_path, ["/livez", "/readyz", "/admin/parked"])
    live, ready, parked = answers
    assert (live.status_code, ready.status_code, parked.status_code) == (200, 503, 404)
    assert ready.json()["checks"] == {"serving": True, "worker": False, "database": True}
    assert code == 0


async def test_a_worker_without_a_database_still_ends(tmp_path: Path) -> None:
    """I1: a process that waits for its database can be stopped."""
    away = "postgresql://nobody@127.0.0.1:1/none"
    _, answers, code = await played("standard", away, tmp_path, ["/livez", "/readyz"])
    assert (answers[0].status_code, answers[1].status_code, code) == (200, 503, 0)
