"""A real server is created, protected, restarted and found dead or alive."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import asyncpg
import psutil
import pytest

from expedite_local.errors import PortTaken, ServerFailed
from expedite_local.postgres import PostgresServer, embedded_postgres, server_account, shared_buffers_mb


async def test_settings_that_promises_rest_on(postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres.uri)
    try:
        wanted = {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "max_connections": "300",
            "max_locks_per_transaction": "512",
            "max_wal_size": "8GB",
            "listen_addresses": "127.0.0.1",
            "TimeZone": "UTC",
        }
        found = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in wanted}
        assert found == wanted
        buffers = await connection.fetchval("SELECT pg_size_bytes(current_setting('shared_buffers'))")
        assert buffers == shared_buffers_mb() * 2**20
        assert int(await connection.fetchval("SHOW server_version_num")) >= 180000
    finally:
        await connection.close()


async def test_a_wrong_password_is_refused(postgres: PostgresServer) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.uri.replace(":", ":wrong-", 2).replace("postgresql:wrong-", "postgresql:"))


def test_data_and_password_are_private(postgres: PostgresServer) -> None:
    assert stat.S_IMODE((postgres.folder / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE(postgres.data.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="about running as root")
def test_as_root_the_server_is_not_root_and_its_data_in_no_home_folder(postgres: PostgresServer) -> None:
    account = server_account()
    assert account is not None and account.uid != 0
    assert postgres.data.stat().st_uid == account.uid
    assert str(postgres.folder).startswith("/var/lib/expedite-")
    assert postgres.pid is not None
    assert Path(f"/proc/{postgres.pid}").stat().st_uid == account.uid


async def test_data_survive_a_kill(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path, 0, settings={"work_mem": "5MB"}, env={"EXPEDITE_FSYNC_MS": "nowhere"})
    server.start()
    try:
        connection = await asyncpg.connect(server.uri)
        await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
        assert await connection.fetchval("SHOW work_mem") == "5MB"
        assert server.pid is not None
        assert psutil.Process(server.pid).environ()["EXPEDITE_FSYNC_MS"] == "nowhere"
        os.kill(server.pid, 9)
        connection.terminate()
        while server.pid is not None:
            pass
        server.start()
        connection = await asyncpg.connect(server.uri)
        assert await connection.fetchval("SELECT id FROM kept") == 7
        await connection.close()
    finally:
        server.stop()
        server.wipe()


async def test_a_server_says_whether_it_came_back_from_a_crash(tmp_path: Path) -> None:
    """What becomes of a commit whose answer was lost is judged by it (`PostgresEngine`): a clean restart says no, the crash
    of one process, after which the server begins anew by itself, says yes."""

    async def recovered() -> bool:
        while True:
            try:
                connection = await asyncpg.connect(server.uri)
                break
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.05)
        try:
            return bool(await connection.fetchval("SELECT pg_last_wal_replay_lsn() IS NOT NULL"))
        finally:
            await connection.close()

    server = PostgresServer(tmp_path, 0)
    server.start()
    try:
        assert not await recovered()
        server.stop()
        server.start()
        assert not await recovered()
        victim = await asyncpg.connect(server.uri)
        await victim.execute("CREATE TABLE written (id int)")
        os.kill(victim.get_server_pid(), 9)
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await victim.execute("SELECT pg_sleep(60)")
        assert await recovered()
    finally:
        server.stop()
        server.wipe()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} for PostgreSQL is in use"):
            PostgresServer(tmp_path, port).start()


def test_a_start_that_fails_shows_the_log(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path, 0)
    server.start()
    server.stop()
    (server.data / "postgresql.conf").write_text("no_such_setting = 1\n")
    try:
        with pytest.raises(ServerFailed, match="no_such_setting"):
            server.start()
        assert server.pid is None
    finally:
        server.wipe()


def test_embedded_postgres_uses_the_server_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody@elsewhere/x")
    with embedded_postgres(tmp_path / "unused") as url:
        assert url == "postgresql://somebody@elsewhere/x"
    assert not (tmp_path / "unused").exists()
