"""Calls to addresses that somebody outside could set (checklist: allow-list, no redirects, private ranges blocked after DNS;
SSRF)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from expedite_chassis import Runtime, Settings
from expedite_chassis.outgoing import AddressRefused, guarded_transport, is_public

PRIVATE = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "ff02::1", "240.0.0.1",
]  # fmt: skip
PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_only_our_network_reaches_is_not_public(address: str) -> None:
    """I5 (private ranges): loopback, private, link-local (cloud metadata), shared, multicast, and those inside others."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_everybody_reaches_is_public(address: str) -> None:
    """I5"""
    assert is_public(address)


class Inside:
    """A server that only this machine reaches: it must not hear anything."""

    def __init__(self) -> None:
        self.heard = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/secret\r\nContent-Length: 6\r\n\r\nsecret")
        await writer.drain()
        writer.close()


@pytest.fixture
async def inside() -> AsyncIterator[tuple[Inside, int]]:
    found = Inside()
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    yield found, server.sockets[0].getsockname()[1]
    server.close()


HOSTS = [
    "127.0.0.1",
    "localhost",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.1",
    "[::ffff:127.0.0.1]",
    "[::1]",
    "0",
    "0.0.0.0",
]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_our_own_network_is_not_called(inside: tuple[Inside, int], scheme: str, host: str) -> None:
    """I5 (SSRF): whatever spelling leads there; nothing arrives."""
    server, port = inside
    async with httpx.AsyncClient(transport=guarded_transport()) as http:
        with pytest.raises((AddressRefused, httpx.ConnectError, httpx.InvalidURL)):
            await http.get(f"{scheme}://{host}:{port}/", timeout=10)
    assert server.heard == 0


async def test_the_address_that_was_judged_is_the_one_called(
    inside: tuple[Inside, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5 (private ranges after DNS): a name that answers a public address first and a private one then (rebinding) is never
    asked twice; a name with one private address among public ones is refused."""
    server, port = inside
    loop = asyncio.get_running_loop()
    answers: list[list[str]] = []

    async def look_up(host: str, port: int, **_: Any) -> list[Any]:
        return [(2, 1, 6, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(loop, "getaddrinfo", look_up)
    called: list[str] = []

    async def connect(self: Any, host: str, *_: Any, **__: Any) -> Any:
        called.append(host)
        raise OSError("not connected in a test")

    monkeypatch.setattr("httpcore.AnyIOBackend.connect_tcp", connect)
    async with httpx.AsyncClient(transport=guarded_transport()) as http:
        answers[:] = [["93.184.216.34"], ["127.0.0.1"]]
        with pytest.raises(OSError, match="not connected"):
            await http.get(f"http://rebinding.example:{port}/")
        assert (called, len(answers)) == (["93.184.216.34"], 1)
        answers[:] = [["93.184.216.34", "10.0.0.1"]]
        with pytest.raises(AddressRefused):
            await http.get("http://both.example/")
    assert server.heard == 0


async def test_an_allow_list_allows_what_it_names_and_nothing_else(inside: tuple[Inside, int]) -> None:
    """I5 (allow-list of hosts, no redirects): the named server is called although it is ours; where it sends us is not."""
    server, port = inside
    async with httpx.AsyncClient(transport=guarded_transport([f"127.0.0.1:{port}"])) as http:
        assert (await http.get(f"http://127.0.0.1:{port}/")).status_code == 302
        for url in (f"http://localhost:{port}/", "http://127.0.0.1:1/", "http://example.com/", "http://1.1.1.1/"):
            with pytest.raises(AddressRefused):
                await http.get(url, timeout=10)
    assert server.heard == 1
    async with httpx.AsyncClient(transport=guarded_transport([f"127.0.0.1:{port}"]), follow_redirects=True) as http:
        with pytest.raises(AddressRefused):
            await http.get(f"http://127.0.0.1:{port}/")  # also where somebody forgot not to follow


async def test_services_call_through_the_gate(inside: tuple[Inside, int]) -> None:
    """I5: the client every service is given."""
    server, port = inside
    runtime = Runtime.build("shipping", Settings(), {})
    with pytest.raises(AddressRefused):
        await runtime.http.get(f"http://127.0.0.1:{port}/")
    await runtime.http.aclose()
    assert server.heard == 0
