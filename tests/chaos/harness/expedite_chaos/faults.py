"""What is done to a running system."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from expedite_local.child import ProcessStatus
from expedite_local.up import System

SERVERS = ("postgres", "kafka")
BITE_S = 120.0


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong. target: a process (`inventory-standard`), or `postgres` or `kafka`. seconds: of a pause.
    at: the failpoint, see `expedite_altered.failpoints`."""

    kind: Literal["kill", "pause", "point"]
    target: str
    seconds: float = 0.0
    at: str = ""

    def __str__(self) -> str:
        return " ".join(
            part for part in (self.kind, self.target, self.at, f"{self.seconds:g} s" * bool(self.seconds)) if part
        )


def kill(target: str) -> Fault:
    """`kill -9`."""
    return Fault("kill", target)


def pause(target: str, seconds: float) -> Fault:
    """SIGSTOP, then SIGCONT: a process that comes back from the dead and believes no time has passed."""
    return Fault("pause", target, seconds)


def point(target: str, at: str) -> Fault:
    """The process dies when it next passes this point."""
    return Fault("point", target, at=at)


class Monkey:
    """Does faults to one system. `told` hears what it does."""

    def __init__(self, system: System, failpoints: Path) -> None:
        self.system, self.failpoints = system, failpoints
        self._began = time.monotonic()

    async def do(self, fault: Fault) -> None:
        """Do one thing; returns when it is done, not when the system has healed."""
        if fault.kind == "point":
            self._say(str(fault))
            await self._point(fault)
            return
        pid = await self._pid(fault.target)
        self._say(f"{fault} (process {pid})")
        if fault.kind == "kill":
            os.kill(pid, signal.SIGKILL)
            return
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _point(self, fault: Fault) -> None:
        """Arm the point and wait until it bit. Traffic may have ended meanwhile: then it stays armed, and the test sees
        that it never bit."""
        module, role = fault.target.rsplit("-", 1)
        taken = len(list(self.failpoints.glob("*.armed")) + list(self.failpoints.glob("*.bit")))
        token = self.failpoints / f"{module.replace('-', '_')}.{role}.{fault.at}.{taken}.armed"
        token.touch()
        for _ in range(int(BITE_S * 10)):
            if not token.exists():
                return
            await asyncio.sleep(0.1)

    async def _pid(self, target: str) -> int:
        """The process id of a target that is up; waits while it is not."""
        while True:
            if target in SERVERS:
                server = self.system.substrate.postgres if target == "postgres" else self.system.substrate.kafka
                if server is not None and server.pid is not None:
                    return server.pid
            else:
                status = next(s for s in self.statuses() if s.spec.name == target)
                if status.state == "ready" and status.pid:
                    return status.pid
            await asyncio.sleep(0.1)

    def statuses(self) -> list[ProcessStatus]:
        assert self.system.supervisor is not None
        return self.system.supervisor.status()

    def _say(self, text: str) -> None:
        sys.stdout.write(f"[monkey] {time.monotonic() - self._began:6.1f} s  {text}\n")
        sys.stdout.flush()
