"""Urgent orders get the processor first.

On a machine of their own, express lanes find a free core. Here everything shares a few, and an urgent order wakes some twenty
processes and database sessions one after another: behind whoever is busy at each of them it would wait ten times as long as
it works. What urgent orders pass through therefore runs in Linux's real-time class, where the system allows it (root, or
CAP_SYS_NICE): it is little work, and nothing else has to wait long for it. Without it niceness alone decides (`plan`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

EVERY_S = 1.0
# Sessions of express lanes and of the APIs where urgent orders come in and are raised; and who writes the log for them.
_SESSIONS = r"""
SELECT pid FROM pg_stat_activity
WHERE application_name ~ ('^(\S+-express|(' || $1 || ')-api)-') OR backend_type = 'walwriter'
"""


def allowed() -> bool:
    """Whether this process may put others into the real-time class."""
    if not hasattr(os, "sched_setscheduler"):
        return False
    try:
        with punctual():
            return os.sched_getscheduler(0) == os.SCHED_RR
    except OSError:
        return False


def hurry(pid: int) -> None:
    """Put a process with all its threads into the real-time class."""
    with contextlib.suppress(OSError):  # it has just ended, or is not ours
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(1))


@contextmanager
def punctual() -> Iterator[None]:
    """Run this thread in the real-time class for the block: for a watch that must not be late itself. Where that is not
    allowed it runs as before."""
    before = os.sched_getscheduler(0)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, os.sched_param(0))


async def keep(pids: Callable[[], Iterable[int]], postgres_url: str | None, entrances: Iterable[str]) -> None:
    """See to it until cancelled: `pids` that are urgent now, and the database sessions of express lanes and of the APIs
    `entrances`. None for a server that is not ours."""
    if not allowed():
        return
    connection: asyncpg.Connection | None = None
    while True:
        for pid in pids():
            hurry(pid)
        if postgres_url:
            try:
                if connection is None or connection.is_closed():
                    connection = await asyncpg.connect(postgres_url, timeout=5, command_timeout=5)
                for row in await connection.fetch(_SESSIONS, "|".join(entrances)):
                    hurry(row["pid"])
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if connection is not None:
                    connection.terminate()
                connection = None
        await asyncio.sleep(EVERY_S)
