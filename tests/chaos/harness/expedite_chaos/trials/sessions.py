"""Rows 12, 14 and 29: what happens to PostgreSQL's sessions, and what a foreign one does to everybody."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from expedite_chaos.field import Broken, Field, connected
from expedite_chaos.trial import Bite, Trial

_OURS = """
SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> 'audit'
  AND pid <> pg_backend_pid() ORDER BY backend_start
"""
_END_ALL = f"SELECT count(pg_terminate_backend(pid)) FROM ({_OURS}) AS sessions"
_HORIZON = "SELECT coalesce(max(age(backend_xmin)), 0) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL"


async def backend_killed(on: Field) -> Bite:
    """One session's process is killed: PostgreSQL trusts nothing in shared memory any more and resets all of them."""
    times, ended = (1 if on.short else 3), 0
    for _ in range(times):
        async with on.administrator() as connection:
            pids = [row["pid"] for row in await connection.fetch(_OURS)]
        os.kill(pids[len(pids) // 2], signal.SIGKILL)
        ended += len(pids)
        over_at = time.monotonic()
        await asyncio.sleep(1.0 if on.short else 4.0)
    return Bite(times=times, bit={"sessions lost": ended}, over_at=over_at)


async def all_ended(on: Field) -> Bite:
    """All sessions are ended, once a second."""
    times, ended = (4 if on.short else 10), 0
    for _ in range(times):
        async with on.administrator() as connection:
            ended += await connection.fetchval(_END_ALL)
        over_at = time.monotonic()
        await asyncio.sleep(1.0)
    return Bite(times=times, bit={"sessions ended": ended}, over_at=over_at)


async def long_transaction(on: Field) -> Bite:
    """Somebody writes in another database of the same server and does not commit; somebody else reads for long in the
    inventory's. Both hold back what the server may forget, and nobody else may notice."""
    seconds = 10.0 if on.short else 40.0
    async with (
        connected(on.system.substrate.admin_url) as writer,
        connected(on.snapshot.databases["inventory"]) as reader,
    ):
        await writer.execute("CREATE TABLE foreign_work (id int); BEGIN; INSERT INTO foreign_work VALUES (1)")
        await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT count(*) FROM outbox")
        began, slowest, probes = time.monotonic(), 0.0, 0
        while time.monotonic() - began < seconds:
            asked = time.monotonic()
            slowest, probes = max(slowest, await on.serves() - asked), probes + 1
            await asyncio.sleep(1.0)
        async with on.administrator() as connection:
            held = await connection.fetchval(_HORIZON)
    if slowest > 30.0:
        raise Broken(f"an order waited {slowest:.1f} s for its stock while a foreign transaction was open")
    return Bite(bit={"orders served meanwhile": 2 * probes, "transactions held back": held}, recovery_s=slowest)


TRIALS = (
    Trial("12", "a PostgreSQL backend killed", "I6", backend_killed, 5.0, short=True),
    Trial("14", "all connections terminated, once a second", "I10", all_ended, 2.0),
    Trial("29", "a writing transaction open in another database", "I4", long_transaction),
)
