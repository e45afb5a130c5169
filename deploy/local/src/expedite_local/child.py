"""One supervised process: started, watched until ready and while it lives, restarted when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from expedite_local import warden
from expedite_local.errors import StartFailed
from expedite_local.logs import Lines, RotatingFile, Terminal
from expedite_local.nursery import Born, Nursery
from expedite_local.process import make_nice

StateName = Literal["waiting", "starting", "ready", "backoff", "stopping", "stopped", "failed"]
_POLL_SECONDS = 0.1
_SHOWN_ON_FAILURE = 20
MISCONFIGURED = 78
"""Exit status (EX_CONFIG) of a process whose environment cannot be used: starting it again does not help."""


@dataclass(frozen=True)
class Restart:
    """When and how a process that ended comes back. Times in seconds.

    The pause grows from `first` by `factor` up to `longest`, and starts over after `reset_after` of good
    life. A process that ends `give_up` times without ever having been ready fails the whole start.
    """

    first: float = 0.5
    factor: float = 2.0
    longest: float = 30.0
    reset_after: float = 60.0
    give_up: int = 4


@dataclass(frozen=True)
class Liveness:
    """A process whose URL fails `failures` times in a row, asked every `every` seconds, hangs and is restarted.

    Patient on purpose: on a busy laptop a slow answer is not a hang.
    """

    url: str
    every: float = 10.0
    failures: int = 6


@dataclass(frozen=True)
class ProcessSpec:
    """A process as data.

    name: unique. argv, env: what to run and what to add to our own environment. depends_on: names of
    processes that must have been ready before. ready_url: answers 200 when ready; without one, a started
    process counts as ready. nice: added to our own niceness. urgent: urgent orders pass through it. ready_timeout: seconds. service, role, slot, port: for display.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    ready_url: str | None = None
    liveness: Liveness | None = None
    nice: int = 0
    urgent: bool = False
    restart: Restart = Restart()
    ready_timeout: float = 90.0
    service: str = ""
    role: str = ""
    slot: int = 0
    port: int = 0


@dataclass(frozen=True)
class ProcessStatus:
    """A process at one moment; `pid` and `started` (epoch seconds) are 0 while it is down."""

    spec: ProcessSpec
    state: StateName
    pid: int
    started: float
    restarts: int
    log: Path


class Child:
    """Keeps one process running. `run()` lives until cancelled; cancelling leaves the process for `terminate`."""

    def __init__(
        self,
        spec: ProcessSpec,
        log: Path,
        terminal: Terminal,
        on_change: Callable[[], None],
        nursery: Nursery | None = None,
    ) -> None:
        """Describe the process; nothing runs yet. nursery: where it may be born faster."""
        self.spec, self.log = spec, log
        self.state: StateName = "waiting"
        self.restarts = 0
        self.ready, self.failed = asyncio.Event(), asyncio.Event()
        self._terminal, self._on_change = terminal, on_change
        self._nursery = nursery
        self._process: asyncio.subprocess.Process | Born | None = None
        self._started = 0.0
        self._pump: asyncio.Task[None] | None = None
        self._recent: deque[str] = deque(maxlen=_SHOWN_ON_FAILURE)
        self._reason = ""
        self._last_code: int | None = None

    async def run(self) -> None:
        """Start the process and start it again whenever it ends; returns only when it is given up."""
        policy, pause, fruitless = self.spec.restart, self.spec.restart.first, 0
        while True:
            began = time.monotonic()
            try:
                await self._spawn()
                reason = await self._watch()
            except OSError as error:  # no such program, no more processes or files allowed, …
                reason = f"cannot run {self.spec.argv[0]}: {error}"
            await self._collect()
            fruitless = 0 if self.ready.is_set() else fruitless + 1
            if fruitless >= policy.give_up or (fruitless and self._last_code == MISCONFIGURED):
                self.give_up(reason)
                return
            if time.monotonic() - began > policy.reset_after:
                pause = policy.first
            self._note(f"{reason}; restarting in {pause:.1f} s")
            self._become("backoff")
            await asyncio.sleep(pause)
            pause = min(pause * policy.factor, policy.longest)
            self.restarts += 1

    async def _spawn(self) -> None:
        self._become("starting")
        process = await self._born() or await self._executed()
        self._process = process
        warden.guard(process.pid, warden.PROCESSES)
        self._started = warden.started_at(process.pid) or time.time()
        self._pump = asyncio.create_task(self._read(process))
        self._on_change()

    async def _born(self) -> Born | None:
        if self._nursery is None or not self._nursery.serves(self.spec.argv, self.spec.env):
            return None
        return await self._nursery.bear(self.spec.argv, self.spec.env, self.spec.nice)

    async def _executed(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *self.spec.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self.spec.env},
            # A group of its own: Ctrl-C reaches us alone, and we stop the children in order.
            start_new_session=True,
        )
        if self.spec.nice:
            # Set from here, before its threads exist: on Linux niceness belongs to threads and is inherited.
            with contextlib.suppress(ProcessLookupError):
                make_nice(process.pid, os.getpriority(os.PRIO_PROCESS, 0) + self.spec.nice)
        return process

    async def _read(self, process: asyncio.subprocess.Process | Born) -> None:
        file = RotatingFile(self.log)

        def emit(line: bytes) -> None:
            with contextlib.suppress(OSError):  # a full disk must not stop the system
                file.write(line + b"\n")
            text = line.decode(errors="replace")
            self._recent.append(text)
            self._terminal.show(self.spec.name, text)

        lines = Lines(emit)
        assert process.stdout is not None
        try:
            while data := await process.stdout.read(65536):
                lines.feed(data)
        finally:
            lines.end()
            file.close()

    async def _watch(self) -> str:
        """Wait for the end of the process, taking it through readiness and liveness; the reason it ended."""
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        probe = asyncio.create_task(self._probe())
        try:
            await asyncio.wait([ended, probe], return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                self._last_code = ended.result()
                return _describe(self._last_code)
            reason = probe.result()
            warden.signal_group(self._process.pid, signal.SIGKILL)
            await ended
            return reason
        finally:
            for task in (ended, probe):
                task.cancel()

    async def _probe(self) -> str:
        """Poll until ready, then for liveness; returns only when the process must be killed, with the reason."""
        deadline = time.monotonic() + self.spec.ready_timeout
        while self.spec.ready_url and not await answers(self.spec.ready_url):
            if time.monotonic() > deadline:
                return f"not ready after {self.spec.ready_timeout:.0f} s"
            await asyncio.sleep(_POLL_SECONDS)
        self.ready.set()
        self._become("ready")
        misses = 0
        while self.spec.liveness and misses < self.spec.liveness.failures:
            await asyncio.sleep(self.spec.liveness.every)
            misses = 0 if await answers(self.spec.liveness.url) else misses + 1
        if self.spec.liveness:
            return f"no answer at {self.spec.liveness.url} for {misses * self.spec.liveness.every:.0f} s"
        await asyncio.Event().wait()
        raise AssertionError

    async def _collect(self) -> None:
        """After the process ended: end what it left in its group, read the rest of its output."""
        if self._process is not None:
            warden.signal_group(self._process.pid, signal.SIGKILL)
            warden.release(self._process.pid)
        if self._pump is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._pump, 2.0)
        self._process = None
        self._started = 0.0

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM to its group); `run` must have been cancelled."""
        if self._process is not None and self._process.returncode is None:
            self._become("stopping")
            warden.signal_group(self._process.pid, signal.SIGTERM)

    async def wait_gone(self, deadline: float) -> None:
        """Wait until the process has ended, by force once the monotonic clock passes `deadline`."""
        if self._process is not None:
            try:
                await asyncio.wait_for(self._process.wait(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                self._note("did not stop in time; killed")
                warden.signal_group(self._process.pid, signal.SIGKILL)
                await self._process.wait()
            await self._collect()
        if self.state != "failed":
            self._become("stopped")

    def give_up(self, reason: str) -> None:
        """Mark the process as one that cannot be brought to readiness."""
        self._reason = reason
        self._become("failed")
        self.failed.set()

    def failure(self) -> StartFailed:
        """Why this process was given up, with the end of its output."""
        shown = "\n".join(f"  {line}" for line in self._recent)
        return StartFailed(f"{self.spec.name} does not start: {self._reason}\n{shown}\nIts whole log: {self.log}")

    def status(self) -> ProcessStatus:
        """The process now."""
        pid = self._process.pid if self._process is not None and self._process.returncode is None else 0
        return ProcessStatus(self.spec, self.state, pid, self._started, self.restarts, self.log)

    def _note(self, text: str) -> None:
        self._terminal.show(self.spec.name, f"[supervisor] {text}")

    def _become(self, state: StateName) -> None:
        if state != self.state:
            self.state = state
            self._on_change()


async def answers(url: str, within_s: float = 5.0) -> bool:
    """Whether a process of ours answers 200. Asked by hand: a client for the internet takes four times as long, and
    some twenty processes are asked all day."""
    where = urlsplit(url)
    asked = f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            try:
                writer.write(asked.encode())
                return (await reader.read()).split(b" ", 2)[1:2] == [b"200"]
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _describe(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    return f"ended with status {code}"
