"""Periodic jobs: each in one replica at a time, every so many real seconds."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from zlib import crc32

import structlog

from expedite_messaging import metrics
from expedite_messaging.connection import calling
from expedite_messaging.engine import Engine, Transient
from expedite_messaging.handlers import JobSpec
from expedite_messaging.partitions import maintain
from expedite_messaging.postgres import PostgresEngine

PARTITIONS = "messaging-partitions"
_LOCK = 0x45580031
_CLAIM = """
UPDATE job SET next_at = clock_timestamp() + make_interval(secs => $2)
WHERE name = $1 AND next_at <= clock_timestamp() RETURNING true
"""
_FINISHED = "UPDATE job SET finished_at = clock_timestamp(), error = $2 WHERE name = $1 RETURNING true"
log = structlog.get_logger(__name__)


async def keep_partitions(engine: Engine) -> None:
    """Make the partitions of the next days, drop those past their retention."""
    assert isinstance(engine, PostgresEngine)
    async with engine.connections.connection() as raw:
        made, dropped = await calling(maintain, raw)
    if made or dropped:
        log.info("partitions", made=made, dropped=dropped)


class JobRunner:
    """Runs the jobs of a service's handlers, and its own housekeeping."""

    def __init__(self, engine: PostgresEngine) -> None:
        self.engine = engine
        self.jobs = {job.name: job for job in (*engine.handlers.jobs, JobSpec(PARTITIONS, 3600.0, keep_partitions))}
        self._connection: Any = None
        self._turn = asyncio.Lock()
        self._closed = False
        self.pause_s = max(0.1, min(1.0, *(job.every_s for job in self.jobs.values())))

    async def run(self) -> None:
        """Run what is due, for ever, until cancelled. A job that fails is logged and runs again at its next time."""
        try:
            await self._run()
        finally:
            self.close()

    async def _run(self) -> None:
        known = False
        while True:
            try:
                if not known:
                    await self.engine.connections.fetch(
                        "INSERT INTO job (name) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", list(self.jobs)
                    )
                    known = True
                await self.run_due()
            except Transient as error:
                log.info("jobs wait for the database", error=str(error))
            except Exception:
                log.exception("the job runner failed and goes on")
            await asyncio.sleep(self.pause_s)

    async def run_due(self) -> list[str]:
        """Run every job whose time has come and that no other replica is running. Their names."""
        due = await self.engine.connections.fetch(
            "SELECT name FROM job WHERE next_at <= clock_timestamp() AND name = ANY($1::text[])", list(self.jobs)
        )
        # All end before the next look: the session's locks would let the same session in twice.
        results = await asyncio.gather(*(self._run_one(self.jobs[row[0]]) for row in due), return_exceptions=True)
        for failure in results:
            if isinstance(failure, BaseException):
                raise failure
        return [row[0] for row, ran in zip(due, results, strict=True) if ran]

    async def _run_one(self, job: JobSpec) -> bool:
        # The lock of a live connection, not a lease: a replica that dies frees it, a slow one keeps it (P31).
        if not await self._say("SELECT pg_try_advisory_lock($1, $2)", _LOCK, _number(job.name)):
            return False
        try:
            if not await self._say(_CLAIM, job.name, job.every_s):
                return False
            error = await self._guarded(job)
            await self._say(_FINISHED, job.name, error)
            return True
        finally:
            with suppress(Transient):
                await self._say("SELECT pg_advisory_unlock($1, $2)", _LOCK, _number(job.name))

    async def _say(self, sql: str, *args: Any) -> Any:
        """One value over the connection whose session holds the locks; jobs that run at once take turns. A connection that
        was lost had its locks with it."""
        async with self._turn:
            if self._closed:
                raise Transient("the job runner has ended")
            if self._connection is None or self._connection.is_closed():
                self._connection = await self.engine.connections.dedicated("jobs")
            try:
                return await calling(self._connection.fetchval, sql, *args)
            except Transient:  # whether the session got or kept a lock is not known: it must not live on with it
                self._drop()
                raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def close(self) -> None:
        """End the session, and with it every lock."""
        self._closed = True
        self._drop()

    async def _guarded(self, job: JobSpec) -> str | None:
        try:
            await job.run(self.engine)
        except Exception as error:
            log.exception("job failed", job=job.name)
            metrics.JOBS_RUN.labels(self.engine.service, job.name, "failed").inc()
            return f"{type(error).__name__}: {error}"[:2000].replace("\x00", "\ufffd")
        metrics.JOBS_RUN.labels(self.engine.service, job.name, "done").inc()
        return None


def _number(name: str) -> int:
    return crc32(name.encode()) - 2**31
