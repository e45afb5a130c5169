"""Everybody wants the same: all orders ask for two SKUs of which there is half of what they want."""

from __future__ import annotations

from collections import Counter

from expedite_bench.bench import Bench, Figures, Goal, Size
from expedite_bench.flow import up_to_reserved, warm_up
from expedite_bench.ground import Ground, Invalid, told
from expedite_bench.orders import WAREHOUSE, order, stock
from expedite_local.audit import rest

_REST_S = 30.0
"""So long, at the longest, until what the first half's orders lead to elsewhere is done: it is no work of the second half's. Mail
is paced and goes on."""
_OUTCOME = """
SELECT (SELECT coalesce(sum(free), 0) FROM shelf WHERE sku = $1)::bigint AS free,
  (SELECT coalesce(sum(backordered), 0) FROM shelf WHERE sku = $1)::bigint AS backordered,
  (SELECT coalesce(sum(allocated + leaving), 0) FROM shelf WHERE sku = $1)::bigint AS sold
"""


async def run(ground: Ground, size: Size) -> Figures:
    await warm_up(ground)
    count, hot = size["orders"], ground.goods.scarce[:2]
    name = ground.name("s")
    told(f"{count:,} orders spread over {len(ground.goods.skus)} SKUs, until reserved")
    spread = await up_to_reserved(ground, [order(f"{name}-{n}", ground.goods.skus) for n in range(count)])
    await rest.wait(ground.snapshot, _REST_S, told)
    name = ground.name("h")
    orders = [order(f"{name}-{n}", hot) for n in range(count)]
    wanted: Counter[str] = Counter()
    for asked in orders:
        wanted.update({line["sku"]: line["quantity"] for line in asked["lines"]})
    there = {sku: n // 2 for sku, n in wanted.items()}
    await stock(ground.operator, there, WAREHOUSE, name)
    told(f"{count:,} orders for {' and '.join(hot)}, stock for half of them, until reserved or backordered")
    result = await up_to_reserved(ground, orders)
    sold = {sku: await _sold(ground, sku, wanted[sku], there[sku]) for sku in hot}
    return {
        "orders": count,
        "spread_per_s": spread["orders_per_s"],
        "hot_per_s": result["orders_per_s"],
        "hot_to_spread": round(result["orders_per_s"] / spread["orders_per_s"], 3),
        "cpu_ms_per_order": {"spread": spread["cpu"]["ms_per_order"], "hot": result["cpu"]["ms_per_order"]},
        "pieces": {"wanted": wanted.total(), "in_stock": sum(there.values()), "sold": sum(sold.values())},
    }


async def _sold(ground: Ground, sku: str, wanted: int, there: int) -> int:
    """Pieces sold of a SKU. Raises Invalid unless they are exactly what there was, and the rest is backordered."""
    (row,) = await ground.books.rows("inventory", _OUTCOME, sku)
    if row["free"] or row["sold"] != there or row["backordered"] != wanted - there:
        raise Invalid(f"{sku}: {there} in stock, {wanted} wanted, but {dict(row)}")
    return int(row["sold"])


BENCH = Bench(
    name="hot-sku",
    measures="all orders want the same two SKUs, stock for half of them, beside a spread-out run of the same session",
    goals=(Goal("hot_to_spread", ">=", 0.8),),
    run=run,
    full={"orders": 20_000},
    quick={"orders": 200},
    runs=3,
)
