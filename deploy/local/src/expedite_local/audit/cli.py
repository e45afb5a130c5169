"""`expedite audit`: check a running system; exit status 1 when something is wrong."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from expedite_local import state as states
from expedite_local.errors import LocalError
from expedite_local.home import Home, read_json


def audit(
    ended: Annotated[bool, typer.Option("--ended", help="Every order must have come to its end.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the findings here.")] = None,
    patience: Annotated[
        float, typer.Option(min=0.0, help="Real seconds to wait for the system to come to rest.")
    ] = 120.0,
) -> None:
    """Check a running system: stock, orders, events, custody, messages, cancels, timers. Changes nothing."""
    from expedite_local.audit import settled, text  # the package offers this command: imported when it runs

    home = Home.current()
    state = states.load(home)
    if state is None or not state.running:
        raise LocalError("nothing runs here to audit: start it with `expedite up`, or set EXPEDITE_HOME to its folder")
    findings = asyncio.run(settled(state, read_json(home.secrets_file) or {}, home, ended=ended, patience_s=patience))
    typer.echo(text(findings))
    if json_file is not None:
        rows = [asdict(finding) for finding in findings]
        json_file.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)
