"""W3C trace context: read from HTTP, kept in a context variable, carried on by events, calls and log lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import structlog

from expedite_events import Lane
from expedite_messaging import Root

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_ORDER = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Trace:
    """One hop of a trace. Ids are lower-case hex and never all zero."""

    trace_id: str
    span_id: str
    flags: str = "01"

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def child(self) -> Trace:
        """The next hop of the same trace."""
        return Trace(self.trace_id, _hex(8), self.flags)


_current: ContextVar[Trace | None] = ContextVar("expedite_trace", default=None)
_request_id: ContextVar[str | None] = ContextVar("expedite_request_id", default=None)


def _hex(size: int) -> str:
    while True:
        text = os.urandom(size).hex()
        if text.strip("0"):
            return text


def new_trace() -> Trace:
    """A trace that begins here."""
    return Trace(_hex(16), _hex(8))


def parse(traceparent: str | None) -> Trace | None:
    """The trace of a header; None for anything the standard calls invalid, so that foreign text never enters logs."""
    found = _TRACEPARENT.match(traceparent or "")
    if found is None or found["version"] == "ff":
        return None
    rest = (traceparent or "")[found.end() :]
    if rest and (found["version"] == "00" or not rest.startswith("-")):
        return None
    if not found["trace"].strip("0") or not found["span"].strip("0"):
        return None
    return Trace(found["trace"], found["span"], found["flags"])


def current() -> Trace | None:
    """The trace of this task, if any."""
    return _current.get()


def request_id() -> str | None:
    """The id of the HTTP request this task answers, if any."""
    return _request_id.get()


def name_request(text: str | None) -> str:
    """Take over a client's request id when it is shaped like one, else make one; it goes into logs and answers."""
    clean = text if text and _REQUEST_ID.fullmatch(text) else _hex(8)
    _request_id.set(clean)
    structlog.contextvars.bind_contextvars(request_id=clean)
    return clean


def outgoing_headers() -> dict[str, str]:
    """Headers that carry the present trace to whom we call."""
    trace = _current.get()
    return {"traceparent": trace.child().traceparent} if trace else {}


@contextmanager
def following(traceparent: str | None, order_id: str | None = None) -> Iterator[Trace]:
    """Run a block as the next hop of a trace (a new one when there is none): its log lines, events and calls carry it."""
    parent = parse(traceparent)
    trace = parent.child() if parent else new_trace()
    token = _current.set(trace)
    bound = {"trace_id": trace.trace_id}
    if order_id and _ORDER.fullmatch(order_id):
        bound["order_id"] = order_id
    tokens = structlog.contextvars.bind_contextvars(**bound)
    try:
        yield trace
    finally:
        structlog.contextvars.reset_contextvars(**tokens)
        _current.reset(token)


def name_order(order_id: str) -> None:
    """Let the log lines of this task carry an order id; text that is not shaped like one is left out."""
    if _ORDER.fullmatch(order_id):
        structlog.contextvars.bind_contextvars(order_id=order_id)


def root(key: str, lane: Lane = Lane.STANDARD) -> Root:
    """A root cause about `key` that carries the present trace into every event it leads to."""
    trace = _current.get()
    return Root(key=key, lane=lane, traceparent=trace.traceparent if trace else None)
