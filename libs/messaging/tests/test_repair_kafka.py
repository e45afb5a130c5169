"""Repair between a real broker and a real PostgreSQL, with a process killed in the middle of a retry (I3, I4, I5)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import orjson
import pytest
from expedite_sample import brokers
from expedite_sample.brokers import Broker, publish
from expedite_sample.worlds import OnPostgres, cancelled, on_postgres, tracked

from expedite_events import Lane
from expedite_messaging import repair
from expedite_messaging.repair import NotParked, Who
from expedite_messaging.runtime import Worker

LENA = Who("operator", "lena", "the parcel was named wrongly")
# A process of its own that retries key by key and dies without a word before the commit of the third event.
_RETRIES_AND_DIES = """
import asyncio, os, signal, sys
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.repair import Who
from expedite_sample.handlers import World, make

class Mortal(PostgresEngine):
    commits = 0
    async def _commit(self, raw, session):
        Mortal.commits += 1
        if Mortal.commits == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        await super()._commit(raw, session)

asyncio.run(Mortal(make(World()), sys.argv[1]).replay(sys.argv[2], Who("operator", "lena")))
"""

until = partial(brokers.until, within_s=90.0)


@pytest.fixture
async def world(postgres_server: str, kafka: Broker) -> AsyncIterator[OnPostgres]:
    async with on_postgres() as made:
        yield made


async def parked(world: OnPostgres, key: str) -> int:
    try:
        return len(await repair.waiting(world.engine, key))
    except NotParked:
        return 0


@pytest.mark.parametrize("lanes", [(Lane.STANDARD,), (Lane.STANDARD, Lane.EXPRESS)])
async def test_a_repaired_key_goes_on_in_order_although_the_retry_was_killed(
    world: OnPostgres, kafka: Broker, lanes: tuple[Lane, ...]
) -> None:
    """Issue 5.4: three events behind a parked one are decided in order after edit and retry; killed before its third
    commit, the retry loses and doubles nothing, and what is left goes on by itself; other keys never wait."""
    key, other = f"{world.url[-6:]}-A", f"{world.url[-6:]}-B"
    workers = [Worker(world.engine, kafka.bootstrap, lane, 0) for lane in lanes]
    for worker in workers:
        await worker.start()
    try:
        bad = tracked(key, "bad0")
        await publish(kafka, bad)
        await until(lambda: _waits(world, key, 1))
        behind = [
            tracked(key, "ok1"),
            cancelled(key, "ok2") if len(lanes) > 1 else tracked(key, "ok2"),
            tracked(key, "ok3"),
        ]
        for number, envelope in enumerate(behind, 2):
            await publish(kafka, envelope, tracked(other, f"ok{number}"))
            await until(lambda n=number: _waits(world, key, n))  # type: ignore[misc]
        await until(lambda: _saw(world, other, ("ok2", "ok3", "ok4")))
        assert await world.seen(key) == ()
        (head, *_) = await repair.waiting(world.engine, key)
        value = orjson.dumps({**orjson.loads(head.record.value or b""), "parcel_id": "ok0"})
        await repair.edit(world.engine, key, head.event_id, head.tag, value, LENA)
        path = os.pathsep.join([str(Path(__file__).parent / "sample"), *filter(None, [os.environ.get("PYTHONPATH")])])
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _RETRIES_AND_DIES, world.url, key, env={**os.environ, "PYTHONPATH": path}
        )
        assert await child.wait() == -signal.SIGKILL
        await until(lambda: _saw(world, key, ("ok0", "ok1", "ok2", "ok3")))
        assert await parked(world, key) == 0
        await publish(kafka, bad, *behind, tracked(key, "ok4"))
        await until(lambda: _saw(world, key, ("ok0", "ok1", "ok2", "ok3", "ok4")))
        assert await world.seen(other) == ("ok2", "ok3", "ok4")
        emitted = await world.sql("SELECT count(*), count(DISTINCT event_id) FROM ledger WHERE key = $1", key)
        assert tuple(emitted[0]) == (5, 5)
        trail = [(one.action, one.outcome) for one in await repair.history(world.engine, key)]
        assert trail[-3:] == [("retry", "decided"), ("retry", "decided"), ("edit", None)]
    finally:
        for worker in workers:
            await worker.stop()


async def _waits(world: OnPostgres, key: str, number: int) -> bool:
    return await parked(world, key) == number


async def _saw(world: OnPostgres, key: str, words: tuple[str, ...]) -> bool:
    return await world.seen(key) == words
