"""Read-only looks into the databases of the services: each on one snapshot, so that its tables agree with each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from expedite_events import Value
from expedite_local.databases import plain_url
from expedite_messaging import Collection, Tx
from expedite_messaging.session import PostgresSession

S = TypeVar("S", bound=Value)

SECONDS = 300.0
CHUNK = 5_000
_SETTINGS = {
    "application_name": "audit",
    "default_transaction_read_only": "on",
    "statement_timeout": f"{SECONDS:.0f}s",
    "jit": "off",
    "timezone": "UTC",
}


async def opened(url: str) -> Any:
    """A connection that cannot write, outside any transaction; the caller closes it."""
    return await asyncpg.connect(plain_url(url), timeout=10, command_timeout=SECONDS, server_settings=_SETTINGS)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """A connection that cannot write, outside any transaction."""
    connection = await opened(url)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


class Snapshot:
    """One service's database as it was at one moment."""

    def __init__(self, service: str, connection: Any) -> None:
        self.service, self._connection = service, connection
        self._tx = Tx(service, PostgresSession(connection))

    async def rows(self, sql: str, *args: Any) -> list[Any]:
        """The rows of one statement."""
        found: list[Any] = await self._connection.fetch(sql, *args)
        return found

    async def stream(self, sql: str, *args: Any) -> AsyncIterator[Any]:
        """The rows of one statement, without holding all of them."""
        async for row in self._connection.cursor(sql, *args, prefetch=CHUNK):
            yield row

    async def find(
        self,
        collection: Collection[S],
        where: Mapping[str, Any] | None = None,
        *,
        order_by: Sequence[str] = (),
        limit: int | None = None,
    ) -> list[S]:
        """Documents of one of the service's own collections."""
        return await self._tx.find(collection, where, order_by=order_by, limit=limit)


@asynccontextmanager
async def snapshots(databases: Mapping[str, str]) -> AsyncIterator[dict[str, Snapshot]]:
    """A snapshot of every service's database, taken as close to each other as they can be."""
    async with AsyncExitStack() as stack:
        taken = {name: await stack.enter_async_context(connected(url)) for name, url in databases.items()}

        async def take(connection: Any) -> None:
            # The snapshot is taken by the first statement, not by BEGIN.
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1")

        await asyncio.gather(*(take(connection) for connection in taken.values()))
        yield {name: Snapshot(name, connection) for name, connection in taken.items()}
