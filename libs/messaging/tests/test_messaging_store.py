"""What only real PostgreSQL shows: schema, partitions, locks between transactions, commits whose answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from expedite_sample.handlers import World, make
from expedite_sample.store import TALLIES
from expedite_sample.worlds import OnPostgres, on_postgres, tracked

from expedite_events.ids import uuid7, uuid8
from expedite_messaging import Handlers, Tx, metrics
from expedite_messaging.clock import anchor, business_now, freeze, resume
from expedite_messaging.jobs import JobRunner
from expedite_messaging.migrate import drift, upgrade
from expedite_messaging.partitions import maintain
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.runtime import census
from expedite_messaging.session import PostgresSession
from expedite_messaging.testing import create_database, drop_database


@pytest.fixture
async def world(postgres_server: str) -> AsyncIterator[OnPostgres]:
    async with on_postgres() as made:
        yield made


async def test_a_migrated_database_agrees_with_its_metadata_and_a_changed_one_is_told(world: OnPostgres) -> None:
    assert drift(world.url, "expedite_sample") == []
    upgrade(world.url, "expedite_sample")
    await world.sql("ALTER TABLE tally DROP COLUMN mood")
    await world.sql("ALTER TABLE timer ADD COLUMN surplus int")
    await world.sql("DROP INDEX ix_effect_wanted")
    found = "\n".join(drift(world.url, "expedite_sample"))
    for name in ("mood", "surplus", "ix_effect_wanted"):
        assert name in found


async def test_partitions_are_made_ahead_and_dropped_after_the_retention_without_losing_what_is_in_default(
    world: OnPostgres,
) -> None:
    later = datetime.now(UTC) + timedelta(days=40)
    ahead = uuid8(int(later.timestamp() * 1000), "an id from the future")
    await world.sql("INSERT INTO inbox VALUES ($1)", ahead)
    async with world.engine.connections.connection() as raw:
        made, dropped = await maintain(raw, later)
        assert made > 10
        assert dropped > 10
        assert await maintain(raw, later) == (0, 0)
        assert await raw.fetchval("SELECT count(*) FROM inbox_default") == 0
        assert await raw.fetchval("SELECT event_id FROM inbox") == ahead
    assert drift(world.url, "expedite_sample") == []


async def test_ids_fall_into_the_partition_of_their_time(world: OnPostgres) -> None:
    await world.sql("INSERT INTO inbox VALUES ($1), ($2)", uuid7(), UUID("00000000-0000-8000-8000-000000000001"))
    rows = await world.sql("SELECT tableoid::regclass::text FROM inbox ORDER BY event_id")
    assert [row[0] for row in rows] == ["inbox_default", f"inbox_{datetime.now(UTC):%Y%m%d}"]


async def test_the_business_clock_stands_runs_and_never_jumps(world: OnPostgres) -> None:
    start = datetime(2026, 1, 5, 9, tzinfo=UTC)
    await anchor(world.url, 0.0, start)
    assert await business_now(world.url) == start
    assert await resume(world.url, 3600.0) == start
    first = await business_now(world.url)
    second = await business_now(world.url)
    assert start < first < second
    stood = await freeze(world.url)
    assert await business_now(world.url) == stood
    with pytest.raises(ValueError, match="backwards"):
        await anchor(world.url, -1.0)


async def test_a_second_writer_waits_for_the_first_and_sees_what_it_wrote(world: OnPostgres) -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def slow(tx: Tx) -> None:
        book = await tx.load(TALLIES, ["A"])
        entered.set()
        await go.wait()
        book.put(book["A"].put(count=1))

    async def fast(tx: Tx) -> int:
        return (await tx.load(TALLIES, ["A"]))["A"].count

    first = asyncio.create_task(world.engine.transact(["A"], slow))
    await entered.wait()
    second = asyncio.create_task(world.engine.transact(["A"], fast))
    while not await world.sql("SELECT 1 FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - another transaction's wait
        await asyncio.sleep(0.005)
    assert not second.done()
    go.set()
    await first
    assert await second == 1


async def test_many_writers_over_many_keys_in_any_order_end_without_losing_a_number(world: OnPostgres) -> None:
    async def deliver(n: int) -> None:
        keys = [f"K{(n * step) % 7}" for step in range(1, 6)]
        await world.deliver(*(tracked(key, f"ok{n}-{i}", shelf="one") for i, key in enumerate(keys)))

    await asyncio.gather(*(deliver(n) for n in range(40)))
    sent = await world.outbox()
    assert len(sent) == 200
    for key in {s.key for s in sent}:
        levels = [s.event.level for s in sent if s.key == key]
        assert levels == list(range(1, len(levels) + 1)), "order of numbers is order of commits"
    assert await world.ledger() == sorted((s.key, s.sequence) for s in sent)


class Cut:
    """A connection whose link breaks with the next statement."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    async def execute(self, _statement: str) -> None:
        raise ConnectionResetError("the link broke after COMMIT was sent")

    def terminate(self) -> None:
        self.raw.terminate()


async def test_a_commit_whose_answer_is_lost_is_found_out_not_done_twice(world: OnPostgres) -> None:
    runs = 0

    class Cutting(PostgresEngine):
        cut = True

        async def _commit(self, raw: Any, xact: str | None) -> None:
            if not self.cut:
                return await super()._commit(raw, xact)
            self.cut = False
            await raw.execute("COMMIT")

            return await super()._commit(Cut(raw), xact)

    engine = Cutting(make(World()), world.url)

    async def work(tx: Tx) -> int:
        nonlocal runs
        runs += 1
        book = await tx.load(TALLIES, ["A"])
        book.put(book["A"].put(count=book["A"].count + 1))
        return book["A"].count

    try:
        assert await engine.transact(["A"], work) == 1
        assert runs == 1
        assert (await world.tally("A")).count == 1
    finally:
        await engine.close()


@pytest.mark.parametrize("number", ["another's", "not reached again"])
async def test_the_number_of_a_transaction_that_a_crash_took_away_proves_nothing(
    world: OnPostgres, number: str
) -> None:
    """I4: after a crash the server gives the number to another transaction, which commits; what ours had taken in comes
    again and is decided, and what it had told a client is not true."""

    class Crashed(PostgresEngine):
        crashed = 0

        async def _commit(self, raw: Any, session: PostgresSession) -> None:
            if self.crashed >= 2 or session.proof is None:
                return await super()._commit(raw, session)
            self.crashed += 1
            await raw.execute("ROLLBACK")
            ((reached,),) = await self.connections.fetch("SELECT pg_current_xact_id()::text")
            session.xact = reached if number == "another's" else str(int(reached) + 1_000_000)

            return await super()._commit(Cut(raw), session)

    engine = Crashed(make(World()), world.url)
    try:
        await engine.deliver([tracked("A", "ok")])
        assert engine.crashed == 2
        assert (await world.tally("A")).count == 1
        assert len(await world.outbox()) == 1
    finally:
        await engine.close()


async def test_a_server_that_came_back_from_a_crash_is_not_believed_about_a_number(
    world: OnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I4: a write that left no event to look for is told as not committed, and done again it finds what it had done."""
    outcome = "SELECT pg_xact_status($1::text::xid8), false"
    monkeypatch.setattr("expedite_messaging.postgres._OUTCOME", outcome)
    runs = 0

    class Cutting(PostgresEngine):
        async def _commit(self, raw: Any, session: PostgresSession) -> None:
            if runs > 1:
                return await super()._commit(raw, session)
            await raw.execute("COMMIT")
            return await super()._commit(Cut(raw), session)

    async def work(tx: Tx) -> int:
        nonlocal runs
        runs += 1
        book = await tx.load(TALLIES, ["A"])
        book.put(book["A"].put(count=max(book["A"].count, 1)))
        return book["A"].count

    engine = Cutting(make(World()), world.url)
    try:
        assert await engine.transact(["A"], work) == 1
        assert runs == 2
    finally:
        await engine.close()


@pytest.mark.parametrize("every", [11, 13, 17])
async def test_killed_connections_heal_and_nothing_is_lost_doubled_or_parked(world: OnPostgres, every: int) -> None:
    """Every so many statements and commits, the server ends the session just before: in turn at each place of a batch."""
    admin = await asyncpg.connect(world.url)
    calls = kills = 0

    async def perhaps_kill(raw: Any) -> None:
        nonlocal calls, kills
        calls += 1
        if calls % every == 0:
            kills += 1
            await admin.execute("SELECT pg_terminate_backend($1)", raw.get_server_pid())

    class Mortal(PostgresSession):
        async def _fetch(self, sql: str, *args: Any) -> list[Any]:
            await perhaps_kill(self.connection)
            return await super()._fetch(sql, *args)

        async def _execute(self, sql: str, *args: Any) -> None:
            await self._fetch(sql, *args)

    class Killed(PostgresEngine):
        session_type = Mortal

        async def _commit(self, raw: Any, xact: str | None) -> None:
            await perhaps_kill(raw)
            await super()._commit(raw, xact)

    engine = Killed(make(World()), world.url)
    for n in range(10):
        await engine.deliver([tracked(f"K{k}", f"ok{n}") for k in range(5)])
    assert kills > 4, "it must really have bitten"
    for k in range(5):
        assert await world.seen(f"K{k}") == tuple(f"ok{n}" for n in range(10))
    assert len(await world.outbox()) == 50
    assert await world.engine.parked() == []
    await engine.close()
    await admin.close()


async def test_a_client_that_leaves_mid_transaction_leaves_no_connection_and_no_write_behind(world: OnPostgres) -> None:
    entered = asyncio.Event()

    async def work(tx: Tx) -> None:
        book = await tx.load(TALLIES, ["A"])
        book.put(book["A"].put(count=9))
        await tx.flush()
        entered.set()
        await asyncio.Event().wait()

    for _ in range(12):  # more often than the pool has connections
        entered.clear()
        task = asyncio.create_task(world.engine.transact(["A"], work))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await world.tally("A")).count == 0
    assert await world.sql("SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == []


async def test_a_job_runs_in_one_replica_at_a_time_and_again_after_its_period(world: OnPostgres) -> None:
    running = most = runs = 0
    handlers = Handlers("prioritizer")

    @handlers.every(3600)
    async def count(_engine: Any) -> None:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1

    engines = [PostgresEngine(handlers, world.url) for _ in range(3)]
    try:
        await world.sql("INSERT INTO job (name) VALUES ('count'), ('messaging-partitions')")
        ran = await asyncio.gather(*(JobRunner(engine).run_due() for engine in engines))
        assert sorted(name for names in ran for name in names) == ["count", "messaging-partitions"]
        assert await JobRunner(engines[0]).run_due() == []
        await world.sql("UPDATE job SET next_at = clock_timestamp()")
        assert "count" in await JobRunner(engines[1]).run_due()
        assert (runs, most) == (2, 1)
    finally:
        for engine in engines:
            await engine.close()


async def test_an_older_database_gets_the_tables_of_repair(postgres_server: str) -> None:
    """I4: a database of the first revision is brought up to date without losing what it holds."""
    url = await create_database("expedite_sample")
    try:
        connection = await asyncpg.connect(url)
        await connection.execute(
            "DROP TABLE repair, dropped; DROP FUNCTION refuse_change; UPDATE alembic_version SET version_num = '0001'"
        )
        await connection.execute(
            "INSERT INTO parked (key, event_id, topic, headers) VALUES ('k', gen_random_uuid(), 'Packed', '[]')"
        )
        await asyncio.to_thread(upgrade, url, "expedite_sample")
        assert await asyncio.to_thread(drift, url, "expedite_sample") == []
        assert await connection.fetchval("SELECT count(*) FROM parked") == 1
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await connection.execute("TRUNCATE repair")
        await connection.close()
    finally:
        await drop_database(url)


async def test_documents_of_an_older_database_become_texts(postgres_server: str) -> None:
    """I4: what was `json` is the same text afterwards, and is read and written as ever."""
    url = await create_database("expedite_sample")
    try:
        connection = await asyncpg.connect(url)
        await connection.execute(
            "ALTER TABLE shelf ALTER COLUMN doc TYPE json USING doc::json; UPDATE alembic_version SET version_num = '0002';"
            """INSERT INTO shelf (sku, place, taken, doc) VALUES ('mug', 'a', 4, '{"sku": "mug",  "place": "a", "taken": 4}')"""
        )
        assert await asyncio.to_thread(drift, url, "expedite_sample") != []
        await asyncio.to_thread(upgrade, url, "expedite_sample")
        assert await asyncio.to_thread(drift, url, "expedite_sample") == []
        assert await connection.fetchval("SELECT doc FROM shelf") == '{"sku": "mug",  "place": "a", "taken": 4}'
        await connection.close()
    finally:
        await drop_database(url)


async def test_the_census_counts_what_waits_and_what_is_late(world: OnPostgres) -> None:
    """I7: the figures of the alerts come from the database; a parked key's timer is not late, it waits."""

    def value(gauge: Any) -> float:
        return float(gauge.labels("prioritizer")._value.get())

    await anchor(world.url, 60.0)
    add = """
        INSERT INTO timer (kind, subject, level, id, key, due_at, data, lane, correlation_id, error) SELECT 'k', $1, 0,
          gen_random_uuid(), $1, business_now() - interval '10 min', '{}', 'standard', gen_random_uuid(), $2
    """
    await world.sql(add, "waits", "boom")
    await world.sql(
        "INSERT INTO parked (key, event_id, topic, headers) VALUES ('waits', gen_random_uuid(), 'Packed', '[]')"
    )
    await census(world.engine)
    assert (value(metrics.KEYS_PARKED), value(metrics.TIMERS_FAILED), value(metrics.TIMERS_OVERDUE)) == (1, 1, 0)
    assert value(metrics.DATABASE_BYTES) > 1e6
    assert value(metrics.WAL_BYTES) > 1e6
    await world.sql(add, "late", None)
    await census(world.engine)
    assert 10 <= value(metrics.TIMERS_OVERDUE) < 120, "ten minutes of business time at sixty times real time"
