"""Sessions with the database: made before they are needed, and what is said when there is none or it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from expedite_sample.handlers import World, make
from expedite_sample.store import SHELVES
from expedite_sample.worlds import OnPostgres, on_postgres

from expedite_events.ids import uuid7
from expedite_messaging import Transient, Tx, metrics
from expedite_messaging.connection import calling, kind_of
from expedite_messaging.postgres import PostgresEngine


@pytest.fixture
async def world(postgres_server: str) -> AsyncIterator[OnPostgres]:
    async with on_postgres() as made:
        yield made


async def test_a_database_that_stays_away_is_said_so_instead_of_hanging() -> None:
    engine = PostgresEngine(make(World()), "postgresql://nobody@127.0.0.1:1/none")
    engine.patience_s = 0.1

    async def nothing(tx: Tx) -> None: ...

    with pytest.raises(Transient):
        await engine.transact(["A"], nothing)
    await engine.close()


async def test_who_is_urgent_finds_sessions_that_are_ready(world: OnPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """B4: making a session takes a tenth of a second on a busy machine, and an urgent order would wait for it."""
    engine = PostgresEngine(make(World()), world.url, application="ready", ready=3)
    asked: list[frozenset[int]] = []
    introspect = asyncpg.Connection._introspect_types

    async def counted(self: Any, types: Any, timeout: Any) -> Any:  # noqa: ASYNC109 - the driver's own signature
        if type(self) is engine.connections.silence.connection_class:  # the driver's isinstance says yes to all
            asked.append(frozenset(types))
        return await introspect(self, types, timeout)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", counted)
    there = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'ready'"
    try:
        await engine.connections.fetch("SELECT 1")
        assert (await world.sql(there))[0]["n"] == 3
        assert asked
        assert len(asked) == len(set(asked)), "what the system's types are is the same in each"
        await asyncio.gather(*(engine.connections.fetch("SELECT pg_sleep(0.2)") for _ in range(3)))
        assert (await world.sql(there))[0]["n"] == 3
        ids = [uuid7()]
        assert (await engine.connections.fetch("SELECT $1::uuid[] AS ids", ids))[0]["ids"] == ids
    finally:
        await engine.close()


async def test_a_session_that_ends_between_two_statements_has_its_transaction_run_again(world: OnPostgres) -> None:
    """I3, I4: the driver refuses the next statement before it is sent; no event is parked for that."""
    runs = 0

    async def work(tx: Tx) -> int:
        nonlocal runs
        runs += 1
        if runs == 1:
            mine: Any = tx.session.connection  # type: ignore[attr-defined]
            await world.sql("SELECT pg_terminate_backend($1)", mine.get_server_pid())
            async with asyncio.timeout(5):
                while mine._con is not None:  # noqa: ASYNC110 - until the pool has taken it back
                    await asyncio.sleep(0.01)
        return len(await tx.session.fetch(SHELVES, ["S1"], False))

    assert await world.engine.transact(["A"], work) == 0
    assert runs == 2


async def test_what_we_ask_wrongly_is_no_bad_weather(world: OnPostgres) -> None:
    """P11: a statement with missing parameters is a bug: told at once, not tried again for ever."""

    async def wrong(tx: Tx) -> None:
        await tx.session.connection.fetch("SELECT $1::text")  # type: ignore[attr-defined]

    async def nothing(tx: Tx) -> int:
        return len(await tx.session.fetch(SHELVES, [], False))

    with pytest.raises(asyncpg.InterfaceError):
        await world.engine.transact(["A"], lambda tx: calling(wrong, tx))
    assert await world.engine.read(nothing) == 0, "no keys: no rows"


def test_failures_of_the_database_are_told_apart() -> None:
    """I3: what passes by itself is counted by what was wrong."""
    kinds = {
        asyncpg.DiskFullError: "disk", asyncpg.TooManyConnectionsError: "resources", asyncpg.DeadlockDetectedError: "conflict",
        asyncpg.QueryCanceledError: "slow", asyncpg.AdminShutdownError: "away", ConnectionResetError: "away",
    }  # fmt: skip
    assert {kind: kind_of(kind("x")) for kind in kinds} == kinds


async def test_what_fails_for_now_is_counted(world: OnPostgres) -> None:
    """I3: the alert about a full disk looks at this figure."""

    async def full() -> None:
        raise asyncpg.DiskFullError("could not extend file")

    before = metrics.DATABASE_FAILURES.labels("disk")._value.get()
    with pytest.raises(Transient):
        await calling(full)
    assert metrics.DATABASE_FAILURES.labels("disk")._value.get() == before + 1


ARRIVE, FREE = "SELECT coalesce(fresh, $1) FROM arrive($1, $2)", "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"


async def test_who_comes_with_what_another_takes_in_waits_and_takes_only_the_rest(world: OnPostgres) -> None:
    """I3: two consumers hold the same event for a moment, after a rebalance; only one of them decides on it, and the other
    does not hold its order."""
    one, other, looker = [await asyncpg.connect(world.url) for _ in range(3)]
    both, first, second = uuid7(), uuid7(), uuid7()
    try:
        mine, theirs = one.transaction(), other.transaction()
        await mine.start()
        assert set(await one.fetchval(ARRIVE, [both, first], ["BOTH", "FIRST"])) == {both, first}
        await theirs.start()
        waiting = asyncio.create_task(other.fetchval(ARRIVE, [second, both], ["SECOND", "BOTH"]))
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done(), "whose event it is shows when the first commits"
        await mine.commit()
        assert await asyncio.wait_for(waiting, 10) == [second]
        assert await looker.fetchval(FREE, "BOTH")
        assert not await looker.fetchval(FREE, "SECOND")
        await theirs.commit()
        assert await looker.fetchval(FREE, "SECOND")
        kept = await looker.fetch("SELECT event_id FROM inbox")
        assert {row[0] for row in kept} == {both, first, second}
    finally:
        for connection in (one, other, looker):
            await connection.close()


async def test_who_comes_with_what_another_gave_up_takes_it_in(world: OnPostgres) -> None:
    """I4: the first dies before its commit; the second, who waited for it, decides on the event."""
    one, other = [await asyncpg.connect(world.url) for _ in range(2)]
    event = uuid7()
    try:
        mine = one.transaction()
        await mine.start()
        await one.fetchval(ARRIVE, [event], ["A"])
        waiting = asyncio.create_task(other.fetchval(ARRIVE, [event], ["A"]))
        await asyncio.wait([waiting], timeout=0.3)
        await mine.rollback()
        assert await asyncio.wait_for(waiting, 10) == [event]
        assert await other.fetchval(ARRIVE, [event], ["A"]) == [], "known now"
    finally:
        for connection in (one, other):
            await connection.close()
