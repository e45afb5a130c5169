"""Rows 22 to 24: disks that are full or slow."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import asyncpg

from expedite_chaos.field import Field
from expedite_chaos.ground import Fit, Ground
from expedite_chaos.shims import COMPILER
from expedite_chaos.table import Impossible
from expedite_chaos.trial import Bite, Trial
from expedite_chaos.trials.grounds import DOUBLED, FSYNC
from expedite_local.home import Home
from expedite_local.postgres import data_folder
from expedite_local.up import Options

MOUNTS = os.geteuid() == 0 and shutil.which("mount") is not None
_FELT_S = 30.0
_SMALL_LOG = {"max_wal_size": "64MB", "min_wal_size": "32MB", "wal_buffers": "4MB", "shared_buffers": "256MB"}
_NEXT_FILE = "SELECT pg_logical_emit_message(false, 'chaos', 'x'), pg_switch_wal()"
_WRITTEN = "SELECT sum(fsyncs)::bigint FROM pg_stat_io WHERE object = 'wal'"


@contextmanager
def _small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "expedite-chaos", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        with suppress(OSError):
            folder.rmdir()


def _on_small_disks(postgres_mb: int, kafka_mb: int) -> Fit:
    @asynccontextmanager
    async def fit(home: Home, options: Options) -> AsyncIterator[Options]:
        with _small_disk(data_folder(home.postgres), postgres_mb), _small_disk(home.kafka, kafka_mb):
            yield replace(options, postgres=_SMALL_LOG)

    return fit


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    """Not a byte is left on this disk for as long as the block lasts."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 2**12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        ballast.unlink()


async def full_under_postgres(on: Field) -> Bite:
    """Not a byte is left for PostgreSQL, its log needs a new file, and it stops. What it had promised is there when there
    is room again."""
    server = on.system.substrate.postgres
    assert server is not None
    before, panics, pid = on.restarts("postgres"), _panics(server.log), server.pid
    with _full(server.folder):
        began = time.monotonic()
        while time.monotonic() - began < _FELT_S and _panics(server.log) == panics:
            # Files of the log that are left from before are used up first.
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await asyncpg.connect(server.uri, timeout=2, command_timeout=2)
                try:
                    await connection.execute(_NEXT_FILE)
                finally:
                    connection.terminate()
            await asyncio.sleep(0.1)
        await asyncio.sleep(3.0)
        panics = _panics(server.log) - panics
    over_at = time.monotonic()
    if server.pid != pid:
        await on.started_again("postgres", before)
    return Bite(bit={"panics": panics, "starts again": on.restarts("postgres") - before}, over_at=over_at)


def _panics(log: Path) -> int:
    """How often PostgreSQL has stopped everything because it could not write its log."""
    return log.read_bytes().count(b"PANIC:")


async def full_under_kafka(on: Field) -> Bite:
    """Not a byte is left for Kafka, and it stops. The outboxes hold what it cannot take."""
    broker = on.system.substrate.kafka
    assert broker is not None
    before, taken, pid = on.restarts("kafka"), len(on.driver.book.ok), broker.pid
    with _full(broker.folder):
        await on.until(lambda: broker.pid != pid, "Kafka stops on a full disk", 60.0)
        await asyncio.sleep(3.0)
        meanwhile = len(on.driver.book.ok) - taken
    over_at = time.monotonic()
    await on.started_again("kafka", before)
    return Bite(bit={"server deaths": 1, "orders taken in meanwhile": meanwhile}, over_at=over_at)


SMALL = Ground("servers on small disks", fit=_on_small_disks(900, 160))


async def slow_writes(on: Field) -> Bite:
    """Every write to the disk takes 20, then 100, then 200 ms longer. Everything slows down, nobody gives up."""
    before, unknown, orders = await _writes(on), on.driver.book.outcomes["unknown"], len(on.driver.book.ok)
    try:
        for ms in (20, 100, 200):
            FSYNC.shim.set(ms)
            await asyncio.sleep(3.0 if on.short else 5.0)
        slow = await _writes(on) - before
    finally:
        FSYNC.shim.clear()
    over_at = time.monotonic()
    missed = on.driver.book.outcomes["unknown"] - unknown
    problems = [f"{missed} calls were not answered although the disk was only slow"] if missed else []
    bit = {"slow writes": float(slow), "orders taken in meanwhile": len(on.driver.book.ok) - orders}
    return Bite(times=3, bit=bit, over_at=over_at, problems=problems)


async def _writes(on: Field) -> int:
    async with on.administrator() as connection:
        return int(await connection.fetchval(_WRITTEN))


_FULL = (
    Trial("22", "disk full under PostgreSQL", "I1-I6", full_under_postgres, 10.0, ground=SMALL),
    Trial("23", "disk full under Kafka", "I4", full_under_kafka, 15.0, ground=SMALL),
)
_SLOW = Trial("24", "slow fsync: 20, 100, 200 ms more", "I4, I7", slow_writes, 2.0, ground=DOUBLED)
TRIALS = (*(_FULL if MOUNTS else ()), *((_SLOW,) if COMPILER else ()))
IMPOSSIBLE = (
    *(() if MOUNTS else (Impossible("22-23", "disk full", "file systems can be mounted by root only"),)),
    *(() if COMPILER else (Impossible("24", "slow fsync", "the shim needs a C compiler"),)),
)
