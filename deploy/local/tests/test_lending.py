"""Who holds an order that something urgent waits for is urgent until it lets go."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import pytest

from expedite_local import lending, urgency
from expedite_local.postgres import embedded_postgres

pytestmark = pytest.mark.skipif(not urgency.allowed(), reason="the real-time class is not allowed here")


def hurries(pid: int) -> bool:
    return os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR


async def until(pid: int, hurrying: bool) -> None:
    async with asyncio.timeout(20):
        while hurries(pid) is not hurrying:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.02)


async def session(url: str, name: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, server_settings={"application_name": name})


@pytest.mark.parametrize("waiter", ["prioritizer-express-0", "prioritizer-api-0"])
async def test_who_holds_what_is_urgent_hurries_until_it_lets_go(tmp_path: Path, waiter: str) -> None:
    """B4: a raised order in the middle of a standard lane's batch waits for that batch at an urgent order's place."""
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    with embedded_postgres(tmp_path / "pg") as url:
        holder, other, waits = (
            await session(url, "prioritizer-standard-0"),
            await session(url, "prioritizer-standard-1"),
            await session(url, waiter),
        )
        held, at_rest = holder.get_server_pid(), other.get_server_pid()
        keeping = asyncio.create_task(
            lending.keep(lambda: {"prioritizer-standard-0": worker.pid}, url, ["order-intake", "prioritizer"])
        )
        await holder.execute("SELECT pg_advisory_lock(7)")
        waiting = asyncio.create_task(waits.execute("SELECT pg_advisory_lock(7)"))
        await until(held, hurrying=True)
        await until(worker.pid, hurrying=True)
        assert not hurries(at_rest)
        await holder.execute("SELECT pg_advisory_unlock(7)")
        await waiting
        await until(held, hurrying=False)
        await until(worker.pid, hurrying=False)
        keeping.cancel()
        for each in (holder, other, waits):
            await each.close()
    await worker.communicate(b"\n")


async def test_who_is_in_the_way_of_what_is_not_urgent_stays_last(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path / "pg") as url:
        holder, waits = await session(url, "inventory-standard-0"), await session(url, "inventory-standard-1")
        keeping = asyncio.create_task(lending.keep(dict, url, ["order-intake", "prioritizer"]))
        await holder.execute("SELECT pg_advisory_lock(7)")
        waiting = asyncio.create_task(waits.execute("SELECT pg_advisory_lock(7)"))
        await asyncio.sleep(5 * lending.EVERY_S)
        assert not hurries(holder.get_server_pid())
        await holder.execute("SELECT pg_advisory_unlock(7)")
        await waiting
        keeping.cancel()
        await holder.close()
        await waits.close()


async def test_what_was_lent_is_given_back_at_the_end(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path / "pg") as url:
        holder, waits = await session(url, "inventory-standard-0"), await session(url, "inventory-express-0")
        keeping = asyncio.create_task(lending.keep(dict, url, []))
        await holder.execute("SELECT pg_advisory_lock(7)")
        waiting = asyncio.create_task(waits.execute("SELECT pg_advisory_lock(7)"))
        await until(holder.get_server_pid(), hurrying=True)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        assert not hurries(holder.get_server_pid())
        await holder.execute("SELECT pg_advisory_unlock(7)")
        await waiting
        await holder.close()
        await waits.close()
