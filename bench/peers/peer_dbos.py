"""DBOS: the five steps as a durable workflow kept in PostgreSQL, each step one transaction.

    peer_dbos.py ORDERS [AT_ONCE]    prints orders/s

Needs `dbos`, which is not in our dependency groups (it brings a library under the LGPL): `uv run --with dbos python
bench/peers/peer_dbos.py 200`, with POSTGRES_URL set.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import common
from dbos import DBOS

Step = Callable[[common.Order], Awaitable[None]]


def durable(step: Callable[[common.Connection, common.Order], Awaitable[None]], pools: list[asyncpg.Pool]) -> Step:
    """The step, run once by DBOS however often its workflow is resumed."""

    @DBOS.step(name=step.__name__)
    async def run(o: dict[str, Any]) -> None:
        async with pools[0].acquire() as c, c.transaction():
            await step(c, o)

    return run


async def main(count: int, at_once: int) -> None:
    DBOS(
        config={"name": "peer", "system_database_url": common.POSTGRES, "run_admin_server": False, "log_level": "ERROR"}
    )
    pools: list[asyncpg.Pool] = []
    steps = [durable(step, pools) for step in common.STEPS]

    @DBOS.workflow()
    async def saga(o: dict[str, Any]) -> None:
        for step in steps:
            await step(o)

    await common.tables()
    pools.append(await common.pool(16))
    DBOS.launch()
    gate = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        o = common.order(number)
        async with gate:
            async with pools[0].acquire() as c:
                await common.receive(c, o)
            handle = await DBOS.start_workflow_async(saga, o)
            await handle.get_result()

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    print("dbos orders/s", round(count / (time.perf_counter() - began), 1))
    DBOS.destroy()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 50))
