"""A real Kafka for tests: the one that KAFKA_BOOTSTRAP names, else the embedded one when its package is installed."""

from __future__ import annotations

import asyncio
import importlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from expedite_events.envelope import Envelope, encode
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


async def until(condition: Callable[[], Awaitable[Any]], within_s: float = 60.0) -> Any:
    """Wait for something that must come to pass; the limit only ends a broken run."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = await condition()
        if found:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to pass")


async def publish(kafka: Broker, *envelopes: Envelope) -> None:
    """Put events on their topics as a relay does; all are there when it returns."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await producer.start()
    for envelope in envelopes:
        topic, key, value, headers = encode(envelope)
        await producer.send(topic, value, key=key, headers=headers)
    await producer.stop()
