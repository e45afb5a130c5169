"""Records as envelopes. A consumer that is behind decodes its next batch while the database works on the present one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from expedite_events import row_of_topic
from expedite_events.envelope import Envelope, Undecodable, decode, heard, is_ours
from expedite_messaging.cause import RawRecord

Decoded = tuple[Envelope | None, RawRecord | None, str]
"""An envelope, or the record with the reason why it is none."""

_AT_ONCE = 32  # records, some 0.3 ms: so long an answer of the database may wait


def decoded(service: str, records: Sequence[Any]) -> Iterator[Decoded]:
    """Each record; what the service does not hear is left out."""
    for record in records:
        try:
            row = row_of_topic(record.topic)
            if not heard(row, service, record.headers):
                continue
            envelope = decode(record.topic, record.key, record.value, record.headers)
            if not is_ours(envelope.id):
                raise Undecodable(f"event id {envelope.id} is neither version 7 nor 8")
            if "\x00" in envelope.key:
                raise Undecodable("its key has a NUL character")
            yield envelope, None, ""
        except Undecodable as error:
            raw = RawRecord(
                record.topic, record.key, record.value, tuple(record.headers), record.partition, record.offset
            )
            yield None, raw, f"Undecodable: {error}"[:2000].replace("\x00", "\ufffd")


class Ahead:
    """The batch that is decided next, being decoded meanwhile. `generation`: of the assignment its records came with."""

    def __init__(self, service: str, records: list[Any], generation: int) -> None:
        self.records, self.generation = records, generation
        self._task = asyncio.create_task(self._decode(service))

    async def _decode(self, service: str) -> list[Decoded]:
        found: list[Decoded] = []
        for start in range(0, len(self.records), _AT_ONCE):
            found += decoded(service, self.records[start : start + _AT_ONCE])
            await asyncio.sleep(0)
        return found

    async def decoded(self) -> list[Decoded]:
        """All of it."""
        return await self._task

    def drop(self) -> None:
        """Its partitions are given away."""
        self._task.cancel()
