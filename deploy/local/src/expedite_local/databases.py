"""One database and one login role per service; nobody else's role may connect to it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from expedite_local.errors import LocalError
from expedite_local.home import Home, read_json, write_private_json
from expedite_local.services import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class DatabaseError(LocalError):
    """The databases could not be prepared; the text says which statement failed on what."""


def plain_url(url: str) -> str:
    """The URL in the form PostgreSQL itself knows: a `+driver` after the scheme is taken off."""
    scheme, rest = url.split("://", 1)
    return f"{scheme.split('+', 1)[0]}://{rest}"


def service_url(admin_url: str, service: Service, password: str) -> str:
    """The URL by which a service reaches its own database on the server that `admin_url` names."""
    parts = urlsplit(plain_url(admin_url))
    host = parts.hostname or "127.0.0.1"
    address = f"[{host}]" if ":" in host else host
    login = f"{service.database}:{quote(password, safe='')}@{address}:{parts.port or 5432}"
    return urlunsplit(("postgresql", login, f"/{service.database}", parts.query, ""))


def load_or_create_passwords(home: Home, services: Sequence[Service]) -> dict[str, str]:
    """The password of each service's role, by service name; missing ones are generated and stored (0600)."""
    stored: dict[str, str] = read_json(home.databases_file) or {}
    missing = [service.name for service in services if service.name not in stored]
    if missing:
        stored |= {name: secrets.token_urlsafe(24) for name in missing}
        write_private_json(home.databases_file, stored)
    return {service.name: stored[service.name] for service in services}


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[Any]:
    try:
        connection = await asyncpg.connect(plain_url(url), timeout=10)
    except (OSError, asyncpg.PostgresError) as error:
        parts = urlsplit(url)
        raise DatabaseError(f"cannot connect to PostgreSQL at {parts.hostname}:{parts.port}: {error}") from error
    try:
        yield connection
    finally:
        await connection.close()


async def provision(
    admin_url: str, services: Sequence[Service], passwords: dict[str, str], *, fresh: bool = False
) -> dict[str, str]:
    """Make each service's role and database, idempotently, and return their URLs by service name.

    admin_url: of a role that may create roles and databases. passwords: by service name; an existing role
    is given this password. fresh: drop the services' databases first, whatever is in them.
    Raises DatabaseError.
    """
    async with _session(admin_url) as admin:
        try:
            for service in services:
                await _provision_one(admin, service, passwords[service.name], fresh)
        except asyncpg.PostgresError as error:
            raise DatabaseError(f"the databases could not be prepared: {error}") from error
    return {service.name: service_url(admin_url, service, passwords[service.name]) for service in services}


async def _provision_one(admin: Any, service: Service, password: str, fresh: bool) -> None:
    name = service.database  # from our own list of services: an identifier, never input
    literal = "'" + password.replace("'", "''") + "'"  # CREATE ROLE takes no parameters
    known = await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name)
    await admin.execute(f'{"ALTER" if known else "CREATE"} ROLE "{name}" LOGIN PASSWORD {literal}')
    # To hand the role its database, an administrator who is not a superuser must be able to act as it.
    if not await admin.fetchval("SELECT pg_has_role(current_user, $1::text, 'SET')", name):
        await admin.execute(f'GRANT "{name}" TO CURRENT_USER WITH SET TRUE, INHERIT TRUE')
    if fresh:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
        # template0: nothing an administrator left in template1 leaks in, and the encoding is ours to choose.
        await admin.execute(f'CREATE DATABASE "{name}" OWNER "{name}" TEMPLATE template0 ENCODING \'UTF8\'')
    # The owner keeps its rights; everybody else's came from PUBLIC.
    await admin.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')


async def lock_maintenance_database(admin_url: str) -> None:
    """Keep service roles out of the administrator's database too; only for a server that is ours alone."""
    async with _session(admin_url) as admin:
        for name in ("postgres", "template1"):
            await admin.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')


async def migrate(urls: dict[str, str], services: Sequence[Service], done: Callable[[Service], None]) -> None:
    """Bring every service's schema to its newest revision; `done` hears of each finished one.

    One after the other, off the event loop: Alembic keeps the running migration in module globals, so two at
    once in one process would write into each other's database.
    """
    from expedite_messaging.migrate import upgrade

    for service in services:
        try:
            await asyncio.to_thread(upgrade, urls[service.name], service.module)
        except Exception as error:
            raise DatabaseError(f"the migration of {service.name} failed: {error}") from error
        done(service)
