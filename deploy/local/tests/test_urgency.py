"""Urgent work gets the processor first, where the system allows it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from expedite_local import urgency
from expedite_local.postgres import embedded_postgres

pytestmark = pytest.mark.skipif(not urgency.allowed(), reason="the real-time class is not allowed here")


def _policy(pid: int) -> int:
    return os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK


def _place(pid: int) -> int:
    return os.sched_getparam(pid).sched_priority


def test_a_process_hurries_with_all_its_threads() -> None:
    """B4: whatever an urgent order passes through runs before everything else."""
    program = "import sys, threading\nthreading.Thread(target=sys.stdin.read).start()\nprint(flush=True)\n"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        urgency.hurry(child.pid)
        threads = [int(thread.name) for thread in Path(f"/proc/{child.pid}/task").iterdir()]
        assert len(threads) == 2
        assert {_policy(thread) for thread in threads} == {os.SCHED_RR}
        urgency.calm(child.pid)
        assert {_policy(thread) for thread in threads} == {os.SCHED_OTHER}
        child.communicate(b"")
    urgency.hurry(child.pid)  # it is gone: nothing to do


def test_a_watch_is_punctual_only_while_it_watches() -> None:
    """What it starts meanwhile is like everybody."""
    before = os.sched_getscheduler(0)
    with urgency.punctual() as granted:
        assert granted
        assert _policy(0) == os.SCHED_RR
        started = subprocess.run(["chrt", "-p", "0"], capture_output=True, text=True, check=True).stdout
    assert os.sched_getscheduler(0) == before
    assert "SCHED_OTHER" in started


async def test_sessions_of_express_lanes_hurry_and_no_others(tmp_path: Path) -> None:
    """B4: the database works for urgent orders first."""
    with embedded_postgres(tmp_path / "pg") as url:
        names = ("inventory-express-0 relay express", "order-intake-api-0", "inventory-standard-0", "inventory-api-0")
        sessions = {name: await asyncpg.connect(url, server_settings={"application_name": name}) for name in names}
        pids = {name: await session.fetchval("SELECT pg_backend_pid()") for name, session in sessions.items()}
        keeping = asyncio.create_task(urgency.keep(list, url, ["order-intake", "prioritizer"]))
        async with asyncio.timeout(20):
            while _policy(pids[names[0]]) != os.SCHED_RR:  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.02)
        keeping.cancel()
        assert {name for name, pid in pids.items() if _policy(pid) == os.SCHED_RR} == set(names[:2])
        for session in sessions.values():
            await session.close()


async def test_who_is_busy_does_not_hurry_until_it_is_calm() -> None:
    """A bulk upload through an entrance must not starve the stations behind it."""
    program = "import sys\nfor line in sys.stdin:\n    while line == 'work\\n': pass\n"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE)
    assert child.stdin is not None
    keeping = asyncio.create_task(urgency.keep(lambda: [child.pid], None, []))
    async with asyncio.timeout(30):
        while _policy(child.pid) != os.SCHED_RR:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.02)
        child.stdin.write(b"work\n")
        while _policy(child.pid) == os.SCHED_RR:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.02)
    keeping.cancel()
    child.kill()
    await child.wait()


async def test_who_gives_way_by_itself_is_left_alone_and_hurries_again_at_once() -> None:
    """B4: an urgent order right after a bulk upload does not find its entrance still suspect."""
    program = (
        "import os, sys, time\n"
        "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\n"
        "print(flush=True)\n"
        "until = time.monotonic() + 2.5\n"
        "while time.monotonic() < until: pass\n"
        "print(os.sched_getscheduler(0), flush=True)\n"
        "os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))\n"
        "sys.stdin.read()\n"
    )
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
    assert child.stdout is not None
    await child.stdout.readline()
    keeping = asyncio.create_task(urgency.keep(lambda: [child.pid], None, []))
    assert int(await child.stdout.readline()) == os.SCHED_BATCH
    async with asyncio.timeout(urgency.CALM_S / 2):  # the busy second before its end is not held against it
        while _policy(child.pid) != os.SCHED_RR:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.02)
    keeping.cancel()
    child.kill()
    await child.wait()


@pytest.mark.skipif(not urgency.disk_workers(), reason="the kernel's workers are not to be seen here")
async def test_the_disk_is_served_first_and_left_as_it_was() -> None:
    """B4: a commit waits for a flush, and a flush must not wait behind what urgent orders make run."""
    workers = urgency.disk_workers()
    keeping = asyncio.create_task(urgency.keep(list, None, []))
    async with asyncio.timeout(20):
        while {_place(pid) for pid in workers} != {urgency.DISK}:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.02)
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
    assert {_policy(pid) for pid in workers} == {os.SCHED_OTHER}
