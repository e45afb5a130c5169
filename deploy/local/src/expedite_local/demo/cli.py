"""`expedite demo`: the whole system with live traffic, or a run of so many orders to their end."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from expedite_local import audit, doctor
from expedite_local.clock import now as real_now
from expedite_local.demo.report import counts, report
from expedite_local.demo.world import Stuck, World
from expedite_local.errors import LocalError
from expedite_local.home import Home, read_json
from expedite_local.plan import parse_scale
from expedite_local.ports import DEFAULT_BASE
from expedite_local.up import Options, System, run

LIVE_SPEED = 120.0
LIVE_PACE_S = 1.5


def told(text: str) -> None:
    """A line of the demo's own voice, between the logs."""
    sys.stdout.write(f"[demo] {text}\n")
    sys.stdout.flush()


def demo(
    orders: Annotated[int, typer.Option(min=0, help="How many orders; 0: traffic without end.")] = 0,
    speed: Annotated[float, typer.Option(min=1.0, max=86400.0, help="Business seconds per real second.")] = LIVE_SPEED,
    exit_: Annotated[bool, typer.Option("--exit", help="End when every order has ended and was audited.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the counts here.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same orders and exceptions.")] = 1,
    scale: Annotated[list[str] | None, typer.Option(help="Copies of a service's workers, as in inventory=2.")] = None,
    fresh: Annotated[bool, typer.Option(help="Start from empty data; the data of the last run is deleted.")] = True,
    port_base: Annotated[
        int, typer.Option(min=0, max=65000, help="Base of all ports; 0 picks free ones.")
    ] = DEFAULT_BASE,
    logs: Annotated[bool, typer.Option("--logs", help="Show the processes' output.")] = False,
) -> None:
    """Start everything and let the demo world use it: shops, crews, carriers, customers, over public interfaces only."""
    if exit_ and not orders:
        raise LocalError("--exit needs --orders N: traffic without end has no end to wait for")
    options = Options(
        speed=speed, scale=parse_scale(scale or []), fresh=fresh, port_base=port_base, show_logs=logs, seed=seed
    )
    outcome: dict[str, Any] = {}

    async def beside(system: System, stop: asyncio.Event) -> None:
        outcome.update(await _play(system, stop, orders=orders, seed=seed, ends=exit_))

    doctor.raise_file_limit()
    asyncio.run(run(Home.current(), options, beside))
    if json_file is not None and outcome:
        json_file.write_text(json.dumps(outcome, indent=2, ensure_ascii=False) + "\n")
    if exit_ and (not outcome or outcome["failures"]):
        for failure in outcome.get("failures", ["the run was interrupted"]):
            sys.stderr.write(f"demo: {failure}\n")
        raise typer.Exit(1)


async def _play(system: System, stop: asyncio.Event, *, orders: int, seed: int, ends: bool) -> dict[str, Any]:
    state = system.snapshot()
    secrets = read_json(system.home.secrets_file) or {}
    clock = system.substrate.clock
    world = World(
        state.urls, system.plan.carriers_url, state.api_keys, secrets["webhooks"], lambda: clock.business(real_now()),
        seed=seed, speed=system.options.speed, told=told,
    )  # fmt: skip
    began = time.monotonic()
    failures: list[str] = []
    try:
        await world.prepare(orders or None)
        told(
            f"watch it at {state.urls['control-tower']} (user {state.login['user']}, password {state.login['password']})"
        )
        await world.run(stop, count=orders or None, pace_s=0.0 if ends else LIVE_PACE_S)
        if orders and not ends and not stop.is_set():
            told("all orders have ended; the system stays up, Ctrl-C ends it")
            await stop.wait()
    except Stuck as stuck:
        failures.append(str(stuck))
    finally:
        await world.close()
    failures += world.progress.problems
    if not ends or stop.is_set():
        return {}
    findings = await audit.settled(state, secrets, system.home, ended=True)
    told("audit:\n" + audit.text(findings))
    failures += [f"{finding.check}: {finding.detail}" for finding in findings if not finding.good]
    outcome = await counts(state, world.progress.done, time.monotonic() - began)
    outcome["audit"] = {finding.check: finding.count for finding in findings}
    if outcome["parked"]:
        failures.append(f"{outcome['parked']} events are parked")
    if len(world.customers.orders) != orders:
        failures.append(f"{orders} orders were posted, {len(world.customers.orders)} accepted")
    outcome["failures"] = failures
    told("\n" + report(outcome))
    return outcome
