"""A demo run plays to its end. Named to run first, before the other tests' system shares the machine with it."""

from __future__ import annotations

import json
from pathlib import Path

from expedite_e2e import expedite


def test_a_demo_run_plays_every_branch_to_its_end(tmp_path: Path) -> None:
    """A1, A4, A8, D4, D5, E4, E5, F3, F4, I2: N orders, counted, nothing parked, nothing lost or doubled."""
    counts = tmp_path / "counts.json"
    stale = tmp_path / "home" / "mail" / "new" / "of-an-earlier-run"
    stale.parent.mkdir(parents=True)
    stale.write_text("Message-ID: <20261116-EC-000001.receipt.20261116-EC-000001.customer@expedite.example>\n\n")
    done = expedite(
        tmp_path / "home", "demo", "--orders", "50", "--speed", "7200", "--exit", "--port-base", "0", "--json", str(counts),
        timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    outcome = json.loads(counts.read_text())
    assert not stale.exists(), "a fresh start begins with empty data"
    assert outcome["accepted"] == 50
    assert outcome["completed"] + outcome["cancelled"] == 50
    assert outcome["parked"] == 0
    for branch in ("held", "cancelled", "transfers", "backorders", "pick_shorts", "messages"):
        assert outcome[branch] > 0, branch
    assert outcome["world"]["partial picks"] > 0
