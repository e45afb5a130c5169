"""What a service is, as data, and what its code is handed at run time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import httpx
import sqlalchemy as sa
from fastapi import APIRouter, FastAPI

from expedite_chassis.metrics import Metrics
from expedite_chassis.outgoing import guarded_transport
from expedite_chassis.ration import Pace
from expedite_chassis.settings import Settings
from expedite_chassis.tracing import outgoing_headers
from expedite_messaging import Handlers

if TYPE_CHECKING:
    from expedite_chassis.auth import Keyring

T = TypeVar("T")


@dataclass
class Runtime:
    """What one process shares: settings, secrets, addresses of others, one HTTP client, metrics."""

    settings: Settings
    secrets: dict[str, Any]
    http: httpx.AsyncClient
    metrics: Metrics
    keyring: Keyring
    pace: Pace
    draining: bool = False  # set when the process was asked to stop: not ready any more
    worker_ready: Callable[[], bool] = field(default=lambda: True)
    _shared: dict[str, Any] = field(default_factory=dict)

    @property
    def urls(self) -> dict[str, str]:
        """Base URL of each service, by service name."""
        return self.settings.urls

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """The one object of this name in this process (a `Group`, a broadcaster), made on first use."""
        if name not in self._shared:
            self._shared[name] = make()
        return cast(T, self._shared[name])

    @classmethod
    def build(cls, service: str, settings: Settings, secrets: dict[str, Any]) -> Runtime:
        """A runtime over its settings and secrets; the caller closes `http`."""
        from expedite_chassis.auth import Keyring

        async def trace(request: httpx.Request) -> None:
            for name, value in outgoing_headers().items():
                request.headers.setdefault(name, value)

        http = httpx.AsyncClient(
            transport=guarded_transport(settings.outgoing_hosts),
            timeout=httpx.Timeout(10.0, connect=3.0),
            follow_redirects=False,  # a redirect could lead a call to a host nobody allowed
            event_hooks={"request": [trace]},
        )
        return cls(
            settings,
            secrets,
            http,
            Metrics(service, home=settings.home),
            Keyring(secrets),
            Pace(settings.requests_per_s),
        )


Bind = Callable[[Runtime], None]
Ready = Callable[[Runtime], Awaitable[Mapping[str, bool]]]
Configure = Callable[[FastAPI, Runtime], None]
Lifespan = Callable[[Runtime], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class ServiceSpec:
    """One service. `bind` binds performers of effects; `ready` adds named checks to /readyz; `configure` adds what a
    router cannot hold (static files); `lifespan` runs around the api process; `body_limits` raises the body limit below
    a path prefix, in bytes."""

    name: str
    handlers: Handlers
    metadata: sa.MetaData
    router: APIRouter
    migrations_module: str
    bind: Bind | None = None
    ready: Ready | None = None
    configure: Configure | None = None
    lifespan: Lifespan | None = None
    body_limits: Mapping[str, int] = field(default_factory=dict)
    settings: type[Settings] = Settings
