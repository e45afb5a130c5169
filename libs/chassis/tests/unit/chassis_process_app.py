"""A process for the tests of `serve` and `run`: a real server and a worker that says what it does on standard output."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import sqlalchemy as sa
import uvloop
from fastapi import APIRouter

from expedite_chassis import RawBody, RuntimeDep, ServiceSpec, testing
from expedite_chassis.app import create_app, create_health_app
from expedite_chassis.logs import configure_logging
from expedite_chassis.main import run, serve
from expedite_events import heard_by
from expedite_messaging import Handlers
from expedite_messaging.memory import MemoryClock, MemoryEngine

router = APIRouter()


@router.post("/echo")
async def echo(body: RawBody) -> int:
    return len(body)


@router.get("/slow")
async def slow(runtime: RuntimeDep) -> str:
    """Ends only after the process was asked to stop, so that it is certainly open at that moment."""
    say("slow began")
    while not runtime.draining:  # noqa: ASYNC110 - a flag is all that a route sees of the request to stop
        await asyncio.sleep(0.01)
    return "done"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Worker:
    """Works until it is stopped; `dies` lets it fail, `hangs` lets it ignore the request to stop."""

    def __init__(self, mode: str) -> None:
        self.mode, self.ready, self._stop = mode, False, asyncio.Event()

    async def run(self) -> None:
        self.ready = True
        if self.mode == "dies":
            raise RuntimeError("the consumer broke")
        if self.mode == "hangs":
            await asyncio.Event().wait()
        await self._stop.wait()
        say("worker finished its batch")

    async def stop(self) -> None:
        say("worker asked to stop")
        self._stop.set()


async def ignore(batch: Any, tx: Any) -> None:
    """Handles what this service must hear by doing nothing."""


handlers = Handlers("inventory")
for row in heard_by("inventory"):
    handlers.on(row.event)(ignore)
spec = ServiceSpec("inventory", handlers, sa.MetaData(), router, "inventory")


async def main(mode: str, port: int) -> None:
    runtime = testing.runtime_for(
        spec,
        port=port,
        max_body_bytes=1000,
        stop_s=1.0 if mode == "hangs" else 60.0,
        **({"head_s": 0.5, "body_s": 1.0} if mode == "hasty" else {}),
    )
    engine = MemoryEngine(spec.handlers, MemoryClock())
    worker: Any = None if mode in ("api", "hasty") else Worker(mode)
    app = create_app(spec, engine, runtime) if worker is None else create_health_app(spec, engine, runtime)
    await serve(app, runtime, worker)
    await runtime.http.aclose()
    say("ended")


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(spec, sys.argv[2:])
    else:
        configure_logging("inventory")
        uvloop.run(main(sys.argv[1], int(sys.argv[2])))
