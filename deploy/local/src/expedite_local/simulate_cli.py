"""`expedite simulate`: random sagas of all services in one process. The harness lives in this checkout's tests/saga."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from expedite_local.checkout import checkout_with
from expedite_local.errors import LocalError

HARNESS = "tests/saga/harness"


def simulate(
    seeds: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many seeds.")] = 200,
    first: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    seed: Annotated[int | None, typer.Option(min=0, help="Only this one, again.")] = None,
    steps: Annotated[
        str | None, typer.Option(help="With --seed: only these of its steps, as a failure names them, 3,17c,40.")
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="With --seed: tell every step.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; one per core unless given.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    shrink_s: Annotated[
        float, typer.Option("--shrink-seconds", min=0, help="Time to look for a failure's shortest explanation.")
    ] = 60.0,
) -> None:
    """Random sagas: real handlers on stores in memory, a fake clock, crashes and disorder from a seed. Exit status 1 when an
    invariant breaks; the shortest explanation and the command that replays it are printed."""
    for given, name in ((steps is not None, "--steps"), (trace, "--trace")):
        if given and seed is None:
            raise LocalError(
                f"{name} is about one seed: name it with --seed, as in `expedite simulate --seed 77 {name} …`"
            )
    if json_file and seed is not None:
        raise LocalError("--json is about many seeds: leave out --seed")
    if json_file and not json_file.absolute().parent.is_dir():
        raise LocalError(f"there is no folder {json_file.absolute().parent} to write {json_file.name} to")
    folder = checkout_with(HARNESS, "expedite simulate") / HARNESS
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    command = importlib.import_module("expedite_saga.command")
    wanted = command.Options(
        seeds=seeds, first=first, seed=seed, steps=steps, trace=trace, workers=workers, json_file=json_file,
        shrink_s=shrink_s,
    )  # fmt: skip
    try:
        command.steps_of(wanted)
    except ValueError as error:
        raise LocalError(str(error)) from None
    status = command.run(wanted, typer.echo)
    if status:
        raise typer.Exit(status)
