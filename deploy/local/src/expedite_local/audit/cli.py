"""`expedite audit`: check a running system; exit status 1 when something is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expedite_local import state as states
from expedite_local.errors import LocalError
from expedite_local.home import Home, read_json
from expedite_local.state import State

if TYPE_CHECKING:
    from expedite_local.audit.watch import Violation

LOWEST = 19
"""Niceness of the watch: whoever works comes first."""


def audit(
    ended: Annotated[bool, typer.Option("--ended", help="Every order must have come to its end.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the findings here; of a watch, one violation a line.")
    ] = None,
    patience: Annotated[
        float, typer.Option(min=0.0, help="Real seconds to wait for the system to come to rest.")
    ] = 120.0,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Follow the topics and name the first event after which an invariant failed."),
    ] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Watch on after a violation.")] = False,
    caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="Watch no longer than until all that is there was read.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Watch from the beginning of the topics.")] = False,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Serve the watch's figures for Prometheus here; 0: nowhere.")
    ] = 0,
) -> None:
    """Check a running system: stock, orders, events, custody, messages, cancels, timers. Changes nothing."""
    home = Home.current()
    state = states.load(home)
    if state is None or not state.running:
        raise LocalError("nothing runs here to audit: start it with `expedite up`, or set EXPEDITE_HOME to its folder")
    if watch:
        found = _watch(home, state, json_file, keep_going, caught_up, fresh, metrics_port)
        if found:
            raise typer.Exit(1)
        return
    from expedite_local.audit import settled, text  # the package offers this command: imported when it runs

    findings = asyncio.run(settled(state, read_json(home.secrets_file) or {}, home, ended=ended, patience_s=patience))
    typer.echo(text(findings))
    if json_file is not None:
        rows = [asdict(finding) for finding in findings]
        json_file.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


def _watch(
    home: Home, state: State, json_file: Path | None, keep_going: bool, caught_up: bool, fresh: bool, metrics_port: int
) -> int:
    from prometheus_client import start_http_server

    from expedite_local.audit.watch import Figures, Options, watch

    os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
    figures = Figures()
    if metrics_port:
        start_http_server(metrics_port, "127.0.0.1", figures.registry)
    options = Options(
        state.kafka_bootstrap, state.databases, home.audit / "watch.sqlite",
        fresh=fresh, keep_going=keep_going, caught_up=caught_up,
    )  # fmt: skip

    def named(violation: Violation) -> None:
        typer.echo(f"✖ {violation.text}")
        if json_file is not None:
            with json_file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(violation), ensure_ascii=False) + "\n")

    async def follow() -> int:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await watch(options, stop, told=_say, named=named, figures=figures)

    found = asyncio.run(follow())
    _say("no violation" if not found else f"{found} violations")
    return found


def _say(words: str) -> None:
    sys.stderr.write(f"[watch] {words}\n")
    sys.stderr.flush()
