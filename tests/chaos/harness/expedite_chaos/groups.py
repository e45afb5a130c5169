"""Trouble in consumer groups: members that come and go, and one identity claimed twice."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer

from expedite_chaos.ground import altered
from expedite_local import warden
from expedite_local.child import ProcessSpec
from expedite_local.ports import free_port
from expedite_messaging.kafka import REBALANCE_TIMEOUT_MS, SESSION_TIMEOUT_MS

PERIOD_S = 3.0


class Toggler:
    """A member that joins a group and leaves it again, for ever, deciding and committing nothing: each time all members
    lose all partitions, and while it stays some of them rest. `did` counts joins and leaves; `generations` are those of the
    group it saw."""

    def __init__(self, bootstrap: str, group: str, topics: Sequence[str], period_s: float = PERIOD_S) -> None:
        self.bootstrap, self.group, self.topics, self.period_s = bootstrap, group, topics, period_s
        self.did: Counter[str] = Counter()
        self.generations: set[int] = set()

    async def run(self, for_s: float) -> None:
        """Toggle for so long, then stay away."""
        loop = asyncio.get_running_loop()
        until = loop.time() + for_s
        while loop.time() < until:
            consumer = self._consumer()
            try:
                await consumer.start()
                async with asyncio.timeout(self.period_s * 5):
                    await self._joined(consumer)
                self.did["joined"] += 1
                await asyncio.sleep(self.period_s)
            except TimeoutError:
                self.did["waited in vain"] += 1
            finally:
                await consumer.stop()
                self.did["left"] += 1
            await asyncio.sleep(self.period_s)

    async def _joined(self, consumer: Any) -> None:
        while not consumer.assignment():  # noqa: ASYNC110 - the client says it to nobody else
            await asyncio.sleep(0.05)
        self.generations.add(consumer._coordinator.generation)

    def _consumer(self) -> Any:
        made = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=self.group,
            client_id=f"{self.group}-toggler",
            enable_auto_commit=False,
            session_timeout_ms=SESSION_TIMEOUT_MS,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
        )
        made.subscribe(list(self.topics))
        return made


class Double:
    """A second process with the place of a first: same service, role and slot, and so the same static member of its group.
    `guarded` False: it does not ask for the slot."""

    def __init__(self, spec: ProcessSpec, *, guarded: bool = True) -> None:
        env = {**spec.env, "PORT": str(free_port())}
        self.spec = replace(spec, name=f"{spec.name} double", env=env, port=int(env["PORT"]))
        if not guarded:
            self.spec = replace(self.spec, argv=altered(spec.argv, ["unguarded"]), env=env)
        self._process: asyncio.subprocess.Process | None = None
        self.output = b""

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self.spec.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self.spec.env},
            start_new_session=True,
        )
        warden.guard(self._process.pid, warden.PROCESSES)
        self._reading = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(65536):
            self.output += data

    async def lives(self, within_s: float) -> None:
        """Wait until it answers. Raises TimeoutError."""
        async with asyncio.timeout(within_s), httpx.AsyncClient() as client:
            while True:
                with suppress(httpx.TransportError):
                    if (await client.get(f"http://127.0.0.1:{self.spec.port}/livez")).status_code == 200:
                        return
                await asyncio.sleep(0.1)

    async def ended(self, within_s: float) -> int | None:
        """Its exit status; None when it still lives after so many seconds."""
        assert self._process is not None
        with suppress(TimeoutError):
            status = await asyncio.wait_for(self._process.wait(), within_s)
            await self._reading
            return status
        return None

    async def stop(self) -> None:
        """End it as an operator would, by force after ten seconds."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            if await self.ended(10.0) is None:
                self._process.kill()
                await self._process.wait()
        warden.release(self._process.pid)
