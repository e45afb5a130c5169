"""`expedite bench`: measure this checkout. The benches live in its folder bench/, outside of any package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from expedite_local.checkout import checkout_with
from expedite_local.plan import parse_scale


def bench(
    name: Annotated[str, typer.Argument(help="Which bench; without one, all are listed with their goals.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write figures, machine and versions here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A short form: shows that the bench works.")] = False,
    runs: Annotated[
        int | None, typer.Option(min=1, max=20, help="Runs for the median, each on a fresh system.")
    ] = None,
    orders: Annotated[int | None, typer.Option(min=10, help="Orders per run, where the bench counts them.")] = None,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="Measure the peers beside it.")] = True,
    profile: Annotated[str, typer.Option(help="Profile these processes, as in inventory-standard,shipping-api.")] = "",
    scale: Annotated[
        str, typer.Option(help="Compare numbers of copies of a service's worker, as in inventory=1,2,3.")
    ] = "",
    label: Annotated[str, typer.Option(help="What is special about this run; goes to the JSON file.")] = "",
) -> None:
    """Measure: saga, express, overtake, intake, hot-sku, growth, timers, webhooks, footprint, scale. Each on a fresh system."""
    folder = checkout_with("bench/expedite_bench", "expedite bench") / "bench"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    command = importlib.import_module("expedite_bench.command")
    wanted = command.Options(
        name=name, json_file=json_file, quick=quick, runs=runs, orders=orders, peers=peers,
        profile=tuple(filter(None, profile.split(","))), scale=_scale(scale), label=label,
    )  # fmt: skip
    status = command.run(wanted)
    if status:
        raise typer.Exit(status)


def _scale(text: str) -> tuple[str, tuple[int, ...]] | None:
    """`inventory=1,2,3` as a service and its numbers of copies. Raises LocalError."""
    if not text:
        return None
    name, _, counts = text.partition("=")
    found = [parse_scale([f"{name}={count}"]) for count in counts.split(",")]
    return next(iter(found[0])), tuple(count for one in found for count in one.values())
