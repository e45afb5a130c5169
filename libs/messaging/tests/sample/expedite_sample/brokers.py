"""A real Kafka for tests: the one that KAFKA_BOOTSTRAP names, else the embedded one when its package is installed."""

from __future__ import annotations

import asyncio
import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from expedite_messaging.admin import ensure_topics, read_topics, wait_ready
from expedite_messaging.cause import RawRecord


class Broker:
    """A broker; `server` can be stopped and started, None for one that is not ours."""

    def __init__(self, bootstrap: str, server: Any) -> None:
        self.bootstrap, self.server = bootstrap, server

    async def read(self, *topics: str) -> list[RawRecord]:
        """Everything on these topics."""
        return [record async for record in read_topics(self.bootstrap, topics)]


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """One broker with the topics of the catalogue for the whole run."""
    external = os.environ.get("KAFKA_BOOTSTRAP")
    server: Any = None
    if not external:
        try:
            local = importlib.import_module("expedite_local.kafka")
        except ImportError:
            pytest.skip("no Kafka: set KAFKA_BOOTSTRAP or install expedite-local")
        server = local.KafkaServer(Path(tempfile.mkdtemp(prefix="expedite-kafka-")))
        asyncio.run(server.start())
    bootstrap = external or server.bootstrap
    asyncio.run(wait_ready(bootstrap))
    asyncio.run(ensure_topics(bootstrap))
    yield Broker(bootstrap, server)
    if server is not None:
        server.stop()
        server.wipe()
