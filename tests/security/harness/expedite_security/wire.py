"""Requests as no HTTP library would send them: bytes on a socket, whole, in drips, or never finished."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Heard:
    """What a server sent until it closed, and after how many real seconds it did; `closed` is false when our patience ended."""

    said: bytes
    after_s: float
    closed: bool

    @property
    def status(self) -> int:
        return int(self.said.split(b" ", 2)[1]) if self.said.startswith(b"HTTP/1.1 ") else 0


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=PATIENCE_S) as wire:
        yield wire


def talk(url: str, *parts: bytes) -> Heard:
    """Send parts one after the other, then read until the server closes."""
    with connected(url) as wire:
        return _until_closed(wire, parts, 0.0)


def drip(url: str, first: bytes, drops: Iterable[bytes], every_s: float) -> Heard:
    """Send `first`, then drop after drop with a pause before each, until the server has closed or nothing is left."""
    with connected(url) as wire:
        wire.sendall(first)
        return _until_closed(wire, drops, every_s)


def _until_closed(wire: socket.socket, parts: Iterable[bytes], every_s: float) -> Heard:
    began, said = time.monotonic(), b""
    drops = iter(parts)
    while time.monotonic() - began < PATIENCE_S:
        drop = next(drops, None)
        try:
            if drop is not None:
                wire.sendall(drop)
            wire.settimeout(max(every_s, 0.001) if drop is not None else PATIENCE_S)
            while chunk := wire.recv(65536):
                said += chunk
            return Heard(said, time.monotonic() - began, True)
        except TimeoutError:
            continue
        except OSError:  # reset: it is closed, too
            return Heard(said, time.monotonic() - began, True)
    return Heard(said, time.monotonic() - began, False)
