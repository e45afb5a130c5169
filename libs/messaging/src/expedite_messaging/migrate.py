"""Schema of a service's database: what its Alembic environment and revisions call, and the check that they agree.

A service's `migrations/env.py` is `run_env(metadata)`, its first revision `create_messaging_tables(op)` and
`create_collections(op, metadata)`; later revisions are ordinary Alembic.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.resources import files
from io import StringIO
from typing import Any

import alembic.command
import sqlalchemy as sa
from alembic import context
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from expedite_messaging.bundles import Bundle, Emitted, packed
from expedite_messaging.partitions import maintain, make_statement, wanted
from expedite_messaging.schema import FUNCTIONS, NUMBERS, OUTBOX, OUTBOX_EXPRESS, messaging_metadata

# Alembic keeps the running migration in module globals: one at a time in a process.
_one_at_a_time = threading.Lock()
# Replicas that start together must not migrate the same database at once.
_ADVISORY_LOCK = 0x45585044
_PROCESSES = sa.text("""
    SELECT DISTINCT substring(application_name FROM :like) AS name FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name ~ :like ORDER BY 1
""")


class StillRunning(RuntimeError):
    """A migration needs a service to itself, and processes of it are connected."""


def async_url(url: str) -> str:
    """The URL with the asyncpg driver, whichever driver (or none) it named."""
    _, rest = url.split("://", 1)
    return f"postgresql+asyncpg://{rest}"


def plain_url(url: str) -> str:
    """The URL as PostgreSQL itself writes it, without a driver."""
    _, rest = url.split("://", 1)
    return f"postgresql://{rest}"


def create_messaging_tables(op: Any) -> None:
    """Create the tables of `messaging_metadata`, their partitions and `business_now()`. For a service's first revision."""
    connection = op.get_bind()
    messaging_metadata.create_all(connection, checkfirst=False)
    for parent in ("inbox", "ledger"):
        op.execute(f"CREATE TABLE {parent}_default PARTITION OF {parent} DEFAULT")
    for partition in wanted(datetime.now(UTC)):
        op.execute(make_statement(*partition))
    for function in FUNCTIONS:
        op.execute(function)


def add_messaging_tables(op: Any) -> None:
    """Create the tables of `messaging_metadata` that an older database lacks, and bring the functions up to date. For a
    service's later revisions; nothing changes on a database that was made with them."""
    messaging_metadata.create_all(op.get_bind(), checkfirst=True)
    for function in FUNCTIONS:
        op.execute(function)


def create_collections(op: Any, metadata: sa.MetaData) -> None:
    """Create the tables of a service's collections as its metadata declares them now."""
    metadata.create_all(op.get_bind(), checkfirst=False)


def keep_documents_as_text(op: Any, metadata: sa.MetaData) -> None:
    """Documents of an earlier build were `json`, which PostgreSQL reads through whenever one is written. For a service's later
    revisions: each table is written anew; nothing changes on a database that was made with texts."""
    for table in metadata.sorted_tables:
        if "doc" in table.columns:
            op.execute(f'ALTER TABLE "{table.name}" ALTER COLUMN doc TYPE text')


def bundle_outboxes(op: Any, service: str) -> None:
    """Outboxes of an earlier build held a row for each event and took a number for each; what timers and effects carry was
    `json`. For a service's later revisions: what still waits is kept, each event in a bundle of its own; nothing changes on a
    database that was made so."""
    stopped(op, service)
    connection = op.get_bind()
    add_messaging_tables(op)
    op.execute(f"ALTER SEQUENCE emission INCREMENT BY {NUMBERS}")
    op.execute("ALTER TABLE timer ALTER COLUMN data TYPE text")
    op.execute("ALTER TABLE effect ALTER COLUMN data TYPE text, ALTER COLUMN result TYPE text")
    for table in (OUTBOX, OUTBOX_EXPRESS):
        if "body" in {column["name"] for column in sa.inspect(connection).get_columns(table.name)}:
            continue
        rows = connection.execute(sa.text(f"SELECT id, shard, topic, key, headers, value, at FROM {table.name}")).all()
        op.drop_table(table.name)
        table.create(connection)
        waiting = [
            {
                "id": row.id,
                "shard": row.shard,
                "events": 1,
                "body": packed(Bundle(row.id, row.shard, [Emitted(0, row.topic, row.key, row.headers, row.value)])),
                "at": row.at,
            }
            for row in rows
        ]
        if waiting:
            connection.execute(sa.insert(table), waiting)


def stopped(op: Any, service: str) -> None:
    """Refuse to go on while processes of the service use the database. For a revision after which the version before it
    cannot work, or would write what this one takes for something else (docs/runbook/mixed-versions.md). Raises
    `StillRunning`."""
    names = op.get_bind().execute(_PROCESSES, {"like": f"^{service}-(?:api|standard|express)-[0-9]+"}).scalars().all()
    if names:
        raise StillRunning(
            f"this step of {service}'s schema does not fit the version that runs: stop {', '.join(names)}, migrate, then "
            "start the new version"
        )


def run_env(metadata: sa.MetaData) -> None:
    """The whole of a service's `env.py`: run whatever Alembic was asked to do against the configured database."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _configured(connection, metadata)
        return
    url = context.config.get_main_option("sqlalchemy.url")
    if not url:
        raise RuntimeError("the Alembic configuration names no sqlalchemy.url")

    async def main() -> None:
        engine = create_async_engine(async_url(url), poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(_configured, metadata)
            await connection.commit()
        await engine.dispose()

    asyncio.run(main())


def _configured(connection: sa.Connection, metadata: sa.MetaData) -> None:
    context.configure(
        connection=connection,
        target_metadata=[metadata, messaging_metadata],
        include_name=_include_name,
        compare_type=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _include_name(name: str | None, kind: str, parents: Any) -> bool:
    """Partitions come and go by time and are nobody's declaration."""
    table = name if kind == "table" else parents.get("table_name")
    return not (table or "").startswith(("inbox_", "ledger_"))


def upgrade(url: str, module: str) -> None:
    """Bring the database to the newest revision of `<module>.migrations` and make the partitions of the next days.
    Safe to call from several processes at once and on a database that is up to date."""

    def work(config: Config) -> None:
        alembic.command.upgrade(config, "head")

    _with_database(url, module, work)


def drift(url: str, module: str) -> list[str]:
    """What the database has otherwise than the module's metadata declares, one line each; empty when they agree."""
    found: list[str] = []

    def work(config: Config) -> None:
        script = ScriptDirectory.from_config(config)

        def compare(_revision: Any, migration: MigrationContext) -> list[Any]:
            found.extend(
                str(difference) for difference in compare_metadata(migration, migration.opts["target_metadata"])
            )
            return []

        with EnvironmentContext(config, script, fn=compare, as_sql=False):
            script.run_env()

    _with_database(url, module, work)
    return found


def _with_database(url: str, module: str, work: Callable[[Config], None]) -> None:
    def in_thread() -> None:
        with _one_at_a_time:
            asyncio.run(_migrate(url, module, work))

    # A thread of its own: the caller may already run an event loop.
    with ThreadPoolExecutor(1, "migrate") as pool:
        pool.submit(in_thread).result()


async def _migrate(url: str, module: str, work: Callable[[Config], None]) -> None:
    config = Config(stdout=StringIO())
    config.set_main_option("script_location", str(files(module) / "migrations"))
    config.set_main_option("path_separator", "os")
    engine = create_async_engine(async_url(url), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
            await connection.commit()

            def run(sync: sa.Connection) -> None:
                config.attributes["connection"] = sync
                work(config)

            await connection.run_sync(run)
            await connection.commit()
            raw = (await connection.get_raw_connection()).driver_connection
            if raw is not None and await raw.fetchval("SELECT to_regclass('public.inbox_default') IS NOT NULL"):
                await maintain(raw)
    finally:
        await engine.dispose()


__all__ = [
    "StillRunning",
    "add_messaging_tables",
    "async_url",
    "bundle_outboxes",
    "create_collections",
    "create_messaging_tables",
    "drift",
    "keep_documents_as_text",
    "messaging_metadata",
    "plain_url",
    "run_env",
    "stopped",
    "upgrade",
]
