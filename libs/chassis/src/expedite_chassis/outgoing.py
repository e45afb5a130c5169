"""Where calls may go whose address somebody outside could set: a carrier's API, one day a shop's webhook.

Without an allow-list every public address may be called and none that only this machine or its network can reach: what
answers there trusts its callers. With one, exactly the hosts it names may be called, wherever they are. Names are looked
up once, and the address that was judged is the one connected to, so that a second answer of the DNS changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore
import httpx

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(Exception):
    """A call to an address that is not allowed; the text names the host, never where it led."""


def is_public(address: str) -> bool:
    """Whether everybody on the internet reaches this address; addresses that carry another one inside are not."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif found.sixtofour is not None or found.teredo is not None or found in _NAT64:
            return False
    return found.is_global and not found.is_multicast


class _Gate(httpcore.AsyncNetworkBackend):
    """Connects to allowed addresses only."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed, self._network = frozenset(name.lower() for name in allowed), httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface has it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        at = host if self._allowed else await self._judged(host, port, timeout)
        name = host.lower()
        if self._allowed and not {name, f"{name}:{port}"} & self._allowed:
            raise AddressRefused(f"{host}:{port} is not one of the hosts in EXPEDITE_OUTGOING_HOSTS")
        return await self._network.connect_tcp(at, port, timeout, local_address, socket_options)

    async def _judged(self, host: str, port: int, timeout: float | None) -> str:  # noqa: ASYNC109
        """The address of a name, when all its addresses are public."""
        try:
            async with asyncio.timeout(timeout):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:  # a time-out is one
            raise httpcore.ConnectError(f"{host} has no address") from error
        addresses = [str(where[0]) for *_, where in found]
        if not addresses or not all(is_public(address) for address in addresses):
            raise AddressRefused(
                f"{host} is not on the public internet; name it in EXPEDITE_OUTGOING_HOSTS to allow it"
            )
        return addresses[0]

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("unix sockets are not called")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


def guarded_transport(allowed: Sequence[str] = ()) -> httpx.AsyncHTTPTransport:
    """A transport that raises `AddressRefused` for addresses that are not allowed. `allowed`: hosts, or host:port."""
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    # httpx has no argument for it; tests hold that the gate is really passed.
    transport._pool._network_backend = _Gate(allowed)
    return transport
