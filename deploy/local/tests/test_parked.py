"""`expedite parked` against the admin APIs of two services, over real HTTP (I4, I5)."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
import uvicorn
from click.testing import Result
from fastapi import APIRouter
from typer.testing import CliRunner

from expedite_chassis import ServiceSpec, testing
from expedite_chassis.masking import MASK
from expedite_events import NO_UNITS, Illegal, Lane, OrderClosed, Units, row_of
from expedite_events.base import Address, Customer
from expedite_events.envelope import Envelope
from expedite_events.ids import uuid8
from expedite_local import state, warden
from expedite_local.errors import LocalError
from expedite_local.home import HOME_VARIABLE, Home
from expedite_local.parked import app, words
from expedite_local.parked.desk import Refused
from expedite_local.parked.values import changed
from expedite_local.ports import free_port
from expedite_messaging import Batch, Handlers, RawRecord, Received, Tx
from expedite_messaging.memory import MemoryClock, MemoryEngine

MAYA = Customer(
    name="Maya Osei", email="maya@example.com", ship_to=Address(line1="1 High St", city="London", country="GB")
)
WHY = ("--why", "the carrier confirmed it", "--as", "lena")


async def _refuse_the_clock(batch: Batch[Received[OrderClosed]], tx: Tx) -> None:
    if any(received.event.confirmed_by == "clock" for received in batch):
        raise Illegal("closed before it was received\x1b[31m")


def spec(name: str) -> ServiceSpec:
    handlers = Handlers(name)
    handlers.on(OrderClosed)(_refuse_the_clock)
    return ServiceSpec(name, handlers, sa.MetaData(), APIRouter(), name)


def closed(number: int, order_id: str = "O-1", by: str = "clock") -> Envelope:
    event = OrderClosed(
        order_id=order_id, delivered=Units.quantity(1, 2), cancelled=NO_UNITS, confirmed_by=by,
        closed_at=MemoryClock().now, customer=MAYA,
    )  # fmt: skip
    event_id = uuid8(number << 16, str(number))
    return Envelope(
        id=event_id, service="order-intake", row=row_of(OrderClosed), key=order_id, lane=Lane.STANDARD, event=event,
        time=MemoryClock().now, correlation_id=event_id, causation_id=event_id,
    )  # fmt: skip


class Served:
    """Services behind real sockets, and the command in a home that knows them."""

    def __init__(self, home: Home) -> None:
        self.engines = {name: MemoryEngine(spec(name).handlers, MemoryClock()) for name in ("inventory", "fulfillment")}
        self.servers: list[tuple[uvicorn.Server, threading.Thread]] = []
        self.home = home
        urls = {name: self._serve(name, engine) for name, engine in self.engines.items()}
        pid = os.getpid()
        self.state = state.State(
            pid, warden.started_at(pid) or 0.0, phase="ready", urls=urls,
            api_keys={"operator": testing.key_of("operator")},
        )  # fmt: skip
        state.save(home, self.state)

    def _serve(self, name: str, engine: MemoryEngine) -> str:
        port = free_port()
        made = testing.app(spec(name), engine, clients={"operator": ["*"]})
        server = uvicorn.Server(uvicorn.Config(made, port=port, log_config=None))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        self.servers.append((server, thread))
        return f"http://127.0.0.1:{port}"

    def park(self, service: str, *envelopes: Envelope) -> None:
        async def deliver() -> None:
            for envelope in envelopes:
                await self.engines[service].deliver([envelope])

        asyncio.run(deliver())

    def close(self) -> None:
        for server, thread in self.servers:
            server.should_exit = True
            thread.join()


@pytest.fixture
def served(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    made = Served(home)
    yield made
    made.close()


def run(*arguments: str, code: int = 0) -> str:
    result: Result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return str(result.output)


def first_id(key: str = "O-1") -> str:
    found: str = json.loads(run("show", key, "--json"))["events"][0]["event_id"]
    return found


def test_nothing_waits_and_it_says_so(served: Served) -> None:
    """I4: an empty list is an answer, unless somebody did not answer."""
    assert run("list") == "nothing is parked: every event was decided\n"
    assert run("list", "--dropped") == "nothing was dropped\n"
    assert run("retry", "--all") == "nothing is parked: every event was decided\n"
    assert run("history") == "nothing was ever repaired here\n"
    assert json.loads(run("list", "--json")) == []
    served.state.urls["inventory"] = f"http://127.0.0.1:{free_port()}"
    state.save(served.home, served.state)
    assert "nothing is parked" not in run("list", code=1)


def test_what_waits_is_listed_over_all_services(served: Served) -> None:
    """I4: key, service, why, how many behind it; nothing in it can steer a terminal."""
    served.park("inventory", closed(1), closed(2))
    served.park("fulfillment", closed(3, "O-2"))
    told = run("list")
    head, first, second = told.rstrip().split("\n")
    assert head.split()[:2] == ["KEY", "SERVICE"]
    assert first.split()[:3] == ["O-1", "inventory", "OrderClosed"]
    assert "closed before it was received\\x1b[31m" in first
    assert "by you" in first
    assert second.startswith("O-2  fulfillment")
    assert "\x1b" not in told
    assert "O-1" not in run("list", "--service", "fulfillment")
    listed = json.loads(run("list", "--json"))
    assert [(one["service"], one["key"], one["behind"]) for one in listed] == [
        ("inventory", "O-1", 1),
        ("fulfillment", "O-2", 0),
    ]
    with pytest.raises(LocalError, match="notifier does not run here"):
        run("list", "--service", "notifier")


def test_personal_data_is_shown_to_those_who_say_why(served: Served) -> None:
    """I5: masked else; the look is in the audit trail."""
    served.park("inventory", closed(1))
    told = run("show", "O-1")
    assert MASK in told
    assert "Maya" not in told
    assert "ce_id: " in told
    with pytest.raises(LocalError, match="--reveal needs --why"):
        run("show", "O-1", "--reveal")
    assert "Maya Osei" in run("show", "O-1", "--reveal", *WHY)
    assert "lena (operator)" in run("history", "O-1")
    with pytest.raises(LocalError, match="nothing is parked under O-9"):
        run("show", "O-9")


def test_an_edit_and_a_retry_free_the_key(served: Served, tmp_path: Path) -> None:
    """I4, I5: one field by --set, the whole by --file, both checked by the service; then all behind it, in order."""
    served.park("inventory", closed(1), closed(2, by="customer"), closed(3))
    stopped = run("retry", "O-1", code=1)
    assert "inventory O-1: 0 decided, 3 wait" in stopped
    assert f"stopped at OrderClosed {first_id()}: closed before it was received" in stopped
    with pytest.raises(Refused, match="/value/closed_at"):
        run("edit", "O-1", first_id(), "--set", "closed_at=yesterday", *WHY)
    assert "edited, entry " in run("edit", "O-1", first_id()[:13], "--set", "confirmed_by=customer", *WHY)
    assert "inventory O-1: 2 decided, 1 wait" in run("retry", "O-1", code=1)
    value = json.loads(run("show", "O-1", "--json"))["events"][0]["value"]
    (tmp_path / "value.json").write_text(json.dumps({**value, "confirmed_by": "customer"}))
    run("edit", "O-1", first_id(), "--file", str(tmp_path / "value.json"), *WHY)
    assert run("retry", "--all").endswith("inventory O-1: 1 decided, nothing waits\n1 of 1 keys are free again\n")
    assert asyncio.run(served.engines["inventory"].parked()) == []
    trail = json.loads(run("history", "--json"))
    assert {one["action"] for one in trail} == {"edit", "retry"}
    assert {one["person"] for one in trail if one["action"] == "edit"} == {"lena"}


def test_an_edit_in_the_editor_keeps_what_is_masked(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5: the customer's data survives an edit by somebody who never saw it."""
    served.park("inventory", closed(1))
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/\\"clock\\"/\\"customer\\"/ "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    run("edit", "O-1", first_id(), *WHY)
    (event,) = json.loads(run("show", "O-1", "--reveal", *WHY, "--json"))["events"]
    assert (event["value"]["confirmed_by"], event["value"]["customer"]["name"]) == ("customer", "Maya Osei")
    with pytest.raises(LocalError, match="nothing was changed"):
        run("edit", "O-1", first_id(), *WHY)


def test_a_drop_can_be_undone(served: Served) -> None:
    """I4: dropped is not deleted; the one behind it goes on at the next retry."""
    served.park("inventory", closed(1), closed(2, by="customer"))
    gone = first_id()
    told = run("drop", "O-1", gone, *WHY)
    assert f"expedite parked restore {gone} --service inventory" in told
    assert "1 wait: expedite parked retry O-1" in told
    assert gone in run("list", "--dropped")
    assert "the event before it was dropped: retry" in run("list")
    run("restore", gone[:13], *WHY)
    assert first_id() == gone
    run("drop", "O-1", gone, *WHY)
    assert "1 decided, nothing waits" in run("retry", "O-1")
    with pytest.raises(LocalError, match="nothing is parked under O-1"):
        run("drop", "O-1", gone, *WHY)


def test_a_key_that_waits_in_two_services_must_be_told_apart(served: Served) -> None:
    """I4: a key is parked per service."""
    served.park("inventory", closed(1))
    served.park("fulfillment", closed(1))
    with pytest.raises(LocalError, match="parked in inventory and in fulfillment: say which with --service"):
        run("show", "O-1")
    assert "waits in fulfillment" in run("show", "O-1", "--service", "fulfillment")
    with pytest.raises(LocalError, match="no event of O-1"):
        run("drop", "O-1", "ffff", "--service", "inventory", *WHY)


def test_bytes_nobody_understands_are_replaced(served: Served) -> None:
    """I4: bad JSON without usable attributes: shown by size, as it is to those who say why, and given a value."""
    good = closed(7)
    raw = RawRecord("OrderClosed", b"O-1", b"\x1b{oops", (("ce_id", str(good.id).encode()),))
    asyncio.run(served.engines["inventory"].park_raw(raw, "Undecodable: JSON is malformed"))
    assert "6 bytes that are no JSON; --reveal shows them" in run("show", "O-1")
    assert "value (text): \\x1b{oops" in run("show", "O-1", "--reveal", *WHY)
    path = served.home.root / "value.json"
    path.write_bytes(good.value)
    with pytest.raises(Refused, match="/headers: KeyError: 'ce_source'"):
        run("edit", "O-1", first_id(), "--file", str(path), *WHY)
    headers = [part for n, v in good.headers() for part in ("--header", f"{n}={v.decode()}")]
    run("edit", "O-1", first_id(), "--file", str(path), "--set", "x=1", *headers, *WHY)
    assert UUID(first_id()) == good.id


def test_without_a_running_system_it_says_what_to_do(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    with pytest.raises(LocalError, match="nothing runs here"):
        run("list")


def test_fields_are_set_by_their_path() -> None:
    """Values are JSON, or a text where they are none; what is not there is named."""
    value: Any = {"units": [{"first": 1}], "by": "x", "a/b": 1}
    assert changed(value, ["units.0.first=2", "by=clock", "/a~1b=null"]) == {
        "units": [{"first": 2}],
        "by": "clock",
        "a/b": None,
    }
    assert value["units"] == [{"first": 1}]
    for wrong in ("units.3.first=1", "nobody.x=1", "=1", "by", "units.9=1"):
        with pytest.raises(LocalError):
            changed(value, [wrong])


def test_moments_are_told_as_people_compare_them() -> None:
    from datetime import UTC, datetime

    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    assert words.moment("2026-11-26T11:58:00+00:00", now) == "2 min ago"
    assert words.moment("2026-11-28T12:00:00+00:00", now) == "in 2 d"
    assert words.moment(None) == "-"
