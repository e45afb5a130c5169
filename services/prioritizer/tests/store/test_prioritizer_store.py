"""The prioritizer on a real PostgreSQL: schema, history, timers and breaches through SQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from expedite_chassis.testing import client
from expedite_events import Stage
from expedite_messaging.migrate import drift
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.testing import create_database, drop_database, postgres_engine
from prioritizer.handlers import handlers
from prioritizer.main import spec

LONG_AGO = -3 * 365 * 24  # hours: overdue on whatever day the test runs


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[PostgresEngine]:
    async with postgres_engine(handlers, "prioritizer") as opened:
        yield opened


async def test_the_schema_is_what_the_collections_declare() -> None:
    """I1: the migration and the metadata agree."""
    url = await create_database("prioritizer")
    try:
        assert await asyncio.to_thread(drift, url, "prioritizer") == []
    finally:
        await drop_database(url)


async def test_from_event_to_closed_breach(engine: PostgresEngine, story: Any) -> None:
    """B2, C3, C4: history, a durable timer, the climb to the superior and the cause, over SQL and HTTP."""
    async with client(spec, engine) as http:
        for person, superior in (("lead", None), ("olga", "lead")):
            body = {"name": person, "email": f"{person}@example.com", "superior": superior, "stages": []}
            body["stages"] = [Stage.STOCK_LOCK] if person == "olga" else []
            assert (await http.put(f"/people/{person}", json=body)).status_code == 200
        await engine.deliver([story.envelope(story.warehouse())])
        await engine.deliver([story.envelope(story.carrier())])
        await engine.deliver([story.envelope(story.received(LONG_AGO)), story.envelope(story.received(LONG_AGO))])
        due = await engine.due()
        assert [(f.kind, f.subject, f.level) for f in due] == [("sla", story.order_id, 0)]
        await engine.fire(due)
        await engine.fire(due)
        (breach,) = (await http.get("/breaches", params={"open": "true", "owner": "olga"})).json()["items"]
        closed = await http.post(f"/breaches/{breach['breach_id']}/cause", json={"cause": "late supplier"})
        assert closed.json()["cause"] == "late supplier"
        assert (await http.get("/breaches", params={"open": "true"})).json()["items"] == []
        raised = await http.post(f"/orders/{story.order_id}/raise", json={"reason": "VIP"})
        assert raised.json()["revision"] == 2
        shown = (await http.get(f"/orders/{story.order_id}/priority")).json()
        assert [r["revision"] for r in shown["revisions"]] == [1, 2]
        assert shown["clocks"][0]["told"] == ["olga"]
        await engine.deliver([story.envelope(story.closed(0))])
        assert await engine.seconds_to_next_timer() is None
