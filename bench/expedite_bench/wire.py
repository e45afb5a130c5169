"""A small HTTP/1.1 client for load and simulators. General clients cost more CPU per request than the services under
test; what the load costs here stays out of the figures' way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

AWAY = frozenset({429, 502, 503, 504})
PATIENCE = 600
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: status and body."""

    status: int
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


def request(
    method: str, url: str, path: str, key: str = "", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of one request, ready to be sent as often as needed."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {urlsplit(url).netloc}"]
    lines += [f"authorization: Bearer {key}"] if key else []
    lines += [f"{name}: {value}" for name, value in {"Content-Type": "application/json", **(headers or {})}.items()]
    lines += [f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END + body


class Connection(asyncio.Protocol):
    """One connection, kept alive; one request at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._buffer = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None

    @property
    def open(self) -> bool:
        return self._transport is not None

    async def ask(self, url: str, sent: bytes) -> Answer:
        """Send and wait for the answer. Raises ConnectionError when the connection ends before it."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            where = urlsplit(url)
            await loop.create_connection(lambda: self, where.hostname, where.port)
        self._waiting = loop.create_future()
        self._transport.write(sent)
        return await self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._waiting is None or self._waiting.done():
            return
        answer = _complete(self._buffer)
        if answer is not None:
            self._buffer.clear()
            self._waiting.set_result(answer)


def _complete(buffer: bytearray) -> Answer | None:
    """The answer in the buffer once it is whole."""
    end = buffer.find(_END)
    if end < 0:
        return None
    head, start = bytes(buffer[: end + 2]), end + len(_END)
    status = int(head[9:12])
    if _CHUNKED.search(head):
        return Answer(status, _joined(buffer, start)) if buffer.endswith(b"0\r\n\r\n") else None
    found = _LENGTH.search(head)
    length = int(found[1]) if found else 0
    return Answer(status, bytes(buffer[start : start + length])) if len(buffer) >= start + length else None


def _joined(buffer: bytearray, at: int) -> bytes:
    parts = []
    while True:
        line = buffer.index(b"\r\n", at)
        size = int(bytes(buffer[at:line]).split(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(bytes(buffer[line + 2 : line + 2 + size]))
        at = line + 2 + size + 2


@dataclass
class Client:
    """One party's connections to one service. Every write of a bench is idempotent: what failed is sent again."""

    url: str
    key: str
    _idle: list[Connection] = field(default_factory=list)

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer of the service; asked again while it is away. Raises ConnectionError when that lasts minutes."""
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        sent = request(method, self.url, path, self.key, raw, headers)
        for _ in range(PATIENCE):
            async with self._connection() as connection:
                try:
                    answer = await connection.ask(self.url, sent)
                except OSError:
                    answer = None
            if answer is not None and answer.status not in AWAY:
                return answer
            await asyncio.sleep(0.2)
        raise ConnectionError(f"{method} {path}: {answer.status if answer else 'no connection'}")

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a success. Raises RuntimeError with what was answered otherwise."""
        answer = await self.ask(method, path, body)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:500].decode(errors='replace')}")
        return answer.json() if answer.body else None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        connection = self._idle.pop() if self._idle else Connection()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
