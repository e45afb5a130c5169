"""Which processes of a system reach their servers through links that can go bad, and which run altered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from expedite_chaos.ground import Fit, altered
from expedite_chaos.linked import Gateway, RemoteLink
from expedite_local.child import ProcessSpec
from expedite_local.home import Home
from expedite_local.up import Options, System

Server = Literal["postgres", "kafka"]
_laid: dict[Path, Routes] = {}


@dataclass
class Routes:
    """Links of one system. Each pattern of process names (`*` for any text) has one link per server. altered: what processes
    of a pattern run as, see `expedite_altered`."""

    postgres: Sequence[str] = ()
    kafka: Sequence[str] = ()
    altered: Mapping[str, Sequence[str]] = field(default_factory=dict)
    links: dict[tuple[Server, str], RemoteLink] = field(default_factory=dict, init=False)
    targets: dict[tuple[Server, str], tuple[str, int]] = field(default_factory=dict, init=False)
    _gateway: Gateway = field(default_factory=Gateway, init=False)
    _aiming: list[asyncio.Task[None]] = field(default_factory=list, init=False)

    def __getitem__(self, place: tuple[Server, str]) -> RemoteLink:
        return self.links[place]

    async def open(self) -> None:
        """Have every link, aimed at nothing yet."""
        if not self.postgres and not self.kafka:
            return
        await self._gateway.open()
        wanted: list[tuple[Server, str]] = [("postgres", p) for p in self.postgres] + [("kafka", p) for p in self.kafka]
        for server, pattern in wanted:
            self.links[server, pattern] = await self._gateway.link(f"{pattern} {server}", server)

    async def close(self) -> None:
        await self._gateway.close()

    def adapt(self, spec: ProcessSpec) -> ProcessSpec:
        """The process with its links and alterations."""
        env, argv = dict(spec.env), spec.argv
        for place, link in self.links.items():
            server, pattern = place
            if not fnmatch(spec.name, pattern):
                continue
            if server == "postgres" and "DATABASE_URL" in env:
                parts = urlsplit(env["DATABASE_URL"])
                host = self._aimed(place, (parts.hostname or "", parts.port or 5432))
                netloc = parts.netloc.rpartition("@")[0] + f"@{host}:{link.port}"
                env["DATABASE_URL"] = urlunsplit(parts._replace(netloc=netloc))
            if server == "kafka" and "KAFKA_BOOTSTRAP" in env:
                host, _, port = env["KAFKA_BOOTSTRAP"].rpartition(":")
                env["KAFKA_BOOTSTRAP"] = f"{self._aimed(place, (host, int(port)))}:{link.port}"
        names = [name for pattern, several in self.altered.items() if fnmatch(spec.name, pattern) for name in several]
        if names:
            argv = altered(spec.argv, names)
        return replace(spec, env=env, argv=argv)

    def _aimed(self, place: tuple[Server, str], target: tuple[str, int]) -> str:
        """Processes are declared before they are started: whoever connects before the link knows its target waits."""
        if self.targets.get(place) != target:
            self.targets[place] = target
            self._aiming.append(asyncio.create_task(self.links[place].aim(*target)))
        return target[0]


def routed(
    postgres: Sequence[str] = (), kafka: Sequence[str] = (), altered: Mapping[str, Sequence[str]] | None = None
) -> Fit:
    """A fit for a ground whose processes have these links and alterations; `routes_of` finds them."""

    @asynccontextmanager
    async def fit(home: Home, options: Options) -> AsyncIterator[Options]:
        routes = _laid[home.root] = Routes(postgres, kafka, altered or {})
        await routes.open()
        try:
            yield replace(options, adapt=lambda spec: routes.adapt(options.adapt(spec)))
        finally:
            del _laid[home.root]
            await routes.close()

    return fit


def routes_of(system: System) -> Routes:
    """The links of a running system."""
    return _laid[system.home.root]
