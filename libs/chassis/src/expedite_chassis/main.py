"""The composition root of every process: environment in, one role out, a graceful end on SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import math
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from pydantic import ValidationError
from pydantic_settings import SettingsError

from expedite_chassis.app import create_app, create_health_app
from expedite_chassis.connections import Guarded
from expedite_chassis.errors import describe, message_of
from expedite_chassis.logs import configure_logging
from expedite_chassis.settings import SecretsUnreadable, Settings, read_secrets
from expedite_chassis.spec import Runtime, ServiceSpec
from expedite_events import Lane
from expedite_messaging.access import KafkaAccessError, client_options

if TYPE_CHECKING:
    from expedite_messaging.postgres import PostgresEngine

ROLES = ("api", "standard", "express")
_CONFIGURATION = 78  # EX_CONFIG: starting again does not help
_BACKLOG = 1024
_READY = 3
"""Sessions of an express lane and of an API that are there before they are needed: a request or event that comes while others
run does not wait until one is made."""
_RETURN_S = 2.0
_STOPS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger("expedite.process")


class WorkerLike(Protocol):
    """What a role needs of `expedite_messaging.runtime.Worker`."""

    @property
    def ready(self) -> bool: ...
    async def run(self) -> None: ...
    async def stop(self) -> None: ...


def run(spec: ServiceSpec, argv: Sequence[str] | None = None) -> None:
    """Run one role of a service until it is asked to stop. Exits 78 when the environment cannot be used, 1 when the
    process failed."""
    parser = argparse.ArgumentParser(prog=spec.name)
    parser.add_argument("--role", choices=ROLES, required=True, help="api serves HTTP, the others consume a lane")
    role: str = parser.parse_args(argv).role
    try:
        settings = spec.settings()
        if not settings.database_url:
            raise SecretsUnreadable("DATABASE_URL is not set")
        secrets = read_secrets(settings.secrets_path)
        client_options()
    except (ValidationError, SettingsError, SecretsUnreadable, KafkaAccessError) as error:
        sys.stderr.write(f"{spec.name}: {message_of(error)}\n")
        raise SystemExit(_CONFIGURATION) from None
    configure_logging(spec.name, level=settings.log_level, fmt=settings.log_format, role=role, slot=settings.slot)
    try:
        uvloop.run(_main(spec, role, settings, secrets))
    except Exception as error:
        log.critical("the process failed", **describe(error))
        raise SystemExit(1) from None


async def _main(spec: ServiceSpec, role: str, settings: Settings, secrets: dict[str, Any]) -> None:
    # Imported here, so that apps and tests without servers load neither driver nor Kafka client.
    from expedite_messaging.postgres import PostgresEngine

    runtime = Runtime.build(spec.name, settings, secrets)
    runtime.metrics.info.labels(spec.name, role, str(settings.slot)).set(1)
    if spec.bind is not None:
        spec.bind(runtime)
    application = f"{spec.name}-{role}-{settings.slot}"
    engine = PostgresEngine(
        spec.handlers,
        settings.database_url,
        application=application,
        by_key=role != "api",
        ready=0 if role == "standard" else _READY,
    )
    spare_the_collector()
    try:
        if role == "api":
            await serve(create_app(spec, engine, runtime), runtime)
        else:
            await _work(spec, role, settings, runtime, engine)
    finally:
        await runtime.http.aclose()
        await engine.close()
    log.info("stopped")


def spare_the_collector() -> None:
    """Let the collector of cycles look less often, and never again at what is here already. A batch makes hundreds of
    thousands of objects, nearly all freed by their reference counts; walking them took a quarter of the CPU time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 1_000)


async def _work(spec: ServiceSpec, role: str, settings: Settings, runtime: Runtime, engine: PostgresEngine) -> None:
    from expedite_messaging.runtime import Worker

    missing = spec.handlers.missing()
    if missing:
        raise RuntimeError(f"{spec.name} has no handler for {', '.join(missing)}")
    worker = Worker(engine, settings.kafka_bootstrap, Lane(role), settings.slot)
    await serve(create_health_app(spec, engine, runtime), runtime, worker)


class _Server(uvicorn.Server):
    """A server that leaves signals to us, one place decides the order in which things stop; and that is told to end,
    instead of looking ten times a second whether it should."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def end(self) -> None:
        """Accept nothing more, and end with the last open request."""
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # sets the date of the answers, which is one of seconds
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), 1.0)


class PortTaken(Exception):
    """The port to listen on cannot be had; the text names it and the remedy."""


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise PortTaken(f"cannot listen on {host}:{port} ({error.strerror}); set PORT to a free one") from None


async def serve(app: FastAPI, runtime: Runtime, worker: WorkerLike | None = None) -> None:
    """Serve an app, and run a worker beside it, until a stop signal comes or one of them ends. First nothing new is
    accepted, then the worker finishes its batch, then open requests end; a second signal stops waiting."""
    settings = runtime.settings
    listening = _listen(settings.host, settings.port)
    server = _Server(
        uvicorn.Config(
            app,
            http=type("Guarded", (Guarded,), {"head_s": settings.head_s}),
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whoever can reach the port could forge them
            timeout_keep_alive=30,
            timeout_graceful_shutdown=math.ceil(settings.stop_s),
        )
    )
    stop = asyncio.Event()

    def asked() -> None:
        if stop.is_set():
            server.force_exit = True
        runtime.draining = True
        stop.set()

    loop = asyncio.get_running_loop()
    for number in _STOPS:
        loop.add_signal_handler(number, asked)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    tasks = {serving, stopping}
    working: asyncio.Task[None] | None = None
    if worker is not None:
        runtime.worker_ready = lambda: worker.ready
        working = asyncio.create_task(worker.run(), name="worker")
        tasks.add(working)
    log.info("started", port=listening.getsockname()[1], worker=worker is not None)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        early = [task for task in (serving, working) if task is not None and task.done() and not stop.is_set()]
    finally:
        runtime.draining = True
        await _stop_worker(worker, working, settings.stop_s)
        server.end()
        await asyncio.gather(serving, return_exceptions=True)
        stopping.cancel()
        for number in _STOPS:
            loop.remove_signal_handler(number)
    for task in early:
        task.result()
        raise RuntimeError(f"{task.get_name()} ended without being asked to")


async def _stop_worker(worker: WorkerLike | None, working: asyncio.Task[None] | None, stop_s: float) -> None:
    if worker is None or working is None:
        return
    if not working.done():
        try:
            await asyncio.wait_for(worker.stop(), stop_s)
            # Stopped, it returns at once, unless it still waits for a database that is away.
            await asyncio.wait_for(asyncio.shield(working), _RETURN_S)
        except TimeoutError:
            log.warning("the worker did not finish in time; what it held is delivered again", stop_s=stop_s)
            working.cancel()
    await asyncio.gather(working, return_exceptions=True)
