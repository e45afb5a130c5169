"""Looks into the services' databases: cheap counts while a bench runs, exact moments afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

from expedite_local.databases import plain_url

STATIONS = {
    "accepted": ("order-intake", "OrderReceived"),
    "prioritised": ("prioritizer", "PriorityAssigned"),
    "reserved": ("inventory", "StockReserved"),
    "packed": ("fulfillment", "Packed"),
    "shipped": ("shipping", "Shipped"),
}
"""Hops whose ledger tells when an order got there: the service and the event it emitted."""

_AT = """
SELECT key, extract(epoch FROM min(at))::float8 AS at FROM ledger
WHERE topic = ANY($1::text[]) AND key = ANY($2::text[]) GROUP BY key
"""
_KEYS = "SELECT count(DISTINCT key) FROM ledger WHERE topic = ANY($1::text[])"
_QUEUED = "SELECT count(*) FROM task WHERE kind = 'pick'"
_TOLD = "SELECT count(*) FROM message WHERE message_id LIKE '%.shipped.%'"
_TOLD_AT = """
SELECT extract(epoch FROM max(decided_at))::float8 FROM message
WHERE message_id LIKE '%.shipped.%' AND split_part(message_id, '.', 1) = ANY($1::text[])
"""
_ALL_TOLD = """
SELECT count(DISTINCT split_part(message_id, '.', 1)) FROM message
WHERE message_id LIKE '%.shipped.%' AND split_part(message_id, '.', 1) = ANY($1::text[])
"""
_ALL_BOARD = "SELECT count(*) FROM card WHERE stage IN ('track', 'confirm', 'closed') AND order_id = ANY($1::text[])"
_MAILED = "SELECT count(*) FROM message WHERE message_id LIKE '%.shipped.%' AND status = 'sent'"
_BOARD = "SELECT count(*) FROM card WHERE stage IN ('track', 'confirm', 'closed')"


class Books:
    """One connection to each service's database."""

    def __init__(self, databases: dict[str, str]) -> None:
        self._urls = databases
        self._open: dict[str, asyncpg.Connection] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def __aenter__(self) -> Books:
        for name, url in self._urls.items():
            self._open[name] = await asyncpg.connect(plain_url(url), server_settings={"jit": "off"})
            self._locks[name] = asyncio.Lock()
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._open.values():
            await connection.close()

    async def rows(self, service: str, sql: str, *args: Any) -> list[Any]:
        async with self._locks[service]:
            found: list[Any] = await self._open[service].fetch(sql, *args)
        return found

    async def value(self, service: str, sql: str, *args: Any) -> Any:
        async with self._locks[service]:
            return await self._open[service].fetchval(sql, *args)

    async def orders_at(self, hop: str) -> int:
        """How many orders ever reached a hop of STATIONS, `queued`, `told`, or `board`."""
        if hop == "queued":
            return int(await self.value("fulfillment", _QUEUED))
        if hop == "told":
            return int(await self.value("notifier", _TOLD))
        if hop == "board":
            return int(await self.value("control-tower", _BOARD))
        service, topic = STATIONS[hop]
        return int(await self.value(service, _KEYS, _lanes(topic)))

    async def all_at(self, hop: str, ids: Sequence[str]) -> bool:
        """Whether each of these orders has reached the hop (`told`, `board` or `shipped`)."""
        if hop == "shipped":
            return len(await self.moments(hop, ids)) == len(ids)
        service, sql = ("notifier", _ALL_TOLD) if hop == "told" else ("control-tower", _ALL_BOARD)
        return bool(await self.value(service, sql, list(ids)) == len(set(ids)))

    async def moments(self, hop: str, ids: Sequence[str]) -> dict[str, float]:
        """When each of these orders reached a hop of STATIONS (epoch seconds, just before its commit)."""
        service, topic = STATIONS[hop]
        rows = await self.rows(service, _AT, _lanes(topic), list(ids))
        return {row["key"]: row["at"] for row in rows}

    async def told_at(self, ids: Sequence[str]) -> float:
        """When the last of these orders' shipped messages was decided."""
        return float(await self.value("notifier", _TOLD_AT, list(ids)))

    async def mailed(self) -> int:
        """How many of the shipped messages have left."""
        return int(await self.value("notifier", _MAILED))

    async def parked(self) -> int:
        """Events that wait for a person, in all services."""
        return sum([int(await self.value(name, "SELECT count(*) FROM parked")) for name in self._open])


def _lanes(topic: str) -> list[str]:
    return [topic, f"{topic}.express"]
