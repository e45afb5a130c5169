"""How fast the saga runs: real Kafka, real PostgreSQL, all services, orders over HTTP.

    python bench/saga.py [--orders N] [--runs N] [--profile PROCESS,…] [--peers FOLDER] [--label TEXT]

Each run starts a system of its own. Figures: orders accepted durably, through each hop, and shipped per second, with a
crew working over the APIs; latency of urgent orders from POST to the pick queue, on an idle system and while as many
regular orders are queued; CPU time per process. Results go to bench/results/; claims are medians over the runs.

--peers: a folder with `limit_batched.py`, run beside in the same run; the ratio to it is what may be compared across
machines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pstats
import signal
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expedite_bench import load, peers
from expedite_bench.probe import Cpu, Probe, machine, quantiles

from expedite_local import audit, state
from expedite_local.demo import client
from expedite_local.demo.client import Api
from expedite_local.doctor import raise_file_limit
from expedite_local.home import Home
from expedite_local.screen import Screen
from expedite_local.up import Options, System

HERE = Path(__file__).resolve().parent
WARM_UP = 100
URGENT_EVERY_S = 0.1
STALL_S = 120.0


def told(text: str) -> None:
    print(f"[bench] {text}", flush=True)


async def run_once(options: argparse.Namespace, serial: int) -> dict[str, Any]:
    """One run on a system of its own."""
    with tempfile.TemporaryDirectory(prefix="expedite-bench-") as folder:
        home, profiles = Home(Path(folder) / "home"), Path(folder) / "profiles"
        profiles.mkdir()
        extra = {"EXPEDITE_LOG_LEVEL": "WARNING"}
        if options.profile:
            path = os.pathsep.join(filter(None, (str(HERE / "profiling"), os.environ.get("PYTHONPATH"))))
            extra |= {"EXPEDITE_PROFILE": str(profiles), "PYTHONPATH": path}
        stop = asyncio.Event()
        with state.hold(home):
            system = System(home, Options(port_base=0, fresh=True, show_logs=False, extra=extra), Screen())
            running = asyncio.create_task(system.run(stop))
            ready = asyncio.create_task(system.ready.wait())
            try:
                await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
                return await measure(system, options, serial, profiles)
            finally:
                ready.cancel()
                stop.set()
                await running
                system.substrate.wipe()


async def measure(system: System, options: argparse.Namespace, serial: int, profiles: Path) -> dict[str, Any]:
    snapshot = system.snapshot()
    operator, shop = Api(snapshot.urls, snapshot.api_keys["operator"]), Api(snapshot.urls, snapshot.api_keys["shop"])
    crew_api = Api(snapshot.urls, snapshot.api_keys["crew"])
    try:
        async with Probe(snapshot.databases) as probe:
            skus = await load.prepare(operator, system.plan.carriers_url)
            told(f"run {serial}: warming up")
            warm = [load.order(f"w{serial}-{n}", skus, urgent=n % 4 == 0) for n in range(WARM_UP)]
            ids, _ = await load.post_bulk(shop, warm)
            await probe.reach(["queued"], ids, time.perf_counter(), STALL_S)
            result: dict[str, Any] = {}
            told("urgent orders on an idle system")
            result["urgent_idle"] = await urgent(shop, probe, skus, f"i{serial}", options.urgent)
            told(f"{options.orders} orders to shipped")
            with Profiled(snapshot, options.profile):
                result["throughput"] = await throughput(system, shop, crew_api, probe, skus, serial, options.orders)
            told(f"urgent orders while {options.orders} regular ones are queued")
            result["urgent_backlog"] = await backlog(snapshot, shop, probe, skus, serial, options)
            result["ratio_p50"] = round(
                result["urgent_backlog"]["queue_ms"]["p50"] / result["urgent_idle"]["queue_ms"]["p50"], 2
            )
            result["ratio_p99"] = round(
                result["urgent_backlog"]["queue_ms"]["p99"] / result["urgent_idle"]["queue_ms"]["p99"], 2
            )
            result["parked"] = await audit.parked_events(snapshot)
        if options.peers:
            told("the ceiling probe beside us")
            result["ceiling_orders_per_s"] = await peers.ceiling(
                options.peers, snapshot.kafka_bootstrap, snapshot.postgres_url, options.orders
            )
            result["share_of_ceiling"] = round(
                result["throughput"]["orders_per_s"]["queued"] / result["ceiling_orders_per_s"], 3
            )
        if options.profile:
            result["profiles"] = all_hottest(profiles)
        return result
    finally:
        for api in (operator, shop, crew_api):
            await api.close()


async def throughput(
    system: System, shop: Api, crew_api: Api, probe: Probe, skus: list[str], serial: int, count: int
) -> dict[str, Any]:
    """`count` orders from bulk intake to shipped, a crew working all the while."""
    cpu, stop, crew = Cpu(system.snapshot()), asyncio.Event(), load.BulkCrew(crew_api)
    orders = [load.order(f"r{serial}-{n}", skus) for n in range(count)]
    cpu.start()
    began = time.perf_counter()
    working = asyncio.create_task(crew.work(stop))
    try:
        ids, took = await load.post_bulk(shop, orders)
        told(f"accepted after {took:.1f} s")
        hops = ["accepted", "prioritised", "reserved", "queued", "packed", "shipped"]
        reaching = asyncio.create_task(probe.reach(hops, ids, began, STALL_S))
        await asyncio.wait({reaching, working}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            reaching.cancel()
            working.result()
        times = await reaching
    finally:
        stop.set()
        told(f"the crew: {dict(crew.done)}")
        await asyncio.gather(working, return_exceptions=True)
    times["accepted"] = took
    spent = cpu.stop()
    spent["ms_per_order"] = {name: round(s * 1000 / count, 2) for name, s in spent["seconds"].items()}
    spent["ms_per_order_total"] = round(sum(spent["seconds"].values()) * 1000 / count, 2)
    return {
        "orders": count,
        "seconds": {hop: round(t, 2) for hop, t in times.items()},
        "orders_per_s": {hop: round(count / t, 1) for hop, t in times.items()},
        "cpu": spent,
        "crew": dict(crew.done),
    }


async def urgent(shop: Api, probe: Probe, skus: list[str], name: str, count: int) -> dict[str, Any]:
    """Urgent orders at a steady pace: POST to answer, POST to the pick queue, and the way between."""
    posted: dict[str, float] = {}
    answered: list[float] = []
    stop = asyncio.Event()
    watching = asyncio.create_task(probe.watch_queue(posted, stop))
    real = time.time() - time.monotonic()

    async def one(number: int) -> None:
        order_id, began, ended = await load.post_one(shop, load.order(f"{name}-{number}", skus, urgent=True))
        posted[order_id] = began
        answered.append(ended - began)

    posting = []
    for number in range(count):
        posting.append(asyncio.create_task(one(number)))
        await asyncio.sleep(URGENT_EVERY_S)
    await asyncio.gather(*posting)
    stop.set()
    async with asyncio.timeout(STALL_S):
        seen = await watching
    moments = await probe.moments(list(posted))
    steps = {
        hop: quantiles([at[hop] - real - posted[order_id] for order_id, at in moments.items() if hop in at])
        for hop in ("accepted", "prioritised", "reserved")
    }
    return {
        "answer_ms": quantiles(answered),
        "queue_ms": quantiles([seen[order_id] - began for order_id, began in posted.items()]),
        "until_ms": steps,
    }


async def backlog(
    snapshot: state.State, shop: Api, probe: Probe, skus: list[str], serial: int, options: argparse.Namespace
) -> dict[str, Any]:
    """The same with a queue of regular orders: they are posted while the standard prioritizer stands still, so that all
    of them wait; it goes on, and once the queue drains urgent orders come."""
    held = next(p.pid for p in snapshot.processes if p.name == "prioritizer-standard")
    os.kill(held, signal.SIGSTOP)
    try:
        ids, _ = await load.post_bulk(shop, [load.order(f"b{serial}-{n}", skus) for n in range(options.orders)])
    finally:
        os.kill(held, signal.SIGCONT)
    while not await probe.count("queued", ids):  # noqa: ASYNC110 - a database sends no event here
        await asyncio.sleep(0.1)
    before = await probe.count("queued", ids)
    began = time.perf_counter()
    result = await urgent(shop, probe, skus, f"u{serial}", options.urgent)
    after = await probe.count("queued", ids)
    result["queued_behind"] = {
        "at_first_urgent": options.orders - before,
        "after_last_urgent": options.orders - after,
        "drained_per_s": round((after - before) / (time.perf_counter() - began), 1),
    }
    await probe.reach(["queued"], ids, began, STALL_S)
    return result


class Profiled:
    """SIGUSR2 switches the profilers of the named processes on, and off again."""

    def __init__(self, snapshot: state.State, names: list[str]) -> None:
        self._pids = [p.pid for p in snapshot.processes if p.name in names]

    def __enter__(self) -> None:
        self._toggle()

    def __exit__(self, *_: object) -> None:
        self._toggle()
        time.sleep(2.0 if self._pids else 0.0)

    def _toggle(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGUSR2)


def all_hottest(folder: Path) -> dict[str, dict[str, list[str]]]:
    """The hottest functions by process."""
    return {path.stem: hottest(path) for path in sorted(folder.glob("*.prof"))}


def hottest(path: Path, lines: int = 45) -> dict[str, list[str]]:
    """The functions with the most time of their own, and with what they call."""
    stats: Any = pstats.Stats(str(path))
    found: dict[str, list[str]] = {}
    for title, place in (("own", 2), ("cumulative", 3)):
        rows = sorted(stats.stats.items(), key=lambda item: -item[1][place])[:lines]
        found[title] = [
            f"{row[place]:8.3f} s  {row[1]:>9,} calls  {'/'.join(Path(file).parts[-2:])}:{line} {name}"
            for (file, line, name), row in rows
        ]
    return found


def medians(runs: list[dict[str, Any]]) -> Any:
    """The same shape with the median of every figure; what is not a figure in all runs is left out."""
    first = runs[0]
    if isinstance(first, dict):
        keys = [k for k in first if all(k in r for r in runs)]
        return {k: m for k in keys if (m := medians([r[k] for r in runs])) not in (None, {})}
    if all(isinstance(r, int | float) for r in runs):
        return round(statistics.median(runs), 3)
    return None


def report(median: dict[str, Any], runs: int) -> str:
    """The claims, as a person reads them."""
    t = median["throughput"]
    lines = [f"median of {runs}: {t['orders']:.0f} orders"]
    lines += [
        f"  {hop:<12} {rate:>8.1f} orders/s   done after {t['seconds'][hop]:.1f} s"
        for hop, rate in t["orders_per_s"].items()
    ]
    for name in ("urgent_idle", "urgent_backlog"):
        q = median[name]["queue_ms"]
        lines.append(f"  {name.replace('_', ' '):<16} POST to pick queue p50 {q['p50']:.0f} ms, p99 {q['p99']:.0f} ms")
    lines.append(f"  backlog : idle   p50 x{median['ratio_p50']}, p99 x{median['ratio_p99']} (goal: p99 at most x1.5)")
    if "ceiling_orders_per_s" in median:
        lines.append(
            f"  ceiling probe {median['ceiling_orders_per_s']:.0f} orders/s, we to the queue: {median['share_of_ceiling']:.1%}"
        )
    cpu = t["cpu"]
    lines.append(f"  cores: ours {cpu['cores_used']}, others on this machine {cpu['cores_used_by_others']}")
    lines.append(f"  CPU per order {cpu['ms_per_order_total']:.1f} ms, of it")
    lines += [f"    {name:<26} {spent:>6.2f} ms" for name, spent in list(cpu["ms_per_order"].items())[:14]]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--orders", type=int, default=3000)
    parser.add_argument("--urgent", type=int, default=100, help="urgent orders per latency figure, ten a second")
    parser.add_argument("--runs", type=int, default=1, help="claims need three")
    parser.add_argument("--profile", type=lambda s: s.split(","), default=[], help="processes, as inventory-standard")
    parser.add_argument("--peers", type=Path, help="folder with limit_batched.py")
    parser.add_argument("--label", default="", help="what is special about this run")
    options = parser.parse_args()
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP"):
        os.environ.pop(name, None)  # a benchmark fills what it finds
    client.PATIENCE_S = 600.0
    raise_file_limit()
    facts = machine()
    runs = [asyncio.run(run_once(options, serial)) for serial in range(1, options.runs + 1)]
    median = medians(runs)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = HERE / "results" / f"saga-{stamp}.json"
    path.parent.mkdir(exist_ok=True)
    document = {"at": stamp, "label": options.label, "machine": facts, "median": median, "runs": runs}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(report(median, options.runs))
    print(f"written to {path.relative_to(HERE.parent)}")
    if any(run["parked"] for run in runs):
        print("events were parked: these figures are worth nothing", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
