"""The commands of `expedite parked`."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from expedite_local import state
from expedite_local.errors import LocalError
from expedite_local.home import Home
from expedite_local.parked import words
from expedite_local.parked.desk import Desk, Refused, key_path
from expedite_local.parked.values import changed

app = typer.Typer(help="See and repair what waits behind events that could not be decided.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(metavar="KEY", help="The order number, or whatever the event is about.")]
EventId = Annotated[str, typer.Argument(metavar="EVENT_ID", help="Its id, or the start of it.")]
Service = Annotated[str, typer.Option("--service", help="Only this service.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
Why = Annotated[str, typer.Option("--why", help="Goes to the audit trail.")]
NeedsWhy = Annotated[str, typer.Option("--why", help="Goes to the audit trail.")]
Person = Annotated[str, typer.Option("--as", help="Who does this; your login name unless given.")]


@contextmanager
def _desk() -> Iterator[Desk]:
    running = state.load(Home.current())
    if running is None or not running.running:
        raise LocalError("nothing runs here: start it with `expedite up`, or set EXPEDITE_HOME to its folder")
    with Desk(running.urls, running.api_keys["operator"]) as desk:
        yield desk


def _reason(why: str, person: str) -> dict[str, str]:
    return {"why": why, "person": person or getpass.getuser()}


def _complete(desk: Desk) -> None:
    """What was not asked is said, and is a failure: an empty list must mean that nothing waits."""
    for text in desk.silent.values():
        sys.stderr.write(f"{text}\n")
    if desk.silent:
        raise typer.Exit(1)


@app.command("list")
def list_(
    service: Service = "",
    dropped: Annotated[bool, typer.Option("--dropped", help="What was dropped instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keys that wait, in all services. Exit status 1 when a service did not answer."""
    with _desk() as desk:
        found = list(desk.pages(service, "/admin/dropped" if dropped else "/admin/parked", limit=1000))
        if as_json:
            typer.echo(json.dumps([{"service": name, **item} for name, item in found], indent=2, ensure_ascii=False))
        elif found:
            typer.echo(words.dropped(found) if dropped else words.keys(found))
        elif not desk.silent:
            typer.echo("nothing was dropped" if dropped else "nothing is parked: every event was decided")
        _complete(desk)


@app.command()
def show(
    key: Key,
    service: Service = "",
    reveal: Annotated[bool, typer.Option("--reveal", help="With personal data and raw bytes; that is noted.")] = False,
    why: Why = "",
    person: Person = "",
    as_json: AsJson = False,
) -> None:
    """The events of a key, in the order in which they will be decided."""
    with _desk() as desk:
        name, events = desk.parked(key, service)
        if reveal:
            if not why:
                raise LocalError("--reveal needs --why: who looks at personal data is noted")
            events = desk.call(name, "POST", key_path(key, "/reveal"), json=_reason(why, person))["events"]
        if as_json:
            typer.echo(json.dumps({"service": name, "key": key, "events": events}, indent=2, ensure_ascii=False))
            return
        typer.echo(f"{words.safe(key)} waits in {name}: {len(events)} events\n")
        typer.echo("\n\n".join(f"{n}.\n{words.event(event)}" for n, event in enumerate(events, 1)))


@app.command()
def edit(
    key: Key,
    event_id: EventId,
    why: NeedsWhy,
    file: Annotated[Path | None, typer.Option("--file", help="The whole new value, as JSON.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Change one field, as in units.0.first=2.")
    ] = None,
    headers: Annotated[
        list[str] | None, typer.Option("--header", help="Set an attribute, as in ce_source=/expedite/inventory.")
    ] = None,
    service: Service = "",
    person: Person = "",
) -> None:
    """Give one event another value, in $EDITOR unless --file or --set says it. Masks that you leave keep what they hide."""
    with _desk() as desk:
        name, event = desk.event(key, event_id, service)
        path = key_path(key, f"/events/{event['event_id']}")
        body = {**_reason(why, person), "headers": dict(_pairs(headers or []))}
        text = ""
        while True:
            if file is not None:
                value = _json(file.read_text(encoding="utf-8"), str(file))
            elif assignments:
                value = changed(event["value"], assignments)
            else:
                text = _edited(text or words.pretty({} if event["value"] is None else event["value"]))
                value = _json(text, "what you wrote")
            try:
                done = desk.call(name, "PUT", path, json={**body, "value": value}, headers={"If-Match": event["tag"]})
            except Refused as refused:
                if refused.status != 422 or not text or not sys.stdin.isatty():
                    raise
                sys.stderr.write(f"{words.safe(refused)}\n")
                typer.confirm("Edit again?", abort=True, default=True)
                continue
            break
        typer.echo(f"edited, entry {done['repaired']} of the audit trail of {name}")
        typer.echo(f"decide again with: expedite parked retry {words.safe(done['key'])} --service {name}")


def _edited(text: str) -> str:
    found = click.edit(text, extension=".json")
    if found is None or found.strip() == text.strip():
        raise LocalError("nothing was changed")
    return found


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise LocalError(f"{where} is no JSON: {error}") from None


def _pairs(headers: list[str]) -> Iterator[tuple[str, str]]:
    for header in headers:
        name, equals, text = header.partition("=")
        if not equals or not name:
            raise LocalError(f"--header takes name=value, not {header!r}")
        yield name, text


@app.command()
def retry(
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="One key.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every key that waits.")] = False,
    why: Why = "",
    service: Service = "",
    person: Person = "",
) -> None:
    """Decide again, in order; stops at the first event that fails. Exit status 1 when something still waits."""
    if bool(key) == everything:
        raise LocalError("name a key, or say --all")
    with _desk() as desk:
        wanted = (
            [(name, item["key"]) for name, item in desk.pages(service, "/admin/parked", limit=1000)]
            if everything
            else [(desk.parked(key, service)[0], key)]
        )
        if not wanted and not desk.silent:
            typer.echo("nothing is parked: every event was decided")
        waiting = sum(_retried(desk, name, one, why, person) for name, one in wanted)
        if everything and wanted:
            typer.echo(f"{len(wanted) - waiting} of {len(wanted)} keys are free again")
        _complete(desk)
        if waiting:
            raise typer.Exit(1)


def _retried(desk: Desk, service: str, key: str, why: str, person: str) -> bool:
    """True when the key still waits."""
    place = f"{service} {words.safe(key)}"
    try:
        done = desk.call(service, "POST", key_path(key, "/retry"), json=_reason(why, person))
    except Refused as refused:
        if refused.status != 404:
            raise
        typer.echo(f"{place}: somebody was faster, nothing waits")
        return False
    stopped = done["stopped_at"]
    if stopped is None:
        typer.echo(f"{place}: {done['decided']} decided, nothing waits")
        return False
    reason = words.safe(stopped["reason"] or "it came meanwhile")
    typer.echo(f"{place}: {done['decided']} decided, {done['left']} wait")
    typer.echo(f"  stopped at {stopped['topic']} {stopped['event_id']}: {reason}")
    return True


@app.command()
def drop(key: Key, event_id: EventId, why: NeedsWhy, service: Service = "", person: Person = "") -> None:
    """Take one event out of its queue; it is kept and can be restored. Those behind it go on at the next retry."""
    with _desk() as desk:
        name, event = desk.event(key, event_id, service)
        path = key_path(key, f"/events/{event['event_id']}/drop")
        done = desk.call(name, "POST", path, json=_reason(why, person), headers={"If-Match": event["tag"]})
        typer.echo(f"dropped; undo with: expedite parked restore {event['event_id']} --service {name} --why ...")
        if done["left"]:
            typer.echo(f"{done['left']} wait: expedite parked retry {words.safe(key)} --service {name}")


@app.command()
def restore(event_id: EventId, why: NeedsWhy, service: Service = "", person: Person = "") -> None:
    """Park a dropped event again at its old place; the next retry decides it."""
    with _desk() as desk:
        name, event = desk.dropped(event_id, service)
        done = desk.call(name, "POST", f"/admin/dropped/{event['event_id']}/restore", json=_reason(why, person))
        typer.echo(f"it waits again: expedite parked retry {words.safe(done['key'])} --service {name}")


@app.command()
def history(
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="Only of this key.")] = "",
    service: Service = "",
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=1000, help="So many of each service.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Who repaired what, when and why; the newest first."""
    with _desk() as desk:
        found: list[tuple[str, dict[str, Any]]] = []
        for name in desk.services(service):
            params: dict[str, Any] = {"limit": lines, **({"key": key} if key else {})}
            found += [(name, item) for item in desk.call(name, "GET", "/admin/repairs", params=params)["items"]]
        found.sort(key=lambda one: one[1]["at"], reverse=True)
        if as_json:
            typer.echo(json.dumps([{"service": name, **item} for name, item in found], indent=2, ensure_ascii=False))
        elif found:
            typer.echo(words.history(found))
        else:
            typer.echo("nothing was ever repaired here")
