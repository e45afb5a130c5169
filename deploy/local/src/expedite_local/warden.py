"""No orphans: a tiny process that outlives its owner just long enough to end the owner's children.

The owner (a supervisor, a test session) holds the write end of a pipe. However the owner ends, SIGKILL
included, the kernel closes the pipe; the warden then stops what is still registered. This works on every
Unix, unlike PR_SET_PDEATHSIG, which also fires when the *thread* that started a child ends.

`guard` and `release` are the owner's side; running this file is the warden itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

SERVERS = 0
"""Stage of PostgreSQL and Kafka: ended last."""
PROCESSES = 1
"""Stage of everything that uses the servers: ended first."""

GRACE_SECONDS = 8.0


def started_at(pid: int) -> float | None:
    """When the process started (seconds since the epoch), or None when it is gone. With the pid it is an identity."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def is_alive(pid: int, started: float) -> bool:
    """True while exactly this process runs; a recycled pid or a zombie is not it."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def signal_group(pid: int, number: int) -> None:
    """Signal the process group a child leads (children are started as leaders); silent when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


# --- the owner's side -------------------------------------------------------------------------------------------

_lock = threading.Lock()
_pipe: IO[bytes] | None = None
_owner = 0
_guarded: dict[int, bytes] = {}


def _connect() -> IO[bytes]:
    """Start a warden and tell it everything guarded so far."""
    global _pipe, _owner
    # -P -E -s: the warden must start alike whatever the user's Python settings are, and this folder must not
    # come before the standard library. A session of its own keeps it out of Ctrl-C.
    child = subprocess.Popen(
        [sys.executable, "-P", "-E", "-s", str(Path(__file__).resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    child.returncode = 0  # never waited for, on purpose: it ends after us
    assert child.stdin is not None
    if _owner != os.getpid():
        _guarded.clear()  # after a fork the children are the parent's, not ours
    _pipe, _owner = child.stdin, os.getpid()
    for line in _guarded.values():
        _pipe.write(line)
    _pipe.flush()
    return _pipe


def _send(line: bytes) -> None:
    pipe = _pipe if _pipe is not None and _owner == os.getpid() else _connect()
    try:
        pipe.write(line)
        pipe.flush()
    except BrokenPipeError:  # somebody killed the warden
        pipe = _connect()
        pipe.write(line)
        pipe.flush()


def guard(pid: int, stage: int, stop_signal: int = signal.SIGTERM) -> None:
    """Have this child (the leader of its own group) ended should the present process end without doing so.

    `stage` orders the ending: higher stages go first. `stop_signal` asks for an orderly end; what is still
    there after GRACE_SECONDS is killed.
    """
    started = started_at(pid)
    if started is None:
        return
    message = {"op": "guard", "pid": pid, "started": started, "stage": stage, "signal": int(stop_signal)}
    line = json.dumps(message).encode() + b"\n"
    with _lock:
        _send(line)
        _guarded[pid] = line


def release(pid: int) -> None:
    """Forget a child that has ended."""
    with _lock:
        if _guarded.pop(pid, None) is not None:
            _send(json.dumps({"op": "release", "pid": pid}).encode() + b"\n")


# --- the warden itself ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ward:
    """One guarded process."""

    pid: int
    started: float
    stage: int
    signal: int


def end_all(wards: list[Ward], grace: float = GRACE_SECONDS) -> None:
    """End processes stage by stage, highest stage first: ask, wait up to `grace` seconds, kill."""
    for stage in sorted({ward.stage for ward in wards}, reverse=True):
        living = [ward for ward in wards if ward.stage == stage and is_alive(ward.pid, ward.started)]
        for ward in reversed(living):
            signal_group(ward.pid, ward.signal)
        deadline = time.monotonic() + grace
        while living and time.monotonic() < deadline:
            time.sleep(0.05)
            living = [ward for ward in living if is_alive(ward.pid, ward.started)]
        for ward in living:
            signal_group(ward.pid, signal.SIGKILL)


def _watch() -> None:
    """Keep the list of wards from standard input until it closes, then end those that are left."""
    wards: dict[int, Ward] = {}
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if message["op"] == "guard":
            wards[message["pid"]] = Ward(message["pid"], message["started"], message["stage"], message["signal"])
        else:
            wards.pop(message["pid"], None)
    end_all(list(wards.values()))


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    _watch()
