"""Reading topics on and on without a group: for who watches and takes no part. Positions are the reader's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from expedite_events import CATALOGUE
from expedite_messaging.access import client_options
from expedite_messaging.admin import Place, partitions_of
from expedite_messaging.cancellation import ended
from expedite_messaging.cause import RawRecord

FETCH_BYTES = 4 * 1024 * 1024
STALL_S = 30.0
START_S = 30.0
ANSWER_S = 10.0
"""Real seconds a broker may take to answer: the client itself would wait for longer than anybody wants to wait for it."""
STOP_S = 5.0


class Away(Exception):
    """The broker does not answer, or records wait and none come; make a new reader at the same positions."""


class Tail:
    """Reads every partition of the topics (all of the catalogue unless named) from the given positions on, from their
    beginning where none is given. Use it with `async with`; every method raises `Away`."""

    def __init__(self, bootstrap: str, positions: Mapping[Place, int], topics: Sequence[str] | None = None) -> None:
        self.bootstrap, self._from = bootstrap, positions
        self.topics = list(topics) if topics is not None else [t for row in CATALOGUE for t in row.topics]
        self._heard_at = time.monotonic()

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            **client_options(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=FETCH_BYTES // 16,
        )
        try:
            async with asyncio.timeout(START_S):
                await self._start()
        except (KafkaError, OSError, TimeoutError) as error:
            await self._stop()
            raise Away(f"{type(error).__name__}: {error}") from error
        return self

    async def _start(self) -> None:
        await self._consumer.start()
        known = await self._consumer.topics()
        self._places = [
            TopicPartition(name, number)
            for name in self.topics
            if name in known
            for number in sorted(await partitions_of(self._consumer, name))
        ]
        self._consumer.assign(self._places)
        self.begins: dict[Place, int] = _plain(await self._consumer.beginning_offsets(self._places))
        for place in self._places:
            at = (place.topic, place.partition)
            self._consumer.seek(place, max(self._from.get(at, 0), self.begins[at]))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await ended(self._consumer.stop(), STOP_S)

    async def poll(self, limit: int, wait_ms: int) -> list[RawRecord]:
        """The next records, at most `limit`, per partition in order; none when none come within `wait_ms`."""
        try:
            batches = await self._consumer.getmany(timeout_ms=wait_ms, max_records=limit)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Away(f"{type(error).__name__}: {error}") from error
        found = [
            RawRecord(r.topic, r.key, r.value, tuple(r.headers), r.partition, r.offset)
            for records in batches.values()
            for r in records
        ]
        if found:
            self._heard_at = time.monotonic()
        return found

    async def ends(self) -> dict[Place, int]:
        """Where every partition ends now."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return _plain(await self._consumer.end_offsets(self._places))
        except (KafkaError, OSError, TimeoutError) as error:
            raise Away(f"{type(error).__name__}: {error}") from error

    async def positions(self) -> dict[Place, int]:
        """Up to where every partition was read."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return {(p.topic, p.partition): await self._consumer.position(p) for p in self._places}
        except (KafkaError, OSError, TimeoutError) as error:
            raise Away(f"{type(error).__name__}: {error}") from error

    def must_hear(self, behind: int) -> None:
        """Raises `Away` when records wait but none came for long: a broker's restart can leave a reader deaf (P9)."""
        if behind == 0:
            self._heard_at = time.monotonic()
        elif time.monotonic() - self._heard_at > STALL_S:
            raise Away(f"{behind} records wait, none came for {STALL_S:.0f} s")


def _plain(offsets: Mapping[Any, int]) -> dict[Place, int]:
    return {(place.topic, place.partition): offset for place, offset in offsets.items()}
