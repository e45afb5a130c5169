"""`expedite up`: everything from nothing to ready, kept running until asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from expedite_local import lending, secrets, state, urgency, warden, writeback
from expedite_local.child import ProcessSpec
from expedite_local.clock import monday_morning, now
from expedite_local.errors import PortTaken
from expedite_local.home import Home
from expedite_local.logs import Terminal
from expedite_local.plan import ENTRANCE, Plan, Substance
from expedite_local.ports import CARRIERS_OFFSET, DEFAULT_BASE, SMTP_OFFSET, PortPlan
from expedite_local.screen import Screen, ports_in_use, summary
from expedite_local.services import SERVICES, Service
from expedite_local.substrate import Step, Substrate
from expedite_local.supervisor import Supervisor

_BEAT_SECONDS = 2.0
OPERATOR = "operator"


@dataclass(frozen=True)
class Options:
    """What `up` was asked for. speed: business seconds per real second. port_base: 0 picks free ports.

    opens: business time at which a clock that never ran begins; None means real time, or Monday 09:00 of this
    week at another speed than 1. show_logs: stream the output of processes once the system is ready. detached: what is
    written goes to a log file, where no password belongs.

    adapt: changes a process before it is declared (its environment, what it connects to). postgres, kafka: settings of the
    embedded servers besides, or instead of, our own; postgres_env: added to PostgreSQL's environment.
    """

    services: Sequence[Service] = SERVICES
    scale: dict[str, int] = field(default_factory=dict)
    speed: float = 1.0
    port_base: int = DEFAULT_BASE
    fresh: bool = False
    opens: datetime | None = None
    show_logs: bool = True
    detached: bool = False
    extra: dict[str, str] = field(default_factory=dict)
    seed: int = 1
    adapt: Callable[[ProcessSpec], ProcessSpec] = lambda spec: spec
    postgres: Mapping[str, str] = field(default_factory=dict)
    postgres_env: Mapping[str, str] = field(default_factory=dict)
    kafka: Mapping[str, str] = field(default_factory=dict)


class System:
    """One running system: substrate, processes, state file. `await run(stop)` does it all."""

    def __init__(self, home: Home, options: Options, screen: Screen) -> None:
        """Describe the system; nothing runs yet."""
        self.home, self.options, self.screen = home, options, screen
        self.ports = PortPlan.at(options.port_base)
        self.plan = Plan(
            home,
            options.services,
            self.ports,
            options.scale,
            extra=options.extra,
            speed=options.speed,
            seed=options.seed,
        )
        self.substrate = Substrate(
            home,
            options.services,
            dict(self.ports.fixed),
            fresh=options.fresh,
            on_step=self._substrate_step,
            postgres_settings=options.postgres,
            postgres_env=options.postgres_env,
            kafka_properties=options.kafka,
        )
        self.supervisor: Supervisor | None = None
        self.phase = "starting"
        self.ready = asyncio.Event()
        self._started_at = now().isoformat()
        self._secrets = secrets.load_or_create(home, secrets.LOCAL_SPEC)

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, announce it, and keep it until `stop` is set; always leaves nothing running.

        Raises LocalError (a subclass) when something does not start.
        """
        self._refuse_taken_ports()
        self._save()
        background: list[asyncio.Task[None]] = []
        try:
            starting = asyncio.create_task(self._start())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():  # asked to stop half-way up
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting
                return
            stopping.cancel()
            starting.result()
            background = [
                asyncio.create_task(self._beat()),
                asyncio.create_task(self.substrate.watch(self._revived)),
                asyncio.create_task(self._hurry()),
                asyncio.create_task(self._lend()),
                asyncio.create_task(writeback.keep(self.substrate.tables_and_topics)),
            ]
            await stop.wait()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await self._stop()

    def _refuse_taken_ports(self) -> None:
        names = [service.name for service in self.options.services]
        names += [] if self.substrate.external_postgres else ["postgres"]
        names += [] if self.substrate.external_kafka else ["kafka", "kafka-controller"]
        taken = self.ports.taken(names)
        if taken:
            raise PortTaken(ports_in_use(taken))

    async def _start(self) -> None:
        began = time.monotonic()
        await self.substrate.start()
        opens = self.options.opens
        if opens is None and self.options.speed != 1:
            opens = monday_morning(now())
        clock = await self.substrate.start_clock(self.options.speed, opens)
        at = clock.business(now())
        self.screen.done("clock", f"{at:%a %Y-%m-%d %H:%M} UTC, speed {self.options.speed:g}", 0.0)
        planned = self.plan.processes(Substance(self.substrate.kafka_bootstrap, self.substrate.database_urls))
        specs = [self.options.adapt(spec) for spec in planned]
        terminal = Terminal(max(len(spec.name) for spec in specs))
        self.supervisor = Supervisor(specs, self.home, terminal, self._changed)
        processes_began = time.monotonic()
        await self.supervisor.start()
        count = len(self.options.services)
        self.screen.idle("services")
        self.screen.done("services", f"{count} ready ({len(specs)} processes)", time.monotonic() - processes_began)
        self.phase = "ready"
        self._save()
        ready = summary(self.snapshot(), password=not self.options.detached)
        sys.stdout.write(f"   ready after {time.monotonic() - began:.1f} s\n{ready}\n")
        sys.stdout.flush()
        terminal.live = self.options.show_logs
        self.ready.set()

    async def _beat(self) -> None:
        """Note every few seconds that we live: after a kill, the business clock stands where it was last seen."""
        clock = self.substrate.clock
        while True:
            clock.touch(now())
            await asyncio.sleep(_BEAT_SECONDS)

    async def _hurry(self) -> None:
        """Give the processor to urgent orders first."""
        ours = None if self.substrate.external_postgres else self.substrate.admin_url
        await urgency.keep(self._urgent, ours, ENTRANCE)

    async def _lend(self) -> None:
        """Let nobody who comes last hold up what is urgent."""
        ours = None if self.substrate.external_postgres else self.substrate.admin_url
        await lending.keep(self._pids, ours, ENTRANCE)

    def _pids(self) -> dict[str, int]:
        found = self.supervisor.status() if self.supervisor else []
        return {f"{s.spec.service}-{s.spec.role}-{s.spec.slot}": s.pid for s in found if s.pid}

    def _urgent(self) -> list[int]:
        found = [status.pid for status in self.supervisor.status() if status.spec.urgent] if self.supervisor else []
        broker = self.substrate.kafka.pid if self.substrate.kafka else None
        return [pid for pid in (*found, broker or 0) if pid]

    async def _stop(self) -> None:
        self.phase = "stopping"
        self._save()
        self.screen.busy("stopping", "")
        began = time.monotonic()
        if self.substrate.database_urls:
            # A database that is down cannot be told; the stored anchor is copied at the next start.
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.substrate.freeze_clock(), 5.0)
        if self.supervisor is not None:
            await self.supervisor.stop()
        await self.substrate.stop()
        state.remove(self.home)
        self.screen.idle("stopping")
        self.screen.done("stopped", "", time.monotonic() - began)

    def _substrate_step(self, step: Step) -> None:
        self.screen.step(step)
        self._save()

    def _revived(self, name: str) -> None:
        self._save()
        sys.stdout.write(f"[supervisor] {name} had ended and was started again\n")

    def _changed(self) -> None:
        if self.supervisor is not None and self.phase == "starting":
            statuses = self.supervisor.status()
            ready = sum(s.state == "ready" for s in statuses)
            self.screen.busy("services", f"{ready}/{len(statuses)} processes ready")
        self._save()

    def _server_states(self) -> list[state.ProcessState]:
        found = []
        for name, server in (("postgres", self.substrate.postgres), ("kafka", self.substrate.kafka)):
            if server is None:
                continue
            pid = server.pid or 0
            found.append(
                state.ProcessState(
                    name=name,
                    service=name,
                    role="server",
                    slot=0,
                    state="ready" if pid else "stopped",
                    pid=pid,
                    started=(warden.started_at(pid) or 0.0) if pid else 0.0,
                    port=server.port,
                    restarts=self.substrate.restarts[name],
                    log=str(server.log),
                )
            )
        return found

    def snapshot(self) -> state.State:
        """The system as it is now, for the state file and for what runs beside it."""
        processes = self._server_states()
        for status in self.supervisor.status() if self.supervisor else []:
            spec = status.spec
            processes.append(
                state.ProcessState(
                    name=spec.name,
                    service=spec.service,
                    role=spec.role,
                    slot=spec.slot,
                    state=status.state,
                    pid=status.pid,
                    started=status.started,
                    port=spec.port,
                    restarts=status.restarts,
                    log=str(status.log),
                )
            )
        base = self.ports.base
        has_database = bool(self.substrate.database_urls)
        return state.State(
            supervisor_pid=os.getpid(),
            supervisor_started=warden.started_at(os.getpid()) or 0.0,
            phase=self.phase,
            started_at=self._started_at,
            speed=self.options.speed,
            ports=self.ports.fixed | {"carriers": base + CARRIERS_OFFSET, "smtp": base + SMTP_OFFSET},
            urls=self.plan.urls(),
            kafka_bootstrap=self.substrate.kafka_bootstrap if has_database else "",
            postgres_url=self.substrate.admin_url if has_database else "",
            databases=dict(self.substrate.database_urls),
            secrets_file=str(self.home.secrets_file),
            api_keys={client: entry["key"] for client, entry in self._secrets["api_keys"].items()},
            login={"user": OPERATOR, "password": self._secrets["operator_password"]},
            processes=processes,
        )

    def _save(self) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop the system
            state.save(self.home, self.snapshot())


@contextlib.asynccontextmanager
async def running(system: System) -> AsyncIterator[System]:
    """The system, ready to be used; stopped and its data deleted at the end. What it raises before or after is raised."""
    stop = asyncio.Event()
    life = asyncio.create_task(system.run(stop))
    ready = asyncio.create_task(system.ready.wait())
    try:
        await asyncio.wait({life, ready}, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            life.result()
        yield system
    finally:
        ready.cancel()
        stop.set()
        try:
            await life
        finally:
            system.substrate.wipe()


Beside = Callable[[System, asyncio.Event], Awaitable[None]]


async def run(home: Home, options: Options, beside: Beside | None = None) -> None:
    """Hold the home, run a system in it until SIGINT, SIGTERM or SIGHUP, leave nothing behind.

    beside: runs once the system is ready, with an event that says when to end; when it returns, the system stops, and
    what it raises is raised here. Raises AlreadyRunning when the home is held, LocalError when something does not start.
    """
    with state.hold(home):
        left = state.clear_leftovers(home)
        if left:
            sys.stdout.write(f"   {left} processes of a system that was killed here were still running; ended\n")
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        system = System(home, options, Screen())
        companion = asyncio.create_task(_companion(system, stop, beside)) if beside else None
        try:
            await system.run(stop)
        finally:
            stop.set()
            if companion is not None and not system.ready.is_set():
                companion.cancel()
        if companion is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await companion


async def _companion(system: System, stop: asyncio.Event, beside: Beside) -> None:
    await system.ready.wait()
    try:
        await beside(system, stop)
    finally:
        stop.set()
