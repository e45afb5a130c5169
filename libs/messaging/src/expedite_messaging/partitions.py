"""Partitions of the inbox (a day each, kept 7 days) and the ledger (a month each, kept for ever).

Event ids begin with 48 bits of time, so a range of ids is a range of time. Partitions are made ahead; what fits none
(an id older than the retention) falls into the default partition. Old inbox partitions are dropped, never emptied by
DELETE.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

INBOX_RETENTION = timedelta(days=7)
_AHEAD_DAYS = 10
_AHEAD_MONTHS = 2


def first_id(moment: datetime) -> UUID:
    """The smallest id of a time: 48 bits of milliseconds, the rest zero."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def wanted(now: datetime) -> list[tuple[str, str, datetime, datetime]]:
    """(parent, name, from, until) of every partition that should exist at `now`."""
    today = now.astimezone(UTC).date()
    found = []
    for offset in range(-INBOX_RETENTION.days, _AHEAD_DAYS + 1):
        day = today + timedelta(days=offset)
        found.append(("inbox", f"inbox_{day:%Y%m%d}", _start(day), _start(day + timedelta(days=1))))
    month = today.replace(day=1)
    for _ in range(_AHEAD_MONTHS + 1):
        following = (month + timedelta(days=32)).replace(day=1)
        found.append(("ledger", f"ledger_{month:%Y%m}", _start(month), _start(following)))
        month = following
    return found


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def outdated(names: list[str], now: datetime) -> list[str]:
    """The inbox partitions that lie wholly before the retention."""
    limit = f"inbox_{now.astimezone(UTC).date() - INBOX_RETENTION:%Y%m%d}"
    return sorted(n for n in names if n.startswith("inbox_2") and n < limit)


_EXISTING = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent WHERE p.relname IN ('inbox', 'ledger') AND p.relnamespace = 'public'::regnamespace"


async def maintain(connection: Any, now: datetime | None = None) -> tuple[int, int]:
    """Make missing partitions and drop outdated ones on a raw asyncpg connection. (made, dropped).

    Each change is a transaction of its own with a short lock timeout: a busy table is left for the next run rather than
    letting everybody queue behind us.
    """
    moment = now or datetime.now(UTC)
    existing = {row[0] for row in await connection.fetch(_EXISTING)}
    made = dropped = 0
    for parent, name, begin, end in wanted(moment):
        if name not in existing:
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '2s'")
                await connection.execute(make_statement(parent, name, begin, end))
            made += 1
    for name in outdated(list(existing), moment):
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '2s'")
            await connection.execute(f'DROP TABLE "{name}"')
        dropped += 1
    return made, dropped


def make_statement(parent: str, name: str, begin: datetime, end: datetime) -> str:
    """SQL that makes a partition; rows of its range that fell into the default partition move into it."""
    low, high = first_id(begin), first_id(end)
    return f"""
    DO $$ BEGIN
      CREATE TABLE "{name}" (LIKE {parent} INCLUDING ALL);
      LOCK TABLE {parent}_default IN ACCESS EXCLUSIVE MODE;
      WITH moved AS (DELETE FROM {parent}_default WHERE event_id >= '{low}' AND event_id < '{high}' RETURNING *)
        INSERT INTO "{name}" SELECT * FROM moved;
      ALTER TABLE {parent} ATTACH PARTITION "{name}" FOR VALUES FROM ('{low}') TO ('{high}');
    END $$
    """
