"""Puts the harness on the path and opens a house."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "harness"))

from expedite_saga import World, audit, promises
from expedite_saga.people import House


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A house nobody has opened yet. After the test every invariant of a system at rest is checked: a scenario ends when
    all its orders have."""
    async with World() as world:
        made = House(world)
        yield made
        await world.settle()
        await audit.at_rest(world, made.planner.booked)
        promises.at_rest(world)
