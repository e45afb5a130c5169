"""Links in a process of their own: a busy driver must not be a slow network. `Gateway` is our side, `main` the other.

One line of JSON per request and per answer, over the child's standard input and output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expedite_chaos.proxy import BOTH, FAIR, Direction, Link, Weather
from expedite_chaos.wires import BrokerWire, Commits, Moment
from expedite_local import warden

_HARNESS = Path(__file__).parents[1]
_LINE = 2**20


@dataclass(frozen=True)
class RemoteLink:
    """A `Link` of the gateway: the same calls, awaited."""

    gateway: Gateway
    name: str
    port: int

    async def aim(self, host: str, port: int) -> None:
        """Where it leads; before the first connection."""
        await self.gateway.ask(self.name, "aim", host=host, port=port)

    async def turn(self, weather: Weather = FAIR) -> None:
        told = {
            name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(weather).items()
        }
        await self.gateway.ask(self.name, "turn", **told)

    async def half_open(self, directions: Collection[Direction] = BOTH) -> int:
        return int(await self.gateway.ask(self.name, "half_open", directions=sorted(directions)))

    async def cut(self) -> int:
        return int(await self.gateway.ask(self.name, "cut"))

    async def commits(self, moment: Moment | None, every: int = 1) -> None:
        """From now on each `every`th commit is cut at this moment; None: no more."""
        await self.gateway.ask(self.name, "commits", moment=moment, every=every)

    async def did(self) -> Counter[str]:
        return Counter(await self.gateway.ask(self.name, "did"))


class Gateway:
    """The process of the links of one system."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()

    async def open(self) -> None:
        path = os.pathsep.join(filter(None, (str(_HARNESS), os.environ.get("PYTHONPATH"))))
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", f"from {__name__} import serve; serve()"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
            limit=_LINE,
        )
        warden.guard(self._process.pid, warden.SERVERS)

    async def link(self, name: str, wire: str) -> RemoteLink:
        """A new link. wire: `postgres`, `kafka` or `plain`."""
        return RemoteLink(self, name, int(await self.ask(name, "make", wire=wire)))

    async def ask(self, link: str, do: str, **told: Any) -> Any:
        """Have something done to a link. Raises RuntimeError with what the gateway says went wrong."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        async with self._asking:
            process.stdin.write(json.dumps({"link": link, "do": do, "told": told}).encode() + b"\n")
            answer = json.loads(await process.stdout.readline() or b'{"wrong": "the gateway has ended"}')
        if "wrong" in answer:
            raise RuntimeError(f"{do} {link}: {answer['wrong']}")
        return answer["done"]

    async def close(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 5.0)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        warden.release(self._process.pid)


class _Links:
    """The gateway's own side."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self.told: dict[str, Commits] = {}

    async def do(self, name: str, what: str, told: dict[str, Any]) -> Any:
        if what == "make":
            commits = self.told[name] = Commits()
            wires = {"postgres": commits.wire, "kafka": BrokerWire, "plain": None}
            link = self.links[name] = Link(name, wire=wires[told["wire"]])
            await link.open()
            return link.port
        link = self.links[name]
        if what == "aim":
            link.target = (told["host"], told["port"])
        elif what == "turn":
            link.turn(Weather(**{k: frozenset(v) if isinstance(v, list) else v for k, v in told.items()}))
        elif what == "half_open":
            return link.half_open(told["directions"])
        elif what == "cut":
            return link.cut()
        elif what == "commits":
            self.told[name].moment, self.told[name].every = told["moment"], told["every"]
        elif what == "did":
            return dict(link.did)
        else:
            raise ValueError(f"a link cannot {what}")
        return None


async def main() -> None:
    """Do what is asked until nobody asks any more."""
    reader = asyncio.StreamReader(limit=_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    links = _Links()
    while line := await reader.readline():
        asked = json.loads(line)
        try:
            answer = {"done": await links.do(asked["link"], asked["do"], asked["told"])}
        except Exception as error:
            answer = {"wrong": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for link in links.links.values():
        await link.close()


def serve() -> None:
    """The gateway's process."""
    asyncio.run(main())
