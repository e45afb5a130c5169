"""Puts the sample service on the path and takes the library's own fixtures."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "sample"))

from expedite_sample.brokers import kafka
from expedite_sample.worlds import BehaviourWorld, InMemory, OnPostgres

from expedite_messaging.testing import create_database, drop_database, fresh_database, postgres_server

__all__ = ["fresh_database", "kafka", "postgres_server"]


@pytest.fixture(params=["memory", "postgres"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[BehaviourWorld[Any]]:
    """Both worlds: each test of behaviour runs in memory and on PostgreSQL."""
    if request.param == "memory":
        yield InMemory()
        return
    request.getfixturevalue("postgres_server")
    url = await create_database("expedite_sample")
    made = OnPostgres(url)
    await made.start()
    yield made
    await made.engine.close()
    await drop_database(url)
