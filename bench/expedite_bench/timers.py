"""A million running SLA clocks, ten thousand of which run out within one minute."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime, timedelta

from expedite_bench.bench import Bench, Figures, Goal, Size
from expedite_bench.clones import MARK, Batch, Template, copy
from expedite_bench.ground import STALL_S, Ground, Invalid, told
from expedite_bench.measure import quantiles
from expedite_bench.orders import body_of, order, post_bulk

AGO = timedelta(days=7)
"""The copied orders were taken in that long ago, so that their clocks have run out whenever their timers fire."""
LEAD_S = 5.0

_TEMPLATE = "SELECT count(*) FROM orders WHERE order_id = $1 AND doc::text LIKE '%-F1%'"
_PUT_OFF = "UPDATE timer SET due_at = business_now() + interval '1 day' + (right(key, 7)::int % 2592000) * interval '1 s' WHERE key LIKE $1"
_DUE = """
UPDATE timer SET due_at = to_timestamp($2::float8 + (right(key, 7)::int - 1) * $3::float8)
WHERE key LIKE $1 AND right(key, 7)::int <= $4
"""
_FIRED = """
SELECT key, count(*) AS times, extract(epoch FROM min(at))::float8 AS at FROM ledger
WHERE topic IN ('SLABreached', 'SLABreached.express') AND key LIKE $1 GROUP BY key
"""
_OPEN = "SELECT count(*) FROM timer WHERE key LIKE $1"


async def run(ground: Ground, size: Size) -> Figures:
    template = await _template(ground)
    without = await _idle(ground, size["idle_s"])
    told(f"copying {size['open']:,} orders, each with a running clock")
    await copy(ground, [Batch([template], size["open"])], services=["prioritizer"], shifts=_shifts())
    await ground.books.value("prioritizer", _PUT_OFF, f"%{MARK}%")
    await ground.books.value("prioritizer", "VACUUM (ANALYZE) timer")
    opened = await ground.books.value("prioritizer", _OPEN, f"%{MARK}%")
    if opened != size["open"]:
        raise Invalid(f"{size['open']} clocks should run, but {opened} do")
    idle = await _idle(ground, size["idle_s"])
    due, within = size["due"], size["within_s"]
    first = time.time() + LEAD_S
    step = within / due
    await ground.books.value("prioritizer", _DUE, f"%{MARK}%", first, step, due)
    told(f"{due:,} of them run out within {within:g} s")
    watch = ground.cpu()
    late = await _fired(ground, due, first, step)
    return {
        "open": opened,
        "due": due,
        "within_s": within,
        "fired_once": len(late),
        "late_ms": quantiles(late),
        "idle": idle,
        "idle_without_clocks": without,
        "cpu_ms_per_timer": watch.stop(due)["ms_per_order"],
    }


async def _template(ground: Ground) -> Template:
    """An order that is reserved and waits to be picked: one clock runs."""
    reference = ground.name("t")
    (order_id,), _ = await post_bulk(ground.shop, body_of([order(f"{reference}-clock", ground.goods.apart)]))
    async with asyncio.timeout(60):
        while not await ground.books.value("prioritizer", _TEMPLATE, order_id):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.2)
    await asyncio.sleep(1.0)
    return await Template.of(ground, order_id, f"{reference}-clock")


def _shifts() -> dict[str, str]:
    """Dates as documents spell them, each moved into the past. The earliest comes first: none is moved twice."""
    today = datetime.now(UTC).date()
    days = [today + timedelta(days=n) for n in range(-1, AGO.days)]
    return {f"{day.isoformat()}T": f"{(day - AGO).isoformat()}T" for day in days}


async def _idle(ground: Ground, seconds: float) -> Figures:
    """What the prioritizer (and PostgreSQL) spend while nothing is due."""
    await asyncio.sleep(min(5.0, seconds))  # what the copying left to do is no idling
    told(f"idle for {seconds:g} s")
    watch = ground.cpu()
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    spent = watch.stop()["seconds_by_process"]
    own = sum(s for name, s in spent.items() if name.startswith("prioritizer-"))
    return {
        "prioritizer_percent_of_core": round(own / took * 100, 2),
        "postgres_percent_of_core": round(spent.get("postgres", 0.0) / took * 100, 2),
    }


async def _fired(ground: Ground, due: int, first: float, step: float) -> list[float]:
    """Seconds by which each was late. Raises Invalid when one did not fire, or twice."""
    deadline = first + due * step + STALL_S
    while True:
        rows = await ground.books.rows("prioritizer", _FIRED, f"%{MARK}%")
        if len(rows) >= due:
            break
        if time.time() > deadline:
            raise Invalid(f"{len(rows)} of {due} fired")
        await asyncio.sleep(1.0 + math.sqrt(len(rows)) / 100)
    await asyncio.sleep(3.0)
    rows = await ground.books.rows("prioritizer", _FIRED, f"%{MARK}%")
    twice = [row["key"] for row in rows if row["times"] != 1]
    strangers = [row["key"] for row in rows if int(row["key"][-7:]) > due]
    if twice or strangers:
        raise Invalid(f"fired more than once: {twice[:3]}; fired although not due: {strangers[:3]}")
    return [row["at"] - (first + (int(row["key"][-7:]) - 1) * step) for row in rows]


BENCH = Bench(
    name="timers",
    measures="1,000,000 running SLA clocks, idle; then 10,000 of them run out within a minute, each told once",
    goals=(
        Goal("late_ms.p99", "<=", 1000, "ms"),
        Goal("idle.prioritizer_percent_of_core", "<=", 2, "%"),
    ),
    run=run,
    services=("order-intake", "prioritizer", "inventory"),
    full={"open": 1_000_000, "due": 10_000, "within_s": 60.0, "idle_s": 30.0},
    quick={"open": 300, "due": 50, "within_s": 2.0, "idle_s": 2.0},
)
