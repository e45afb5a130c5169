"""Looks into the services' databases: cheap counts while a bench runs, exact moments afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

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

# Only what is younger than a run is looked at, by index: counting must not cost more in a full house, where it would be
# taken for the cost of an order. Ids begin with the time of the order's first event.
_AT = """
SELECT key, extract(epoch FROM min(at))::float8 AS at FROM ledger
WHERE topic = ANY($1::text[]) AND key = ANY($2::text[]) AND event_id >= $3 GROUP BY key
"""
_OURS = {
    "shipped": "SELECT DISTINCT key FROM ledger WHERE topic = ANY($3::text[]) AND key = ANY($1::text[]) AND event_id >= $2",
    "told": """
        SELECT id FROM unnest($1::text[]) AS ours(id)
        WHERE EXISTS (SELECT FROM message WHERE message_id > id || '.shipped.' AND message_id < id || '.shipped/')
    """,
    "board": "SELECT order_id FROM card WHERE stage IN ('track', 'confirm', 'closed') AND order_id = ANY($1::text[])",
}
_TOLD_AT = """
SELECT extract(epoch FROM max(decided_at))::float8 FROM message
WHERE decided_at >= to_timestamp($2) AND message_id LIKE '%.shipped.%' AND split_part(message_id, '.', 1) = ANY($1::text[])
"""
_KEYS = "SELECT count(DISTINCT key) FROM ledger WHERE topic = ANY($1::text[])"
_QUEUED = "SELECT count(*) FROM task WHERE kind = 'pick'"
_TOLD = "SELECT count(*) FROM message WHERE message_id LIKE '%.shipped.%'"
_MAILED = "SELECT count(*) FROM message WHERE message_id LIKE '%.shipped.%' AND status = 'sent'"


# A plan that was made while the tables were small must not stay.
_SETTINGS = {"jit": "off", "plan_cache_mode": "force_custom_plan"}


@dataclass(frozen=True)
class Posted:
    """Orders of one run, and a moment before the first of them (epoch seconds)."""

    ids: Sequence[str]
    since: float


class Books:
    """One connection to each service's database."""

    def __init__(self, databases: dict[str, str]) -> None:
        self._urls = databases
        self._open: dict[str, asyncpg.Connection] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def __aenter__(self) -> Books:
        for name, url in self._urls.items():
            self._open[name] = await asyncpg.connect(plain_url(url), server_settings=_SETTINGS)
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
        """How many orders ever reached a hop of STATIONS, `queued` or `told`."""
        if hop == "queued":
            return int(await self.value("fulfillment", _QUEUED))
        if hop == "told":
            return int(await self.value("notifier", _TOLD))
        service, topic = STATIONS[hop]
        return int(await self.value(service, _KEYS, _lanes(topic)))

    async def of_these_at(self, hop: str, run: Posted) -> set[str]:
        """Which of these orders reached a hop: `shipped`, `told` or `board`."""
        if hop == "shipped":
            rows = await self.rows("shipping", _OURS[hop], run.ids, _first_id(run.since), _lanes("Shipped"))
        else:
            rows = await self.rows("notifier" if hop == "told" else "control-tower", _OURS[hop], run.ids)
        return {row[0] for row in rows}

    async def moments(self, hop: str, run: Posted) -> dict[str, float]:
        """When each of these orders reached a hop of STATIONS (epoch seconds, just before its commit)."""
        service, topic = STATIONS[hop]
        rows = await self.rows(service, _AT, _lanes(topic), run.ids, _first_id(run.since))
        return {row["key"]: row["at"] for row in rows}

    async def told_at(self, run: Posted) -> float:
        """When the last of these orders' shipped messages was decided."""
        return float(await self.value("notifier", _TOLD_AT, run.ids, run.since))

    async def mailed(self) -> int:
        """How many of the shipped messages have left."""
        return int(await self.value("notifier", _MAILED))

    async def parked(self) -> int:
        """Events that wait for a person, in all services."""
        return sum([int(await self.value(name, "SELECT count(*) FROM parked")) for name in self._open])


def _first_id(since: float) -> UUID:
    return UUID(int=int(since * 1000) << 80)


def _lanes(topic: str) -> list[str]:
    return [topic, f"{topic}.express"]
