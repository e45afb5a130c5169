"""Urgent orders get the processor first.

On a machine of their own, express lanes find a free core. Here everything shares a few, and an urgent order wakes some twenty
processes and database sessions one after another: behind whoever is busy at each of them it would wait ten times as long as
it works. What urgent orders pass through therefore runs in Linux's real-time class, where the system allows it (root, or
CAP_SYS_NICE), as long as it is little work: whoever is busy for half a second in one (a long query) is like everybody for
the next ten. A bulk upload gives way by itself while it runs (`expedite_chassis.leisure`) and is not suspect afterwards.
The kernel's own workers that pass flushes on to the disk come before all of it: no commit ends without them.
Whoever holds an order that something urgent waits for is urgent until it lets go (`lending`).
Without the privilege niceness alone decides (`plan`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg

EVERY_S = 1.0
BUSY = 0.5
"""The share of a core above which work is not little."""
CALM_S = 10.0
"""For so long at least whoever was busy is like everybody: on a full machine it cannot be seen to be busy any more."""
TRUSTED_S = 3.0
"""For so long after it was seen to give way by itself, a process may be busy."""
DISK, URGENT = 2, 1
"""Places in the real-time class. Whoever may hold what another waits for, a lock of the database say, is in the same place."""
_TICKS = os.sysconf("SC_CLK_TCK")
_KERNEL = Path("/proc/2/task/2/children")  # of kthreadd: the kernel's own threads
_DISK_WORKER = re.compile(r"kworker/\d+:\d+H")  # of the pools that serve block devices (kblockd)
# The kernel's threads, and whether they serve the disk: some hundred, of which few are new at a second look.
_kernel: dict[int, bool] = {}
# Sessions of express lanes and of the APIs where urgent orders come in and are raised; and who writes the log for them.
_SESSIONS = """
SELECT pid FROM pg_stat_activity
WHERE application_name ~ $1 OR backend_type = 'walwriter'
"""


def names(entrances: Iterable[str]) -> str:
    """What the names of urgent sessions match: those of express lanes, and of the APIs `entrances`."""
    return rf"^(\S+-express|({'|'.join(entrances)})-api)-"


def allowed() -> bool:
    """Whether this process may put others into the real-time class."""
    with punctual() as granted:
        return granted


def hurry(pid: int, place: int = URGENT) -> None:
    """Put a process with all its threads into the real-time class; what it starts later begins like everybody."""
    _become(pid, os.SCHED_RR | os.SCHED_RESET_ON_FORK, place)


def calm(pid: int) -> None:
    """Take a process with all its threads out of the real-time class."""
    _become(pid, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, 0)


def _become(pid: int, policy: int, priority: int) -> None:
    with contextlib.suppress(OSError):  # it has just ended
        param = os.sched_param(priority)
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - every second, of some hundred threads
            with contextlib.suppress(OSError):  # or is not ours
                os.sched_setscheduler(int(thread), policy, param)


@contextmanager
def punctual() -> Iterator[bool]:
    """Run this thread in the real-time class for the block: for a watch that must not be late itself. False where that is
    not allowed: it runs as before. What is started meanwhile is like everybody."""
    if not hasattr(os, "sched_setscheduler"):
        yield False
        return
    policy, param, granted = os.sched_getscheduler(0), os.sched_getparam(0), False
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(URGENT))
        granted = True
    try:
        yield granted
    finally:
        if granted:
            try:
                os.sched_setscheduler(0, policy, param)
            except OSError:  # who may have real time and no other privilege may not take the second flag back
                os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, param)


def disk_workers() -> list[int]:
    """The kernel's workers that pass flushes on to the disk, one or more for each processor; none where they are not to be
    seen, as in a container. They are like everybody by default, and a flush, which every commit waits for, would wait
    behind all real-time work of its processor: 12 to 60 ms where the disk takes a quarter of one."""
    if _name(2) != "kthreadd":
        return []
    try:
        kernel = list(map(int, _KERNEL.read_text(encoding="ascii").split()))
    except OSError:
        return []
    known = {pid: _kernel[pid] if pid in _kernel else bool(_DISK_WORKER.match(_name(pid))) for pid in kernel}
    _kernel.clear()
    _kernel.update(known)
    return [pid for pid, serves in known.items() if serves]


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):  # it has just ended
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").rstrip()
    return ""


async def keep(pids: Callable[[], Iterable[int]], postgres_url: str | None, entrances: Iterable[str]) -> None:
    """See to it until cancelled: `pids` that are urgent now, the database sessions of express lanes and of the APIs
    `entrances`, and the disk. None for a server that is not ours."""
    if not allowed():
        return
    used: dict[int, float] = {}
    calmed: dict[int, float] = {}  # until when
    trusted: dict[int, float] = {}  # until when
    looked = time.monotonic()
    async with asking(postgres_url, _SESSIONS, names(entrances)) as sessions, _served():
        while True:
            await asyncio.sleep(EVERY_S)
            for pid in disk_workers():
                hurry(pid, DISK)
            urgent = [*pids(), *[row["pid"] for row in await sessions()]]
            took, looked = time.monotonic() - looked, time.monotonic()
            before, used = used, {pid: _cpu_s(pid) for pid in urgent}
            calmed = {pid: until for pid, until in calmed.items() if until > looked}
            trusted = {pid: until for pid, until in trusted.items() if until > looked}
            for pid in urgent:
                if _gives_way(pid):
                    trusted[pid] = looked + TRUSTED_S
                    continue
                if pid not in trusted and used[pid] - before.get(pid, used[pid]) > BUSY * took:
                    calmed[pid] = looked + CALM_S
                (calm if pid in calmed else hurry)(pid)


@asynccontextmanager
async def _served() -> AsyncIterator[None]:
    """The workers of the disk are not ours: they are left as everybody finds them."""
    try:
        yield
    finally:
        for pid in disk_workers():
            with contextlib.suppress(OSError):
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


@asynccontextmanager
async def asking(url: str | None, sql: str, *args: str) -> AsyncIterator[Callable[[], Awaitable[list[Any]]]]:
    """Asks the server over and over; no rows while it is away, or is not ours."""
    connection: asyncpg.Connection | None = None

    async def ask() -> list[Any]:
        nonlocal connection
        if url is None:
            return []
        try:
            if connection is None or connection.is_closed():
                connection = await asyncpg.connect(url, timeout=5, command_timeout=5)
            found: list[Any] = await connection.fetch(sql, *args)
            return found
        except Exception:  # the server is restarting, or what it said made no sense to the driver: asked again
            if connection is not None:
                connection.terminate()
            connection = None
            return []

    try:
        yield ask
    finally:
        if connection is not None:
            connection.terminate()


def _gives_way(pid: int) -> bool:
    """Whether a process does bulk work now and says so, as `expedite_chassis.leisure` does. Importing that would bring the web
    framework into every start of the command: half a second."""
    with contextlib.suppress(OSError):
        return os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_BATCH
    return False


def _cpu_s(pid: int) -> float:
    """Seconds of processor time a process has had; 0 when it is gone."""
    try:
        # Of some sixty processes every second: a `Path` costs more than the read.
        with open(f"/proc/{pid}/stat", "rb") as file:
            _, _, told = file.read().rpartition(b")")
    except OSError:
        return 0.0
    user, system = told.split()[11:13]
    return (int(user) + int(system)) / _TICKS
