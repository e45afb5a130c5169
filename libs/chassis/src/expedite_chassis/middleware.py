"""Pure ASGI around every request: trace and log line, security headers, limits, and the last answer to any error.

No middleware here runs the app in a task of its own: a client that goes away cancels nothing."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from expedite_chassis import tracing
from expedite_chassis.errors import describe
from expedite_chassis.metrics import Metrics
from expedite_chassis.problems import Problem, internal, too_large, too_slow

log = structlog.get_logger("expedite.http")
_heard = logging.getLogger("expedite.http").isEnabledFor

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
_HOST = re.compile(rb"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_QUIET = {"/livez", "/readyz", "/metrics"}
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Envelop:
    """The outermost layer: follows the caller's trace, adds the headers of every answer, writes the access log, counts."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics
        self._in_flight = metrics.in_flight.labels(metrics.service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        context = structlog.contextvars.get_contextvars()
        structlog.contextvars.clear_contextvars()
        try:
            with tracing.following(_header(scope, b"traceparent")) as trace:
                request_id = tracing.name_request(_header(scope, b"x-request-id"))
                own = (b"traceparent", trace.traceparent.encode()), (b"x-request-id", request_id.encode())
                await self._answer(scope, receive, send, (*_SECURITY, *own))
        finally:
            structlog.contextvars.clear_contextvars()
            structlog.contextvars.bind_contextvars(**context)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, added: tuple[tuple[bytes, bytes], ...]) -> None:
        began, status = time.perf_counter(), 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                present = {name for name, _ in headers}
                message["headers"] = headers + [pair for pair in added if pair[0] not in present]
            await send(message)

        self._in_flight.inc()
        try:
            await self.app(scope, receive, counted)
        finally:
            self._in_flight.dec()
            self._account(scope, status, time.perf_counter() - began)

    def _account(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's template, never the path: paths hold signed tokens, and labels must be bounded.
        route = getattr(scope.get("route"), "path", None) or ("-" if status == 404 else "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        code = scope.get("expedite_problem")
        requests, took = self.metrics.answered(method, route, status)
        requests.inc()
        took.observe(seconds)
        if code:
            self.metrics.problems.labels(self.metrics.service, code).inc()
        if (route in _QUIET and status < 400) or not _heard(logging.INFO):
            return
        log.info(
            "request", method=method, route=route, status=status, ms=round(seconds * 1000, 1), **_optional(problem=code)
        )


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def _header(scope: Scope, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)


def _optional(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class Shield:
    """Answers errors nobody caught. It stands inside CORS, so that our own pages can read that answer too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = scope["type"] != "http"

        async def noted(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            log.error("request failed", **describe(error))
            if began:
                raise  # only breaking the connection tells the client that what it got is not whole
            await send_problem(internal(), scope, receive, send)


SLOWEST_BYTES_PER_S = 16 * 1024


class Limits:
    """Refuses what is too large before and while it is read, and what comes too slowly. Content-Length is only believed
    when it admits too much: every byte that arrives is counted, so a missing or lying length changes nothing. A body has
    `body_s` real seconds, and one more for each 16 KiB that have come."""

    def __init__(self, app: ASGIApp, body_limit: int, body_limits: Mapping[str, int], body_s: float = 30.0) -> None:
        self.app, self._default, self._body_s = app, body_limit, body_s
        self._by_prefix = sorted(body_limits.items(), key=lambda item: -len(item[0]))

    def limit_for(self, path: str) -> int:
        """The body limit of a path in bytes: that of the longest prefix that ends at a slash or at its end."""
        for prefix, limit in self._by_prefix:
            base = prefix.rstrip("/")
            if path == base or path.startswith(base + "/"):
                return limit
        return self._default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        raw = scope["headers"]
        if len(raw) > MAX_HEADERS or sum(len(n) + len(v) for n, v in raw) > MAX_HEADER_BYTES:
            await send_problem(Problem(431, "headers-too-large"), scope, receive, send)
            return
        limit, seen = self.limit_for(scope["path"]), 0
        lengths = [value for name, value in raw if name == b"content-length"]
        if any(not value.isdigit() for value in lengths) or len(set(lengths)) > 1:
            problem = Problem(400, "bad-request", detail="Content-Length is not a number.")
            await send_problem(problem, scope, receive, send)
            return
        hosts = [value for name, value in raw if name == b"host"]
        if len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
            # Links in answers begin with it, and what is no host cannot be taken apart as an address.
            await send_problem(Problem(400, "bad-request", detail="Host is not a host."), scope, receive, send)
            return
        # Compared by digits first: a number of a thousand digits is not worth parsing.
        if lengths and (len(lengths[0].lstrip(b"0")) > 18 or int(lengths[0]) > limit):
            await send_problem(too_large(limit), scope, receive, send)
            return

        began, whole = asyncio.get_running_loop().time(), False

        async def counted() -> Message:
            nonlocal seen, whole
            if whole:  # what comes now is the client going away, some day
                return await receive()
            try:
                async with asyncio.timeout_at(began + self._body_s + seen / SLOWEST_BYTES_PER_S):
                    message = await receive()
            except TimeoutError:
                raise too_slow() from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise too_large(limit)
                whole = not message.get("more_body", False)
            return message

        await self.app(scope, counted, send)


async def send_problem(problem: Problem, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Answer with a problem from outside the app."""
    scope["expedite_problem"] = problem.code
    await problem.response()(scope, receive, send)
