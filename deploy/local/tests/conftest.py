"""Shared fixtures: one real PostgreSQL and one real Kafka per session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from expedite_local.home import Home
from expedite_local.kafka import KafkaServer
from expedite_local.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server of our own even where DATABASE_URL is set: these tests are about starting one."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"), 0)
    server.start()
    yield server
    server.stop()
    server.wipe()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    asyncio.run(server.start())
    yield server
    server.stop()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    made = Home(tmp_path / "home")
    made.create()
    return made
