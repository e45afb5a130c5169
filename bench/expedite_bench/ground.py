"""A fresh system to measure on: started for one run, audited after it, gone without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from expedite_bench import profiles
from expedite_bench.books import Books
from expedite_bench.disk import quieted
from expedite_bench.measure import Cpu
from expedite_bench.orders import WAREHOUSE, Goods, prepare
from expedite_bench.wire import Client
from expedite_local import audit, state
from expedite_local.demo import client
from expedite_local.demo.client import Api
from expedite_local.doctor import raise_file_limit
from expedite_local.home import Home, read_json
from expedite_local.jars import KAFKA_VERSION
from expedite_local.screen import Screen
from expedite_local.services import select
from expedite_local.up import Options, System, running

BENCH = Path(__file__).resolve().parents[1]
STALL_S = 180.0
REST_S = 60.0
WORN_GB = 4.0
BY = "tom"
UNPACED = {"NOTIFIER_MAILS_PER_S": "0"}
"""For short runs: mail leaves at once, so that everything rests soon and the audit can be strict."""
_PARKED = "SELECT topic, key, reason FROM parked WHERE reason IS NOT NULL ORDER BY seq LIMIT 3"


class Invalid(Exception):
    """The run measured something else than it claims; its figures are worth nothing."""


def told(text: str) -> None:
    """Progress, as it happens."""
    print(f"[bench {time.strftime('%H:%M:%S')}] {text}", flush=True)


@dataclass
class Ground:
    """One running system and everything a bench uses of it."""

    system: System
    books: Books
    operator: Api
    shop: Client
    goods: Goods
    folder: Path
    started_s: float
    profiled: tuple[str, ...] = ()
    scale: Mapping[str, int] = field(default_factory=dict)
    restore: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """What must be taken back before the audit, by service: rows that were preloaded (the audit starts at that cut)."""
    _serial: int = 0

    @property
    def snapshot(self) -> state.State:
        return self.system.snapshot()

    def name(self, what: str) -> str:
        """A prefix for references that this system has not seen."""
        self._serial += 1
        return f"{what}{self._serial}"

    def client(self, service: str, party: str) -> Client:
        """Connections of one party to one service."""
        return Client(self.snapshot.urls[service], self.snapshot.api_keys[party])

    def pids(self, *names: str) -> list[int]:
        """Process ids of services' processes, as in `inventory-standard`; every replica of them."""
        found = [
            p.pid for p in self.snapshot.processes if any(p.name == n or p.name.startswith(f"{n}-") for n in names)
        ]
        return [pid for pid in found if pid]

    @asynccontextmanager
    async def crew(self, **changes: Any) -> AsyncIterator[Crew]:
        """People at work for as long as the block lasts; `changes`: what `expedite_bench.crew` is told otherwise."""
        snapshot = self.snapshot
        orders = {
            "fulfillment": snapshot.urls["fulfillment"], "shipping": snapshot.urls["shipping"],
            "key": snapshot.api_keys["crew"], "warehouse": WAREHOUSE, "by": BY, **changes,
        }  # fmt: skip
        process = await tool("expedite_bench.crew", orders)
        crew = Crew(process)
        try:
            yield crew
        finally:
            await crew.stop()

    def cpu(self, **beside: int) -> Cpu:
        """A stopwatch of CPU time, started."""
        watch = Cpu(self.snapshot, beside)
        watch.start()
        return watch

    def profiling(self) -> AbstractContextManager[None]:
        """Profile what was asked to be profiled for as long as the block lasts."""
        return profiles.running(self.pids(*self.profiled) if self.profiled else [])

    def hottest(self) -> dict[str, Any]:
        """What the profiles say."""
        return profiles.hottest(self.folder)

    async def shoot(self, url: str, file: Path, connections: int, seconds: float | None = None) -> dict[str, Any]:
        """Fire prepared requests from a process of its own; what came of them."""
        process = await tool(
            "expedite_bench.shots",
            {"url": url, "file": str(file), "connections": connections, "seconds": seconds},
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise Invalid(f"the load generator ended with status {process.returncode}")
        found: dict[str, Any] = orjson.loads(said)
        return found

    async def servers(self) -> dict[str, str]:
        """Versions and durability of the servers."""
        shown = ("server_version", "fsync", "synchronous_commit", "huge_pages_status")
        found = {f"postgres {name}": str(await self.books.value("order-intake", f"SHOW {name}")) for name in shown}
        return found | {"kafka": KAFKA_VERSION}

    async def diagnosis(self) -> str:
        """Why nothing moves: orders by hop, what is parked and why, and the last errors in the logs."""
        lines = []
        for service in self.snapshot.databases:
            rows = await self.books.rows(service, _PARKED)
            lines += [f"{service} parked {row['topic']} of {row['key']}: {row['reason']}" for row in rows]
        for path in sorted(self.system.home.logs.glob("*.log")):
            said = [line for line in path.read_text(errors="replace").splitlines() if "rror" in line]
            lines += [f"{path.stem}: {line[:300]}" for line in said[-2:]]
        return "\n".join(lines) or "nothing is parked, the logs hold no error"

    async def rested(self) -> None:
        """Wait until what was written is on the disk: what is measured next does not share it with that."""
        connection = await asyncpg.connect(self.system.substrate.admin_url)
        try:
            await connection.execute("CHECKPOINT", timeout=3600)
        finally:
            await connection.close()
        await asyncio.to_thread(os.sync)

    async def audited(self) -> dict[str, Any]:
        """What must hold whatever was measured: nothing parked, no process died, the audit clean. Raises Invalid."""
        for undo in self.restore.values():
            await undo()
        self.restore.clear()
        snapshot = self.snapshot
        died = [p.name for p in snapshot.processes if p.restarts]
        if died:
            raise Invalid(f"ended and started again meanwhile: {', '.join(died)}")
        parked = await self.books.parked()
        if parked:
            raise Invalid(f"{parked} events are parked:\n{await self.diagnosis()}")
        secrets = read_json(self.system.home.secrets_file) or {}
        findings = await audit.settled(
            snapshot,
            secrets,
            self.system.home,
            ended=False,
            patience_s=REST_S,
            told=lambda text: told(f"audit: {text}"),
        )
        wrong = [finding for finding in findings if not finding.good]
        if wrong:
            raise Invalid(f"the audit is not clean:\n{audit.text(wrong)}")
        return {"clean": True, "parked": 0, "checked": {f.check: f.count for f in findings}}


class Crew:
    """The simulators' process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.done: dict[str, int] = {}

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> None:
        """Raises Invalid when it has ended by itself."""
        if self.process.returncode is not None:
            raise Invalid(f"the crew ended with status {self.process.returncode}; its error is above")

    async def stop(self) -> None:
        """End the work; what was done is known afterwards."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
        said, _ = await self.process.communicate()
        if said and not self.done:
            found = orjson.loads(said)
            self.done = found["done"]
            if found["first_refusal"]:
                told(f"the crew was refused: {found['first_refusal']}")


async def tool(module: str, orders: dict[str, Any]) -> asyncio.subprocess.Process:
    """A process of ours that reads what to do from its standard input."""
    path = os.pathsep.join(filter(None, (str(BENCH), os.environ.get("PYTHONPATH"))))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env={**os.environ, "PYTHONPATH": path},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(orjson.dumps(orders))
    process.stdin.close()
    return process


@asynccontextmanager
async def opened(
    services: Sequence[str] = (),
    *,
    profile: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
    scale: Mapping[str, int] | None = None,
    worn_gb: float = 0,
) -> AsyncIterator[Ground]:
    """A system of our own on empty data and free ports, with master data and stock; nothing of it is left behind.
    `profile`: processes to profile whenever `Ground.profiling` says so. `extra`: settings of all processes. `scale`: copies
    of workers. `worn_gb`: how much write-ahead log the database server has written before, see `wear`."""
    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP"):
        os.environ.pop(name, None)  # a bench fills what it finds: never somebody's servers
    client.PATIENCE_S = 600.0
    raise_file_limit()
    chosen = select(services)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="expedite-bench-")))
        home = Home(folder / "home")
        stack.enter_context(state.hold(home))
        environment = {"EXPEDITE_LOG_LEVEL": "WARNING", **(extra or {})}
        if profile:
            environment |= profiles.environment(folder, BENCH / "profiling")
        options = Options(
            services=chosen,
            port_base=0,
            fresh=True,
            show_logs=False,
            extra=environment,
            seed=0,
            scale=dict(scale or {}),
        )
        system = System(home, options, Screen())
        began = time.perf_counter()
        await stack.enter_async_context(running(system))
        started_s = time.perf_counter() - began
        snapshot = system.snapshot()
        operator = Api(snapshot.urls, snapshot.api_keys["operator"])
        stack.push_async_callback(operator.close)
        if worn_gb:
            await wear(system.substrate.admin_url, worn_gb)
            await settled(system.substrate.tables_and_topics())
        books = await stack.enter_async_context(Books(snapshot.databases))
        shop = Client(snapshot.urls["order-intake"], snapshot.api_keys["shop"])
        stack.callback(shop.close)
        goods = await prepare(operator, books, [s.name for s in chosen], system.plan.carriers_url)
        yield Ground(system, books, operator, shop, goods, folder, started_s, tuple(profile), scale or {})


async def wear(url: str, gigabytes: float) -> None:
    """Make a new database server like one that has run for an hour: its write-ahead log goes round in files that exist, and
    its buffers are memory that it has. A new one makes a file of 16 MB every few hundred orders, and every commit of every
    service waits meanwhile; and each 2 MB of its buffers are cleared when they are used for the first time."""
    segments = int(gigabytes * 64)
    told(f"wearing in the database server: {segments} files of its log, and its buffers")
    connection = await asyncpg.connect(url)
    try:
        for _ in range(segments):
            await connection.execute("SELECT pg_logical_emit_message(false, 'bench', ''), pg_switch_wal()")
        await connection.execute("CHECKPOINT")
        # A row is a page. Unlogged and gone before the next checkpoint, so that none of it goes to the disk.
        await connection.execute("CREATE UNLOGGED TABLE worn (filling text STORAGE PLAIN)")
        await connection.execute(
            "INSERT INTO worn SELECT repeat('x', 8000) FROM generate_series(1,"
            " (SELECT setting::int * 9 / 10 FROM pg_settings WHERE name = 'shared_buffers'))"
        )
        await connection.execute("DROP TABLE worn")
    finally:
        await connection.close()


async def settled(folders: Sequence[Path]) -> None:
    """Wait until the disk that the first of these folders is on is done with what the wearing in wrote."""
    took_s, slow, slowest_s = await asyncio.to_thread(quieted, folders[0])
    told(f"the disk is quiet after {took_s:.0f} s: {slow} slow flushes, the slowest {slowest_s * 1000:.0f} ms")
