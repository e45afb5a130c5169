"""The links that chaos trials break: they carry everything in fair weather, and each kind of bad weather is what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from expedite_chaos.packets import Packets, unavailable
from expedite_chaos.proxy import FAIR, HOST, Link, Weather, partition, swallow
from expedite_chaos.wires import Commits, Moment

from expedite_messaging.testing import server_url

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that says everything back; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    async with echo() as port, Link("echo", (HOST, port)) as made:
        yield made


async def connected(link: Link) -> Client:
    return await asyncio.open_connection(HOST, link.port)


async def said(client: Client, text: bytes, within_s: float = 5.0) -> bytes:
    """What comes back, or nothing within the time."""
    reader, writer = client
    writer.write(text)
    try:
        return await asyncio.wait_for(reader.readexactly(len(text)), within_s)
    except TimeoutError:
        return b""


async def test_fair_weather_carries_everything_and_the_end(link: Link) -> None:
    reader, writer = await connected(link)
    sent = bytes(range(256)) * 8192
    writer.write(sent)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(-1), 20) == sent
    assert link.did == {"connections": 1}


async def test_latency_delays_and_keeps_the_order(link: Link) -> None:
    client = await connected(link)
    link.turn(Weather(latency_s=0.05, jitter_s=0.04))
    began = time.monotonic()
    for number in range(4):
        text = b"%08d" % number
        assert await said(client, text) == text
    assert time.monotonic() - began > 4 * 2 * 0.01
    reader, writer = client
    for number in range(50):
        writer.write(b"%08d" % number)
        await asyncio.sleep(0.001)
    assert await asyncio.wait_for(reader.readexactly(400), 10) == b"".join(b"%08d" % n for n in range(50))
    assert link.did["delayed"] > 4


async def test_little_bandwidth_holds_the_sender_back(link: Link) -> None:
    client = await connected(link)
    link.turn(Weather(bytes_per_s=100_000))
    began = time.monotonic()
    assert len(await said(client, b"x" * 50_000)) == 50_000
    assert time.monotonic() - began > 0.45
    assert link.did["throttled"] > 0


async def test_after_a_partition_everything_arrives(link: Link) -> None:
    client = await connected(link)
    link.turn(partition())
    assert await said(client, b"held", 0.2) == b""
    link.turn()
    assert await asyncio.wait_for(client[0].readexactly(4), 5) == b"held"
    link.turn(partition("down"))
    assert await said(client, b"answer held", 0.2) == b""
    assert link.did["held"] >= 2


async def test_swallowed_bytes_never_arrive_and_such_a_connection_is_cut_when_the_weather_changes(link: Link) -> None:
    client, quiet = await connected(link), await connected(link)
    assert await said(quiet, b"before") == b"before"
    link.turn(swallow("up"))
    assert await said(client, b"gone", 0.2) == b""
    link.turn(FAIR)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client[0].read(1), 5)
    assert await said(quiet, b"after") == b"after"


async def test_half_open_connections_swallow_and_new_ones_are_well(link: Link) -> None:
    old = await connected(link)
    assert await said(old, b"before") == b"before"
    assert link.half_open() == 1
    assert await said(old, b"gone", 0.2) == b""
    new = await connected(link)  # held: Python 3.11.7 (not 3.11.2) closes a connection that nobody holds
    assert await said(new, b"new") == b"new"
    old[1].close()  # its end is swallowed as well
    await asyncio.sleep(0.1)
    assert link.connections == 2


async def test_refused_cut_and_open_again(link: Link) -> None:
    client = await connected(link)
    assert await said(client, b"before") == b"before"
    link.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connected(link)
    assert await said(client, b"still there") == b"still there"
    assert link.cut() == 1
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client[0].read(1), 5)
    await link.open()
    again = await connected(link)
    assert await said(again, b"again") == b"again"
    assert link.connections == 1


@asynccontextmanager
async def commits(every: int = 1) -> AsyncIterator[tuple[Commits, Link, str]]:
    """A link to a real PostgreSQL whose commits can be cut, and the URL through it."""
    url, told = server_url(), Commits(every)
    address = url.rpartition("@")[2].split("/")[0]
    host, _, port = address.rpartition(":")
    async with Link("postgres", (host, int(port)), told.wire) as link:
        direct = await asyncpg.connect(url)
        await direct.execute("DROP TABLE IF EXISTS cut_here; CREATE TABLE cut_here (n int)")
        try:
            yield told, link, url.replace(address, f"{HOST}:{link.port}")
        finally:
            await direct.execute("DROP TABLE cut_here")
            await direct.close()


async def rows() -> list[int]:
    direct = await asyncpg.connect(server_url())
    try:
        return [row[0] for row in await direct.fetch("SELECT n FROM cut_here ORDER BY n")]
    finally:
        await direct.close()


@pytest.mark.parametrize("how", ["simple", "with a call before it", "prepared"])
@pytest.mark.parametrize(("moment", "there"), [("before", False), ("after", True)])
async def test_a_connection_is_cut_around_its_commit(moment: Moment, there: bool, how: str) -> None:
    async with commits() as (told, link, url):
        connection = await asyncpg.connect(url)
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO cut_here VALUES (1)")
        told.moment = moment
        with pytest.raises((asyncpg.InterfaceError, asyncpg.PostgresError, OSError)):
            if how == "prepared":
                await connection.fetch("COMMIT")
            else:
                await connection.execute("COMMIT;" if how == "simple" else "SELECT pg_sleep(0); COMMIT")
        assert connection.is_closed()
        assert await rows() == ([1] if there else [])
        assert link.did[f"commit cut {moment}"] == link.did["cut"] == 1


async def test_a_commit_cut_during_may_or_may_not_have_happened_and_others_pass() -> None:
    async with commits(every=2) as (told, link, url):
        connection = await asyncpg.connect(url)
        told.moment = "during"
        await connection.execute("BEGIN; INSERT INTO cut_here VALUES (1); COMMIT")  # the first passes
        assert await rows() == [1]
        await connection.execute("BEGIN; INSERT INTO cut_here VALUES (2)")
        with pytest.raises((asyncpg.InterfaceError, asyncpg.PostgresError, OSError)):
            await connection.execute("COMMIT")
        told.moment = None
        assert await rows() in ([1], [1, 2])
        assert link.did["commit cut during"] == 1
        other = await asyncpg.connect(url)
        assert await other.fetchval("SELECT count(*) FROM generate_series(1, 100000)") == 100_000
        await other.close()


async def test_the_kernel_loses_the_packets_of_a_port_and_no_others() -> None:
    if why := unavailable():
        pytest.skip(why)
    async with echo() as port, echo() as other:
        with Packets() as packets:
            old = await asyncio.open_connection(HOST, port)
            assert await said(old, b"before") == b"before"
            assert packets.drop_now(port) == 1
            assert await said(old, b"gone", 0.3) == b""
            new = await asyncio.open_connection(HOST, port)
            assert await said(new, b"new") == b"new"
            packets.drop(port)
            assert await said(new, b"gone", 0.3) == b""
            assert await said(await asyncio.open_connection(HOST, other), b"other") == b"other"
            assert packets.heal() > 0
            assert await asyncio.wait_for(new[0].readexactly(4), 10) == b"gone"  # sent again by the kernel
            packets.lose(port, 30)
            for number in range(20):
                text = b"%04d" % number
                assert await said(new, text, 20) == text
            assert packets.lost > 0
        # The rules went with the block: what the kernel still holds of the half-open connection arrives.
        assert await asyncio.wait_for(old[0].readexactly(4), 20) == b"gone"
