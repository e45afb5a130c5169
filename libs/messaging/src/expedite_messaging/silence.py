"""Connections whose answer does not come, although the server does not work on it: the question or the answer was lost.

The kernel notices a peer that does not acknowledge. It does not notice a pooler, tunnel or proxy between us and the server
that acknowledges and passes nothing on. A statement may rightly take long, so no deadline can tell; the server can: asked
over another connection, it says that the session of the statement has been idle all the while.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, ClassVar

import asyncpg
import structlog

log = structlog.get_logger(__name__)

PATIENCE_S = 2.0
"""An answer that takes longer is asked after."""
LOOK_EVERY_S = 0.5
_ASK_S = 3.0
_FIRST_OF_OURS = 16384
"""Types below are PostgreSQL's own: the same in every session (FirstNormalObjectId of its source)."""
_KNOWN = SimpleNamespace(name="known")  # the driver asks whether a statement without a name was spoilt: none was
# Sessions that wait for us while we wait for them, or are gone. What was found so twice is ended, and with it its locks.
_UNHEARD = """
SELECT asked.pid, CASE WHEN asked.pid = ANY($3::int[]) THEN pg_terminate_backend(a.pid) END
FROM unnest($1::int[]) AS asked(pid) LEFT JOIN pg_stat_activity a ON a.pid = asked.pid AND a.usename = current_user
WHERE a.pid IS NULL
  OR (a.state LIKE 'idle%' AND a.state_change < clock_timestamp() - make_interval(secs => $2))
"""


def _watched(name: str) -> Callable[..., Awaitable[Any]]:
    method = getattr(asyncpg.Connection, name)

    @functools.wraps(method)
    async def asking(self: Any, *args: Any, **options: Any) -> Any:
        asked = self.watch.asked
        asked[self] = time.monotonic()
        try:
            return await method(self, *args, **options)
        finally:
            asked.pop(self, None)

    return asking


class Asking(asyncpg.Connection):  # type: ignore[misc]
    """A connection that tells its watch while it waits for an answer, and asks what the system's types are once per process
    instead of once per session: a fifth of a second for whoever waits for one on a busy machine."""

    watch: ClassVar[Silence]
    known: ClassVar[dict[frozenset[int], Any]]
    execute, fetch, fetchrow, fetchval = (_watched(name) for name in ("execute", "fetch", "fetchrow", "fetchval"))

    async def _introspect_types(self, typeoids: Collection[int], timeout: float | None) -> Any:  # noqa: ASYNC109
        asked = frozenset(typeoids)
        if asked in self.known:
            return self.known[asked], _KNOWN
        types, statement = await super()._introspect_types(typeoids, timeout)
        if max(asked) < _FIRST_OF_OURS:
            self.known[asked] = types
        return types, statement

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the driver's own signature
        """As the driver's, but never waits for a farewell that nobody hears."""
        with suppress(OSError, TimeoutError, asyncpg.InterfaceError):
            await super().close(timeout=timeout or _ASK_S)


class Silence:
    """Watches the connections of one process to one database. `connection_class` is what they are made with; `ask` opens
    one for questions, within so many seconds; `found` is called when some were cut."""

    def __init__(self, ask: Callable[[float], Awaitable[Any]], found: Callable[[], Awaitable[None]]) -> None:
        self.asked: dict[Any, float] = {}  # connections that wait for an answer, since when
        self.cut = 0
        self.connection_class = type("Asking", (Asking,), {"watch": self, "known": {}})
        self._ask, self._found = ask, found
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Watch from now on; nothing when it does already."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name="silence")

    async def end(self) -> None:
        """Watch no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self) -> None:
        suspects: dict[Any, float] = {}  # found unheard by the last look
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            before = time.monotonic() - PATIENCE_S
            late = {c: at for c, at in self.asked.items() if at < before and not c.is_closed()}
            if not late:
                suspects = {}
                continue
            pids = {c: c.get_server_pid() for c in late}
            # Once is not enough: a server that was frozen has not read yet what we asked.
            known = {c for c, at in late.items() if suspects.get(c) == at}
            try:
                unheard = await self._unheard(late, known)
            except Exception as error:  # the server cannot be asked: the deadlines of the statements decide
                log.debug("nobody says what became of a statement", error=str(error))
                suspects = {}
                continue
            # What was answered while we asked had only waited for this process to look.
            suspects = {c: at for c, at in late.items() if self.asked.get(c) == at and pids[c] in unheard}
            # Their sessions are ended by now, and the server's good-bye may have come before its answer to us.
            if silent := {c for c in known if pids[c] in unheard}:
                for connection in silent:
                    connection.terminate()
                self.cut += len(silent)
                log.warning("cut connections whose answers were lost on the way", connections=len(silent))
                await self._found()

    async def _unheard(self, late: Collection[Any], known: Collection[Any]) -> set[int]:
        connection = await self._ask(_ASK_S)
        pids, end = [c.get_server_pid() for c in late], [c.get_server_pid() for c in known]
        try:
            return {row[0] for row in await connection.fetch(_UNHEARD, pids, PATIENCE_S, end, timeout=_ASK_S)}
        finally:
            connection.terminate()
