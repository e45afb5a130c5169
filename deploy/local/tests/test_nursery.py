"""Processes born by fork behave like processes that were executed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from expedite_local.nursery import LOST, Born, Nursery

PROGRAM = """
import os, signal, sys, threading, time
print("I am", os.environ["WHO"], sys.argv[1:], __name__, os.nice(0), os.getpid() == os.getsid(0), flush=True)
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, threading.active_count(), file=sys.stderr, flush=True)
match sys.argv[1]:
    case "end": sys.exit(7)
    case "say": sys.exit("no such thing")
    case "raise": raise RuntimeError("broken")
    case "sleep": time.sleep(60)
"""


@pytest.fixture
async def nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nursery]:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    nursery = Nursery()
    yield nursery
    await nursery.close()


async def born(nursery: Nursery, what: str, nice: int = 0) -> Born:
    child = await nursery.bear((sys.executable, "-m", "program", what), {"WHO": "a child"}, nice)
    assert child is not None
    return child


async def test_a_child_runs_its_module_with_its_environment_and_leads_its_own_session(nursery: Nursery) -> None:
    """I2: one command starts everything, each process as if it had been executed."""
    child = await born(nursery, "end", nice=3)
    output = (await child.stdout.read()).decode()
    assert output == f"I am a child ['end'] __main__ {os.nice(0) + 3} True\nTrue 1\n"
    assert await child.wait() == 7


async def test_how_a_child_ended_is_told(nursery: Nursery) -> None:
    said, raised, killed = [await born(nursery, what) for what in ("say", "raise", "sleep")]
    assert (await said.stdout.read()).endswith(b"no such thing\n")
    assert b"RuntimeError: broken" in await raised.stdout.read()
    os.kill(killed.pid, signal.SIGKILL)
    assert [await child.wait() for child in (said, raised, killed)] == [1, 1, -signal.SIGKILL]


async def test_a_child_that_comes_too_late_is_ended_and_taken_for_nobody_else(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the nursery may answer after its supervisor has started the process in the ordinary way: it must
    not run twice, and the late answer is not the next one's."""
    await (await born(nursery, "end")).wait()
    assert nursery._parent is not None
    os.kill(nursery._parent.pid, signal.SIGSTOP)
    monkeypatch.setattr("expedite_local.nursery.ANSWER_S", 0.2)
    assert await nursery.bear((sys.executable, "-m", "program", "sleep"), {"WHO": "the late one"}, 0) is None
    monkeypatch.setattr("expedite_local.nursery.ANSWER_S", 30.0)
    os.kill(nursery._parent.pid, signal.SIGCONT)
    child = await born(nursery, "end")
    assert (await child.stdout.read()).startswith(b"I am a child ['end']")
    assert await child.wait() == 7

    def runs() -> bool:
        assert nursery._parent is not None
        return bool(psutil.Process(nursery._parent.pid).children())

    for _ in range(100):
        if not runs():
            break
        await asyncio.sleep(0.1)
    assert not runs()
    assert not nursery._children and not nursery._unwanted and not nursery._waiting


async def test_children_outlive_a_nursery_that_was_killed_and_nobody_is_born_there_any_more(nursery: Nursery) -> None:
    child = await born(nursery, "sleep")
    assert nursery._parent is not None
    nursery._parent.kill()
    await nursery._parent.wait()
    await asyncio.sleep(0.1)
    assert child.returncode is None
    assert await nursery.bear((sys.executable, "-m", "program", "end"), {"WHO": "late"}, 0) is None
    os.kill(child.pid, signal.SIGKILL)
    assert await asyncio.wait_for(child.wait(), 10) == LOST


def test_only_modules_with_nothing_before_them_are_born(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert Nursery.serves((sys.executable, "-m", "inventory.main"), {})
    assert not Nursery.serves((sys.executable, "program.py"), {})
    assert not Nursery.serves((sys.executable, "-m", "inventory.main"), {"PYTHONPATH": "failpoints"})
    assert not Nursery.serves((sys.executable, "-m", "inventory.main"), {"LD_PRELOAD": "wall_clock.so"})
    monkeypatch.setenv("PYTHONPATH", "everybody's")
    assert Nursery.serves((sys.executable, "-m", "inventory.main"), {})
    assert Nursery.serves((sys.executable, "-m", "inventory.main"), {"PYTHONPATH": "everybody's"})
    assert not Nursery.serves((sys.executable, "-m", "inventory.main"), {"PYTHONPATH": "its own"})


async def test_a_nursery_that_cannot_begin_keeps_nobody_waiting(
    nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What everybody's path puts before our code may break it: the processes are started in the ordinary way at once."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['expedite_messaging.postgres'] = None")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert await asyncio.wait_for(nursery.bear((sys.executable, "-m", "program", "end"), {}, 0), 20) is None
