"""Structured logs: one JSON object per line (or readable text), with trace and order id, without personal data."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import orjson
import structlog

from expedite_chassis.errors import describe

_SECRET = {
    "authorization", "api_key", "x_api_key", "password", "secret", "token", "cookie", "private_pem", "database_url",
    "email", "phone", "address", "customer", "ship_to", "recipient", "body", "payload",
}  # fmt: skip
_LIMIT = 2000


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank out fields that could hold personal data or credentials, whoever logged them (I5)."""
    for name in event:
        if name.lower() in _SECRET:
            event[name] = "[redacted]"
    return event


def tame(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """No control character gets into a line: nobody can forge a second line or move a terminal's cursor."""
    for name, value in event.items():
        if isinstance(value, str):
            clean = value if value.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
            event[name] = clean[:_LIMIT]
    return event


def explain(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn `exc_info` into fields that repeat no input."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        for name, value in describe(error).items():
            event.setdefault(name, value)
    return event


def configure_logging(
    service: str,
    *,
    level: str = "INFO",
    fmt: Literal["json", "console"] = "json",
    role: str = "api",
    slot: int = 0,
    stream: TextIO | None = None,
) -> None:
    """Send structlog's and the standard library's logs through one pipe to `stream` (standard output)."""

    def name_process(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("service", service)
        event.setdefault("role", role)
        event.setdefault("slot", slot)
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
        explain,
        redact,
        tame,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(serializer=lambda value, **_: orjson.dumps(value, default=str).decode())
        if fmt == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    top = logging.getLogger()
    top.handlers[:] = [handler]
    top.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # they bring handlers of their own
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = name != "uvicorn.access"
    for name in ("httpx", "httpcore", "aiokafka", "asyncio"):  # httpx logs whole URLs, which hold tokens
        logging.getLogger(name).setLevel("WARNING")
