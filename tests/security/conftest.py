"""One real system for all attacks, started and stopped as a person would, impatient with slow clients."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE / "harness"), str(_HERE.parent / "e2e" / "harness"), str(_HERE.parents[1])]

from expedite_e2e import System, eventually, expedite
from expedite_e2e.browsers import browser
from expedite_security.parties import PARTIES, write_secrets

__all__ = ["browser"]
HEAD_S, BODY_S = 2.0, 3.0
"""Real seconds the attacked processes give a request's headers and its body."""
START_S = 1200.0


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A fresh system at 3,600 times real time with the demo's master data, and with `PARTIES` whose secrets rotate. With
    EXPEDITE_SECURITY_HOME: one in that home, started if nothing runs there and left running, for work on these tests."""
    kept = os.environ.get("EXPEDITE_SECURITY_HOME")
    home = Path(kept) if kept else tmp_path_factory.mktemp("security") / "home"
    try:
        yield running(home) or started(home)
    finally:
        stopped = None if kept else expedite(home, "down")
    assert stopped is None or stopped.returncode == 0, stopped.stdout + stopped.stderr


def running(home: Path) -> System | None:
    """The system that runs in a home, if any."""
    told = expedite(home, "status", "--json")
    return System(home, json.loads(told.stdout)) if told.returncode == 0 and (home / "state.json").exists() else None


def started(home: Path) -> System:
    """Start a system in a home, with what the attacks need in it."""
    write_secrets(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPEDITE_HEAD_S", str(HEAD_S))
        patch.setenv("EXPEDITE_BODY_S", str(BODY_S))
        up = expedite(home, "up", "--detach", "--fresh", "--speed", "3600", "--port-base", "0", timeout=START_S)
    assert up.returncode == 0, up.stdout + up.stderr
    found = System(home, json.loads(expedite(home, "status", "--json").stdout))
    seeded = found.expedite("seed", "--orders", "60")
    assert seeded.returncode == 0, seeded.stdout + seeded.stderr
    with found.client("order-intake") as intake:
        for channel, body in PARTIES.channels.items():
            intake.put(f"/channels/{channel}", json=body).raise_for_status()
        eventually(lambda: intake.get("/readyz").status_code == 200, "order-intake knowing products")
    return found
