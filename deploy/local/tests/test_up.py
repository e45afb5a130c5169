"""The whole command on real servers, with two dummy services: up, status, logs, refusal, kill, again, down, wipe."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from expedite_local import state
from expedite_local.home import Home
from expedite_local.postgres import data_folder

FAKE = Path(__file__).with_name("fake")


class Command:
    """Runs `expedite` in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.journal = folder / "journal"
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "KAFKA_BOOTSTRAP")},
            "EXPEDITE_HOME": str(self.home.root),
            "PYTHONPATH": str(FAKE),
            "FAKE_JOURNAL": str(self.journal),
        }

    def __call__(self, *arguments: str, code: int = 0) -> str:
        result = subprocess.run(
            [sys.executable, "-m", "expedite_local", *arguments],
            check=False,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert result.returncode == code, result.stdout
        return result.stdout

    def notes(self, kind: str) -> list[Any]:
        if not self.journal.exists():
            return []
        return [n for n in map(json.loads, self.journal.read_text().splitlines()) if n[0] == kind]


@pytest.fixture
def expedite(tmp_path: Path) -> Any:
    command = Command(tmp_path)
    yield command
    command("down", "--wipe")


def _gone(pids: list[int], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE for p in pids):
            return True
        time.sleep(0.05)
    return False


def test_a_system_lives_dies_and_comes_back(expedite: Command) -> None:
    # Up, in the background.
    screen = expedite("up", "--detach", "--port-base", "0", "--scale", "fake-one=2")
    assert "http://127.0.0.1:" in screen
    found = state.load(expedite.home)
    assert found is not None
    names = {p.name for p in found.processes}
    assert names == {
        *("postgres", "kafka", "mail", "fake-one-api", "fake-two-api", "fake-two-standard", "fake-two-express"),
        *(f"fake-one-{role}-{slot}" for role in ("standard", "express") for slot in (0, 1)),
    }
    assert [n[1] for n in expedite.notes("upgrade")] == ["fake_one", "fake_two"]
    assert expedite.notes("topics") == [["topics", found.kafka_bootstrap]]
    # At real speed business time is real time.
    anchored = [n for n in expedite.notes("anchor") if n[2] == 1.0]
    assert len(anchored) == 2
    assert abs((datetime.fromisoformat(anchored[0][3]) - datetime.now(UTC)).total_seconds()) < 60

    # Others find it.
    assert json.loads(expedite("status", "--json"))["phase"] == "ready"
    assert "fake-one-standard-1" in expedite("status")
    assert "hello" in expedite("logs", "fake_one")
    assert "held by the running system" in expedite("doctor")
    assert httpx.get(f"{found.urls['fake-two']}/readyz", trust_env=False).status_code == 200

    # A second one in the same home is refused.
    refused = expedite("up", "--port-base", "0", code=1)
    assert f"already running in {expedite.home.root}" in refused
    assert "already running" in expedite("up", "--detach", "--port-base", "0", code=1)

    # The supervisor is killed: nothing is left behind, and every command says what happened.
    pids = [p.pid for p in found.processes]
    assert all(pids)
    os.kill(found.supervisor_pid, signal.SIGKILL)
    assert _gone([found.supervisor_pid, *pids]), "orphans"
    assert "was killed" in expedite("status", code=1)
    assert "stale" in expedite("doctor")

    # Up again on the same data, faster; the foreground this time, ended as by Ctrl-C.
    child = subprocess.Popen(
        [sys.executable, "-m", "expedite_local", "up", "--port-base", "0", "--speed", "600", "--only", "fake-one"],
        env=expedite.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while (again := state.load(expedite.home)) is None or (again.supervisor_pid, again.phase) != (child.pid, "ready"):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    assert {p.service for p in again.processes} == {"postgres", "kafka", "mail", "fake-one"}
    assert again.api_keys == found.api_keys
    pids = [p.pid for p in again.processes]
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=30)
    assert child.returncode == 0, output
    assert "stopped" in output
    assert _gone(pids, 0.5)
    assert not expedite.home.state_file.exists()
    # At another speed, stopping freezes the clock.
    assert [n[2] for n in expedite.notes("anchor")[-2:]] == [600.0, 0.0]

    # Down with everything.
    assert expedite("down", "--wipe").splitlines() == ["nothing runs here", "data deleted"]
    assert not expedite.home.root.exists()
    assert not data_folder(expedite.home.postgres).exists()


def test_a_service_that_cannot_start_stops_the_start_and_says_why(expedite: Command) -> None:
    broken = expedite.home.root.parent / "broken"
    (broken / "fake_one").mkdir(parents=True)
    (broken / "fake_one" / "main.py").write_text("raise SystemExit('no such table: orders')")
    expedite.environment["PYTHONPATH"] = os.pathsep.join((str(broken), str(FAKE)))
    said = expedite("up", "--port-base", "0", "--only", "fake-one", code=1)
    assert "fake-one-api does not start: ended with status 1" in said
    assert "no such table: orders" in said
    assert "Traceback" not in said
    assert "nothing runs here" in expedite("status", code=1)


def test_taken_ports_are_all_named_before_anything_starts(expedite: Command) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        base = other.getsockname()[1] - 80
        said = expedite("up", "--port-base", str(base), code=1)
    assert f"{base + 80} (fake-two)" in said
    assert "--port-base 0" in said
    assert not expedite.home.kafka.exists()
