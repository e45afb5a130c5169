"""Which processes of a system reach their servers through links that can go bad, and which run altered."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from expedite_chaos.ground import Fit
from expedite_chaos.proxy import Link
from expedite_chaos.wires import BrokerWire, Commits
from expedite_local.child import ProcessSpec
from expedite_local.home import Home
from expedite_local.up import Options, System

Server = Literal["postgres", "kafka"]
HARNESS = Path(__file__).parents[1]
_laid: dict[Path, Routes] = {}


@dataclass
class Routes:
    """Links of one system. Each pattern of process names (`*` for any text) has one link per server. altered: what processes
    of a pattern run as, see `expedite_chaos.altered`."""

    postgres: Sequence[str] = ()
    kafka: Sequence[str] = ()
    altered: Mapping[str, Sequence[str]] = field(default_factory=dict)
    commits: dict[str, Commits] = field(default_factory=dict, init=False)  # by pattern
    links: dict[tuple[Server, str], Link] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for pattern in self.postgres:
            told = self.commits[pattern] = Commits()
            self.links["postgres", pattern] = Link(f"{pattern} postgres", wire=told.wire)
        for pattern in self.kafka:
            self.links["kafka", pattern] = Link(f"{pattern} kafka", wire=BrokerWire)

    def __getitem__(self, place: tuple[Server, str]) -> Link:
        return self.links[place]

    async def open(self) -> None:
        for link in self.links.values():
            await link.open()

    async def close(self) -> None:
        for link in self.links.values():
            await link.close()

    def adapt(self, spec: ProcessSpec) -> ProcessSpec:
        """The process with its links and alterations."""
        env, argv = dict(spec.env), spec.argv
        for (server, pattern), link in self.links.items():
            if not fnmatch(spec.name, pattern):
                continue
            if server == "postgres" and "DATABASE_URL" in env:
                parts = urlsplit(env["DATABASE_URL"])
                link.target = (parts.hostname or "", parts.port or 5432)
                netloc = parts.netloc.rpartition("@")[0] + f"@{link.target[0]}:{link.port}"
                env["DATABASE_URL"] = urlunsplit(parts._replace(netloc=netloc))
            if server == "kafka" and "KAFKA_BOOTSTRAP" in env:
                host, _, port = env["KAFKA_BOOTSTRAP"].rpartition(":")
                link.target = (host, int(port))
                env["KAFKA_BOOTSTRAP"] = f"{host}:{link.port}"
        names = [name for pattern, several in self.altered.items() if fnmatch(spec.name, pattern) for name in several]
        if names:
            argv, env = altered(spec.argv, names), env | path_of_harness(env)
        return replace(spec, env=env, argv=argv)


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


def altered(argv: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """The command line of a service (`python -m module …`) under alterations."""
    python, flag, *rest = argv
    return (python, flag, "expedite_chaos.altered", ",".join(names), *rest)


def path_of_harness(env: Mapping[str, str]) -> dict[str, str]:
    """What a process needs in its environment to find this package."""
    known = env.get("PYTHONPATH") or os.environ.get("PYTHONPATH") or ""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(HARNESS), known)))}
