"""A full house: the saga's rate and the board's answers with a million finished and 100,000 open orders in all tables."""

from __future__ import annotations

import asyncio
from statistics import median

from expedite_bench import shots
from expedite_bench.bench import Bench, Figures, Goal, Size
from expedite_bench.clones import MARK, Batch, Template, copy
from expedite_bench.flow import reached, through, warm_up
from expedite_bench.ground import Ground, told
from expedite_bench.orders import ELSEWHERE, body_of, order, post_bulk
from expedite_bench.tracking import webhooks
from expedite_bench.wire import request
from expedite_local.audit import rest

TEMPLATES = 4
CONNECTIONS = 2
_REST_S = 120.0
_PARCELS = "SELECT carrier_id, tracking_number FROM parcel WHERE split_part(parcel_id, '-P', 1) = ANY($1::text[])"
_CLOSED = "SELECT count(*) FROM card WHERE stage = 'closed' AND order_id = ANY($1::text[])"
_ONE = "SELECT order_id FROM card WHERE order_id LIKE '%' || $1 || '%' LIMIT 1"

QUERIES = {
    "board": "/api/board",
    "by stage": "/api/board?stage=prepare",
    "urgent": "/api/board?tier=urgent&sort=promise",
    "closed, newest": "/api/board?stage=closed&sort=newest",
    "needs action": "/api/needs-action",
    "summary": "/api/summary",
}


async def run(ground: Ground, size: Size) -> Figures:
    await warm_up(ground)
    # Before the empty run leaves its mails waiting: a copy of an order whose mail waits is a mail that leaves.
    finished, unfinished = await _templates(ground)
    empty = await _in_use(ground, size, "with nothing else in the databases")
    told(f"copying {size['finished']:,} finished and {size['open']:,} open orders into every table")
    await copy(ground, [Batch(finished, size["finished"]), Batch(unfinished, size["open"])])
    await ground.rested()
    full = await _in_use(ground, size, "beside them")
    queries = await _ask_board(ground, size["queries"])
    rates = {name: [run["orders_per_s"] for run in runs] for name, runs in (("empty", empty), ("full", full))}
    middle = {name: median(found[1:]) for name, found in rates.items()}
    return {
        "empty_per_s": middle["empty"],
        "full_per_s": middle["full"],
        "full_to_empty": round(middle["full"] / middle["empty"], 3),
        "every_run_per_s": rates,
        "cpu_ms_per_order": {
            "empty": median(run["cpu"]["ms_per_order"] for run in empty[1:]),
            "full": median(run["cpu"]["ms_per_order"] for run in full[1:]),
        },
        "board_ms": queries,
        "runs": {"empty": empty, "full": full},
    }


async def _in_use(ground: Ground, size: Size, what: str) -> list[Figures]:
    """Runs one after the other, of which the first does not count: it fetches what copying pushed out of memory, and writes
    every page it touches whole into the log, as the first change behind a checkpoint does. A house in use has both behind
    it."""
    found = []
    for number in range(size["runs"] + 1):
        name = ground.name("g")
        told(f"{size['orders']:,} orders {what}{f', run {number}' if number else ', not counted'}")
        run, _ = await through(ground, [order(f"{name}-{n}", ground.goods.skus) for n in range(size["orders"])])
        told(f"{run['orders_per_s']:,.0f} orders/s")
        found.append(run)
    return found


async def _templates(ground: Ground) -> tuple[list[Template], list[Template]]:
    """Orders that were delivered and closed, and orders that wait in the pick queue of a warehouse nobody works in."""
    told(f"{TEMPLATES} orders to the very end, {TEMPLATES} to the pick queue: what the copies are made of")
    name = ground.name("t")
    references = [f"{name}-{n}-done" for n in range(TEMPLATES)]
    before = {hop: await ground.books.orders_at(hop) for hop in ("told", "reserved", "queued")}
    ids, _ = await post_bulk(ground.shop, body_of([order(reference, ground.goods.apart) for reference in references]))
    async with ground.crew(warehouse=ELSEWHERE) as crew:
        await reached(ground, "told", before["told"] + TEMPLATES, before["told"], crew=crew)
    parcels = await ground.books.rows("shipping", _PARCELS, ids)
    file = ground.folder / "ends.bin"
    shots.write(file, [way[-1] for way in webhooks(ground, parcels)])
    await ground.shoot(ground.snapshot.urls["shipping"], file, 1)
    await rest.wait(ground.snapshot, _REST_S, told)
    for order_id in ids:
        await ground.shop.json("POST", f"/orders/{order_id}/confirm")
    async with asyncio.timeout(_REST_S):
        while await ground.books.value("control-tower", _CLOSED, ids) < TEMPLATES:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.2)
    waiting = [f"{name}-{n}-open" for n in range(TEMPLATES)]
    open_ids, _ = await post_bulk(ground.shop, body_of([order(reference, ground.goods.apart) for reference in waiting]))
    await reached(ground, "queued", before["queued"] + 2 * TEMPLATES, before["queued"])
    await rest.wait(ground.snapshot, _REST_S, told)
    finished = [await Template.of(ground, i, r) for i, r in zip(ids, references, strict=True)]
    return finished, [await Template.of(ground, i, r) for i, r in zip(open_ids, waiting, strict=True)]


async def _ask_board(ground: Ground, each: int) -> Figures:
    """Milliseconds by query, over HTTP, a few people looking at once; `each` times, so that one moment in which both of
    them wait (say, for rows that copying pushed out of memory) is not a hundredth of it."""
    url, key = ground.snapshot.urls["control-tower"], ground.snapshot.api_keys["operator"]
    some = await ground.books.value("control-tower", _ONE, MARK)
    queries = QUERIES | {"one order": f"/api/orders/{some}", "search": f"/api/board?q={some}"}
    found: Figures = {}
    everything: list[float] = []
    for name, path in queries.items():
        file = ground.folder / "queries.bin"
        shots.write(file, [request("GET", url, path, key)] * each)
        said = await ground.shoot(url, file, CONNECTIONS)
        if said["statuses"] != {"200": each}:
            raise RuntimeError(f"{path}: {said['statuses']}")
        found[name] = said["ms"]
        everything.append(said["ms"]["p99"])
        told(f"{path}: p99 {said['ms']['p99']} ms")
    return {"slowest_p99": max(everything), "by_query": found}


BENCH = Bench(
    name="growth",
    measures="the saga's rate, and the board's queries, with 1,000,000 finished and 100,000 open orders beside",
    goals=(Goal("full_to_empty", ">=", 0.9), Goal("board_ms.slowest_p99", "<=", 100, "ms")),
    run=run,
    full={"orders": 10_000, "runs": 3, "finished": 1_000_000, "open": 100_000, "queries": 1_000},
    quick={"orders": 100, "runs": 1, "finished": 400, "open": 80, "queries": 10},
    hidden=("runs",),
)
