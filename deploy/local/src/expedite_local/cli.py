"""The `expedite` command. Other modules add their own commands to `app`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from expedite_local import doctor as doctor_module
from expedite_local import down as down_module
from expedite_local import state
from expedite_local import up as up_module
from expedite_local.audit import command as audit_command
from expedite_local.bench_cli import bench
from expedite_local.demo.cli import demo
from expedite_local.errors import LocalError
from expedite_local.home import Home
from expedite_local.logs import follow, last_lines, prefix, wants_colour
from expedite_local.parked import app as parked_app
from expedite_local.plan import parse_scale
from expedite_local.ports import DEFAULT_BASE
from expedite_local.process import tail
from expedite_local.screen import summary, table
from expedite_local.seed_cli import seed
from expedite_local.send import send
from expedite_local.services import select
from expedite_local.simulate_cli import simulate

app = typer.Typer(
    help="Expedite on this machine: real PostgreSQL and Kafka, all services, no Docker.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DETACH_SECONDS = 300.0
_DETACHED = "EXPEDITE_DETACHED"
"""Set for the copy of ourselves that `--detach` leaves running, so that it does not detach again."""


@app.command()
def up(
    fresh: Annotated[bool, typer.Option("--fresh", help="Start from empty data.")] = False,
    scale: Annotated[list[str] | None, typer.Option(help="Copies of a service's workers, as in inventory=2.")] = None,
    only: Annotated[str, typer.Option(help="Run only these services, comma-separated.")] = "",
    speed: Annotated[float, typer.Option(min=0.001, help="Business seconds per real second.")] = 1.0,
    port_base: Annotated[
        int, typer.Option(min=0, max=65000, help="Base of all ports; 0 picks free ones.")
    ] = DEFAULT_BASE,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when ready; stop with `expedite down`.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show the processes' output.")] = False,
) -> None:
    """Start everything and keep it running until Ctrl-C."""
    home = Home.current()
    options = up_module.Options(
        services=select(only.split(",") if only else ()),
        scale=parse_scale(scale or []),
        speed=speed,
        port_base=port_base,
        fresh=fresh,
        show_logs=not quiet and not detach,
        detached=detach,
    )
    if detach and not os.environ.pop(_DETACHED, None):
        _detach(home)
        return
    doctor_module.raise_file_limit()
    asyncio.run(up_module.run(home, options))


def _detach(home: Home) -> None:
    """Run the same command in a session of its own, and wait for it to be ready or to fail."""
    with state.hold(home):
        pass  # refuse now, with the message where the person sees it
    log = home.logs / "expedite.log"
    before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "expedite_local", *sys.argv[1:]],
            env={**os.environ, _DETACHED: "1"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + DETACH_SECONDS
    while time.monotonic() < deadline:
        code = child.poll()
        if code is not None:
            with log.open("rb") as stream:
                stream.seek(before)
                said = stream.read().decode(errors="replace").strip()
            raise LocalError(f"it did not start (status {code}):\n{said or tail(log)}")
        found = state.load(home)
        if found is not None and found.supervisor_pid == child.pid and found.phase == "ready":
            child.returncode = 0  # left running on purpose
            typer.echo(summary(found))
            return
        time.sleep(0.2)
    raise LocalError(f"it is not ready after {DETACH_SECONDS:.0f} s and still starting; see {log}")


app.command()(demo)
app.command()(audit_command)
app.command()(bench)
app.command()(simulate)
app.command()(send)
app.command()(seed)
app.add_typer(parked_app, name="parked")


@app.command()
def down(
    wipe: Annotated[bool, typer.Option("--wipe", help="Also delete data, keys and logs.")] = False,
) -> None:
    """Stop the system that runs in this home."""
    home = Home.current()
    typer.echo(down_module.down(home))
    if wipe:
        down_module.wipe(home)
        typer.echo("data deleted")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="The whole state, credentials included.")] = False,
) -> None:
    """What runs here. Exit status 1 when nothing does, or something is not ready."""
    found = state.load(Home.current())
    if found is None or not found.running:
        if as_json:
            typer.echo(json.dumps({"phase": "down", "processes": []}))
        else:
            typer.echo("nothing runs here" if found is None else "the supervisor was killed; see `expedite doctor`")
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        typer.echo(f"{found.phase} since {found.started_at[:19]}Z, speed {found.speed:g}\n")
        typer.echo(table(found))
        typer.echo(summary(found))
    if found.phase != "ready" or any(p.state != "ready" for p in found.processes):
        raise typer.Exit(1)


@app.command()
def logs(
    service: Annotated[str, typer.Argument(help="A service or process; all when left out.")] = "",
    following: Annotated[bool, typer.Option("--follow", "-f", help="Keep showing new lines.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Old lines to show per process.")] = 20,
) -> None:
    """Show the output of processes."""
    paths = _log_files(Home.current(), service)
    width = max(len(path.stem) for path in paths)
    colour = wants_colour(sys.stdout)
    for path in paths:
        for line in last_lines(path, lines):
            typer.echo(prefix(path.stem, width, colour) + line)
    if following:
        with contextlib.suppress(KeyboardInterrupt):
            for path, line in follow(paths):
                typer.echo(prefix(path.stem, width, colour) + line)


def _log_files(home: Home, wanted: str) -> list[Path]:
    every = sorted(home.logs.glob("*.log"))
    name = wanted.replace("_", "-")
    chosen = [path for path in every if not name or path.stem == name or path.stem.startswith(f"{name}-")]
    if not chosen:
        known = ", ".join(path.stem for path in every) or "none yet"
        raise LocalError(f"no log {'of ' + wanted if wanted else 'here'}; there are: {known}")
    return chosen


@app.command()
def doctor(
    port_base: Annotated[int, typer.Option(min=0, max=65000, help="Base of the ports to look at.")] = DEFAULT_BASE,
) -> None:
    """Explain what this machine lacks. Exit status 1 when something blocks a start."""
    findings = doctor_module.examine(Home.current(), port_base)
    typer.echo(doctor_module.report(findings, wants_colour(sys.stdout)))
    if doctor_module.blocked(findings):
        raise typer.Exit(1)


def main() -> None:
    """Entry point: errors a person can act on are printed alone, without a traceback."""
    try:
        app()
    except LocalError as error:
        sys.stderr.write(f"expedite: {error}\n")
        sys.exit(1)
