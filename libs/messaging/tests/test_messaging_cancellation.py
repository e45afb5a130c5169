"""Loops that end as if somebody had told them to, and loops that live and do nothing: both are noticed and begun anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from aiokafka.conn import AIOKafkaConnection
from expedite_sample.brokers import Broker, until
from expedite_sample.worlds import OnPostgres, on_postgres, tracked

from expedite_events import Lane
from expedite_messaging import cancellation
from expedite_messaging.cancellation import Interrupted, Standstill, ended, moving, uninterrupted
from expedite_messaging.relay import Relay
from expedite_messaging.runtime import Worker


@pytest.fixture
async def world(postgres_server: str, kafka: Broker) -> AsyncIterator[OnPostgres]:
    async with on_postgres() as made:
        yield made


async def _cancelled() -> None:
    """Waits for something that somebody else cancels."""
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.cancel)
    await future


async def _deaf(go: asyncio.Event) -> None:
    """Does not listen when it is cancelled."""
    while not go.is_set():
        try:
            await go.wait()
        except asyncio.CancelledError:
            continue


async def test_a_cancellation_nobody_asked_for_is_a_failure() -> None:
    with pytest.raises(Interrupted):
        await uninterrupted(_cancelled())


async def test_a_group_of_loops_notices_that_one_of_them_was_interrupted() -> None:
    """Left to itself it takes that for the wish of somebody and waits for the others."""
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.TaskGroup() as loops:
            loops.create_task(uninterrupted(asyncio.sleep(3600)))
            loops.create_task(uninterrupted(_cancelled()))
    assert raised.group_contains(Interrupted)


async def test_who_is_told_to_end_ends() -> None:
    task = asyncio.create_task(uninterrupted(asyncio.sleep(3600)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_a_limit_of_time_stays_one() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await uninterrupted(asyncio.sleep(3600))


async def test_a_farewell_ends_well_badly_or_is_given_up() -> None:
    async def fails() -> None:
        raise OSError

    go = asyncio.Event()
    assert await ended(asyncio.sleep(0), 10)
    assert not await ended(fails(), 10)
    assert not await ended(_cancelled(), 10)
    assert not await ended(asyncio.sleep(3600), 0.01)
    assert not await ended(_deaf(go), 0.01)
    go.set()


async def test_what_stands_still_is_ended_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "_LOOK_EVERY_S", 0.01)
    working = asyncio.create_task(asyncio.sleep(3600))

    async def works() -> None:
        await working

    with pytest.raises(Standstill):
        await moving(works(), lambda: 7, 1, farewell_s=10)
    assert working.cancelled()


async def test_what_does_not_even_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "_LOOK_EVERY_S", 0.01)
    go = asyncio.Event()
    with pytest.raises(Standstill):
        await moving(_deaf(go), lambda: 7, 1, farewell_s=0.01)
    go.set()


async def test_what_moves_is_left_alone_and_its_end_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "_LOOK_EVERY_S", 0.001)
    steps = 0

    async def works() -> None:
        nonlocal steps
        for steps in range(20):  # noqa: B007 - read by the watch
            await asyncio.sleep(0.005)
        raise OSError

    with pytest.raises(OSError):
        await moving(works(), lambda: steps, 1, farewell_s=10)
    with pytest.raises(Interrupted):
        await moving(_cancelled(), lambda: steps, 1, farewell_s=10)


async def _publishes(relay: Relay) -> bool:
    return relay.connected and bool(relay.shards)


async def _empty(world: OnPostgres) -> bool:
    rows = await world.sql("SELECT count(*) FROM outbox")
    return bool(rows[0][0] == 0)


async def _end_sessions(world: OnPostgres) -> None:
    admin = await asyncpg.connect(world.url)
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%relay%'")
    await admin.close()


async def test_a_relay_goes_on_when_its_old_connections_do_not_close(
    world: OnPostgres, kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client waits for its connections to close. Given up once, it raises a cancellation when it is asked again: the
    relay then ended as if it had been told to, and its events waited for ever."""
    close = AIOKafkaConnection.close
    closing: dict[AIOKafkaConnection, asyncio.Future[None]] = {}

    def unheard(self: AIOKafkaConnection, reason: Any = None, exc: Any = None) -> asyncio.Future[None]:
        close(self, reason, exc)
        return closing.setdefault(self, asyncio.get_running_loop().create_future())

    monkeypatch.setattr("expedite_messaging.relay.CLOSE_S", 0.2)
    relay = Relay(world.engine, kafka.bootstrap, Lane.STANDARD)
    running = asyncio.create_task(relay.run())
    try:
        await until(lambda: _publishes(relay))
        monkeypatch.setattr(AIOKafkaConnection, "close", unheard)
        await _end_sessions(world)
        await world.deliver(*(tracked(f"W{n}", "ok1") for n in range(5)))
        await until(lambda: _empty(world))
        assert closing, "the old connections must really have been asked to close"
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("place", ["_send", "_scan", "_balance"])
async def test_a_relay_that_stands_still_begins_anew(
    world: OnPostgres, kafka: Broker, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Whatever it waits for, and though its session is kept alive meanwhile."""
    stood = asyncio.Event()

    async def stands(self: Relay, *args: Any, **options: Any) -> Any:
        if not stood.is_set():
            stood.set()
            await asyncio.Event().wait()
        return await method(self, *args, **options)

    method = getattr(Relay, place)
    monkeypatch.setattr(Relay, place, stands)
    monkeypatch.setattr("expedite_messaging.relay.STANDSTILL_S", 0)
    relay = Relay(world.engine, kafka.bootstrap, Lane.STANDARD, ack_timeout_s=2.0)
    running = asyncio.create_task(relay.run())
    try:
        await world.deliver(*(tracked(f"W{n}", "ok1") for n in range(5)))
        await asyncio.wait_for(stood.wait(), 60)
        await until(lambda: _empty(world))
        assert relay.rebuilds > 0
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_worker_whose_loop_is_interrupted_fails_and_is_not_silent(
    world: OnPostgres, kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process ends, and whoever keeps it running starts it again."""

    async def interrupted(self: Relay) -> None:
        await _cancelled()

    monkeypatch.setattr(Relay, "run", interrupted)
    worker = Worker(world.engine, kafka.bootstrap, Lane.STANDARD, 0)
    with pytest.raises(Interrupted):
        await asyncio.wait_for(worker.run(), 60)
    assert not worker.health
