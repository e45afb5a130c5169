"""Traces and logs: one trace id from the request to every line and event; nothing personal or forged in a line (I3, I5)."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
import sqlalchemy as sa
import structlog
from fastapi import APIRouter, Depends
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from expedite_chassis import Caller, RuntimeDep, ServiceSpec, require, root, testing, tracing
from expedite_chassis.errors import describe
from expedite_chassis.logs import configure_logging
from expedite_events import Lane
from expedite_messaging import Handlers
from expedite_messaging.memory import MemoryClock, MemoryEngine

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = PARENT.split("-")[1]


@pytest.fixture
def lines() -> Iterator[Any]:
    """Reads the JSON log lines written so far."""
    top = logging.getLogger()
    handlers, level = top.handlers[:], top.level
    stream = io.StringIO()
    configure_logging("inventory", stream=stream, slot=2)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    top.handlers[:], top.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def a_client(**options: Any) -> httpx.AsyncClient:
    router = APIRouter()

    @router.get("/orders/{order_id}")
    async def order(
        order_id: str, runtime: RuntimeDep, _: Annotated[Caller, Depends(require("read"))]
    ) -> dict[str, Any]:
        structlog.get_logger("inventory.api").info("looked at", customer="Mei Lin", email="mei@example.org")
        cause = root(order_id, lane=Lane.EXPRESS)
        return {
            "traceparent": cause.traceparent,
            "lane": cause.lane,
            "key": cause.key,
            "out": tracing.outgoing_headers(),
        }

    @router.get("/s/{token}")
    async def page(token: str) -> None: ...

    @router.get("/fail/{order_id}")
    async def fail(order_id: str) -> None:
        raise LookupError("nothing there")

    spec = ServiceSpec("inventory", Handlers("inventory"), sa.MetaData(), router, "inventory")
    return testing.client(spec, MemoryEngine(spec.handlers, MemoryClock()), **options)


async def test_a_trace_goes_through_request_cause_calls_and_answer() -> None:
    """I3: events and calls carry the trace of the request that led to them, each hop under a span of its own."""
    async with a_client() as http:
        answer = await http.get("/orders/O-1", headers={"traceparent": PARENT})
    spans = [answer.headers["traceparent"], answer.json()["traceparent"], answer.json()["out"]["traceparent"]]
    assert {span.split("-")[1] for span in spans} == {TRACE_ID}
    assert spans[0] == spans[1] and len({PARENT, spans[0], spans[2]}) == 3
    assert (answer.json()["lane"], answer.json()["key"]) == ("express", "O-1")


@pytest.mark.parametrize(
    "sent",
    [None, "", "x", PARENT.upper(), PARENT + "-extra", PARENT[:-1], "ff" + PARENT[2:], PARENT.replace("-01", "-0g"),
     "00-" + "0" * 32 + "-b7ad6b7169203331-01", PARENT[:36] + "0" * 16 + "-01", "01" + PARENT[2:] + "x"],
)  # fmt: skip
async def test_malformed_trace_ids_are_replaced_by_ours(sent: str | None) -> None:
    """I5: foreign text never becomes a trace id; each request then begins a trace of its own."""
    assert tracing.parse(sent) is None
    async with a_client() as http:
        answers = [await http.get("/orders/1", headers={"traceparent": sent} if sent else {}) for _ in range(2)]
    traces = {answer.headers["traceparent"].split("-")[1] for answer in answers}
    assert len(traces) == 2 and all(tracing.parse(a.headers["traceparent"]) for a in answers)
    assert TRACE_ID not in traces


def test_later_versions_of_the_standard_are_read() -> None:
    """I3: a version we do not know is read as far as we know it."""
    assert tracing.parse("cc-" + PARENT[3:] + "-more") == tracing.parse(PARENT)


@given(st.text(max_size=70))
def test_no_text_breaks_the_parser(text: str) -> None:
    """I5: any header is either a trace or nothing."""
    assert tracing.parse(text) is None or text.startswith(text[:2])


async def test_request_ids_are_taken_over_only_when_harmless() -> None:
    """I5: a client may name its request; markup, controls and novels are replaced."""
    async with a_client() as http:
        kept = await http.get("/orders/1", headers={"X-Request-Id": "shop-2026.11_22"})
        assert kept.headers["x-request-id"] == "shop-2026.11_22"
        for odd in ("<script>alert(1)</script>", "a b c d e f g h", "x" * 65, "short"):
            replaced = (await http.get("/orders/1", headers={"X-Request-Id": odd})).headers["x-request-id"]
            assert replaced != odd and replaced.isalnum()


async def test_lines_carry_trace_order_and_client_and_nothing_personal(lines: Any) -> None:
    """I3, I5: every line of a request has trace, order id and client; fields that hold personal data are blanked."""
    async with a_client(name="shop") as http:
        await http.get("/orders/O-1", headers={"traceparent": PARENT})
    said, request = lines()
    for line in (said, request):
        assert (line["trace_id"], line["order_id"], line["client"]) == (TRACE_ID, "O-1", "shop")
        assert (line["service"], line["slot"], line["level"]) == ("inventory", 2, "info")
    assert (said["customer"], said["email"]) == ("[redacted]", "[redacted]")
    assert (request["event"], request["route"], request["status"]) == ("request", "/orders/{order_id}", 200)
    assert "Mei" not in json.dumps(lines())


async def test_nothing_is_left_for_the_next_request(lines: Any) -> None:
    """I3: context of one request does not stick to the next, nor to the task around it."""
    async with a_client() as http:
        await http.get("/orders/O-1")
        await http.get("/nowhere")
    assert "order_id" not in lines()[-1]
    assert structlog.contextvars.get_contextvars() == {}
    assert tracing.current() is None


async def test_paths_with_tokens_and_credentials_stay_out_of_logs(lines: Any) -> None:
    """I5: signed links, keys and query strings are not logged."""
    async with a_client(name="shop") as http:
        await http.get("/s/signed-token-of-a-customer?phone=12345")
        await http.get("/missing/signed-token-of-a-customer")
    text = json.dumps(lines())
    assert "signed-token" not in text and "12345" not in text and testing.key_of("shop") not in text


async def test_order_ids_that_are_no_order_ids_are_not_logged(lines: Any) -> None:
    """I5: a path segment cannot forge a line."""
    async with a_client() as http:
        await http.get("/orders/x%0A%7B%22event%22:%22forged%22%7D")
    assert len(lines()) == 2 and all("order_id" not in line for line in lines())


async def test_a_failure_is_logged_with_where_and_why(lines: Any) -> None:
    """I3: the trace id of a 500 leads to its type, text and place in the logs."""
    async with a_client() as http:
        answer = await http.get("/fail/O-9")
    failed, request = lines()
    assert (failed["event"], failed["error"], failed["error_text"]) == (
        "request failed",
        "LookupError",
        "nothing there",
    )
    assert failed["trace_id"] == answer.json()["trace_id"] and failed["order_id"] == "O-9"
    assert any("test_chassis_tracing.py" in frame for frame in failed["frames"])
    assert (request["status"], request["problem"]) == (500, "internal")


def test_the_standard_library_logs_through_the_same_pipe(lines: Any) -> None:
    """I3, I5: libraries' lines look like ours; line breaks cannot start a second one; exceptions become fields."""
    with tracing.following(PARENT, "O-2"):
        logging.getLogger("aiokafka").warning('lost %s\n{"event": "forged"}', "broker")
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("lib").exception("failed")
    lost, failed = lines()
    assert lost["event"] == 'lost broker\\n{"event": "forged"}'
    assert (lost["trace_id"], lost["order_id"], lost["logger"]) == (TRACE_ID, "O-2", "aiokafka")
    assert (failed["error"], failed["error_text"], failed["level"]) == ("ValueError", "odd", "error")


def test_exceptions_are_told_without_the_input_they_repeat() -> None:
    """I5: validation errors and database errors name fields and states, never values."""

    class Customer(BaseModel):
        phone: int

    try:
        Customer.model_validate({"phone": "+49 123 Mei"})
    except ValueError as error:
        assert describe(error)["error_text"] == "Customer: phone: int_parsing"
    failed = sa.exc.IntegrityError("INSERT …", {"email": "mei@example.org"}, RuntimeError("Key (email)=(mei@…)"))
    assert describe(failed)["error_text"] == "RuntimeError"
    try:
        try:
            Customer.model_validate({"phone": "Mei"})
        except ValueError as inner:
            raise RuntimeError("could not read the customer") from inner
    except RuntimeError as outer:
        assert "Mei" not in json.dumps(describe(outer))
        assert describe(outer)["caused_by"] == "ValidationError: Customer: phone: int_parsing"


def test_console_logs_are_for_people() -> None:
    """I3: the readable format says the same."""
    stream = io.StringIO()
    top = logging.getLogger()
    handlers, level = top.handlers[:], top.level
    try:
        configure_logging("inventory", fmt="console", stream=stream)
        structlog.get_logger("x").info("hello\x1b[2J", order_id="O-1", password="p")
    finally:
        top.handlers[:], top.level = handlers, level
        structlog.reset_defaults()
    assert "hello" in stream.getvalue() and "order_id=O-1" in stream.getvalue()
    assert "\x1b" not in stream.getvalue() and "password=p" not in stream.getvalue()
