"""Waiting for a disk that is busy with what a bench prepared."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from expedite_bench.disk import SLOW_S, quieted


def test_a_quiet_disk_is_waited_for_no_longer_than_it_takes_to_know(tmp_path: Path) -> None:
    took_s, _, slowest_s = quieted(tmp_path, quiet_s=0.05)
    assert took_s >= 0.05 and slowest_s > 0
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_never_rests_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda _: time.sleep(SLOW_S * 2))
    took_s, slow, slowest_s = quieted(tmp_path, quiet_s=5.0, most_s=0.2)
    assert took_s >= 0.2 and slow >= 1 and slowest_s > SLOW_S
