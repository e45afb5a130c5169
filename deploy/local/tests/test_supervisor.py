"""Processes start in order when ready, come back after a crash, and stop without orphans."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from expedite_local.child import Liveness, ProcessSpec, Restart
from expedite_local.errors import LocalError, StartFailed
from expedite_local.home import Home
from expedite_local.ports import free_port
from expedite_local.supervisor import Supervisor, in_start_order

DUMMY = Path(__file__).with_name("dummy.py")
QUICK = Restart(first=0.05, longest=0.2, give_up=3)


def dummy(name: str, *arguments: str, **fields: Any) -> ProcessSpec:
    port = free_port()
    return ProcessSpec(
        name=name,
        argv=(sys.executable, str(DUMMY), "--name", name, *arguments),
        env={"PORT": str(port)},
        ready_url=f"http://127.0.0.1:{port}/readyz",
        port=port,
        **({"restart": QUICK} | fields),
    )


@asynccontextmanager
async def running(home: Home, *specs: ProcessSpec) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(specs, home)
    await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def until(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_a_process_starts_only_when_what_it_needs_is_ready_and_stops_before_it(
    home: Home, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    told = ("--journal", str(journal))
    specs = [
        dummy("page", *told, depends_on=("base",)),
        dummy("base", *told, "--ready-after", "0.5"),
    ]
    async with running(home, *specs) as supervisor:
        assert [s.state for s in supervisor.status()] == ["ready", "ready"]
    lines = journal.read_text().splitlines()
    assert lines[:4] == ["start base", "ready base", "start page", "ready page"]
    assert sorted(lines[4:]) == ["stop base", "stop page"]


async def test_a_killed_process_comes_back_and_is_counted(home: Home) -> None:
    async with running(home, dummy("one")) as supervisor:
        (before,) = supervisor.status()
        os.kill(before.pid, signal.SIGKILL)
        await until(lambda: supervisor.status()[0].restarts == 1 and supervisor.status()[0].state == "ready")
        assert supervisor.status()[0].pid != before.pid
    assert "ended by SIGKILL" not in (home.logs / "one.log").read_text()  # the log is the process's own
    assert (home.logs / "one.log").read_text().count("one says hello") == 2


async def test_pauses_between_restarts_grow(home: Home) -> None:
    spec = dummy("flaky", "--crash-after", "0.3", restart=Restart(first=0.05, factor=4, longest=0.4))
    async with running(home, spec) as supervisor:
        began = time.monotonic()
        await until(lambda: supervisor.status()[0].restarts >= 3, 15)
        # Three lives of at least 0.3 s and pauses of 0.05, 0.2 and 0.4 s.
        assert time.monotonic() - began > 3 * 0.3 + 0.65 - 0.3


async def test_a_process_that_never_becomes_ready_fails_the_start_with_its_last_words(
    home: Home, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    good, bad = dummy("good"), dummy("bad", "--crash-until", str(missing))
    supervisor = Supervisor([good, bad], home)
    with pytest.raises(StartFailed, match="bad does not start: ended with status 1") as failure:
        await supervisor.start()
    assert "cannot work without that file" in str(failure.value)
    assert [s.pid for s in supervisor.status()] == [0, 0]


async def test_a_misconfigured_process_is_not_started_again(home: Home) -> None:
    spec = ProcessSpec("lost", (sys.executable, "-c", "raise SystemExit(78)"), ready_url="http://127.0.0.1:1/readyz")
    supervisor = Supervisor([spec], home)
    with pytest.raises(StartFailed, match="ended with status 78"):
        await supervisor.start()
    assert supervisor.status()[0].restarts == 0


async def test_a_start_survives_early_crashes(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "late"
    supervisor = Supervisor([dummy("late", "--crash-until", str(file))], home)
    start = asyncio.create_task(supervisor.start())
    await until(lambda: supervisor.status() and supervisor.status()[0].restarts >= 1)
    file.touch()
    await start
    await supervisor.stop()


async def test_a_program_that_does_not_exist_fails_the_start(home: Home) -> None:
    spec = ProcessSpec("ghost", ("/no/such/program",), restart=QUICK)
    with pytest.raises(StartFailed, match="cannot run /no/such/program"):
        await Supervisor([spec], home).start()


async def test_a_process_that_hangs_is_restarted(home: Home) -> None:
    spec = dummy("deaf", "--deaf-after", "0.6")
    spec = ProcessSpec(**(vars(spec) | {"liveness": Liveness(spec.ready_url or "", every=0.1, failures=3)}))
    async with running(home, spec) as supervisor:
        await until(lambda: supervisor.status()[0].restarts >= 1)


async def test_what_ignores_sigterm_is_killed(home: Home) -> None:
    supervisor = Supervisor([dummy("stubborn", "--stubborn")], home)
    await supervisor.start()
    pid = supervisor.status()[0].pid
    began = time.monotonic()
    await supervisor.stop(grace=0.5)
    assert 0.5 <= time.monotonic() - began < 3
    assert not psutil.pid_exists(pid)


async def test_standard_lanes_are_nicer(home: Home) -> None:
    async with running(home, dummy("polite", nice=5)):
        mine = os.getpriority(os.PRIO_PROCESS, 0)
        await until(lambda: f"polite says hello, nice {mine + 5}" in (home.logs / "polite.log").read_text())


def test_circles_and_unknown_names_are_refused() -> None:
    with pytest.raises(LocalError, match="a -> b -> a"):
        in_start_order([ProcessSpec("a", ("x",), depends_on=("b",)), ProcessSpec("b", ("x",), depends_on=("a",))])
    with pytest.raises(LocalError, match="a depends on z"):
        in_start_order([ProcessSpec("a", ("x",), depends_on=("z",))])
    with pytest.raises(LocalError, match="same name"):
        in_start_order([ProcessSpec("a", ("x",)), ProcessSpec("a", ("x",))])


OWNER = """
import asyncio, json, sys
from pathlib import Path
from expedite_local.child import ProcessSpec
from expedite_local.home import Home
from expedite_local.supervisor import Supervisor

async def main():
    specs = [ProcessSpec(**spec) for spec in json.loads(sys.argv[2])]
    supervisor = Supervisor(specs, Home(Path(sys.argv[1])))
    await supervisor.start()
    print(json.dumps([s.pid for s in supervisor.status()]), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_killed_supervisor_leaves_no_children(home: Home, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    specs = [dummy("one", "--journal", str(journal)), dummy("two"), dummy("three")]
    plain = [{key: value for key, value in vars(spec).items() if key not in ("restart",)} for spec in specs]
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(home.root), json.dumps(plain)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pids = json.loads(owner.stdout.readline())
    assert len(pids) == 3 and all(psutil.pid_exists(pid) for pid in pids)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 10
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.05)
    assert "stop one" in journal.read_text()  # asked, not just killed


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
