"""Waiting until nothing moves: nothing to publish, to consume, to perform, to fire or to try again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from expedite_local.audit.databases import connected
from expedite_local.audit.topics import KafkaTopics
from expedite_local.state import State

QUIET_S = 2.0
"""Jobs look for work every second: only what still rests after twice that is at rest."""
TELL_S = 3.0

# What waits behind a parked key waits for a person: it does not move, and another check reports it.
_WAITING = """
SELECT (SELECT coalesce(sum(events), 0) FROM (SELECT events FROM outbox UNION ALL SELECT events FROM outbox_express) AS o),
  (SELECT count(*) FROM effect w WHERE state <> 'done' AND NOT EXISTS (SELECT FROM parked p WHERE p.key = w.key)),
  (SELECT count(*) FROM timer w WHERE due_at <= business_now()
     AND NOT EXISTS (SELECT FROM parked p WHERE p.key = w.key)),
  (SELECT count(*) FROM parked WHERE next_at IS NOT NULL)
"""
_WORDS = ("not yet published", "effects to perform", "timers due", "events to try again")


@dataclass(frozen=True, slots=True)
class Motion:
    """What still moves, by service; `mark` changes when anything was published."""

    waiting: dict[str, tuple[tuple[str, int], ...]]
    mark: int

    @property
    def nothing(self) -> bool:
        return not self.waiting

    def text(self) -> str:
        return "; ".join(
            f"{service}: {', '.join(f'{n:,} {what}' for what, n in kinds)}" for service, kinds in self.waiting.items()
        )


async def wait(state: State, patience_s: float, told: Callable[[str], None]) -> str | None:
    """Wait until everything rests. None when it does; after `patience_s`, what still moves."""
    deadline, told_at = time.monotonic() + patience_s, 0.0
    topics = KafkaTopics(state.kafka_bootstrap)
    async with AsyncExitStack() as stack:
        opened = {n: await stack.enter_async_context(connected(url)) for n, url in state.databases.items()}

        async def look() -> Motion:
            reached = await topics.places(opened)
            waiting = {}
            for service, connection in opened.items():
                row = await connection.fetchrow(_WAITING)
                kinds = [("to consume", reached.behind(service)), *zip(_WORDS, row, strict=True)]
                if moving := tuple((what, n) for what, n in kinds if n):
                    waiting[service] = moving
            return Motion(waiting, sum(reached.ends.values()))

        quiet_since, mark = 0.0, -1
        while True:
            motion = await look()
            now = time.monotonic()
            if not motion.nothing or motion.mark != mark:
                quiet_since, mark = now, motion.mark
            elif now - quiet_since >= QUIET_S:
                return None
            if now > deadline:
                return motion.text() or "events are still being published"
            if now - told_at >= TELL_S and not motion.nothing:
                told_at = now
                told(f"waiting for rest: {motion.text()}")
            await asyncio.sleep(0.5)
