"""The field of a trial: a running system, its driver, its monkey, everybody around it, and tools to look inside."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from expedite_chaos import gauges
from expedite_chaos.calls import Book, Outcome
from expedite_chaos.driver import Driver
from expedite_chaos.faults import Monkey
from expedite_chaos.ground import Ground, opened, tokens_of
from expedite_local import audit, seeding
from expedite_local.child import ProcessStatus
from expedite_local.demo.client import Api
from expedite_local.demo.crews import Crew
from expedite_local.demo.customers import Office
from expedite_local.demo.planner import Planner
from expedite_local.home import read_json
from expedite_local.state import ProcessState, State
from expedite_local.up import System

PLENTY, SCARCE = 40, 4
STOCK, LITTLE = 100_000, 30
CREW = {"LON": "tom", "MAN": "priya"}
HEAL_S, STALL_S, REST_S, AWAY_S = 240.0, 120.0, 120.0, 60.0
_RESERVED = "SELECT 1 FROM ledger WHERE key = $1 AND topic LIKE 'StockReserved%'"
_OPEN = "SELECT order_id FROM intake_order WHERE state NOT IN ('closed', 'cancelled')"
_MARKS = """
SELECT order_id, substring(doc::text from '"email": ?"([^"]+)@example[.]com"') AS mark FROM intake_order
"""
_COUNTERS = {
    "duplicates dropped": "expedite_duplicates_dropped_total",
    "consumer rebuilds": "expedite_consumer_rebuilds_total",
    "producer rebuilds": "expedite_producer_rebuilds_total",
    "rebalances": "expedite_rebalances_total",
    "undecodable": "expedite_undecodable_records_total",
}


class Broken(Exception):
    """The system did not do what it promises; the text says what."""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """A connection of ours, which nobody counts among the system's; waits while the server is away."""
    deadline = time.monotonic() + AWAY_S
    while True:
        try:
            connection = await asyncpg.connect(
                url, timeout=5, command_timeout=30, server_settings={"application_name": "audit"}
            )
            break
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
    try:
        yield connection
    finally:
        with suppress(Exception):
            await connection.close(timeout=2)


class Field:
    """One system for one or more trials. `driver` is the present trial's."""

    def __init__(self, system: System, folder: Path, *, short: bool, seed: int) -> None:
        self.system, self.folder, self.short, self.seed = system, folder, short, seed
        self.monkey = Monkey(system, tokens_of(system.home))
        self.driver: Driver
        self.books: list[Book] = []
        self.problems: list[str] = []
        snapshot = system.snapshot()
        self.operator = Api(snapshot.urls, snapshot.api_keys["operator"])
        self._crew = Api(snapshot.urls, snapshot.api_keys["crew"])
        self._planner = Api(snapshot.urls, snapshot.api_keys["planner"])
        self._parties: list[asyncio.Task[None]] = []
        self._products: list[str] = []
        self._before = gauges.Reading()
        self._restarts: Counter[str] = Counter()
        self.began_at = 0.0

    def taken(self) -> list[str]:
        """What went wrong around the trial, told once."""
        told, self.problems = self.problems, []
        return told

    # --- the system -------------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> State:
        return self.system.snapshot()

    @property
    def statuses(self) -> list[ProcessStatus]:
        return self.monkey.statuses()

    def process(self, name: str) -> ProcessState:
        """A process or server as it is now."""
        return next(p for p in self.snapshot.processes if p.name == name)

    def say(self, text: str) -> None:
        """Progress, as it happens."""
        sys.stdout.write(f"[chaos {time.strftime('%H:%M:%S')}] {text}\n")
        sys.stdout.flush()

    async def rows(self, service: str, sql: str, *args: Any) -> list[Any]:
        """Rows of a service's database, read as its owner."""
        async with connected(self.snapshot.databases[service]) as connection:
            found: list[Any] = await connection.fetch(sql, *args)
            return found

    @asynccontextmanager
    async def administrator(self) -> AsyncIterator[Any]:
        """A connection of the database administrator."""
        async with connected(self.system.substrate.admin_url) as connection:
            yield connection

    @asynccontextmanager
    async def frozen(self, pids: Iterable[int]) -> AsyncIterator[None]:
        """The processes stand still (SIGSTOP) for as long as the block lasts."""
        stopped = list(pids)
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def down(self, server: str) -> AsyncIterator[None]:
        """A server, `postgres` or `kafka`, is killed and stays dead for as long as the block lasts."""
        substrate = self.system.substrate
        substrate.held.add(server)
        try:
            os.kill(self.process(server).pid, signal.SIGKILL)
            yield
        finally:
            substrate.held.discard(server)

    async def started_again(self, server: str, before: int, within_s: float = 120.0) -> float:
        """Wait until a server was started more than `before` times (see `restarts`); when it answered."""
        await self.until(lambda: self.restarts(server) > before, f"{server} is started again", within_s)
        return time.monotonic()

    def restarts(self, name: str) -> int:
        """How often a process or server was started again."""
        return self.process(name).restarts

    async def until(self, true: Callable[[], bool], what: str, within_s: float) -> None:
        """Wait until `true()` holds; raises Broken with what did not come true."""

        async def look() -> bool:
            return true()

        await self.eventually(look, what, within_s)

    async def eventually(self, true: Callable[[], Awaitable[bool]], what: str, within_s: float) -> None:
        """As `until`, for what has to be asked."""
        deadline = time.monotonic() + within_s
        while not await true():
            if time.monotonic() > deadline:
                raise Broken(f"after {within_s:.0f} s it was still not so that {what}")
            await asyncio.sleep(0.05)

    async def healed(self) -> None:
        """Wait until every process and server is up, by the supervisor alone."""

        def up() -> bool:
            servers = (self.system.substrate.postgres, self.system.substrate.kafka)
            return all(s.state == "ready" for s in self.statuses) and all(s and s.pid for s in servers)

        await self.until(up, "every process is ready", HEAL_S)

    # --- everybody around it ----------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Master data and stock, then crews, planner and office at work for the life of the system."""
        await seeding.load_master_data(self.operator, self.system.plan.carriers_url, lambda _: None)
        self._products = [product["sku"] for product in seeding.read("products")][: PLENTY + SCARCE]
        await self._stock(dict.fromkeys(self._products[:PLENTY], STOCK), "LON")
        await self._stock(dict.fromkeys(self._products[:PLENTY], STOCK), "MAN")
        await self._stock(dict.fromkeys(self._products[PLENTY:], LITTLE), "LON")
        async with asyncio.timeout(60):
            while (await self.operator.send("GET", "order-intake", "/readyz")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        done, shorts = Counter[str](), set[str]()
        parties: list[Any] = [
            *(Crew(self._crew, warehouse, by, done, shorts) for warehouse, by in CREW.items()),
            Planner(self._planner, done, lead_s=2.0),
            Office(self.operator, done),
        ]
        self._parties = [asyncio.create_task(self._keep(party)) for party in parties]

    async def _stock(self, quantities: dict[str, int], warehouse: str) -> None:
        lines = [{"sku": sku, "warehouse_id": warehouse, "quantity": n} for sku, n in quantities.items()]
        reference = f"{warehouse}-{len(lines)}"
        body = {"lines": lines, "reason": "opening stock", "reference": reference}
        (await self.operator.post("inventory", "/stock/opening", body)).raise_for_status()

    async def _keep(self, party: Any) -> None:
        """Whoever is startled by an answer goes on; it is told, because nobody should be."""
        while True:
            try:
                await party.work(asyncio.Event())
            except Exception as error:
                self.problems.append(f"{type(party).__name__} met {error!r}")
                await asyncio.sleep(1.0)

    async def close(self) -> None:
        for task in self._parties:
            task.cancel()
        await asyncio.gather(*self._parties, return_exceptions=True)
        for api in (self.operator, self._crew, self._planner):
            await api.close()

    # --- a trial ----------------------------------------------------------------------------------------------------

    async def begin(self, name: str) -> None:
        """A new trial: counters start, nothing is wrong yet, a new driver."""
        self.began_at = time.monotonic()
        snapshot = self.snapshot
        self._before = await gauges.read(snapshot)
        self._restarts = Counter({p.name: p.restarts for p in snapshot.processes})
        self.driver = Driver(
            name, snapshot.urls, snapshot.api_keys, self._products[:PLENTY], self._products[PLENTY:], self.seed
        )
        self.books.append(self.driver.book)

    async def tally(self) -> dict[str, float]:
        """What happened since the trial began, by name of the counter."""
        now, snapshot = await gauges.read(self.snapshot), self.snapshot
        found = {name: now.total(metric, since=self._before) for name, metric in _COUNTERS.items()}
        found |= {name: float(self.driver.book.outcomes[name]) for name in (Outcome.UNKNOWN, Outcome.REFUSED)}
        found["restarts"] = float(sum(p.restarts - self._restarts[p.name] for p in snapshot.processes))
        found["503"] = float(sum(n for what, n in self.driver.book.answers.items() if what.endswith(" 503")))
        return found

    async def twice(self) -> int:
        """How many events the topics hold more than once, of all trials on this field."""
        times = Counter([envelope.id async for envelope in audit.every_event(self.snapshot)])
        return sum(1 for n in times.values() if n > 1)

    async def reading(self, process: str = "") -> gauges.Reading:
        """The metrics of all processes whose name begins so."""
        return await gauges.read(self.snapshot, process)

    async def serves(self, within_s: float = HEAL_S) -> float:
        """Wait until the system serves again: an order on each lane goes from POST to StockReserved. The monotonic time at
        which the later one did."""
        return max(await asyncio.gather(*(self._reserved(urgent, within_s) for urgent in (False, True))))

    async def _reserved(self, urgent: bool, within_s: float) -> float:
        call = self.driver.order(urgent=urgent, plain=True)
        deadline = time.monotonic() + within_s
        while await self.driver.post(call) is not Outcome.OK:
            if time.monotonic() > deadline:
                raise Broken(f"no order was taken in for {within_s:.0f} s")
            await asyncio.sleep(0.1)
        while time.monotonic() < deadline:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                async with connected(self.snapshot.databases["inventory"]) as connection:
                    while time.monotonic() < deadline:
                        if await connection.fetchval(_RESERVED, call.order_id):
                            return time.monotonic()
                        await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)
        raise Broken(f"{call.order_id} was taken in but had no stock after {within_s:.0f} s")

    async def open_orders(self) -> list[str]:
        """Orders that have not come to their end."""
        return [row["order_id"] for row in await self.rows("order-intake", _OPEN)]

    async def ended(self) -> None:
        """Wait until every order has come to its end; raises Broken when nothing moves any more."""
        before, since = -1, time.monotonic()
        while left := await self.open_orders():
            if len(left) != before:
                before, since = len(left), time.monotonic()
            if time.monotonic() - since > STALL_S:
                raise Broken(f"{len(left)} orders stand still: {', '.join(left[:5])}")
            await asyncio.sleep(0.25)

    async def intake(self) -> tuple[list[str], list[str]]:
        """Of all calls on this field: taken in and not there (lost), there twice (doubled). Whatever the client knows: one
        key is one order (I6)."""
        there: dict[str, list[str]] = {}
        for row in await self.rows("order-intake", _MARKS):
            there.setdefault(row["mark"], []).append(row["order_id"])
        taken_in = [call for book in self.books for call in book.ok]
        lost = [f"{c.mark}: {c.order_id}" for c in taken_in if c.order_id not in there.get(c.mark, [])]
        doubled = [f"{mark}: {', '.join(ids)}" for mark, ids in there.items() if mark and len(ids) > 1]
        return lost, doubled

    async def audited(self, *, ended: bool) -> list[audit.Finding]:
        """The whole audit, at rest."""
        secrets = read_json(self.system.home.secrets_file) or {}
        return await audit.settled(
            self.snapshot, secrets, self.system.home, ended=ended, patience_s=REST_S, told=lambda _: None
        )

    async def leaks(self, within_s: float = 20.0) -> list[str]:
        """Connections that are still there `within_s` after everything came to rest (I10)."""
        deadline = time.monotonic() + within_s
        while True:
            async with self.administrator() as connection:
                found = await gauges.leaks(connection, self.snapshot)
            if not found or time.monotonic() > deadline:
                return found
            await asyncio.sleep(1.0)


@asynccontextmanager
async def taken(ground: Ground, folder: Path, *, short: bool, seed: int) -> AsyncIterator[Field]:
    """A field on this ground, ready for trials."""
    async with opened(ground, folder, seed) as system:
        field = Field(system, folder, short=short, seed=seed)
        try:
            await field.prepare()
            yield field
        finally:
            await field.close()
