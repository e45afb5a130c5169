"""What a connection may do before there is a request: say so much, for so long. The server itself waits for ever."""

from __future__ import annotations

import asyncio

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from expedite_chassis.problem_types import problem_type

MAX_HEAD_BYTES = 64 * 1024
_LATE_S = 1.0
_AGAIN_S = 0.5


class Guarded(HttpToolsProtocol):
    """HTTP/1.1 whose request line and headers must be complete `head_s` real seconds after the connection was made or,
    on one that is kept, after their first byte; and must not grow without end meanwhile. Bodies have their own clock
    (`middleware.Limits`), idle connections uvicorn's."""

    head_s = 15.0

    _in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse("headers-too-large")
                return
        # The rest of a body that was answered before it came is waited for no longer than a head.
        nothing_to_do = self._in_head or self.cycle is None or self.cycle.response_complete
        if nothing_to_do and self._head_timer is None:
            self._await_head(self.head_s)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._head_is_here()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse("bad-request")

    def _await_head(self, seconds: float) -> None:
        due = self.loop.time() + seconds
        self._head_timer = self.loop.call_at(due, self._head_is_late, due)

    def _head_is_here(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self, due: float) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self.loop.time() - due > _LATE_S:
            self._await_head(_AGAIN_S)  # this process was late itself: what waits in the socket is read first
        elif self._in_head:
            self._refuse("too-slow")
        else:
            self.transport.close()

    def _refuse(self, code: str) -> None:
        """Answer what no app will see, and end."""
        known = problem_type(code)
        assert known is not None
        body = orjson.dumps({"type": f"/problems/{code}", "title": known.title, "status": known.status})
        head = (
            b"content-type: application/problem+json\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        self.transport.write(STATUS_LINE[known.status] + head + body)
        self.transport.close()
