"""Each service has its own database and role, and no way into another's."""

from __future__ import annotations

import stat

import asyncpg
import pytest

from expedite_local.databases import (
    DatabaseError,
    load_or_create_passwords,
    lock_maintenance_database,
    provision,
    service_url,
)
from expedite_local.home import Home
from expedite_local.postgres import PostgresServer
from expedite_local.services import SERVICES, find


@pytest.fixture
async def urls(postgres: PostgresServer, home: Home) -> dict[str, str]:
    passwords = load_or_create_passwords(home, SERVICES)
    urls = await provision(postgres.uri, SERVICES, passwords, fresh=True)
    await lock_maintenance_database(postgres.uri)
    return urls


async def test_a_role_owns_its_database_and_enters_no_other(urls: dict[str, str]) -> None:
    for name, url in urls.items():
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE mine (id int); DROP TABLE mine")
        await connection.close()
        others = [find(other).database for other in urls if other != name]
        for database in [*others, "postgres", "template1"]:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
                await asyncpg.connect(f"{url.rsplit('/', 1)[0]}/{database}")


async def test_a_role_is_nobody_special(urls: dict[str, str]) -> None:
    connection = await asyncpg.connect(urls["inventory"])
    try:
        row = await connection.fetchrow(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname = current_user"
        )
        assert row is not None and not any(row.values())
    finally:
        await connection.close()


async def test_provisioning_again_keeps_data_and_fresh_drops_it(
    postgres: PostgresServer, home: Home, urls: dict[str, str]
) -> None:
    passwords = load_or_create_passwords(home, SERVICES)
    connection = await asyncpg.connect(urls["shipping"])
    await connection.execute("CREATE TABLE kept (id int)")
    await connection.close()

    async def exists() -> bool:
        again = await asyncpg.connect(urls["shipping"])
        found = await again.fetchval("SELECT to_regclass('kept') IS NOT NULL")
        await again.close()
        return bool(found)

    assert await provision(postgres.uri, SERVICES, passwords) == urls
    assert await exists()
    await provision(postgres.uri, [find("shipping")], passwords, fresh=True)
    assert not await exists()


async def test_an_administrator_who_is_not_superuser_is_enough(postgres: PostgresServer, home: Home) -> None:
    connection = await asyncpg.connect(postgres.uri)
    for name in ("admin_one", "notifier"):
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"DROP ROLE IF EXISTS {name}")
    await connection.execute("CREATE ROLE admin_one LOGIN CREATEDB CREATEROLE PASSWORD 'x'")
    await connection.execute("CREATE DATABASE admin_one OWNER admin_one")
    await connection.close()
    admin = f"postgresql+asyncpg://admin_one:x@127.0.0.1:{postgres.port}/admin_one"
    notifier = [find("notifier")]
    urls = await provision(admin, notifier, load_or_create_passwords(home, notifier))
    session = await asyncpg.connect(urls["notifier"])
    await session.close()


async def test_an_unreachable_server_is_named() -> None:
    with pytest.raises(DatabaseError, match=r"cannot connect to PostgreSQL at 127\.0\.0\.1:1"):
        await provision("postgresql://x:y@127.0.0.1:1/z", SERVICES, {})


def test_passwords_are_made_once_and_private(home: Home) -> None:
    first = load_or_create_passwords(home, SERVICES[:2])
    more = load_or_create_passwords(home, SERVICES)
    assert {name: more[name] for name in first} == first
    assert len(set(more.values())) == len(SERVICES)
    assert stat.S_IMODE(home.databases_file.stat().st_mode) == 0o600


def test_a_service_url_keeps_the_servers_options_and_escapes_the_password() -> None:
    url = service_url(
        "postgresql+asyncpg://admin:p@db.example:6432/postgres?sslmode=require", find("inventory"), "a/b@c"
    )
    assert url == "postgresql://inventory:a%2Fb%40c@db.example:6432/inventory?sslmode=require"
