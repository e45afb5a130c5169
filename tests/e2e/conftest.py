"""One real system for all end-to-end tests, started and stopped as a person would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent / "harness"), str(Path(__file__).parents[2])]

from expedite_e2e import System, eventually, expedite
from expedite_e2e.browsers import browser

__all__ = ["browser"]


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A fresh system at 3,600 times real time, with the demo's master data and stock."""
    home = tmp_path_factory.mktemp("e2e") / "home"
    started = expedite(home, "up", "--detach", "--fresh", "--speed", "3600", "--port-base", "0")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        state = json.loads(expedite(home, "status", "--json").stdout)
        found = System(home, state)
        seeded = found.expedite("seed", "--orders", "120")
        assert seeded.returncode == 0, seeded.stdout + seeded.stderr
        with found.client("order-intake") as intake:
            eventually(lambda: intake.get("/readyz").status_code == 200, "order-intake knowing products")
        yield found
    finally:
        stopped = expedite(home, "down")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    left = subprocess.run(["pgrep", "-f", str(home)], capture_output=True, text=True, check=False).stdout.split()
    assert not left, f"processes left behind: {left}"
