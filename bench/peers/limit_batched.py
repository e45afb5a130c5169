"""Ceiling probe: the five steps with one PostgreSQL transaction per Kafka poll, inbox and outbox included, and no product
around it.

    limit_batched.py tables          make the tables anew
    limit_batched.py serve STEP      one of five processes, STEP 0 to 4
    limit_batched.py load ORDERS     post, wait, print orders/s
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections import Counter

import asyncpg
import common
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

TOPICS = ("l.received", "l.prioritised", "l.reserved", "l.packed", "l.shipped")
BATCH = 500
STUCK_S = 300.0
MORE = "".join(
    f"CREATE TABLE peer.inbox{step} (id uuid PRIMARY KEY);"
    f"CREATE TABLE peer.outbox{step} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, k text, v bytea);"
    for step in range(5)
)
_PLAIN = {
    2: "INSERT INTO peer.packed SELECT u, 'M' FROM unnest($1::text[]) u ON CONFLICT DO NOTHING",
    3: "INSERT INTO peer.shipments SELECT u, 'TRK' || u FROM unnest($1::text[]) u ON CONFLICT DO NOTHING",
    4: "INSERT INTO peer.notifications (id, body) SELECT u, 'shipped' FROM unnest($1::text[]) u ON CONFLICT DO NOTHING",
}


async def work(c: asyncpg.Connection, step: int, orders: list[common.Order]) -> None:
    """One step for a batch, each table with one statement."""
    ids = [o["id"] for o in orders]
    if step == 0:
        sql = "INSERT INTO peer.priorities SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING"
        await c.execute(sql, ids, ["urgent" if o["tags"] else "regular" for o in orders])
    elif step == 1:
        await reserve(c, orders)
    else:
        await c.execute(_PLAIN[step], ids)


async def reserve(c: asyncpg.Connection, orders: list[common.Order]) -> None:
    need: Counter[str] = Counter()
    for o in orders:
        need.update({line["sku"]: line["qty"] for line in o["lines"]})
    skus = sorted(need)
    await c.fetch("SELECT sku FROM peer.stock WHERE sku = ANY($1) ORDER BY sku FOR UPDATE", skus)
    take = """UPDATE peer.stock s SET available = available - q FROM unnest($1::text[], $2::int[]) u(sku, q)
              WHERE s.sku = u.sku"""
    await c.execute(take, skus, [need[sku] for sku in skus])
    lines = [(o["id"], line["sku"], line["qty"]) for o in orders for line in o["lines"]]
    keep = """INSERT INTO peer.reservations SELECT * FROM unnest($1::text[], $2::text[], $3::int[])
              ON CONFLICT DO NOTHING"""
    await c.execute(keep, *(list(column) for column in zip(*lines, strict=True)))


def producer() -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=common.BOOTSTRAP, enable_idempotence=True, linger_ms=2, max_batch_size=262_144
    )


async def serve(step: int) -> None:
    pool = await common.pool(4)
    consumer = AIOKafkaConsumer(
        TOPICS[step], bootstrap_servers=common.BOOTSTRAP, group_id=f"l{step}",
        enable_auto_commit=False, auto_offset_reset="earliest",
    )  # fmt: skip
    sender = producer()
    await consumer.start()
    await sender.start()
    while True:
        polled = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
        orders = [orjson.loads(record.value) for records in polled.values() for record in records]
        if not orders:
            continue
        ids, sent, outbox = [o["id"] for o in orders], [orjson.dumps(o) for o in orders], []
        async with pool.acquire() as c, c.transaction():
            seen = [uuid.uuid5(uuid.NAMESPACE_OID, f"{order_id}{step}") for order_id in ids]
            await c.execute(
                f"INSERT INTO peer.inbox{step} SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING", seen
            )
            await work(c, step, orders)
            if step + 1 < len(TOPICS):
                outbox = await c.fetch(
                    f"INSERT INTO peer.outbox{step} (k, v) SELECT * FROM unnest($1::text[], $2::bytea[]) RETURNING id",
                    ids, sent,
                )  # fmt: skip
        if outbox:
            acks = [await sender.send(TOPICS[step + 1], v, key=k.encode()) for k, v in zip(ids, sent, strict=True)]
            await asyncio.gather(*acks)
            await pool.execute(f"DELETE FROM peer.outbox{step} WHERE id = ANY($1)", [row["id"] for row in outbox])
        await consumer.commit()


async def load(count: int) -> None:
    pool, sender = await common.pool(), producer()
    await sender.start()
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        orders = [common.order(n) for n in range(start, min(start + BATCH, count))]
        ids, sent = [o["id"] for o in orders], [orjson.dumps(o) for o in orders]
        insert = "INSERT INTO peer.orders (id, doc) SELECT * FROM unnest($1::text[], $2::jsonb[])"
        await pool.execute(insert, ids, [body.decode() for body in sent])
        acks = [await sender.send(TOPICS[0], v, key=k.encode()) for k, v in zip(ids, sent, strict=True)]
        await asyncio.gather(*acks)
    while (done := await pool.fetchval(common.DONE)) < count:
        if time.perf_counter() - began > STUCK_S:
            sys.exit(f"stuck at {done} of {count}")
        await asyncio.sleep(0.2)
    print("ceiling probe orders/s", round(count / (time.perf_counter() - began), 1))
    await sender.stop()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["tables"]:
            uvloop.run(common.tables(MORE))
        case ["serve", step]:
            uvloop.run(serve(int(step)))
        case ["load", count]:
            uvloop.run(load(int(count)))
        case _:
            sys.exit(__doc__)
