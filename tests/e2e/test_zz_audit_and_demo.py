"""At the end: the system the other tests used is clean, and a demo run of its own plays to its end."""

from __future__ import annotations

import json
from pathlib import Path

from expedite_e2e import System, expedite


def test_the_system_the_other_tests_used_is_clean(system: System) -> None:
    """D10, G5, I4: the audit of a live system finds nothing."""
    done = system.expedite("audit", timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    for check in ("stock", "orders", "custody", "events", "messages", "parked"):
        assert f"✔ {check}" in done.stdout


def test_a_demo_run_plays_every_branch_to_its_end(tmp_path: Path) -> None:
    """A1, A4, A8, D4, D5, E4, E5, F3, F4, I2: N orders, counted, nothing parked, nothing lost or doubled."""
    counts = tmp_path / "counts.json"
    done = expedite(
        tmp_path / "home", "demo", "--orders", "50", "--speed", "7200", "--exit", "--port-base", "0", "--json", str(counts),
        timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    outcome = json.loads(counts.read_text())
    assert outcome["accepted"] == 50
    assert outcome["completed"] + outcome["cancelled"] == 50
    assert outcome["parked"] == 0
    for branch in ("held", "cancelled", "transfers", "backorders", "pick_shorts", "messages"):
        assert outcome[branch] > 0, branch
    assert outcome["world"]["partial picks"] > 0
