"""The whole saga, from bulk intake to shipped, told and on the board; beside it FastStream and the ceiling probe."""

from __future__ import annotations

from expedite_bench import peers
from expedite_bench.bench import Bench, Figures, Goal, Size
from expedite_bench.flow import through, warm_up
from expedite_bench.ground import Ground, told
from expedite_bench.orders import order


async def run(ground: Ground, size: Size) -> Figures:
    await warm_up(ground)
    name = ground.name("r")
    told(f"{size['orders']:,} orders from bulk intake to shipped, told and on the board")
    figures, _ = await through(ground, [order(f"{name}-{n}", ground.goods.skus) for n in range(size["orders"])])
    return figures


async def beside(ground: Ground, size: Size, figures: Figures) -> Figures:
    """The same five steps done by others on the same servers, our services stopped."""
    await peers.alone(ground)
    found: Figures = {"ceiling_per_s": await peers.ceiling(ground, size["ceiling_orders"])}
    if peers.faststream_installed():
        found["faststream_per_s"] = await peers.faststream(ground, size["faststream_orders"])
        found["times_faststream"] = round(figures["orders_per_s"] / found["faststream_per_s"], 2)
    else:
        told("FastStream is not installed: uv sync --all-packages --group bench")
    found["share_of_ceiling"] = round(figures["orders_per_s"] / found["ceiling_per_s"], 3)
    return found


BENCH = Bench(
    name="saga",
    measures="20,000 orders by bulk intake until every one is shipped, its message row committed and on the board",
    goals=(
        Goal("orders_per_s", ">=", 500, "orders/s"),
        Goal("peers.times_faststream", ">=", 4),
        Goal("orders_per_s", ">=", 1000, "orders/s (the aim)"),
        Goal("peers.share_of_ceiling", ">=", 0.35),
    ),
    run=run,
    beside=beside,
    full={"orders": 20_000, "ceiling_orders": 20_000, "faststream_orders": 6_000},
    quick={"orders": 200, "ceiling_orders": 500, "faststream_orders": 100},
    runs=3,
)
