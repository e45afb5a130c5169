"""Connections to a service's database: a small pool, dedicated connections, and which errors pass by themselves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg

from expedite_messaging import metrics
from expedite_messaging.engine import Transient
from expedite_messaging.migrate import plain_url
from expedite_messaging.silence import Silence

R = TypeVar("R")

POOL_SIZE = 5  # more than two cores can serve only waits for locks (P42)
STATEMENT_TIMEOUT_S = 15
COMMAND_TIMEOUT_S = 20  # ours, for links that swallow bytes; longer than the server's own
_SETTINGS = {
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "lock_timeout": "8s",
    "idle_in_transaction_session_timeout": "15s",
    "transaction_timeout": "60s",
    "jit": "off",
    "timezone": "UTC",
    # Whoever cannot hear us any more must not keep others from its keys: their locks go with its session.
    "tcp_user_timeout": "5s",
    "tcp_keepalives_idle": "2s",
    "tcp_keepalives_interval": "1s",
    "tcp_keepalives_count": "3",
    "client_connection_check_interval": "2s",
}
# As for the server: no acknowledgement for five seconds, also while only an answer is waited for, is the end of a link.
_TCP = {"TCP_USER_TIMEOUT": 5000, "TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3}
_PASSING = {
    "40P01",  # deadlock
    "40001",  # serialization
    "55P03",  # lock timeout
    "57014",  # statement timeout: a paused server, not a bad statement
    "25P03",  # idle in transaction timeout
    "25P04",  # transaction timeout
}

_ENDED = {"25P03", "25P04"}  # the server ends the session with these

# The driver asks a new connection about every array type it meets, one slow query per statement: with this, one for all.
_ARRAY_TYPES = """
SELECT $1::uuid[], $2::int[], $3::smallint[], $4::bigint[], $5::bytea[], $6::bool[], $7::timestamptz[], $8::numeric[],
       $9::float8[], $10::date[], $11::varchar[]
"""
# The link broke, or the server ended the session at a moment in which the driver's state machine did not expect it.
_BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError, ConnectionError)

# Two tasks share a transaction; a statement got other parameters than it has.
_OUR_FAULT = ("another operation is in progress", "for this query, ")


def passes(error: BaseException) -> bool:
    """True when the same work may succeed later: the database is away, restarting, full or chose us as a victim."""
    if isinstance(error, asyncpg.DataError) and isinstance(error, asyncpg.InterfaceError):
        return False  # a parameter that cannot be encoded
    if isinstance(error, asyncpg.exceptions.OutdatedSchemaCacheError | asyncpg.exceptions.InvalidCachedStatementError):
        return True  # a migration ran beneath us (P40); the cache was dropped with the error
    if isinstance(error, asyncpg.PostgresError):
        state = getattr(error, "sqlstate", None) or ""
        return state in _PASSING or state[:2] in ("08", "53", "57", "58")
    if isinstance(error, asyncpg.InterfaceError) and any(words in str(error) for words in _OUR_FAULT):
        return False  # a bug of ours that trying again would only hide
    return isinstance(error, _BROKEN)


def lost(error: BaseException) -> bool:
    """True when the connection itself is gone or in an unknown state."""
    if isinstance(error, asyncpg.PostgresError):
        state = getattr(error, "sqlstate", None) or ""
        return state in _ENDED or (state[:2] in ("08", "57") and state != "57014")
    return isinstance(error, _BROKEN)


def kind_of(error: BaseException) -> str:
    """What was wrong with the database when a call failed that may succeed later."""
    state = (getattr(error, "sqlstate", None) or "") if isinstance(error, asyncpg.PostgresError) else ""
    if state in ("53100", "58030"):
        return "disk"
    if state[:2] == "53":
        return "resources"
    if state in _PASSING:
        return "slow" if state.startswith(("57", "25")) else "conflict"
    return "away"


async def calling(function: Callable[..., Awaitable[R]], *args: Any, **options: Any) -> R:
    """Call the database; what passes by itself becomes `Transient`. The call itself is made here: a session that ended since its
    last statement refuses it before there is anything to await."""
    try:
        return await function(*args, **options)
    except Exception as error:
        if passes(error):
            metrics.DATABASE_FAILURES.labels(kind_of(error)).inc()
            raise Transient(f"{type(error).__name__}: {error}") from error
        raise


async def to_the_end(work: Coroutine[Any, Any, R]) -> R:
    """Await `work` even when cancelled meanwhile: a commit is never left half way (P38, P39)."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except Exception:
            break  # raised again by result()
    if cancelled is not None:
        with suppress(Exception):
            task.result()
        raise cancelled
    return task.result()


def _keep_alive(connection: Any) -> None:
    """Notice a dead link within seconds, whatever the kernel's defaults."""
    transport = getattr(connection, "_transport", None)
    sock = transport.get_extra_info("socket") if transport else None
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _TCP.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def abandon(raw: Any) -> None:
    """Cut a connection of the pool whose state is unknown; nothing when it has been cut already."""
    with suppress(asyncpg.InterfaceError):
        raw.terminate()


async def _give_back(pool: Any, raw: Any) -> None:
    """Return a connection to its pool. What was done over it is done: failing here only costs the connection."""
    try:
        await pool.release(raw, timeout=5)
    except Exception:
        abandon(raw)


async def _prepare(connection: Any) -> None:
    _keep_alive(connection)
    # Run, not only prepared: a statement that is only prepared leaves the session within the transaction it was prepared in.
    await connection.fetch(_ARRAY_TYPES, *[[]] * _ARRAY_TYPES.count("$"))


async def _nothing_to_reset(_connection: Any) -> None:
    """Sessions of the pool differ in nothing: what is set is set for a transaction."""


class Connections:
    """The connections of one process to one database."""

    def __init__(
        self,
        url: str,
        application: str,
        size: int = POOL_SIZE,
        settings: Mapping[str, str] | None = None,
        ready: int = 0,
    ) -> None:
        """`settings`: of the pool's sessions, besides those of all. `ready`: how many of them are made at first use, and stay:
        who is urgent must not wait for one to be made."""
        self.url, self.application, self._size, self._ready = plain_url(url), application, size, ready
        self._settings = {**_SETTINGS, **(settings or {}), "application_name": application}
        self._pool: Any = None
        self._opening = asyncio.Lock()
        self.silence = Silence(self._to_ask, self._anew)

    async def _open(self) -> Any:
        async with self._opening:
            if self._pool is None:
                self.silence.begin()
                pool = await asyncpg.create_pool(
                    self.url,
                    min_size=0,
                    max_size=self._size,
                    max_queries=2**31 - 1,
                    max_inactive_connection_lifetime=0 if self._ready else 1800,
                    timeout=5,
                    command_timeout=COMMAND_TIMEOUT_S,
                    server_settings=self._settings,
                    connection_class=self.silence.connection_class,
                    init=_prepare,
                    reset=_nothing_to_reset,
                )
                try:
                    async with AsyncExitStack() as held:
                        for _ in range(self._ready):
                            await held.enter_async_context(pool.acquire())
                except BaseException:
                    pool.terminate()
                    raise
                self._pool = pool
        return self._pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A raw asyncpg connection from the pool, outside any transaction. Raises `Transient` when there is none."""
        try:
            pool = self._pool or await self._open()
            async with asyncio.timeout(10):
                raw = await pool.acquire()
        except Exception as error:  # whatever keeps us from connecting, no event is to blame for it
            raise Transient(f"{type(error).__name__}: {error}") from error
        try:
            yield raw
        except BaseException as error:
            if lost(error.__cause__ or error):
                abandon(raw)
                await self._anew()
            raise
        finally:
            await to_the_end(_give_back(pool, raw))

    async def _anew(self) -> None:
        """One connection broke: the others of the pool went the same way and are made anew, not found broken one by one."""
        if self._pool is not None:
            await self._pool.expire_connections()

    async def _to_ask(self, within_s: float) -> Any:
        settings = {**_SETTINGS, "application_name": f"{self.application} asks"[:63]}
        return await asyncpg.connect(self.url, timeout=within_s, server_settings=settings)

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """Run one statement outside any transaction. Raises `Transient` for what passes."""
        async with self.connection() as raw:
            rows: list[Any] = await calling(raw.fetch, sql, *args)
            return rows

    async def dedicated(self, purpose: str, **settings: str) -> Any:
        """A connection of its own, for session locks and LISTEN. The caller closes it."""
        self.silence.begin()
        connection = await calling(
            asyncpg.connect,
            self.url,
            timeout=5,
            command_timeout=COMMAND_TIMEOUT_S,
            connection_class=self.silence.connection_class,
            server_settings={
                **_SETTINGS,
                "application_name": f"{self.application} {purpose}"[:63],
                **settings,
            },
        )
        _keep_alive(connection)
        return connection

    async def close(self) -> None:
        """Close the pool."""
        await self.silence.end()
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), 5)
            except TimeoutError:  # somebody still has one
                pool.terminate()
