"""What the services' databases say of the same events: every event is in its sender's ledger, every ledger entry on its
topic, every published level is one the shelf had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from expedite_events import StockLevelChanged
from expedite_events.catalogue import INVENTORY
from expedite_local.audit.databases import CHUNK, Snapshot, opened
from expedite_local.audit.events import COMPACTED, KEPT_ON_TOPICS, LEDGER, NOT_IN_LEDGER, unsent_of
from expedite_local.audit.invariants import Invariant, level_of
from expedite_local.audit.watch.memory import Memory, Owed
from expedite_local.audit.watch.story import Seen, Story, Violation
from expedite_messaging import Transient
from inventory.store import MOVEMENTS

AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, Transient)
YOUNG = timedelta(seconds=30)
"""Younger entries may still be on their way to the topics."""
OVERLAP = timedelta(minutes=5)
"""A transaction's entries carry times from before its commit: so far back is looked again."""
ROWS = 200


class Ledgers:
    """Read-only connections, made anew after a failure; what could not be asked is asked later."""

    def __init__(self, databases: Mapping[str, str], memory: Memory) -> None:
        self.databases, self.memory = databases, memory
        self._open: dict[str, Any] = {}

    async def _shot(self, service: str) -> Snapshot:
        connection = self._open.get(service)
        if connection is None or connection.is_closed():
            connection = self._open[service] = await opened(self.databases[service])
        return Snapshot(service, connection)

    async def close(self) -> None:
        for connection in self._open.values():
            with suppress(Exception):
                await connection.close(timeout=5)

    async def ghosts(self) -> list[Violation]:
        """Events no ledger knows (or knows otherwise), of those read until now; kept as violations, those that are new."""
        found: list[Violation] = []
        for service in self.databases:
            while owed := self.memory.owed(service, CHUNK):
                columns = [list(column) for column in zip(*((*row[:4], row[0]) for row in owed), strict=True)]
                try:
                    wrong = await (await self._shot(service)).rows(NOT_IN_LEDGER, *columns)
                except AWAY:
                    break
                by_id = {row[0]: row for row in owed}
                with self.memory.transaction():
                    self.memory.paid(service, by_id)
                    found += self.memory.accuse([_ghost(service, row, by_id[row["at"]]) for row in wrong])
        return found

    async def look_for_lost(self, generation: int) -> None:
        """Note ledger entries that are neither on a topic we read nor in an outbox: a later look tells whether they came."""
        for service in self.databases:
            name = f"ledger of {service}"
            last, until = self.memory.fact(name), datetime.now(UTC) - YOUNG
            since = until - KEPT_ON_TOPICS if last is None else datetime.fromisoformat(last) - OVERLAP
            try:
                shot = await self._shot(service)
                async with self._open[service].transaction(isolation="repeatable_read", readonly=True):
                    unsent = {event.id for event in await unsent_of(shot)}
                    part: list[Any] = []
                    async for row in shot.stream(LEDGER, COMPACTED, since, until):
                        part.append(row)
                        if len(part) == CHUNK:
                            self._miss(part, unsent, service, generation)
                            part = []
                    self._miss(part, unsent, service, generation)
            except AWAY:
                continue
            with self.memory.transaction():
                self.memory.note(name, until.isoformat())

    def _miss(self, rows: Sequence[Any], unsent: set[bytes], service: str, generation: int) -> None:
        here = self.memory.known([row["id"] for row in rows]) | unsent
        with self.memory.transaction():
            self.memory.miss(
                (row["id"], generation, service, row["topic"], row["key"]) for row in rows if row["id"] not in here
            )

    async def levels(
        self, told: Iterable[tuple[str, StockLevelChanged, Seen]], stories: Mapping[str, Story]
    ) -> list[Violation]:
        """Published levels that the shelf never had: its movements are played on until they give the level. A level that
        cannot be looked up now is compared by the next one."""
        found: list[Violation] = []
        if INVENTORY not in self.databases:
            return found
        for key, event, seen in told:
            try:
                expected = await self._reached(stories[key], event)
            except AWAY:
                continue
            if expected is not None:
                text = (
                    f"{key} is said to be at {_words(_said(event))}; expected {_words(expected)}, as its movements say"
                )
                found.append(
                    Violation(Invariant.STOCK.value, seen.topic, seen.partition, seen.offset, seen.event_id, key, text)
                )
        return found

    async def _reached(self, story: Story, event: StockLevelChanged) -> dict[str, int] | None:
        """None when the movements lead to the level; else what they lead to at last."""
        wanted, buckets, moved = _said(event), dict(story.buckets), story.moved
        if level_of(buckets) == wanted:
            return None
        shot = await self._shot(INVENTORY)
        while True:
            where = {"sku": event.sku, "warehouse_id": event.warehouse_id, "entry__gt": f"{moved:012d}"}
            rows = await shot.find(MOVEMENTS, where, order_by=("entry",), limit=ROWS)
            for row in rows:
                moved = row.seq
                for movement in row.each():
                    buckets.update(movement.after)
                if level_of(buckets) == wanted:
                    story.buckets, story.moved = buckets, moved
                    return None
            if len(rows) < ROWS:
                return level_of(buckets)


def _ghost(service: str, row: Any, owed: Owed) -> Violation:
    event_id, topic, key, _, partition, at = owed
    known = f"{row['topic']} {row['key']} number {row['sequence']}"
    text = "it is in no ledger" if row["ghost"] else f"it is {known} in the ledger"
    what = f"{text} of {service}; expected the entry of its commit"
    return Violation(Invariant.NOTHING_LOST.value, topic, partition, at, event_id, key, what)


def _said(event: StockLevelChanged) -> dict[str, int]:
    return {name: getattr(event, name) for name in level_of({})}


def _words(level: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in level.items())
