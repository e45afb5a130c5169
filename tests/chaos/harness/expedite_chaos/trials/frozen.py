"""Rows 4 to 6: processes that come back from the dead and believe no time has passed."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack

from expedite_chaos import cgroups
from expedite_chaos.field import Field
from expedite_chaos.trial import Bite, Trial
from expedite_chaos.trials.grounds import DOUBLED
from expedite_messaging.records import SHARDS

ZOMBIE, HEIR = "order-intake-standard-0", "order-intake-standard-1"
_END_RELAY = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE $1 || ' relay%'
"""


async def zombie_relay(on: Field) -> Bite:
    """A relay stands still for twenty seconds and loses its session meanwhile; another takes its shards over. When it
    wakes it may only send what the other one sends too."""
    process = on.process(ZOMBIE)
    name = f"{process.service}-{process.role}-{process.slot}"
    before = await on.reading(HEIR)
    async with on.frozen([process.pid]):
        stopped = time.monotonic()
        async with on.administrator() as connection:
            ended = await connection.fetchval(_END_RELAY, name)
        began = time.monotonic()

        async def inherited() -> bool:
            return (await on.reading(HEIR)).total("expedite_relay_shards") == SHARDS

        await on.eventually(inherited, "the heir has every shard", 60.0)
        taken_s = time.monotonic() - began
        await asyncio.sleep(max(0.0, stopped + (12.0 if on.short else 20.0) - time.monotonic()))
        # At the end: an heir that takes over at once may have had nothing to publish yet.
        published = (await on.reading(HEIR)).total("expedite_events_published_total", since=before)
    await on.serves()
    bit = {"sessions ended": ended, "events published by the heir": published}
    return Bite(bit=bit, recovery_s=taken_s)


async def starved_relays(on: Field) -> Bite:
    """Relays that hardly run lose their sessions again and again: whatever they were at when it happened, beginning, sending
    or closing, they go on."""
    processes = [on.process(f"{service}-standard-0") for service in ("order-intake", "inventory", "prioritizer")]
    turns, ended = 4 if on.short else 10, 0
    for _ in range(turns):
        async with on.frozen([process.pid for process in processes]):
            async with on.administrator() as connection:
                for process in processes:
                    name = f"{process.service}-{process.role}-{process.slot}"
                    ended += await connection.fetchval(_END_RELAY, name)
            await asyncio.sleep(random.uniform(0.5, 3.5))
        await asyncio.sleep(random.uniform(0.1, 0.8))
    return Bite(times=turns * len(processes), bit={"sessions ended": ended})


async def stopped_consumer(on: Field) -> Bite:
    """A consumer stands still beyond its session: its partitions go to the other one, and it wakes in a batch that is no
    longer its own."""
    processes = [on.process(f"{service}-standard-0") for service in ("inventory", "prioritizer")]
    before = await on.reading()
    async with on.frozen([p.pid for p in processes]):
        await asyncio.sleep(10.0)
        heirs = [await on.reading(f"{service}-standard-1") for service in ("inventory", "prioritizer")]
    gone = sum(heir.total("expedite_rebalances_total", since=before) for heir in heirs)
    return Bite(times=len(processes), bit={"partitions given to others": gone})


async def frozen_tree(on: Field) -> Bite:
    """A whole service, its API and all its workers, stands still for ten seconds."""
    pids = [p.pid for p in on.snapshot.processes if p.service == "inventory"]
    with_freezer = cgroups.writable("freezer")
    async with AsyncExitStack() as stack:
        if with_freezer:
            stack.enter_context(cgroups.frozen(pids))
        else:
            await stack.enter_async_context(on.frozen(pids))
        before = len(on.driver.book.ok)
        await asyncio.sleep(10.0)
        taken = len(on.driver.book.ok) - before
    over_at = time.monotonic()
    how = "processes in the freezer" if with_freezer else "processes stopped"
    return Bite(times=len(pids), bit={how: len(pids), "orders taken in meanwhile": taken}, over_at=over_at)


TRIALS = (
    Trial("4a", "zombie relay: frozen 20 s, its session ended, another takes over", "I3, I5", zombie_relay, 3.0,
          short=True, ground=DOUBLED),
    Trial("4b", "relays starved: stopped in turns, their sessions ended meanwhile", "I4, I5", starved_relays, 10.0,
          ground=DOUBLED),
    Trial("5", "consumers stopped 10 s, beyond their session", "I3", stopped_consumer, 8.0, ("rebalances",), short=True,
          ground=DOUBLED),
    Trial("6", "a whole service frozen 10 s", "I3", frozen_tree, 8.0, ("rebalances",)),
)  # fmt: skip
