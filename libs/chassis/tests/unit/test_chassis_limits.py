"""Limits on what is read, and headers on what is answered (I5). The ASGI messages are made by hand where an HTTP client
would not send them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from expedite_chassis import RawBody, ServiceSpec, testing
from expedite_messaging import Handlers
from expedite_messaging.memory import MemoryClock, MemoryEngine

LIMIT = 1000


def a_spec() -> ServiceSpec:
    router = APIRouter()

    @router.post("/raw")
    async def raw(body: RawBody) -> int:
        return len(body)

    @router.post("/json")
    async def parsed(body: dict[str, Any]) -> int:
        return len(body)

    @router.post("/bulk/orders")
    async def bulk(request: Request) -> int:
        return sum([len(chunk) async for chunk in request.stream()])

    @router.post("/bulky")
    async def bulky(body: RawBody) -> int:
        return len(body)

    @router.post("/broken")
    async def broken() -> None:
        raise RuntimeError("broken")

    @router.post("/half")
    async def half() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            raise RuntimeError("half way")

        return StreamingResponse(chunks())

    return ServiceSpec(
        "inventory", Handlers("inventory"), sa.MetaData(), router, "inventory", body_limits={"/bulk": 5 * LIMIT}
    )


class Wire:
    """Plays the server's side of ASGI: hands out chunks, and counts how many were asked for."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks, self.taken = list(chunks), 0
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if self.taken >= len(self.chunks):
            return {"type": "http.disconnect"}
        self.taken += 1
        more = self.taken < len(self.chunks)
        return {"type": "http.request", "body": self.chunks[self.taken - 1], "more_body": more}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> Any:
        return json.loads(b"".join(m.get("body", b"") for m in self.sent[1:]))


async def call(path: str, chunks: Sequence[bytes], headers: Sequence[tuple[str, str]] = (), **environment: Any) -> Wire:
    spec = a_spec()
    app = testing.app(spec, MemoryEngine(spec.handlers, MemoryClock()), **({"max_body_bytes": LIMIT} | environment))
    wire = Wire(chunks)
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2), "headers": [(n.lower().encode(), v.encode()) for n, v in headers],
    }  # fmt: skip
    await app(scope, wire.receive, wire.send)
    return wire


JSON = ("Content-Type", "application/json")


async def test_an_admitted_length_is_refused_before_a_byte_is_read() -> None:
    """I5: Content-Length above the limit: 413 at once."""
    wire = await call("/raw", [b"x" * LIMIT, b"x"], [("Content-Length", str(LIMIT + 1))])
    assert (wire.status, wire.taken) == (413, 0)
    assert wire.headers["content-type"] == "application/problem+json"
    assert wire.headers["connection"] == "close"
    assert wire.body["limit"] == LIMIT and wire.body["type"] == "/problems/body-too-large"


@pytest.mark.parametrize("length", [None, "1", "0", str(LIMIT)])
@pytest.mark.parametrize(("path", "headers"), [("/raw", []), ("/json", [JSON])])
async def test_a_missing_or_lying_length_changes_nothing(
    path: str, headers: list[tuple[str, str]], length: str | None
) -> None:
    """I5: bytes are counted as they arrive; reading stops at the limit, whoever reads."""
    chunks = [b"x" * 400] * 100
    wire = await call(path, chunks, [*headers, *([("Content-Length", length)] if length else [])])
    assert (wire.status, wire.taken) == (413, 3)
    assert wire.body["limit"] == LIMIT


async def test_exactly_the_limit_passes() -> None:
    """I5: the limit itself is allowed."""
    wire = await call("/raw", [b"x" * 600, b"x" * 400], [("Content-Length", str(LIMIT))])
    assert (wire.status, wire.body) == (200, LIMIT)


async def test_a_prefix_may_have_a_limit_of_its_own() -> None:
    """A2: bulk intake takes more than a single order; a name that merely begins alike does not."""
    assert (await call("/bulk/orders", [b"x" * LIMIT] * 4)).status == 200
    assert (await call("/bulk/orders", [b"x" * LIMIT] * 6)).status == 413
    assert (await call("/bulky", [b"x" * LIMIT] * 4)).status == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "abc", "+5", "1 000", "9" * 4000, ""])
async def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    """I5: nonsense in Content-Length is 400 (or 413 for endless digits), never an error of ours."""
    wire = await call("/raw", [b"x"], [("Content-Length", length)])
    assert wire.status in (400, 413) and wire.taken == 0


async def test_two_different_lengths_are_refused() -> None:
    """I5: what two parties could read differently is not read at all (request smuggling)."""
    wire = await call("/raw", [b"x"], [("Content-Length", "1"), ("Content-Length", "2")])
    assert wire.status == 400


@pytest.mark.parametrize(
    "headers", [[(f"x-{i}", "1") for i in range(101)], [("x-long", "y" * 40_000)]], ids=["many", "oversized"]
)
async def test_too_many_or_too_long_headers_are_431(headers: list[tuple[str, str]]) -> None:
    """I5: headers are limited in number and size."""
    wire = await call("/raw", [b"x"], headers)
    assert (wire.status, wire.body["type"]) == (431, "/problems/headers-too-large")


async def test_every_answer_carries_security_headers() -> None:
    """I5: answers, refusals and errors are not sniffed, framed or kept by caches."""
    for wire in (
        await call("/raw", [b"x"]),
        await call("/none", [b""]),
        await call("/raw", [], [("Content-Length", "x")]),
    ):
        assert wire.headers["x-content-type-options"] == "nosniff"
        assert wire.headers["x-frame-options"] == "DENY"
        assert wire.headers["referrer-policy"] == "no-referrer"
        assert wire.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in wire.headers["content-security-policy"]


async def test_only_our_own_pages_may_call_from_a_browser() -> None:
    """I5: CORS names the tower's and the customer pages' origins, under both loopback names, and nobody else's."""
    urls = {"control-tower": "http://127.0.0.1:8080/", "notifier": "http://127.0.0.1:8006"}
    for origin in ("http://127.0.0.1:8080", "http://localhost:8080", "http://localhost:8006"):
        wire = await call("/raw", [b"x"], [("Origin", origin)], urls=urls)
        assert wire.headers["access-control-allow-origin"] == origin
        assert "idempotency-replayed" in wire.headers["access-control-expose-headers"].lower()
    for origin in ("http://127.0.0.1:9999", "https://evil.example", "null", "http://127.0.0.1:8080.evil.example"):
        wire = await call("/raw", [b"x"], [("Origin", origin)], urls=urls)
        assert "access-control-allow-origin" not in wire.headers
    wire = await call("/raw", [b"x"], [("Origin", "http://127.0.0.1:8080")])
    assert "access-control-allow-origin" not in wire.headers


async def test_a_refusal_can_be_read_by_our_own_page() -> None:
    """H3: the tower can show why a request was refused, also when it was refused before it was read."""
    urls = {"control-tower": "http://127.0.0.1:8080"}
    headers = [("Origin", "http://127.0.0.1:8080"), ("Content-Length", str(LIMIT + 1))]
    for path, status in (("/raw", 413), ("/none", 413), ("/broken", 500)):
        wire = await call(path, [b"x"], headers[: 1 if status == 500 else 2], urls=urls)
        assert wire.status == status
        assert wire.headers["access-control-allow-origin"] == "http://127.0.0.1:8080"


async def test_an_answer_that_breaks_off_is_not_completed() -> None:
    """I5: an error after the first byte breaks the connection instead of passing for a whole answer."""
    with pytest.raises(RuntimeError, match="half way"):
        await call("/half", [b""])
