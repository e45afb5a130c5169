"""Plain orders do not keep others waiting for shelves, and still nobody sells what is gone (D2)."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import inventory_harness as kit
import orjson
import pytest
from inventory_harness import held, prepare, sound

from expedite_events import Lane, Tier
from expedite_messaging.bundles import unpacked
from expedite_messaging.testing import create_database, drop_database, postgres_engine
from expedite_messaging.tx import Tx
from inventory import jobs
from inventory.domain.stock import Because, Bucket
from inventory.handlers import handlers
from inventory.shelves import Stockroom
from inventory.store import MOVEMENTS, SHELVES

KEY = ("mug", "LON")
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
async def engine() -> AsyncIterator[Any]:
    url = await create_database("inventory")
    async with postgres_engine(handlers, "inventory", url) as made:
        await prepare(made, {KEY: 5})
        yield made
    await drop_database(url)


@asynccontextmanager
async def somebody_moves(engine: Any, changes: dict[Bucket, int]) -> AsyncIterator[None]:
    """Somebody has the shelf locked for the block's duration, and changes it when another waits for it."""
    locked, go = asyncio.Event(), asyncio.Event()

    async def work(tx: Tx) -> None:
        room = await Stockroom.exact(tx, [KEY])
        locked.set()
        await go.wait()
        room.world.stock.shift(Because("count", "1", tx.now), *KEY, changes)
        room.save()

    moving = asyncio.create_task(engine.transact([], work))
    await locked.wait()
    yield
    async with asyncio.timeout(20):
        while not (await engine.connections.fetch(_WAITING))[0][0]:  # noqa: ASYNC110 - a database has no event
            await asyncio.sleep(0.01)
    go.set()
    await moving


def taken(pieces: int) -> dict[Bucket, int]:
    return {Bucket.FREE: -pieces, Bucket.BOOKED: -pieces}


async def shelf(engine: Any) -> Any:
    (found,) = await engine.read(lambda tx: tx.find(SHELVES, {"sku": KEY[0], "warehouse_id": KEY[1]}))
    return found


async def test_what_was_decided_moves_goods_of_the_shelf_as_it_is_then(engine: Any) -> None:
    """D2 D10: two pieces went while the order was decided; enough is left, and its movement starts from what is there."""
    harness = kit.Harness()
    async with somebody_moves(engine, taken(2)):
        serving = asyncio.create_task(engine.deliver([harness.envelope(harness.assigned("o", {"mug": 3}))]))
    await serving
    assert engine.retries == 0, "it held as it was"
    assert await held(engine, ["o"]) == {"announced": 3}
    now = await shelf(engine)
    assert (now.free, now.allocated) == (0, 3)
    rows = await engine.read(lambda tx: tx.find(MOVEMENTS, {"sku": "mug"}, order_by=("entry",)))
    moved = [movement for row in rows for movement in row.each()]
    assert [m.seq for m in moved] == list(range(1, now.seq + 1)), "numbered without gaps"
    assert moved[-1].after == {"free": 0, "allocated": 3}
    await sound(engine, ["mug"])


async def test_what_does_not_hold_any_more_is_decided_again(engine: Any) -> None:
    """D2: what the order counted on was taken meanwhile: nothing is oversold, the order waits for stock."""
    harness = kit.Harness()
    async with somebody_moves(engine, taken(4)):
        serving = asyncio.create_task(engine.deliver([harness.envelope(harness.assigned("o", {"mug": 3}))]))
    await serving
    assert engine.retries == 1
    assert await held(engine, ["o"]) == {"announced": 1, "backordered": 2}
    assert (await shelf(engine)).free == 0
    await sound(engine, ["mug"])


async def test_who_came_first_is_not_overtaken(engine: Any) -> None:
    """D5: a backorder appeared while the order was decided: the order is decided again, behind it."""
    harness = kit.Harness()
    async with somebody_moves(engine, {Bucket.BACKORDERED: 2}):
        serving = asyncio.create_task(engine.deliver([harness.envelope(harness.assigned("o", {"mug": 1}))]))
    await serving
    assert engine.retries == 1


async def test_a_shelf_that_changes_while_its_level_is_said_is_said_again(engine: Any) -> None:
    """I1: the level on the topic is the newest one in the end, and revisions rise by one."""
    async with somebody_moves(engine, taken(2)):
        publishing = asyncio.create_task(jobs.publish_levels(engine))
    await publishing
    assert [e["sku"] for e in await _levels(engine)].count(KEY[0]) == 1, (
        "once a run, however often it changes meanwhile"
    )
    await jobs.publish_levels(engine)
    said = [e for e in await _levels(engine) if (e["sku"], e["warehouse_id"]) == KEY]
    assert [(e["revision"], e["free"]) for e in said] == [(1, 5), (2, 3)]
    assert not (await shelf(engine)).dirty


async def _levels(engine: Any) -> list[dict[str, Any]]:
    rows = await engine.connections.fetch("SELECT id, shard, body FROM outbox")
    emitted = {bundle.number + e.place: e for bundle in [unpacked(*row) for row in rows] for e in bundle.events}
    return [orjson.loads(e.value) for _, e in sorted(emitted.items()) if e.topic == "StockLevelChanged"]


async def test_orders_with_a_backorder_in_their_batch_are_served_under_lock(engine: Any) -> None:
    """D5: one order that is not plain makes its whole batch go the careful way."""
    harness = kit.Harness()
    orders = {"a": 2, "b": 9, "c": 1}
    await engine.deliver([harness.envelope(harness.assigned(o, {"mug": n})) for o, n in orders.items()])
    assert await held(engine, list(orders)) == {"announced": 5, "backordered": 7}
    await sound(engine, ["mug"])


async def test_an_urgent_revision_alone_moves_no_goods(engine: Any) -> None:
    """B4: an order that is raised while it is picked touches no shelf: nothing to lock, nothing to read."""
    harness = kit.Harness()
    await engine.deliver([harness.envelope(harness.assigned("o", {"mug": 1}))])
    raised = harness.assigned("o", {"mug": 1}, tier=Tier.URGENT, revision=2)
    await engine.deliver([harness.envelope(raised, lane=Lane.EXPRESS)])
    assert engine.retries == 0
    assert await held(engine, ["o"]) == {"announced": 1}


async def test_movements_of_an_earlier_build_are_read_after_the_migration(engine: Any) -> None:
    """D10: they had the level after each change, and no level before the first."""
    await engine.connections.fetch("UPDATE movement SET doc = $1::text::json", _EARLIER)
    migration = importlib.import_module("inventory.migrations.versions.0002_settling")
    await engine.connections.fetch(migration._MOVEMENTS)
    (row,) = await engine.read(lambda tx: tx.find(MOVEMENTS, {"sku": "mug"}))
    assert row.before == {"free": 2}
    assert [(m.seq, m.changes, m.after) for m in row.each()] == [
        (7, {"free": -1, "allocated": 1}, {"free": 1, "allocated": 1}),
        (8, {"free": -1, "allocated": 1}, {"free": 0, "allocated": 2}),
    ]
    before = await engine.connections.fetch("SELECT doc FROM movement")
    await engine.connections.fetch(migration._MOVEMENTS)
    assert await engine.connections.fetch("SELECT doc FROM movement") == before, "what is as it should be stays"


_EARLIER = """
{"sku": "mug", "warehouse_id": "LON", "seq": 7, "at": "2026-03-02T09:00:00Z", "changes": [
  {"cause": "PriorityAssigned", "cause_id": "1", "buckets": {"free": [-1, 1], "allocated": [1, 1]}, "order_id": "a"},
  {"cause": "PriorityAssigned", "cause_id": "2", "buckets": {"free": [-1, 0], "allocated": [1, 2]}, "order_id": "b"}]}
"""
