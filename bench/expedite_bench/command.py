"""Running one bench: as many runs as its median needs, each on a fresh system, then the table and the JSON file."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expedite_bench import facts, report
from expedite_bench.bench import Bench, Figures, medians
from expedite_bench.catalogue import BENCHES
from expedite_bench.ground import UNPACED, WORN_GB, Invalid, opened, told
from expedite_local.errors import LocalError
from expedite_local.services import ROLES, select


@dataclass(frozen=True)
class Options:
    """What was asked for. `runs`: None takes the bench's own number. `profile`: processes, as in inventory-standard.
    `scale`: a service and the numbers of copies to compare, instead of the bench's own."""

    name: str = ""
    json_file: Path | None = None
    quick: bool = False
    runs: int | None = None
    orders: int | None = None
    peers: bool = True
    profile: tuple[str, ...] = ()
    scale: tuple[str, tuple[int, ...]] | None = None
    label: str = ""


def run(options: Options) -> int:
    """Exit status: 0 when the figures are valid (whether or not they reach the goals), 1 when the run was invalid.
    Raises LocalError for a name or an option that does not fit."""
    if not options.name:
        print(report.catalogue(BENCHES))
        return 0
    bench = BENCHES.get(options.name)
    if bench is None:
        raise LocalError(f"there is no bench {options.name!r}; there are {', '.join(BENCHES)}")
    size = dict(bench.quick if options.quick else bench.full)
    if options.orders is not None:
        counted = next((name for name in ("orders", "backlog") if name in size), None)
        if counted is None:
            raise LocalError(f"{bench.name} takes no --orders; its numbers are {size}")
        size[counted] = options.orders
    if options.json_file is not None and options.json_file.is_dir():
        raise LocalError(f"--json takes a file, and {options.json_file} is a folder")
    services = [service.name for service in select(bench.services)]
    if options.scale is not None and options.scale[0] not in services:
        raise LocalError(f"{bench.name} runs {', '.join(services)}; --scale takes one of them")
    _profilable(options.profile, services)
    try:
        return asyncio.run(_cancelled_by_sigterm(_run(bench, size, options)))
    except Invalid as error:
        print(f"\nINVALID: {error}")
        return 1


def _profilable(names: Sequence[str], services: Sequence[str]) -> None:
    """Raises LocalError for what is no process of these services: any other would be ended by the signal to begin."""
    processes = [f"{service}-{role}" for service in services for role in ROLES]
    for name in names:
        if name not in services and re.sub(r"-\d+$", "", name) not in processes:
            raise LocalError(f"there is no process {name!r} to profile; there are {', '.join(processes)}")


async def _cancelled_by_sigterm(work: Coroutine[Any, Any, int]) -> int:
    """SIGTERM ends a run as Ctrl-C does: nothing is left behind."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        print("ended before it was done")
        return 1


async def _run(bench: Bench, size: dict[str, Any], options: Options) -> int:
    machine = facts.machine()
    count = options.runs or (1 if options.quick else bench.runs)
    print(f"{bench.name}: {bench.measures}\nsize: {size}; runs: {count}\n")
    runs = []
    for serial in range(1, count + 1):
        told(f"run {serial} of {count}: a fresh system")
        runs.append(await _scaled(bench, size, options))
    median = medians(runs)
    verdicts = report.verdicts(bench, median)
    print(f"\n{report.table(bench, median, runs)}\n")
    if options.quick:
        print("a short run: it proves that the bench works, its figures mean nothing")
    else:
        print(report.verdict_lines(verdicts))
    if warning := report.noise(runs):
        print(f"warning: {warning}")
    if options.json_file is not None:
        report.write(options.json_file, report.document(bench, size, machine, median, runs, options.label))
        print(f"written to {options.json_file}")
    return 0


async def _scaled(bench: Bench, size: dict[str, Any], options: Options) -> Figures:
    """One run: one system, or one after another with more copies of a service."""
    peers = options.peers and not options.profile
    scales = options.scale or bench.scales
    if scales is None:
        return await one(bench, size, quick=options.quick, peers=peers, profile=options.profile)
    service, counts = scales
    return {
        f"{service} x {copies}": await one(
            bench, size, quick=options.quick, peers=False, profile=options.profile, scale={service: copies}
        )
        for copies in counts
    }


async def one(
    bench: Bench,
    size: dict[str, Any],
    *,
    quick: bool,
    peers: bool,
    profile: tuple[str, ...] = (),
    scale: dict[str, int] | None = None,
) -> Figures:
    """One run: measure, audit, then the peers on the same servers. Raises Invalid when its figures are worth nothing."""
    worn_gb = 0.0 if quick else WORN_GB
    extra = UNPACED if quick else None
    async with opened(bench.services, profile=profile, extra=extra, scale=scale, worn_gb=worn_gb) as ground:
        figures = await bench.run(ground, size)
        figures["servers"] = await ground.servers()
        told("measured; now the audit")
        figures["audit"] = await ground.audited()
        if bench.beside is not None and peers:
            figures["peers"] = await bench.beside(ground, size, figures)
        if profile:
            figures["profiles"] = ground.hottest()
        return figures
