"""Express lanes without a product: three hops, each topic with an express twin; urgent orders posted at a steady pace
while a backlog waits on the standard topics.

    lane_probe.py tables                       make the tables anew
    lane_probe.py serve HOP LANES BATCH        HOP 0 to 2; LANES s, x or sx: which lanes this process serves
    lane_probe.py load BACKLOG URGENT          prints the urgent orders' latency over all hops
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid

import asyncpg
import common
import limit_batched
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

HOPS = 3
EXPRESS_BATCH = 100
WAIT_S = 60.0
EVERY_S = 0.05
MORE = "".join(
    f"CREATE TABLE peer.xinbox{hop} (id uuid PRIMARY KEY);"
    f"CREATE TABLE peer.xoutbox{hop} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text, v bytea);"
    for hop in range(HOPS)
)


def topic(hop: int, express: bool) -> str:
    return f"x{hop}.express" if express else f"x{hop}"


def producer(express: bool) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=common.BOOTSTRAP, enable_idempotence=True,
        linger_ms=0 if express else 5, max_batch_size=262_144,
    )  # fmt: skip


async def work(c: asyncpg.Connection, hop: int, orders: list[common.Order]) -> None:
    ids = [o["id"] for o in orders]
    if hop == 0:
        insert = "INSERT INTO peer.priorities SELECT u, 'x' FROM unnest($1::text[]) u ON CONFLICT DO NOTHING"
        await c.execute(insert, ids)
    elif hop == 1:
        await limit_batched.reserve(c, orders)
    else:
        insert = (
            "INSERT INTO peer.notifications (id, body) SELECT u, 'q' FROM unnest($1::text[]) u ON CONFLICT DO NOTHING"
        )
        await c.execute(insert, ids)


async def lane(hop: int, pool: asyncpg.Pool, sender: AIOKafkaProducer, express: bool, batch: int) -> None:
    consumer = AIOKafkaConsumer(
        topic(hop, express), bootstrap_servers=common.BOOTSTRAP, group_id=f"x{hop}{express}",
        enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50,
    )  # fmt: skip
    await consumer.start()
    while True:
        polled = await consumer.getmany(timeout_ms=500, max_records=batch)
        orders = [orjson.loads(record.value) for records in polled.values() for record in records]
        if not orders:
            continue
        ids, sent, outbox = [o["id"] for o in orders], [orjson.dumps(o) for o in orders], []
        async with pool.acquire() as c, c.transaction():
            seen = [uuid.uuid5(uuid.NAMESPACE_OID, f"{order_id}{hop}") for order_id in ids]
            await c.execute(
                f"INSERT INTO peer.xinbox{hop} SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING", seen
            )
            await work(c, hop, orders)
            if hop + 1 < HOPS:
                outbox = await c.fetch(
                    f"INSERT INTO peer.xoutbox{hop} (k, v) SELECT * FROM unnest($1::text[], $2::bytea[]) RETURNING id",
                    ids, sent,
                )  # fmt: skip
        if outbox:
            acks = []
            for number, (k, v) in enumerate(zip(ids, sent, strict=True)):
                acks.append(await sender.send(topic(hop + 1, express), v, key=k.encode()))
                if number % 25 == 24:  # a standard batch must not keep the express loop of this process waiting
                    await asyncio.sleep(0)
            await asyncio.gather(*acks)
            await pool.execute(f"DELETE FROM peer.xoutbox{hop} WHERE id = ANY($1)", [row["id"] for row in outbox])
        await consumer.commit()


async def serve(hop: int, lanes: str, batch: int) -> None:
    pool = await common.pool(4)
    senders = {express: producer(express) for express in (False, True)}
    for sender in senders.values():
        await sender.start()
    wanted = [name == "x" for name in lanes]
    await asyncio.gather(
        *(lane(hop, pool, senders[express], express, EXPRESS_BATCH if express else batch) for express in wanted)
    )


async def load(backlog: int, urgent: int) -> None:
    pool, sender, run = await common.pool(), producer(express=True), uuid.uuid4().hex[:8]
    await sender.start()
    for start in range(0, backlog, 1000):
        numbers = range(start, min(start + 1000, backlog))
        bodies = {n: orjson.dumps(common.order(n) | {"id": f"s{run}-{n}"}) for n in numbers}
        acks = [await sender.send(topic(0, False), body, key=str(n).encode()) for n, body in bodies.items()]
        await asyncio.gather(*acks)
    await asyncio.sleep(1)
    posted: dict[str, float] = {}
    for number in range(urgent):
        o = common.order(number) | {"id": f"u{run}-{number}"}
        posted[o["id"]] = time.time()
        await pool.execute("INSERT INTO peer.orders (id, doc) VALUES ($1, $2)", o["id"], orjson.dumps(o).decode())
        await sender.send(topic(0, True), orjson.dumps(o), key=o["id"].encode())
        await asyncio.sleep(EVERY_S)
    drained = await pool.fetchval("SELECT count(*) FROM peer.notifications WHERE id LIKE 's%'")
    took: list[float] = []
    deadline = time.monotonic() + WAIT_S
    while len(took) < urgent:
        if time.monotonic() > deadline:
            sys.exit(f"{urgent - len(took)} urgent orders never came through")
        await asyncio.sleep(0.5)
        rows = await pool.fetch(
            "SELECT id, extract(epoch FROM at)::float8 AS at FROM peer.notifications WHERE id LIKE 'u%'"
        )
        took = sorted((row["at"] - posted[row["id"]]) * 1000 for row in rows if row["id"] in posted)
    middle, late = took[len(took) // 2], took[min(len(took) - 1, int(len(took) * 0.99))]
    print(f"backlog {backlog}, {drained} of it done at the last urgent order; ms p50 {middle:.1f} p99 {late:.1f}")
    await sender.stop()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["tables"]:
            uvloop.run(common.tables(MORE))
        case ["serve", hop, lanes, batch]:
            uvloop.run(serve(int(hop), lanes, int(batch)))
        case ["load", backlog, urgent]:
            uvloop.run(load(int(backlog), int(urgent)))
        case _:
            sys.exit(__doc__)
