"""FastStream on Kafka, written as its tutorial shows: one message, one transaction, one publish.

    peer_faststream.py tables          make the tables anew
    peer_faststream.py serve STEP      one of five processes, STEP 0 to 4
    peer_faststream.py load ORDERS     post, wait, print orders/s

Needs `faststream[kafka]` (Apache-2.0): the dependency group `bench`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import common
import uvloop
from faststream import FastStream
from faststream.kafka import KafkaBroker

TOPICS = ("f.received", "f.prioritised", "f.reserved", "f.packed", "f.shipped")
AT_ONCE = 100
STUCK_S = 600.0


async def serve(number: int) -> None:
    pool = await common.pool()
    broker = KafkaBroker(common.BOOTSTRAP, logger=None)
    step = common.STEPS[number]

    @broker.subscriber(TOPICS[number], group_id=f"f{number}", auto_offset_reset="earliest")
    async def handle(o: dict[str, Any]) -> None:
        async with pool.acquire() as c, c.transaction():
            await step(c, o)
        if number + 1 < len(TOPICS):
            await broker.publish(o, topic=TOPICS[number + 1], key=o["id"].encode())

    await FastStream(broker, logger=None).run()


async def load(count: int) -> None:
    pool, gate = await common.pool(), asyncio.Semaphore(AT_ONCE)
    async with KafkaBroker(common.BOOTSTRAP, logger=None) as broker:
        began = time.perf_counter()

        async def one(number: int) -> None:
            o = common.order(number)
            async with gate:
                async with pool.acquire() as c:
                    await common.receive(c, o)
                await broker.publish(o, topic=TOPICS[0], key=o["id"].encode())

        posting = asyncio.gather(*(one(number) for number in range(count)))
        while (done := await pool.fetchval(common.DONE)) < count:
            if time.perf_counter() - began > STUCK_S:
                sys.exit(f"stuck at {done} of {count}")
            await asyncio.sleep(0.1)
        print("faststream orders/s", round(count / (time.perf_counter() - began), 1))
        await posting


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["tables"]:
            uvloop.run(common.tables())
        case ["serve", step]:
            uvloop.run(serve(int(step)))
        case ["load", count]:
            uvloop.run(load(int(count)))
        case _:
            sys.exit(__doc__)
