"""PostgreSQL, Kafka, databases, schemas and topics as one thing to start and stop: for `expedite up` and for tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from expedite_local import databases
from expedite_local.clock import BusinessClock, copy_anchor, now
from expedite_local.errors import LocalError
from expedite_local.home import Home
from expedite_local.kafka import KafkaServer
from expedite_local.postgres import PostgresServer
from expedite_local.services import SERVICES, Service

DATABASE_VARIABLE = "DATABASE_URL"
KAFKA_VARIABLE = "KAFKA_BOOTSTRAP"
_WATCH_SECONDS = 0.5
_RESTART_LIMIT_SECONDS = 5.0
"""Between two tries: without a server nothing works, and what kept it down (a full disk) may be gone any moment."""
_RECOVERY_SECONDS = 900.0
"""For a server to come back after a crash: it reads its logs first, and one that is ended half-way begins anew."""


@dataclass(frozen=True)
class Step:
    """Progress of a start: what is being done (`done` False) or was done, with detail and the seconds it took."""

    name: str
    detail: str
    seconds: float
    done: bool


@dataclass
class Substrate:
    """The servers that services run on. `async with Substrate(home) as substrate:` or `start()` and `stop()`.

    External servers are used where `KAFKA_BOOTSTRAP` or `DATABASE_URL` (an administrator's) are set in the
    environment when the object is made; they are never started, stopped or wiped.

    ports: `postgres`, `kafka`, `kafka-controller`; a missing or zero one is picked. migrate, topics: bring
    schemas and topics up to date at start. fresh: start from empty data. on_step: hears of progress. postgres_settings,
    postgres_env, kafka_properties: of the embedded servers, besides or instead of our own. held: names of servers that
    `watch` leaves down.
    """

    home: Home
    services: Sequence[Service] = SERVICES
    ports: dict[str, int] = field(default_factory=dict)
    migrate: bool = True
    topics: bool = True
    fresh: bool = False
    on_step: Callable[[Step], None] = lambda _: None
    postgres_settings: Mapping[str, str] = field(default_factory=dict)
    postgres_env: Mapping[str, str] = field(default_factory=dict)
    kafka_properties: Mapping[str, str] = field(default_factory=dict)
    external_postgres: str | None = field(default_factory=lambda: os.environ.get(DATABASE_VARIABLE))
    external_kafka: str | None = field(default_factory=lambda: os.environ.get(KAFKA_VARIABLE))

    postgres: PostgresServer | None = field(default=None, init=False)
    kafka: KafkaServer | None = field(default=None, init=False)
    database_urls: dict[str, str] = field(default_factory=dict, init=False)
    restarts: dict[str, int] = field(default_factory=lambda: {"postgres": 0, "kafka": 0}, init=False)
    held: set[str] = field(default_factory=set, init=False)

    @property
    def admin_url(self) -> str:
        """URL of the database administrator."""
        if self.external_postgres:
            return databases.plain_url(self.external_postgres)
        if self.postgres is None:
            raise LocalError("the substrate is not started")
        return self.postgres.uri

    @property
    def kafka_bootstrap(self) -> str:
        """What Kafka clients connect to."""
        if self.external_kafka:
            return self.external_kafka
        if self.kafka is None:
            raise LocalError("the substrate is not started")
        return self.kafka.bootstrap

    @property
    def clock(self) -> BusinessClock:
        """The business clock of this home, as stored."""
        return BusinessClock.load(self.home.clock_file)

    def tables_and_topics(self) -> list[Path]:
        """Where the servers that are ours keep what they write in the background."""
        found = [self.postgres.tables] if self.postgres else []
        return [*found, self.kafka.topics] if self.kafka else found

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start what is not external, both servers at once, then prepare databases, schemas and topics.

        Raises LocalError (a subclass saying what to do); whatever was started is stopped again then.
        """
        if self.fresh and self.external_kafka:
            raise LocalError(
                "--fresh cannot empty the Kafka that KAFKA_BOOTSTRAP names: delete its topics there, or unset it"
            )
        self.home.create()
        try:
            if self.fresh:
                self.home.databases_file.unlink(missing_ok=True)
                self.home.clock_file.unlink(missing_ok=True)
                # Order numbers begin anew: mail of the old ones would look like messages sent twice.
                shutil.rmtree(self.home.mail, ignore_errors=True)
            # return_exceptions: a failure of one must not leave the other half started behind our back.
            results = await asyncio.gather(self._databases(), self._broker(), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        except BaseException:
            await self.stop()
            raise

    async def _databases(self) -> None:
        if not self.external_postgres:
            self.postgres = PostgresServer(
                self.home.postgres,
                self.ports.get("postgres", 0),
                self.home.logs / "postgres.log",
                settings=self.postgres_settings,
                env=self.postgres_env,
            )
            async with self._step("postgres 18", f"127.0.0.1:{self.postgres.port}   (embedded)"):
                if self.fresh:
                    await asyncio.to_thread(self.postgres.wipe)
                await asyncio.to_thread(self.postgres.start)
        async with self._step("databases", f"{len(self.services)} databases, {len(self.services)} roles"):
            passwords = databases.load_or_create_passwords(self.home, self.services)
            self.database_urls = await databases.provision(
                self.admin_url, self.services, passwords, fresh=self.fresh and self.external_postgres is not None
            )
            if not self.external_postgres:
                await databases.lock_maintenance_database(self.admin_url)
        if self.migrate:
            async with self._step("migrations", f"{len(self.services)}/{len(self.services)}"):
                await databases.migrate(self.database_urls, self.services, lambda _: None)

    async def _broker(self) -> None:
        if not self.external_kafka:
            self.kafka = KafkaServer(
                self.home.kafka,
                self.ports.get("kafka", 0),
                self.ports.get("kafka-controller", 0),
                self.home.logs / "kafka.log",
                properties=self.kafka_properties,
            )
            async with self._step("kafka 4.3.1", f"{self.kafka.bootstrap}   (embedded, KRaft)"):
                if self.fresh:
                    await asyncio.to_thread(self.kafka.wipe)
                await self.kafka.start(progress=self._jars_progress)
        if self.topics:
            from expedite_messaging.admin import ensure_topics, wait_ready

            if self.external_kafka:
                await wait_ready(self.kafka_bootstrap, 30.0)
            began = time.monotonic()
            count = await ensure_topics(self.kafka_bootstrap)
            self.on_step(Step("topics", f"{count}", time.monotonic() - began, done=True))

    def _jars_progress(self, done: int, total: int) -> None:
        self.on_step(Step("kafka 4.3.1", f"fetching, first start only: {done}/{total} jars", 0.0, done=False))

    @asynccontextmanager
    async def _step(self, name: str, detail: str) -> AsyncIterator[None]:
        began = time.monotonic()
        self.on_step(Step(name, detail, 0.0, done=False))
        yield
        self.on_step(Step(name, detail, time.monotonic() - began, done=True))

    async def start_clock(self, speed: float, opens: datetime | None = None) -> BusinessClock:
        """Let business time run at `speed` from where it stands and tell every database.

        opens: the business time of a clock that has never run; without it that is real time.
        """
        clock = self.clock
        clock.resume(speed, now(), opens)
        await copy_anchor(clock, self.database_urls)
        return clock

    async def freeze_clock(self) -> None:
        """Stop business time, unless it runs at the speed of real time. Call it before stopping the services."""
        clock = self.clock
        if clock.freeze(now()) is not None:
            await copy_anchor(clock, self.database_urls)

    async def watch(self, on_restart: Callable[[str], None] = lambda _: None) -> None:
        """Restart an embedded server whenever it has died, with growing pauses, until cancelled.

        `on_restart` hears the server's name after each restart; `restarts` counts them.
        """
        await asyncio.gather(
            self._watch_one("postgres", on_restart),
            self._watch_one("kafka", on_restart),
        )

    async def _watch_one(self, name: str, on_restart: Callable[[str], None]) -> None:
        pause = _WATCH_SECONDS
        while True:
            await asyncio.sleep(pause)
            server = self.postgres if name == "postgres" else self.kafka
            if server is None or server.pid is not None or name in self.held:
                pause = _WATCH_SECONDS
                continue
            try:
                if isinstance(server, PostgresServer):
                    await asyncio.to_thread(server.start, _RECOVERY_SECONDS)
                else:
                    await server.start(within_s=_RECOVERY_SECONDS)
            except (LocalError, OSError):
                pause = min(pause * 2, _RESTART_LIMIT_SECONDS)
                continue
            self.restarts[name] += 1
            on_restart(name)

    async def stop(self) -> None:
        """Stop the embedded servers, Kafka first (nothing it still writes depends on PostgreSQL's order)."""
        if self.kafka is not None:
            await asyncio.to_thread(self.kafka.stop)
        if self.postgres is not None:
            await asyncio.to_thread(self.postgres.stop)

    def wipe(self) -> None:
        """Delete the data of the embedded servers; they must be stopped."""
        for server in (self.kafka, self.postgres):
            if server is not None:
                server.wipe()
