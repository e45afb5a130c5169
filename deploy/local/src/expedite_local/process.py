"""Starting and ending one child process, the same way everywhere."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from expedite_local import warden

LOG_LIMIT_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class Account:
    """A system account to run a process as."""

    uid: int
    gid: int
    name: str


def identity(account: Account | None) -> dict[str, Any]:
    """What `subprocess` is told to run a program as this account, None for ourselves."""
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def make_nice(pid: int, nice: int) -> None:
    """Let a process that leads its own session yield to others; raises ProcessLookupError when it is gone.

    Linux groups sessions (autogroup) and shares the processor between groups first: niceness alone would only count within
    the process's own session, that is not at all.
    """
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    with contextlib.suppress(OSError):  # no such grouping here
        Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")


def open_log(path: Path) -> IO[bytes]:
    """Open a server's log for appending; a log grown past LOG_LIMIT_BYTES first becomes `<name>.1`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for error messages; empty when there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 16_384))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def spawn_server(
    argv: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path,
    stop_signal: int,
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server in a group of its own, its output in `log`, guarded against outliving us."""
    with open_log(log) as stream:
        child = subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=dict(os.environ if env is None else env),
            start_new_session=True,
            **identity(account),
        )
    warden.guard(child.pid, warden.SERVERS, stop_signal)
    return child


def end_server(child: subprocess.Popen[bytes], steps: Sequence[tuple[int, float]]) -> None:
    """End a server: send each signal in turn, waiting its seconds, until the process is gone; then SIGKILL."""
    for number, seconds in steps:
        if child.poll() is not None:
            break
        child.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
    if child.poll() is None:
        warden.signal_group(child.pid, signal.SIGKILL)
        child.wait()
    warden.release(child.pid)
