"""Taking orders in: one at a time over 64 connections, and in bulk, with nothing downstream of it running."""

from __future__ import annotations

import orjson

from expedite_bench import shots
from expedite_bench.bench import Bench, Figures, Goal, Size
from expedite_bench.ground import Ground, Invalid, told
from expedite_bench.orders import body_of, order, post_bulk
from expedite_bench.wire import request

CONNECTIONS = 64
RATE_PREPARED = 4_000
"""Orders prepared per second of shooting: more than are answered."""


async def run(ground: Ground, size: Size) -> Figures:
    # Not through the saga: in full the rest of it does not run.
    await post_bulk(ground.shop, body_of([order(f"{ground.name('w')}-{n}", ground.goods.skus) for n in range(200)]))
    return {"single": await _singles(ground, size["seconds"]), "bulk": await _bulk(ground, size["bulk"])}


async def _singles(ground: Ground, seconds: float) -> Figures:
    told(f"single orders over {CONNECTIONS} connections for {seconds:g} s")
    url, key = ground.snapshot.urls["order-intake"], ground.snapshot.api_keys["shop"]
    name, file = ground.name("i"), ground.folder / "orders.bin"
    skus, count = ground.goods.skus, int(seconds * RATE_PREPARED)
    shots.write(
        file, (request("POST", url, "/orders", key, orjson.dumps(order(f"{name}-{n}", skus))) for n in range(count))
    )
    before, watch = await ground.books.orders_at("accepted"), ground.cpu()
    found = await ground.shoot(url, file, CONNECTIONS, seconds)
    file.unlink()
    found["cpu"] = watch.stop(found["sent"])
    if found["statuses"] != {"202": found["sent"]}:
        raise Invalid(f"not every order was accepted: {found['statuses']}")
    durable = await ground.books.orders_at("accepted") - before
    if durable != found["sent"]:
        raise Invalid(f"{found['sent']} orders were accepted but {durable} are in the ledger")
    return found


async def _bulk(ground: Ground, count: int) -> Figures:
    told(f"{count:,} orders in one bulk request")
    name = ground.name("n")
    body = body_of([order(f"{name}-{n}", ground.goods.skus) for n in range(count)])
    before, watch = await ground.books.orders_at("accepted"), ground.cpu()
    ids, took = await post_bulk(ground.shop, body)
    cpu = watch.stop(count)
    if len(set(ids)) != count or await ground.books.orders_at("accepted") - before != count:
        raise Invalid("the bulk request lost or doubled orders")
    return {"orders": count, "per_s": round(count / took, 1), "cpu": cpu}


BENCH = Bench(
    name="intake",
    measures="single orders at 64 connections, and bulk NDJSON: accepted means durable",
    goals=(
        Goal("single.per_s", ">=", 800, "orders/s"),
        Goal("single.ms.p99", "<=", 150, "ms"),
        Goal("bulk.per_s", ">=", 4000, "orders/s"),
    ),
    run=run,
    services=("order-intake", "inventory"),
    full={"seconds": 20.0, "bulk": 20_000},
    quick={"seconds": 1.0, "bulk": 300},
    runs=3,
)
