"""What the saga takes besides time: memory, CPU, events and bytes per order, and how long everything takes to start."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

from expedite_bench.bench import Bench, Figures, Goal, Size
from expedite_bench.flow import through, warm_up
from expedite_bench.ground import Ground, told
from expedite_bench.measure import proportional_mb
from expedite_bench.orders import order
from expedite_messaging.admin import end_offsets, read_topics

SAMPLE_S = 5.0
SERVERS = ("postgres", "kafka", "mail", "carriers")
_BYTES = "SELECT pg_database_size(current_database())"


async def run(ground: Ground, size: Size) -> Figures:
    await warm_up(ground)
    count, name = size["orders"], ground.name("m")
    told(f"{count:,} orders while memory is sampled")
    kafka = ground.snapshot.kafka_bootstrap
    offsets, before = await end_offsets(kafka), await _bytes(ground)
    peak: dict[str, float] = {}
    sampling = asyncio.create_task(_sample(ground, peak))
    try:
        flow, _ = await through(ground, [order(f"{name}-{n}", ground.goods.skus) for n in range(count)])
    finally:
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
    _look(ground, peak)
    after = await _bytes(ground)
    events, sizes = await _events(kafka, offsets)
    own = {name: mb for name, mb in peak.items() if name not in SERVERS}
    return {
        "started_s": round(ground.started_s, 1),
        "memory_mb": {
            "largest_process": max(own.values()),
            "all_services": round(sum(own.values()), 1),
            "by_process": dict(sorted(own.items(), key=lambda item: -item[1])),
            "servers": {name: mb for name, mb in peak.items() if name in SERVERS},
        },
        "events_per_order": round(events.total() / count, 2),
        "event_bytes_per_order": round(sizes.total() / count),
        "events_per_order_by_topic": {topic: round(n / count, 2) for topic, n in events.most_common()},
        "bytes_per_event_by_topic": {topic: round(sizes[topic] / n) for topic, n in events.most_common()},
        "database_bytes_per_order": {name: round((after[name] - before[name]) / count) for name in after},
        "orders_per_s": flow["orders_per_s"],
        "cpu_ms_per_order": _by_service(flow["cpu"]["ms_per_order_by_process"]),
        "cpu": flow["cpu"],
    }


async def _sample(ground: Ground, peak: dict[str, float]) -> None:
    while True:
        await asyncio.sleep(SAMPLE_S)
        await asyncio.to_thread(_look, ground, peak)


def _look(ground: Ground, peak: dict[str, float]) -> None:
    for process in ground.snapshot.processes:
        if process.pid:
            mb = proportional_mb(process.pid, family=process.name == "postgres")
            peak[process.name] = max(mb, peak.get(process.name, 0.0))


async def _bytes(ground: Ground) -> dict[str, int]:
    return {name: int(await ground.books.value(name, _BYTES)) for name in ground.snapshot.databases}


async def _events(bootstrap: str, offsets: dict[Any, int]) -> tuple[Counter[str], Counter[str]]:
    """Records and their bytes (value, key, headers) by topic, from these offsets on."""
    events: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    async for record in read_topics(bootstrap):
        if record.offset >= offsets.get((record.topic, record.partition), 0):
            events[record.topic] += 1
            sizes[record.topic] += len(record.value or b"") + len(record.key or b"")
            sizes[record.topic] += sum(len(name) + len(value) for name, value in record.headers)
    return events, sizes


def _by_service(by_process: dict[str, float]) -> dict[str, float]:
    found: Counter[str] = Counter()
    for name, spent in by_process.items():
        service = name.rsplit("-", 1)[0] if name.endswith(("-api", "-standard", "-express")) else name
        found[service] += spent
    return {name: round(spent, 3) for name, spent in found.most_common()}


BENCH = Bench(
    name="footprint",
    measures="memory by process, start-up time, events and bytes per order, CPU per order and service, under the saga",
    goals=(Goal("memory_mb.largest_process", "<=", 150, "MB"),),
    run=run,
    full={"orders": 10_000},
    quick={"orders": 100},
    hidden=("cpu",),
)
