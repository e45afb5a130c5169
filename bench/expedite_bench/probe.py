"""What is measured, without asking the system more than a glance: counts in its tables, its processes' CPU time."""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import psutil

from expedite_local.state import State

HOPS = {
    "accepted": ("order-intake", "OrderReceived"),
    "prioritised": ("prioritizer", "PriorityAssigned"),
    "reserved": ("inventory", "StockReserved"),
    "queued": ("fulfillment", None),
    "packed": ("fulfillment", "Packed"),
    "shipped": ("shipping", "Shipped"),
}
"""Where an order is counted: the service, and the event whose ledger row says it got there (None: the pick queue)."""
GLANCE_S = 0.25
FINE_S = 0.01
_LEDGER = "SELECT count(DISTINCT key) FROM ledger WHERE topic = ANY($1::text[]) AND key = ANY($2::text[])"
_QUEUE = "SELECT count(*) FROM orders WHERE order_id = ANY($1::text[])"


class Probe:
    """Connections of our own to the services' databases."""

    def __init__(self, databases: dict[str, str]) -> None:
        self._urls = databases
        self._open: dict[str, asyncpg.Connection] = {}

    async def __aenter__(self) -> Probe:
        for name in {service for service, _ in HOPS.values()}:
            self._open[name] = await asyncpg.connect(self._urls[name])
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._open.values():
            await connection.close()

    async def count(self, hop: str, ids: Sequence[str]) -> int:
        """How many of these orders have reached the hop."""
        service, topic = HOPS[hop]
        if topic is None:
            found: int = await self._open[service].fetchval(_QUEUE, list(ids))
        else:
            found = await self._open[service].fetchval(_LEDGER, [topic, f"{topic}.express"], list(ids))
        return found

    async def reach(self, hops: Sequence[str], ids: Sequence[str], began: float, within_s: float) -> dict[str, float]:
        """Seconds from `began` (perf_counter) until every one of these orders had reached each hop. Raises TimeoutError
        naming the counts when nothing moved for `within_s`."""
        times: dict[str, float] = {}
        counts: dict[str, int] = {}
        moved = time.perf_counter()
        while len(times) < len(hops):
            for hop in hops:
                if hop in times:
                    continue
                found = await self.count(hop, ids)
                if found != counts.get(hop):
                    counts[hop], moved = found, time.perf_counter()
                if found < len(ids):
                    break  # what is further on cannot be complete
                times[hop] = time.perf_counter() - began
            if time.perf_counter() - moved > within_s:
                raise TimeoutError(f"nothing moved for {within_s:.0f} s: {counts} of {len(ids)}")
            await asyncio.sleep(GLANCE_S)
        return times

    async def watch_queue(self, posted: dict[str, float], stop: asyncio.Event) -> dict[str, float]:
        """Monotonic times at which orders became visible in the pick queue; `posted` grows meanwhile. Ends once told to
        stop and all are there."""
        seen: dict[str, float] = {}
        connection = self._open["fulfillment"]
        while not stop.is_set() or len(seen) < len(posted):
            waiting = [order_id for order_id in posted if order_id not in seen]
            if waiting:
                rows = await connection.fetch("SELECT DISTINCT order_id FROM task WHERE order_id = ANY($1)", waiting)
                now = time.monotonic()
                seen |= {row[0]: now for row in rows}
            await asyncio.sleep(FINE_S)
        return seen

    async def moments(self, ids: Sequence[str]) -> dict[str, dict[str, float]]:
        """Per order, when each hop's ledger row was written (epoch seconds, just before its commit)."""
        found: dict[str, dict[str, float]] = {order_id: {} for order_id in ids}
        for hop, (service, topic) in HOPS.items():
            if topic is None:
                continue
            rows = await self._open[service].fetch(
                "SELECT key, extract(epoch FROM min(at))::float8 AS at FROM ledger"
                " WHERE topic = ANY($1::text[]) AND key = ANY($2::text[]) GROUP BY key",
                [topic, f"{topic}.express"],
                list(ids),
            )
            for row in rows:
                found[row["key"]][hop] = row["at"]
        return found


@dataclass
class Cpu:
    """CPU seconds by process between `start` and `stop`."""

    state: State
    _before: dict[str, float] = field(default_factory=dict)
    _busy: float = 0.0
    _began: float = 0.0

    def start(self) -> None:
        self._before, self._busy, self._began = self._times(), _busy(), time.perf_counter()

    def stop(self) -> dict[str, Any]:
        """By process, in total, and what others on the machine used meanwhile (cores)."""
        took = time.perf_counter() - self._began
        after = self._times()
        spent = {name: round(t - self._before.get(name, 0.0), 2) for name, t in after.items()}
        ours = sum(spent.values())
        return {
            "seconds": dict(sorted(spent.items(), key=lambda item: -item[1])),
            "cores_used": round(ours / took, 2),
            "cores_used_by_others": round(max(0.0, _busy() - self._busy - ours) / took, 2),
        }

    def _times(self) -> dict[str, float]:
        found = {"bench": _cpu(psutil.Process())}
        for process in self.state.processes:
            if not process.pid:
                continue
            main = psutil.Process(process.pid)
            family = [main, *main.children(recursive=True)] if process.name == "postgres" else [main]
            ended = main.cpu_times()
            found[process.name] = sum(map(_cpu, family)) + ended.children_user + ended.children_system
        return found


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice)


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: p50, p90, p99, max."""
    ordered = sorted(s * 1000 for s in seconds)

    def at(q: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * q))], 1)

    return {
        "n": len(ordered),
        "p50": round(statistics.median(ordered), 1),
        "p90": at(0.9),
        "p99": at(0.99),
        "max": at(1),
    }


def machine() -> dict[str, Any]:
    """What this ran on."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average_before": [round(x, 1) for x in os.getloadavg()],
        "postgres": "18 (embedded, fsync on)",
        "kafka": "4.3.1 (embedded, one broker)",
    }
