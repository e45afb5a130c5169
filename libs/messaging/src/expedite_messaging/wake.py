"""Wake hints: after a commit, whoever has something to do is told at once instead of finding it by polling.

Hints are only hints: every loop also polls. Within a process a hint sets an `asyncio.Event`; what nobody in this process
waits for is sent by one coalesced NOTIFY (at most 50 a second) on a connection of its own, because NOTIFY inside order
transactions would serialise their commits (P28).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import structlog

from expedite_events import Lane
from expedite_messaging.connection import Connections
from expedite_messaging.engine import Transient

CHANNEL = "expedite"
_SPACING_S = 0.02
log = structlog.get_logger(__name__)


def outbox_hint(lane: Lane) -> str:
    return f"outbox.{lane.value}"


def effects_hint(lane: Lane, kind: str) -> str:
    return f"effects.{lane.value}.{kind}"


TIMERS = "timers"


class Wake:
    """The hints of one process."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._local: dict[str, asyncio.Event] = {}
        self._remote: set[str] = set()
        self._pending = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    def event(self, name: str) -> asyncio.Event:
        """The event that a hint of this name sets in this process, from now on without NOTIFY."""
        return self._local.setdefault(name, asyncio.Event())

    def forget(self, name: str) -> None:
        """Nobody in this process waits for this hint any more."""
        self._local.pop(name, None)

    def hint(self, name: str) -> None:
        """Something named is there to do; costs nothing when it was said a moment ago."""
        local = self._local.get(name)
        if local is not None:
            local.set()
            return
        if name == TIMERS:
            return  # scanned at least every second; not worth a statement
        self._remote.add(name)
        self._pending.set()
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())

    async def _send(self) -> None:
        connection: Any = None
        try:
            while True:
                await self._pending.wait()
                self._pending.clear()
                names, self._remote = " ".join(sorted(self._remote)), set()
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._connections.dedicated("notify", synchronous_commit="off")
                    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, names)
                except Exception as error:  # a lost hint only costs the time of a poll
                    log.debug("wake hint lost", error=str(error))
                    if connection is not None:
                        connection.terminate()
                        connection = None
                    await asyncio.sleep(1.0)
                await asyncio.sleep(_SPACING_S)
        finally:
            if connection is not None:
                connection.terminate()

    def listen(self) -> None:
        """Hear the hints of other processes."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        def heard(_connection: Any, _pid: int, _channel: str, payload: str) -> None:
            for name in payload.split():
                if name in self._local:
                    self._local[name].set()

        while True:
            connection: Any = None
            try:
                connection = await self._connections.dedicated("listen")
                await connection.add_listener(CHANNEL, heard)
                # Whatever was said before we listened: look once.
                for event in self._local.values():
                    event.set()
                while not connection.is_closed():
                    await asyncio.sleep(5.0)
                    await connection.execute("SELECT 1")
            except (Transient, OSError, TimeoutError) as error:
                log.info("not hearing wake hints, polling", error=str(error))
            except Exception as error:
                log.warning("not hearing wake hints, polling", error=str(error))
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(1.0)

    async def close(self) -> None:
        """Stop sending and hearing."""
        for task in (self._sender, self._listener):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._sender = self._listener = None
