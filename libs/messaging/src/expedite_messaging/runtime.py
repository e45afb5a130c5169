"""The worker of one process: every loop of its role, started together, stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from zlib import crc32

import structlog

from expedite_events import Lane
from expedite_messaging import metrics
from expedite_messaging.cancellation import Interrupted
from expedite_messaging.connection import calling
from expedite_messaging.effects import EffectWorker
from expedite_messaging.engine import Transient
from expedite_messaging.jobs import JobRunner
from expedite_messaging.kafka import LaneConsumer, group_of
from expedite_messaging.parking import run_retrier
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.relay import Relay
from expedite_messaging.timers import run_timers

_SLOTS = 0x45580021
SLOT_WAIT_S = 15.0
SLOT_PING_S = 0.5
# The last statement of the session that has the slot.
_HOLDER = """
SELECT a.query_start FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = $1::int::oid AND l.objid = $2::int::oid
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
RELAY_DRAIN_S = 3.0
log = structlog.get_logger(__name__)


class SlotTaken(Exception):
    """Another live process has this replica's slot: two members with one static id would fight silently (P10)."""


class SlotGuard:
    """Holds a replica's slot by an advisory lock of a live connection."""

    def __init__(self, engine: PostgresEngine, lane: Lane, slot: int) -> None:
        self.engine, self.name = engine, f"{group_of(engine.service, lane)}-{slot}"
        self._connection: Any = None

    async def acquire(self, within_s: float = SLOT_WAIT_S) -> None:
        """Take the slot; waits for a predecessor's connection to end, unless it is heard to live: then `SlotTaken` is raised
        at once. Raises `SlotTaken`, or `Transient`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        lock = (_SLOTS, crc32(self.name.encode()) - 2**31)
        heard = set()
        connection = await self.engine.connections.dedicated(f"slot {self.name}", idle_session_timeout="15s")
        try:
            while not await calling(connection.fetchval, "SELECT pg_try_advisory_lock($1, $2)", *lock):
                heard.add(await calling(connection.fetchval, _HOLDER, *lock))
                lives = len(heard - {None}) > 2  # it said something twice while we waited
                if lives or loop.time() > deadline:
                    raise SlotTaken(
                        f"slot {self.name} is in use by another process; give this one another EXPEDITE_SLOT"
                    )
                await asyncio.sleep(0.25)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection

    async def keep(self) -> None:
        """Watch the slot for ever; take it again after a lost connection. Raises `SlotTaken` when somebody else did."""
        while True:
            await asyncio.sleep(SLOT_PING_S)
            try:
                await calling(self._connection.fetchval, "SELECT 1")
            except Transient:
                self.release()
                while True:
                    try:
                        await self.acquire()
                        break
                    except Transient:
                        await asyncio.sleep(1.0)

    def release(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


class Worker:
    """All loops of a role. Standard: consumer, relay, timers, effects, jobs, parking. Express: consumer, relay, effects.

    Either `async with Worker(...)`, or `run()` until `stop()`. The api role has no worker: its commits wake others by
    NOTIFY."""

    def __init__(
        self, engine: PostgresEngine, bootstrap: str, lane: Lane | str, slot: int = 0, **consumer: Any
    ) -> None:
        self.engine, self.lane = engine, Lane(lane)
        self.slot = SlotGuard(engine, self.lane, slot)
        self.consumer = LaneConsumer(engine, bootstrap, self.lane, slot, **consumer)
        self.relay = Relay(engine, bootstrap, self.lane)
        self.effects = EffectWorker(engine, self.lane)
        self.failure: BaseException | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._ended = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Consumes and publishes; false while the broker or the database is away, or after too much poison."""
        return self.health and bool(self._tasks) and self.consumer.ready and self.relay.connected

    @property
    def health(self) -> bool:
        """Every loop lives. False: only a restart helps."""
        return self.failure is None

    def state(self) -> dict[str, Any]:
        """Figures for people and for health pages."""
        return {
            "lane": self.lane.value,
            "ready": self.ready,
            "poisoned": self.consumer.poisoned,
            "failure": None if self.failure is None else f"{type(self.failure).__name__}: {self.failure}",
            "consumed": self.consumer.consumed,
            "lag": self.consumer.lag,
            "consumer_rebuilds": self.consumer.rebuilds,
            "published": self.relay.published,
            "outbox_waiting": self.relay.waiting,
            "outbox_oldest_s": round(self.relay.oldest_s, 3),
            "relay_rebuilds": self.relay.rebuilds,
            "shards": len(self.relay.shards),
            "blocked_keys": sorted(self.relay.blocked),
            "effects_performed": self.effects.performed,
            "retries": self.engine.retries,
        }

    async def start(self) -> None:
        """Take the slot (waiting while the database is away) and start every loop. Raises `SlotTaken`."""
        while True:
            try:
                await self.slot.acquire()
                break
            except Transient as error:
                log.info("the worker waits for the database", error=str(error))
                await asyncio.sleep(1.0)
        self.engine.wake.listen()
        self._start("slot", self.slot.keep())
        self._start("relay", self.relay.run())
        self._start("effects", self.effects.run())
        if self.lane is Lane.STANDARD:
            self._start("timers", run_timers(self.engine))
            self._start("parking", run_retrier(self.engine))
            self._start("jobs", JobRunner(self.engine).run())
            self._start("census", self._census())
        self._start("consumer", self.consumer.run())

    def _start(self, name: str, loop: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(loop, name=f"{self.engine.service} {self.lane.value} {name}")
        self._tasks[name] = task
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if self._stopping:
            return
        error = Interrupted() if task.cancelled() else task.exception()
        if error is None and task is self._tasks.get("consumer") and not self.consumer.topics:
            return  # a service without topics on this lane
        self.failure = error or RuntimeError(f"{task.get_name()} ended by itself")
        log.critical("a loop ended", loop=task.get_name(), error=str(self.failure), exc_info=error)
        self._ended.set()

    async def run(self) -> None:
        """Start, work until `stop`, raise what ended a loop."""
        await self.start()
        await self._ended.wait()
        if self.failure is not None:
            await self._stop_loops()
            raise self.failure

    async def stop(self) -> None:
        """Finish the batch in hand, commit offsets, publish what that batch emitted, leave."""
        if not self._stopping:
            await self._stop_loops()
        self._ended.set()

    async def _stop_loops(self) -> None:
        self._stopping = True
        await self.consumer.stop()
        consuming = self._tasks.pop("consumer", None)
        if consuming is not None:
            await asyncio.wait({consuming}, timeout=20)
        relaying = self._tasks.pop("relay", None)
        rest = list(self._tasks.values())
        await _cancel(rest if consuming is None else [*rest, consuming])
        self._tasks.clear()
        if relaying is not None:
            with suppress(Transient):
                if self.relay.connected:
                    await self.relay.drained(RELAY_DRAIN_S)
            await _cancel([relaying])
        self.slot.release()

    async def _census(self) -> None:
        """Count what waits for people, what is late and how much room it takes."""
        while True:
            with suppress(Transient):
                await census(self.engine)
            await asyncio.sleep(10.0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


# A timer that failed was due: the index by time finds it among a million that are not.
_CENSUS = """
SELECT (SELECT count(DISTINCT key) FROM parked),
  (SELECT count(*) FROM timer WHERE error IS NOT NULL AND due_at <= business_now()),
  (SELECT count(*) FROM effect WHERE state = 'performed' AND reason IS NOT NULL),
  pg_database_size(current_database()), pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8,
  (SELECT extract(epoch FROM business_now() - min(due_at))::float8 FROM timer t
   WHERE due_at <= business_now() AND retry_at IS NULL AND NOT EXISTS (SELECT FROM parked p WHERE p.key = t.key)),
  coalesce((SELECT speed FROM clock_anchor ORDER BY id DESC LIMIT 1), 1)
"""


async def census(engine: PostgresEngine) -> None:
    """Bring the gauges of what waits and grows up to date. Raises `Transient`."""
    (row,) = await engine.connections.fetch(_CENSUS)
    parked, failed, undecided, size, written, late, speed = row
    gauges = (
        (metrics.KEYS_PARKED, parked), (metrics.TIMERS_FAILED, failed), (metrics.EFFECTS_UNDECIDED, undecided),
        (metrics.DATABASE_BYTES, size), (metrics.WAL_BYTES, written),
        (metrics.TIMERS_OVERDUE, (late or 0.0) / speed if speed else 0.0),
    )  # fmt: skip
    for gauge, value in gauges:
        gauge.labels(engine.service).set(value)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=10)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()
