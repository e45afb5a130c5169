"""Fixtures of inventory's tests. What several test files share lives in `kit/`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "kit"))

from inventory_harness import Harness, warehouse


@pytest.fixture
def inv() -> Harness:
    return Harness()


@pytest.fixture
def new_inventory() -> type[Harness]:
    """For tests that need many."""
    return Harness


@pytest.fixture
def make_warehouse() -> Any:
    return warehouse
