"""Rows 25, 32 and 34: a clock that is wrong, schedulers that die, memory that is short."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaProducer

from expedite_chaos import cgroups
from expedite_chaos.faults import kill
from expedite_chaos.field import Broken, Field
from expedite_chaos.ground import Ground
from expedite_chaos.shims import COMPILER
from expedite_chaos.table import Impossible
from expedite_chaos.trial import Bite, Trial
from expedite_chaos.trials.grounds import CLOCKS, DOUBLED, STAMMER
from expedite_events import SLABreached
from expedite_local import audit
from expedite_local.audit.topics import KafkaTopics
from expedite_messaging.admin import read_topics

# The first 48 bits of an id are milliseconds since 1970, in ids of causes as in those made from them.
_MISDATED = """
SELECT count(*) FROM ledger WHERE at > clock_timestamp() - interval '60 s' AND abs(
  ('x' || left(replace(event_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0 - extract(epoch FROM at)) > 300
"""
_LATEST = """
SELECT coalesce(max(extract(epoch FROM business_now() - due_at)), 0)::float8
  / (SELECT speed FROM clock_anchor ORDER BY id DESC LIMIT 1)
FROM timer WHERE due_at <= business_now() AND retry_at IS NULL
"""
TIMED = ("order-intake", "prioritizer")
BACKLOG, SAID_AGAIN, MEMORY_MB = 200_000, 240_000, 300
"""Nobody hears every topic: so many events are published again that the one who hears most has the backlog."""


async def wrong_clocks(on: Field) -> Bite:
    """Four services are ten minutes ahead, then fifty minutes behind, then right. Their ids say so; promises and timers
    run on the business clock and must not notice."""
    try:
        for seconds in (600, -3_000):
            CLOCKS.shim.set(seconds)
            await asyncio.sleep(4.0 if on.short else 7.0)
        misdated = sum([(await on.rows(service, _MISDATED))[0][0] for service in CLOCKS.services])
    finally:
        CLOCKS.shim.clear()
    return Bite(times=2 * len(CLOCKS.services), bit={"events with a wrong time in their id": misdated})


async def schedulers(on: Field) -> Bite:
    """Two schedulers scan the same timers while one after the other dies. Lateness is measured on the timers themselves."""
    names = [f"{service}-standard-{slot}" for slot in (0, 1) for service in TIMED]
    lateness = _Lateness(on)
    watching = asyncio.create_task(lateness.watch())
    try:
        for name in names if on.short else names * 2:
            await on.monkey.do(kill(name))
            await asyncio.sleep(1.0)
            await on.healed()  # one of the two always lives
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    async def later() -> Mapping[str, float]:
        fired = await _fired(on)
        twice = [f"{identity} in {len(ids)} events" for identity, ids in fired.items() if len(ids) > 1]
        if twice:
            raise Broken(f"timers fired twice: {'; '.join(twice[:3])}")
        return {"timers that fired": len(fired), "looks at timers": lateness.looks}

    return Bite(times=len(names) * (1 if on.short else 2), recovery_s=lateness.worst_s, later=later)


class _Lateness:
    """How late the latest timer is, in real seconds."""

    def __init__(self, on: Field) -> None:
        self.on, self.worst_s, self.looks = on, 0.0, 0

    async def watch(self) -> None:
        while True:
            for service in TIMED:
                (row,) = await self.on.rows(service, _LATEST)
                self.worst_s, self.looks = max(self.worst_s, row[0]), self.looks + 1
            await asyncio.sleep(0.1)


async def _fired(on: Field) -> dict[Any, set[Any]]:
    """Ids of breach events by what they are about."""
    found: dict[Any, set[Any]] = defaultdict(set)
    async for envelope in audit.every_event(on.snapshot):
        event = envelope.event
        if isinstance(event, SLABreached):
            found[event.order_id, event.subject, event.stage, event.level].add(envelope.id)
    return found


async def memory_cap(on: Field) -> Bite:
    """Every worker may have 300 MB and meets 200,000 events at once: those of the orders so far, again and again. Each is
    known and must be dropped."""
    workers = [p for p in on.snapshot.processes if p.role in ("standard", "express")]
    with ExitStack() as stack:
        groups: dict[str, Path] = {}
        held: dict[str, int] = {}
        for process in workers:
            folder = stack.enter_context(cgroups.group("memory", []))
            # A group counts what is taken from now on; what the process has already is its own share of memory.
            held[process.name] = psutil.Process(process.pid).memory_full_info().pss
            (folder / "memory.limit_in_bytes").write_text(str(MEMORY_MB * 2**20 - held[process.name]))
            (folder / "cgroup.procs").write_text(str(process.pid))
            groups[process.name] = folder
        async with on.frozen([process.pid for process in workers]):
            await _again(on, SAID_AGAIN)
            behind = await _behind(on)
        began = time.monotonic()
        # Counting takes seconds on a busy machine, in which the load goes on: some are always behind.
        while await _behind(on) > BACKLOG // 20:
            if time.monotonic() - began > 300:
                raise Broken("the backlog did not drain within five minutes")
            await asyncio.sleep(1.0)
        drained_s = time.monotonic() - began
        peak = {
            name: (held[name] + int((folder / "memory.max_usage_in_bytes").read_text())) / 2**20
            for name, folder in groups.items()
        }
        died = [p.name for p in on.snapshot.processes if p.name in groups and p.pid != _pid(workers, p.name)]
    highest = max(peak, key=lambda name: peak[name])
    on.say(f"the backlog drained in {drained_s:.0f} s; most memory: {highest} with {peak[highest]:.0f} MB")
    problems = [f"{name} did not live through it" for name in died]
    if behind < BACKLOG:
        problems.append(f"only {behind:,} events were behind")
    return Bite(times=len(groups), bit={"events behind": behind, "MB at most": round(peak[highest])}, problems=problems)


def _pid(workers: list[Any], name: str) -> int:
    return next(int(p.pid) for p in workers if p.name == name)


async def _behind(on: Field) -> int:
    """Records the services have still to take in, of all groups."""
    places = await KafkaTopics(on.snapshot.kafka_bootstrap).places(on.snapshot.databases)
    return max(places.behind(service) for service in on.snapshot.databases)


async def _again(on: Field, wanted: int) -> None:
    """Publish what is on the topics again, byte for byte, until there are so many more."""
    records = [record async for record in read_topics(on.snapshot.kafka_bootstrap)]
    producer = AIOKafkaProducer(
        bootstrap_servers=on.snapshot.kafka_bootstrap, acks=1, linger_ms=20, max_batch_size=256 * 1024
    )
    await producer.start()
    try:
        for record in itertools.islice(itertools.cycle(records), wanted):
            await producer.send(
                record.topic, record.value, key=record.key, headers=list(record.headers), partition=record.partition
            )
        await producer.flush()
    finally:
        await producer.stop()


_CLOCK = Trial("25", "wall clocks 10 min ahead, then 50 min behind", "I7", wrong_clocks, 3.0, ground=STAMMER)
_MEMORY = Trial("34", "300 MB a worker and 200,000 events at once", "I3", memory_cap, bites=("duplicates dropped",),
                ground=Ground("little memory"))  # fmt: skip
TRIALS = (
    *((_CLOCK,) if COMPILER else ()),
    Trial("32", "two schedulers, killed one after the other", "I7", schedulers, 2.0, ("restarts",), short=True,
          ground=DOUBLED),
    *((_MEMORY,) if cgroups.writable("memory") else ()),
)  # fmt: skip
IMPOSSIBLE = (
    *(() if COMPILER else (Impossible("25", "wrong wall clock", "the shim needs a C compiler"),)),
    *(
        ()
        if cgroups.writable("memory")
        else (Impossible("34", "memory cap", "memory groups can be made by root only"),)
    ),
)
