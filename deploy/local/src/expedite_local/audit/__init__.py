"""The audit: does a running system keep its promises? It reads every service's database, all topics and the mail, and
changes nothing.

The checks need the stores of all services, which take seconds to import: they are imported when an audit runs, not
when somebody types `expedite status`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from expedite_local.audit.cli import audit as command
from expedite_local.audit.finding import Finding, text
from expedite_local.home import Home
from expedite_local.state import State

if TYPE_CHECKING:
    from expedite_events.envelope import Envelope


def _say(words: str) -> None:
    sys.stderr.write(f"[audit] {words}\n")
    sys.stderr.flush()


async def settled(
    state: State,
    secrets: Mapping[str, Any],
    home: Home,
    *,
    ended: bool,
    patience_s: float = 120.0,
    told: Callable[[str], None] = _say,
) -> list[Finding]:
    """Wait until the system is at rest (consumers have no lag, outboxes are empty, no effect waits, no timer is due),
    then run every check. `ended`: every order must have come to its end. Progress is told while it waits.

    After `patience_s` real seconds without rest everything is looked at twice and what is wrong both times counts; then
    the finding `at rest` says what moves, and is a fault when `ended`. `secrets` are not needed: nothing is asked over
    HTTP.
    """
    from expedite_local.audit import run

    return await run.settled(state, home, ended=ended, patience_s=patience_s, told=told)


async def check(state: State, home: Home, *, ended: bool) -> list[Finding]:
    """Run every check once, on a system that is at rest. `ended`: every order must have come to its end."""
    from expedite_local.audit import run
    from expedite_local.audit.topics import KafkaTopics

    return await run.check(state, home, KafkaTopics(state.kafka_bootstrap), ended=ended)


async def every_event(state: State) -> AsyncIterator[Envelope]:
    """Every event on our topics, from the start to their present end, redeliveries included."""
    from expedite_local.audit import topics

    async for envelope in topics.every_event(state):
        yield envelope


async def parked_events(state: State) -> int:
    """How many events are parked, in all services together."""
    from expedite_local.audit.databases import connected

    total = 0
    for url in state.databases.values():
        async with connected(url) as connection:
            total += int(await connection.fetchval("SELECT count(*) FROM parked"))
    return total


__all__ = ["Finding", "check", "command", "every_event", "parked_events", "settled", "text"]
