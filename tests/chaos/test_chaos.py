"""Rows of the fault matrix on a real system under load. Only invariants are asserted, and that the faults really bit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from expedite_chaos import Trial, run, table
from expedite_chaos.trials import TRIALS


@pytest.fixture(autouse=True)
def our_own_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests kill servers: never somebody's."""
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP", "NOTIFIER_SMTP_HOST", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)


async def held(trials: Sequence[Trial], *, short: bool) -> None:
    """Every trial was done, bit, and broke nothing."""
    results = await run(trials, short=short)
    said = table.text(results, ())
    print(said)
    assert {trial.row for trial in trials} <= {result.row for result in results}
    assert all(result.bit for result in results)
    assert not [result.row for result in results if result.failed], said


@pytest.mark.timeout(1200)
async def test_nothing_is_lost_or_doubled_whatever_breaks() -> None:
    """The rows of every test run: crashes at the worst moments, zombies, servers killed (I1-I10, C4, D2, D10, G5)."""
    await held([trial for trial in TRIALS if trial.short], short=True)


@pytest.mark.long
@pytest.mark.timeout(10_800)
async def test_nothing_is_lost_or_doubled_in_the_whole_matrix() -> None:
    """Every row of the fault matrix that this machine can do, at full length (I1-I10, C4, D2, D10, G5)."""
    await held(TRIALS, short=False)
