"""The business clock of a database: append-only anchors, read by `business_now()`.

An anchor says "at this real time it was this business time, and from here it runs at this speed". Promises, deadlines
and timers run on it; ids, leases, back-off and retention run on real time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg

from expedite_messaging.migrate import plain_url


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(plain_url(url), timeout=10, command_timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


async def anchor(url: str, speed: float, business: datetime | None = None) -> datetime:
    """From now on the clock runs at `speed` (0 stands still), from `business` or from where it is. The business time it
    was anchored at. ValueError for a negative speed or a time without offset."""
    if speed < 0:
        raise ValueError("the business clock never runs backwards")
    if business is not None and business.tzinfo is None:
        raise ValueError("business time needs an offset")
    async with _connected(url) as connection:
        found: datetime = await connection.fetchval(
            """
            INSERT INTO clock_anchor (real, business, speed)
            VALUES (clock_timestamp(), coalesce($1::timestamptz, business_now()), $2) RETURNING business
            """,
            business,
            speed,
        )
        return found


async def freeze(url: str) -> datetime:
    """Stop the clock where it is, so that a restart neither jumps nor breaches. The business time it stands at. A clock
    that runs at speed 1 is left running: it is the world's own time."""
    async with _connected(url) as connection:
        speed = await connection.fetchval("SELECT speed FROM clock_anchor ORDER BY id DESC LIMIT 1")
        if speed in (None, 1.0):
            now: datetime = await connection.fetchval("SELECT business_now()")
            return now
    return await anchor(url, 0.0)


async def resume(url: str, speed: float) -> datetime:
    """Run on at `speed` from the business time at which the clock stands. That time."""
    return await anchor(url, speed)


async def business_now(url: str) -> datetime:
    """The business time of a database."""
    async with _connected(url) as connection:
        now: datetime = await connection.fetchval("SELECT business_now()")
        return now
