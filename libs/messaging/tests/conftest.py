"""Puts the sample service on the path and takes the library's own fixtures."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "sample"))

from expedite_sample.brokers import kafka
from expedite_sample.worlds import BehaviourWorld, InMemory, on_postgres

from expedite_messaging.testing import fresh_database, postgres_server

__all__ = ["fresh_database", "kafka", "postgres_server"]


@pytest.fixture(params=["memory", "postgres"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[BehaviourWorld[Any]]:
    """Both worlds: each test of behaviour runs in memory and on PostgreSQL."""
    if request.param == "memory":
        yield InMemory()
        return
    request.getfixturevalue("postgres_server")
    async with on_postgres() as made:
        yield made
