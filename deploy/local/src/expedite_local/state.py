"""The state file: how `status`, `logs`, `down`, the demo and tests find a running system."""

from __future__ import annotations

import fcntl
import os
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from expedite_local import warden
from expedite_local.errors import AlreadyRunning
from expedite_local.home import Home, read_json, write_private_json

STATE_VERSION = 1


@dataclass
class ProcessState:
    """One process as last seen: `pid` and `started` (epoch seconds) identify it; both are 0 while it is down."""

    name: str
    service: str
    role: str
    slot: int
    state: str
    pid: int = 0
    started: float = 0.0
    port: int = 0
    restarts: int = 0
    log: str = ""


@dataclass
class State:
    """What runs in a home. Holds credentials (the file is 0600).

    phase: starting, ready or stopping. urls: public URL by service name, also `carriers` and `smtp`.
    databases: URL by service name. api_keys: key by client name. login: user and password of the tower.
    """

    supervisor_pid: int
    supervisor_started: float
    phase: str = "starting"
    version: int = STATE_VERSION
    started_at: str = ""
    speed: float = 1.0
    ports: dict[str, int] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    kafka_bootstrap: str = ""
    postgres_url: str = ""
    databases: dict[str, str] = field(default_factory=dict)
    secrets_file: str = ""
    api_keys: dict[str, str] = field(default_factory=dict)
    login: dict[str, str] = field(default_factory=dict)
    processes: list[ProcessState] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """True while the supervisor that wrote this lives."""
        return warden.is_alive(self.supervisor_pid, self.supervisor_started)

    def leftovers(self) -> list[ProcessState]:
        """Processes of this state that are alive although their supervisor may not be."""
        return [p for p in self.processes if p.pid and warden.is_alive(p.pid, p.started)]


def load(home: Home) -> State | None:
    """The state of a home, or None when nothing was started there (or was stopped in order)."""
    stored: dict[str, Any] | None = read_json(home.state_file)
    if stored is None or stored.get("version") != STATE_VERSION:
        return None
    processes = [ProcessState(**p) for p in stored.pop("processes")]
    return State(**stored, processes=processes)


def save(home: Home, state: State) -> None:
    """Write the state in one step."""
    write_private_json(home.state_file, asdict(state))


def remove(home: Home) -> None:
    """Forget the state: nothing runs."""
    home.state_file.unlink(missing_ok=True)


def hold(home: Home) -> IO[str]:
    """Take the home for this process until it ends (or closes the returned file).

    The kernel lets go of the lock however we end, so a stale one cannot exist.
    Raises AlreadyRunning when another process holds it.
    """
    home.create()
    handle = home.lock_file.open("a+", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        holder = handle.read().strip() or "unknown"
        handle.close()
        raise AlreadyRunning(
            f"expedite is already running in {home.root} (process {holder}): "
            f"see `expedite status`, stop it with `expedite down`, or set EXPEDITE_HOME for a second system"
        ) from None
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


def is_held(home: Home) -> bool:
    """True while some process holds the home."""
    try:
        handle = home.lock_file.open("r", encoding="utf-8")
    except FileNotFoundError:
        return False
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def clear_leftovers(home: Home) -> int:
    """End processes a dead supervisor left behind, in order; how many there were. Call it holding the home."""
    state = load(home)
    if state is None or (state.running and state.supervisor_pid != os.getpid()):
        return 0
    left = state.leftovers()
    servers = ("postgres", "kafka")
    warden.end_all(
        [
            warden.Ward(
                p.pid,
                p.started,
                warden.SERVERS if p.name in servers else warden.PROCESSES,
                2 if p.name == "postgres" else 15,
            )
            for p in left
        ]
    )
    remove(home)
    return len(left)
