"""Roles of the databases (checklist "Kafka, Postgres, process": one role per service, no cross-database grants,
scram-sha-256, time-outs, bound parameters)."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from expedite_e2e import System, order

from expedite_local.services import SERVICES
from expedite_messaging.connection import Connections

NAMES = [service.name for service in SERVICES]
PAIRS = [(a, b) for a, b in itertools.product(NAMES, NAMES) if a != b]
REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidAuthorizationSpecificationError)


def elsewhere(url: str, database: str, password: str | None = None) -> str:
    """The same login at another database."""
    parts = urlsplit(url)
    user = f"{parts.username}:{parts.password if password is None else password}"
    return urlunsplit(("postgresql", f"{user}@{parts.hostname}:{parts.port}", f"/{database}", "", ""))


@pytest.fixture
async def admin(system: System) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(system.state["postgres_url"])
    yield connection
    await connection.close()


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{a} at {b}" for a, b in PAIRS])
async def test_no_role_reaches_another_service_s_database(system: System, one: str, other: str) -> None:
    """I5 (checklist: no cross-database grants): refused at the door, with the true password."""
    urls = system.state["databases"]
    with pytest.raises(REFUSED):
        await asyncpg.connect(elsewhere(urls[one], urlsplit(urls[other]).path[1:]))


@pytest.mark.parametrize("service", NAMES)
async def test_a_role_reaches_its_own_database_and_nothing_of_the_server(system: System, service: str) -> None:
    """I5 (checklist: no superuser): neither other databases nor roles nor files nor programs; a wrong password is refused."""
    url = system.state["databases"][service]
    for database in ("postgres", "template1"):
        with pytest.raises(REFUSED):
            await asyncpg.connect(elsewhere(url, database))
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
        await asyncpg.connect(elsewhere(url, urlsplit(url).path[1:], "wrong"))
    connection = await asyncpg.connect(url)
    try:
        for statement in (
            "CREATE DATABASE stolen", "CREATE ROLE thief SUPERUSER", "SELECT rolpassword FROM pg_authid",
            "SELECT pg_read_file('/etc/passwd')", "COPY (SELECT 1) TO PROGRAM 'true'", "COPY (SELECT 1) TO '/tmp/x'",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
            "ALTER SYSTEM SET fsync = off", "CREATE EXTENSION dblink", "SET ROLE postgres",
            f"ALTER ROLE {urlsplit(url).path[1:]} SUPERUSER", "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc', 'abs'",
        ):  # fmt: skip
            with pytest.raises((*REFUSED, asyncpg.UndefinedFileError, asyncpg.FeatureNotSupportedError)):
                await connection.execute(statement)
        # What others do is not shown: statements hold data.
        seen = await connection.fetch(
            "SELECT query FROM pg_stat_activity WHERE usename <> current_user AND query <> ''"
        )
        assert {row["query"] for row in seen} <= {"<insufficient privilege>"}
    finally:
        await connection.close()


async def test_roles_have_no_more_rights_than_they_need(admin: asyncpg.Connection, system: System) -> None:
    """I5 (checklist: no superuser, scram-sha-256): attributes, memberships, and how passwords are stored."""
    names = [urlsplit(url).username for url in system.state["databases"].values()]
    rows = await admin.fetch("SELECT * FROM pg_authid WHERE rolname = ANY($1::text[])", names)
    assert len(rows) == len(NAMES)
    for row in rows:
        rights = ("rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls")
        assert not any(row[right] for right in rights), row["rolname"]
        assert row["rolpassword"].startswith("SCRAM-SHA-256$")
    members = (
        "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = ANY($1::text[])"
    )
    assert await admin.fetchval(members, names) == 0
    assert await admin.fetchval("SHOW password_encryption") == "scram-sha-256"
    rules = await admin.fetch("SELECT type, auth_method FROM pg_hba_file_rules WHERE error IS NULL")
    assert {row["auth_method"] for row in rules} == {"scram-sha-256"}
    public = "SELECT datname FROM pg_database WHERE has_database_privilege(0::oid, oid, 'CONNECT') AND datallowconn"
    assert await admin.fetch(public) == []


async def test_no_session_of_a_service_can_wait_or_idle_for_ever(system: System) -> None:
    """I5 (checklist: statement_timeout, lock_timeout, idle_in_transaction_session_timeout): as services connect."""
    connections = Connections(system.state["databases"]["inventory"], "security test")
    try:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"):
            ((value,),) = await connections.fetch("SELECT setting::int FROM pg_settings WHERE name = $1", name)
            assert 0 < value <= 60_000, name
    finally:
        await connections.close()


INJECTIONS = [
    "'; DROP TABLE orders; --",
    "' OR '1'='1",
    "$$; SELECT pg_sleep(20); $$",
    "%27%3B",
    "\\'; --",
    "${1}",
    "%s%s%n",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_is_never_a_statement(system: System, text: str) -> None:
    """I5 (checklist: bound parameters only): in ids, queries, cursors and bodies; what is stored is the text itself."""
    with system.client("order-intake") as intake:
        body = order(note=text)
        body["customer"]["name"] = text
        posted = intake.post("/orders", json=body)
        assert posted.status_code == 202, posted.text
        found = intake.get(f"/orders/{posted.json()['order_id']}").json()
        assert (found["note"], found["customer"]["name"]) == (text, text)
        for path in (f"/orders/{text.replace('/', '')}", f"/orders?channel={text}", f"/orders?after={text}"):
            assert intake.get(path).status_code in (400, 404, 422), path
    with system.client("control-tower") as tower:
        assert tower.get("/api/board", params={"q": text}).status_code == 200
    with system.client("inventory") as inventory:
        assert inventory.get("/stock", params={"sku": text}).json()["items"] == []
    with system.client("notifier") as notifier:
        assert notifier.get("/messages", params={"order_id": text}).status_code == 200
