"""Fixtures of the tower's tests. What several test files share lives in `kit/`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "kit"))

from tower_kit import Tower


@pytest.fixture
def tower() -> Tower:
    return Tower()


@pytest.fixture
def new_tower() -> type[Tower]:
    """For tests that need many."""
    return Tower
