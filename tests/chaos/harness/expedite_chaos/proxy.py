"""A TCP link that goes bad: one listener in front of one server, with latency, little bandwidth, silence, refusals and cuts."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

HOST = "127.0.0.1"
CHUNK = 64 * 1024
UNDERWAY = 64  # chunks between reading and writing: what does not fit holds the sender back
Direction = Literal["up", "down"]  # to the server, from the server
BOTH: frozenset[Direction] = frozenset(("up", "down"))
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST instead of FIN


class Wire(Protocol):
    """What a link understands of one connection's bytes. Both return what to pass on; `Cut` ends the connection."""

    def up(self, data: bytes) -> bytes: ...
    def down(self, data: bytes) -> bytes: ...


class Cut(Exception):
    """This connection breaks now; `first` is passed on in the direction of the bytes that caused it."""

    def __init__(self, first: bytes = b"") -> None:
        super().__init__("cut")
        self.first = first


class _Plain:
    def up(self, data: bytes) -> bytes:
        return data

    def down(self, data: bytes) -> bytes:
        return data


@dataclass(frozen=True)
class Weather:
    """How a link is now. latency_s, jitter_s: each chunk is delayed by latency ± jitter, never out of order. bytes_per_s: of
    each direction of a connection, 0 for no limit. held: nothing passes in these directions; it does when the weather
    changes, as after a partition. swallowed: what is sent in these directions vanishes for ever, the end of the connection too;
    such a connection is cut when the weather changes."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float = 0.0
    held: frozenset[Direction] = frozenset()
    swallowed: frozenset[Direction] = frozenset()


FAIR = Weather()


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    wire: Wire
    deaf: frozenset[Direction] = frozenset()  # half-open: swallows whatever the weather
    lost: bool = False  # bytes of it vanished
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Link:
    """One proxied address. `async with Link("inventory postgres", ("127.0.0.1", 5432)) as link:` and connect to `link.port`.
    `did` counts what it did to the traffic: connections, refused, delayed, held, swallowed (chunks), cut (connections), and
    whatever the wire counts."""

    def __init__(
        self,
        name: str,
        target: tuple[str, int] | None = None,
        wire: Callable[[Link], Wire] | None = None,
        seed: int = 1,
    ) -> None:
        """target: may be set later, before the first connection. wire: made for each connection."""
        self.name, self.target = name, target
        self.did: Counter[str] = Counter()
        self._make_wire = wire
        self._weather, self._changed = FAIR, asyncio.Event()
        self._random = random.Random(f"link {name} {seed}")
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._handlers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Link:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen (again)."""
        if self._server is None:
            if self._listening.fileno() < 0:
                self._listening = socket.socket()
                self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self._listening.bind((HOST, self.port))
            self._server = await asyncio.start_server(self._accepted, sock=self._listening)

    async def close(self) -> None:
        """Cut everything and stop listening."""
        self.refuse()
        self.cut()
        for task in list(self._handlers):
            task.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @property
    def weather(self) -> Weather:
        return self._weather

    def turn(self, weather: Weather = FAIR) -> None:
        """Change the weather for all connections, old and new."""
        mended = self._weather.swallowed - weather.swallowed
        self._weather = weather
        self._changed.set()
        self._changed = asyncio.Event()
        if mended:
            self._cut([c for c in self._connections if c.lost])

    def refuse(self) -> None:
        """Nobody listens any more: who connects is refused. `open` ends it."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def half_open(self, directions: Collection[Direction] = BOTH) -> int:
        """The connections of now swallow for ever; new ones are well. How many."""
        for connection in self._connections:
            connection.deaf = frozenset(directions)
        self.did["half open"] += len(self._connections)
        return len(self._connections)

    def cut(self) -> int:
        """End all connections by RST, on both sides. How many."""
        return self._cut(list(self._connections))

    def _cut(self, connections: Collection[_Connection]) -> int:
        for connection in connections:
            self._end(connection)
        self.did["cut"] += len(connections)
        return len(connections)

    def _end(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        for task in connection.tasks:
            task.cancel()
        for writer in (connection.client, connection.server):
            _reset(writer)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            _reset(writer)
        finally:
            self._handlers.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.did["connections"] += 1
        while self.target is None:  # noqa: ASYNC110 - once, at the start
            await asyncio.sleep(0.02)
        try:
            answers, server = await asyncio.open_connection(*self.target)
        except OSError:
            self.did["refused"] += 1
            _reset(writer)
            return
        wire = self._make_wire(self) if self._make_wire else _Plain()
        connection = _Connection(writer, server, wire)
        self._connections.add(connection)
        connection.tasks = [
            asyncio.create_task(self._carry(connection, reader, server, "up")),
            asyncio.create_task(self._carry(connection, answers, writer, "down")),
        ]
        try:
            await asyncio.wait(connection.tasks)
        finally:
            if connection in self._connections:
                self._connections.discard(connection)
                for task in connection.tasks:
                    task.cancel()
                for end in (writer, server):
                    end.close()

    async def _carry(
        self, connection: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: Direction
    ) -> None:
        """Pass bytes on in one direction, each chunk when it is due."""
        understand = connection.wire.up if direction == "up" else connection.wire.down
        underway: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDERWAY)
        writing = asyncio.create_task(self._write(underway, sink, direction))
        connection.tasks.append(writing)
        clock = asyncio.get_running_loop().time
        try:
            with suppress(ConnectionError):
                while data := await source.read(CHUNK):
                    if direction in connection.deaf | self._weather.swallowed:
                        connection.lost = True
                        self.did["swallowed"] += 1
                        continue
                    try:
                        data = understand(data)
                    except Cut as cut:
                        if cut.first:
                            sink.write(cut.first)
                            await sink.drain()
                        self.did["cut"] += 1
                        self._end(connection)
                        return
                    if data:
                        await underway.put((clock() + self._delay(), data))
            if direction in connection.deaf | self._weather.swallowed:
                await asyncio.Event().wait()  # its end is swallowed, too
            await underway.put((0.0, b""))
            await writing
        finally:
            writing.cancel()

    async def _write(
        self, underway: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter, direction: Direction
    ) -> None:
        clock = asyncio.get_running_loop().time
        with suppress(ConnectionError, RuntimeError):
            while True:
                due, data = await underway.get()
                if (early := due - clock()) > 0:
                    self.did["delayed"] += 1
                    await asyncio.sleep(early)
                while direction in self._weather.held:
                    self.did["held"] += 1
                    await self._changed.wait()
                if not data:
                    if sink.can_write_eof():
                        sink.write_eof()
                    return
                if rate := self._weather.bytes_per_s:
                    self.did["throttled"] += 1
                    await asyncio.sleep(len(data) / rate)
                sink.write(data)
                await sink.drain()

    def _delay(self) -> float:
        weather = self._weather
        return max(0.0, weather.latency_s + weather.jitter_s * self._random.uniform(-1.0, 1.0))


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def partition(*directions: Direction) -> Weather:
    """Nothing passes (in these directions; both when none is named) until the weather changes."""
    return replace(FAIR, held=frozenset(directions) or BOTH)


def swallow(*directions: Direction) -> Weather:
    """Bytes vanish (in these directions; both when none is named); nobody is told."""
    return replace(FAIR, swallowed=frozenset(directions) or BOTH)
