"""Urgent work gets the processor first, where the system allows it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import asyncpg
import pytest

from expedite_local import urgency
from expedite_local.postgres import embedded_postgres

pytestmark = pytest.mark.skipif(not urgency.allowed(), reason="the real-time class is not allowed here")


def test_a_process_hurries_with_all_its_threads() -> None:
    """B4: whatever an urgent order passes through runs before everything else."""
    program = "import sys, threading\nthreading.Thread(target=sys.stdin.read).start()\nprint(flush=True)\n"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        urgency.hurry(child.pid)
        threads = [int(thread.name) for thread in Path(f"/proc/{child.pid}/task").iterdir()]
        assert len(threads) == 2
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_RR}
        child.communicate(b"")
    urgency.hurry(child.pid)  # it is gone: nothing to do


def test_a_watch_is_punctual_only_while_it_watches() -> None:
    before = os.sched_getscheduler(0)
    with urgency.punctual():
        assert os.sched_getscheduler(0) == os.SCHED_RR
        threading.Event().wait(0.001)
    assert os.sched_getscheduler(0) == before


async def test_sessions_of_express_lanes_hurry_and_no_others(tmp_path: Path) -> None:
    """B4: the database works for urgent orders first."""
    with embedded_postgres(tmp_path / "pg") as url:
        names = ("inventory-express-0 relay express", "order-intake-api-0", "inventory-standard-0", "inventory-api-0")
        sessions = {name: await asyncpg.connect(url, server_settings={"application_name": name}) for name in names}
        pids = {name: await session.fetchval("SELECT pg_backend_pid()") for name, session in sessions.items()}
        keeping = asyncio.create_task(urgency.keep(lambda: (), url, ["order-intake", "prioritizer"]))
        async with asyncio.timeout(20):
            while os.sched_getscheduler(pids[names[0]]) != os.SCHED_RR:  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.02)
        keeping.cancel()
        hurried = {name for name, pid in pids.items() if os.sched_getscheduler(pid) == os.SCHED_RR}
        assert hurried == set(names[:2])
        for session in sessions.values():
            await session.close()
