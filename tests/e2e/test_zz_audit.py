"""At the end: the system the other tests used is clean."""

from __future__ import annotations

from expedite_e2e import System


def test_the_system_the_other_tests_used_is_clean(system: System) -> None:
    """D10, G5, I4: the audit of a live system finds nothing."""
    done = system.expedite("audit", timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    for check in ("stock", "orders", "custody", "events", "messages", "parked"):
        assert f"✔ {check}" in done.stdout
