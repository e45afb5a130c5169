"""The world of a saga: seven services on memory engines, one bus, one clock, and the borders to carriers and mail.

Everything that decides is real: handlers, routes, performers, the carriers' app, mail templates. What is missing is I/O:
HTTP goes through ASGI, databases and topics are in memory, and a mail is kept where SMTP would take it. One world is
seated at a time: the apps are built once per process and belong to the world that was made last.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

import httpx
import structlog
from fastapi import FastAPI

import control_tower.main
import fulfillment.main
import inventory.main
import notifier.main
import order_intake.main
import prioritizer.main
import shipping.main
from expedite_chassis import Runtime, ServiceSpec
from expedite_chassis.app import create_app
from expedite_chassis.testing import key_of, runtime_for, secrets_for
from expedite_events import Value, row_of
from expedite_events.envelope import Envelope, decode, encode
from expedite_local.carriers import app as carriers_app
from expedite_local.carriers import world as carriers_world
from expedite_local.carriers.rates import profiles
from expedite_messaging import Collection, EffectCall, EffectResult, GaveUp, Group, Transient
from expedite_messaging.memory import Database, MemoryClock, MemoryEngine
from expedite_messaging.tx import as_json
from expedite_saga.borders import CarrierClock, Mailbox, PostBag, Router
from expedite_saga.bus import SagaBus
from expedite_saga.process import Crash, Process, Watch
from notifier.domain.telling import EMAIL
from shipping import effects as carrier_effects
from shipping.quotes import KEPT
from shipping.settings import ShippingSettings

SPECS: Mapping[str, ServiceSpec] = {
    spec.name: spec
    for spec in (
        order_intake.main.spec,
        prioritizer.main.spec,
        inventory.main.spec,
        fulfillment.main.spec,
        shipping.main.spec,
        notifier.main.spec,
        control_tower.main.spec,
    )
}
START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
URLS = {name: f"http://{name}.test" for name in SPECS}
CARRIERS_URL = "http://carriers.test"
if find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]  # httpx looks for it in every folder, for every request
_GROUP: dict[str, Any] = Group.__init__.__kwdefaults__ or {}
_SECRETS = secrets_for({"test": ["*"], "carriers": ["read"]})
_SECRETS["webhooks"] = {**_SECRETS["webhooks"], "city-dash": _SECRETS["webhooks"]["swift-post"]}


@dataclass(frozen=True)
class Seat:
    """One service's app, built once per process; a world takes the seat by giving it an engine and a runtime."""

    spec: ServiceSpec
    app: FastAPI
    runtime: Runtime
    client: httpx.AsyncClient

    def take(self, engine: MemoryEngine, http: httpx.AsyncClient) -> Runtime:
        runtime = replace(self.runtime, http=http, _shared={})
        self.app.state.engine, self.app.state.runtime = engine, runtime
        return runtime


def _asgi(app: Any, base_url: str, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url=base_url, headers=dict(headers or {}), trust_env=False)


@cache
def carriers_seat() -> tuple[FastAPI, httpx.AsyncClient]:
    """The carriers' app, without a world yet."""
    app = carriers_app.create_app(None, tell_stories=False)  # type: ignore[arg-type]
    return app, _asgi(app, CARRIERS_URL)


@cache
def seats() -> Mapping[str, Seat]:
    """The apps of all services."""
    made = {}
    for name, spec in SPECS.items():
        runtime = runtime_for(spec, clients={"test": ["*"]}, secrets=_SECRETS, urls=URLS)
        app = create_app(spec, MemoryEngine(spec.handlers, MemoryClock()), runtime)
        client = _asgi(app, URLS[name], {"Authorization": f"Bearer {key_of('test')}"})
        made[name] = Seat(spec, app, runtime, client)
    return made


def _quiet_deaths(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What a dead process left undone is nobody's mistake."""
    if not isinstance(context.get("exception"), Crash):
        loop.default_exception_handler(context)


def copied(db: Database) -> Database:
    """A database that may go its own way."""
    return replace(
        db,
        rows=defaultdict(dict, {name: dict(rows) for name, rows in db.rows.items()}),
        inbox=set(db.inbox),
        ledger=list(db.ledger),
        outbox=list(db.outbox),
        sequences=defaultdict(int, db.sequences),
        timers=dict(db.timers),
        effects=dict(db.effects),
        results=dict(db.results),
        postponed=dict(db.postponed),
        parked={key: list(waiting) for key, waiting in db.parked.items()},
    )


@dataclass(frozen=True)
class Snapshot:
    """What all services of a world had committed, and what was on the bus."""

    databases: Mapping[str, Database]
    sent: tuple[Envelope, ...]


class World:
    """All services of one saga. `async with World() as world` stands for a system without data."""

    def __init__(self, now: datetime = START, *, seed: int = 0, short_mails: bool = False) -> None:
        self.clock, self.watch = MemoryClock(now), Watch()
        self.mail = Mailbox(self.clock, URLS["notifier"], _SECRETS["link_secret"], short=short_mails)
        self._slow: list[tuple[str, str]] = []  # (topic, consumer) that nothing is delivered from now
        self.post = PostBag({URLS[name]: seat.app for name, seat in seats().items()})
        self.carriers = carriers_world.World(
            profiles(), httpx.AsyncClient(transport=self.post, trust_env=False), URLS["shipping"], _SECRETS,
            CarrierClock(self.clock), seed,
        )  # fmt: skip
        carriers, self.carrier_http = carriers_seat()
        carriers.state.world = self.carriers
        self._http = httpx.AsyncClient(transport=Router({CARRIERS_URL: carriers}), trust_env=False)
        self.engines = {name: self._process(name, Database()) for name in SPECS}
        self.bus = SagaBus(list(self.engines.values()))

    def _process(self, service: str, db: Database) -> Process:
        """A process of a service that knows only what is committed; it answers people and performs effects from now."""
        process = Process(replace(SPECS[service].handlers, performers={}), self.clock, self.watch, db)
        runtime = seats()[service].take(process, self._http)
        if service == "shipping":
            carrier_effects.bind(process.handlers, runtime)
            KEPT.clear()
            KEPT.valid_s = ShippingSettings.model_fields["quote_valid_s"].default
            KEPT._clock = lambda: self.clock.now.timestamp()
        if service == "notifier":
            process.handlers.performs(EMAIL, self.mail)
        return process

    def restart(self, service: str) -> None:
        """The process dies, another one starts: from what was committed, and nothing else. Whatever the dead one still
        tries to do fails."""
        dead = self.engines[service]
        dead.dead = True
        self.engines[service] = self.bus.engines[service] = self._process(service, dead.db)

    async def __aenter__(self) -> Self:
        self._logging = structlog.get_config()
        # Every request of thousands would be a log line.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        # Requests come one by one here: a group that waits for others would only wait.
        self._window_s, _GROUP["window_s"] = _GROUP["window_s"], 0.0
        asyncio.get_running_loop().set_exception_handler(_quiet_deaths)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self.engines.values():
            engine.before_commit = lambda: None
        structlog.configure(**self._logging)
        _GROUP["window_s"] = self._window_s

    def copy(self) -> Snapshot:
        """What is committed now; documents never change, so only the books that hold them are copied."""
        assert not self.bus.relay() and not self.bus.ready(), "copies are made at rest"
        sent = tuple([decode(*encode(e)) for engine in self.engines.values() for e in engine.db.ledger])
        return Snapshot({name: copied(engine.db) for name, engine in self.engines.items()}, sent)

    def begin_from(self, snapshot: Snapshot) -> None:
        """Begin where another world was copied. What was on the bus counts as sent."""
        for name, engine in self.engines.items():
            engine.db = copied(snapshot.databases[name])
        self.bus.begin_with(snapshot.sent)

    # -- reading

    def row(self, service: str, collection: Collection[Any], key: Any) -> Any:
        """A committed document; KeyError when there is none."""
        return self.engines[service].db.rows[collection.name][key]

    def rows(self, service: str, collection: Collection[Any]) -> list[Value]:
        """All committed documents of a collection."""
        return list(self.engines[service].db.rows[collection.name].values())

    def said(self, *kinds: type[Any], order_id: str | None = None) -> list[Any]:
        """Events on the bus of these kinds, oldest first, each once."""
        return [e.event for e in self.envelopes(*kinds, order_id=order_id)]

    def envelopes(self, *kinds: type[Any], order_id: str | None = None) -> list[Envelope]:
        """Envelopes on the bus, oldest first."""
        self.bus.relay()
        return [e for e in self.bus.log if isinstance(e.event, kinds) and order_id in (None, e.key)]

    @property
    def parked(self) -> list[str]:
        """What is parked anywhere, in words."""
        return [
            f"{name}: {key}: {parked.reason or 'behind it'}"
            for name, engine in self.engines.items()
            for key, waiting in sorted(engine.db.parked.items())
            for parked in waiting
        ] + [
            f"{name}: {identity}: {why}"
            for name, engine in self.engines.items()
            for identity, (_, why) in sorted(engine.db.postponed.items())
        ] + [
            f"{name}: {identity}: {why}"
            for name, engine in self.engines.items()
            for identity, (_, why) in sorted(engine.db.results.items())
            if why is not None
        ]  # fmt: skip

    # -- acting

    async def call(
        self, service: str, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """One HTTP request to a service, with JSON or these bytes; its own failure fails the saga."""
        said: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        response = await seats()[service].client.request(method, path, headers=headers, **said)
        assert response.status_code < 500, f"{method} {service}{path} {body}: {response.status_code} {response.text}"
        return response

    async def ok(self, service: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A request that must succeed; its JSON."""
        response = await self.call(service, method, path, body, headers)
        assert response.is_success, f"{method} {service}{path} {body}: {response.status_code} {response.text}"
        return response.json()

    async def result_of(self, service: str, call: EffectCall) -> EffectResult | None:
        """Perform an effect without telling the service; None when it is to be tried again later."""
        (answer,) = await self.engines[service].handlers.performers[call.kind]([call])
        if isinstance(answer, carrier_effects.CarrierAway):
            return None
        if isinstance(answer, Exception) and not isinstance(answer, GaveUp):
            raise answer
        ok, data, error = (False, {}, str(answer)) if isinstance(answer, GaveUp) else (True, as_json(answer), None)
        return EffectResult(call.id, call.kind, call.subject, call.key, ok, data, call.data, error, call.attempt, call.lane,
                            call.correlation_id, call.traceparent)  # fmt: skip

    async def settle(self, limit: int = 200) -> None:
        """Deliver everything, perform every effect, run every job, until nothing moves. Timers stay."""
        for _ in range(limit):
            moved = await self._deliver_all() + await self._perform_all()
            for engine in self.engines.values():
                for key in engine.retriable():
                    await engine.replay(key)
                for job in engine.handlers.jobs:
                    await job.run(engine)
            if not moved + self.bus.relay() and not self._ready():
                return
        raise AssertionError("the world does not come to rest")

    @contextmanager
    def late(self, *places: tuple[type[Any], str]) -> Iterator[None]:
        """Within the block, these events do not reach these services, on either lane; what came meanwhile comes later."""
        slow = [(topic, service) for event, service in places for topic in row_of(event).topics]
        self._slow += slow
        try:
            yield
        finally:
            for place in slow:
                self._slow.remove(place)

    def _ready(self) -> list[tuple[str, str, str]]:
        return [name for name in self.bus.ready() if (name[0], name[2]) not in self._slow]

    async def _deliver_all(self) -> int:
        moved = self.bus.relay()
        while ready := self._ready():
            for name in ready:
                queue = self.bus.queues[name]
                waiting = list(queue)
                await self.engines[name[2]].deliver(waiting)
                queue.clear()
                moved += len(waiting)
            self.bus.relay()
        return moved

    async def _perform_all(self) -> int:
        moved = 0
        for name, engine in self.engines.items():
            for call in engine.pending_effects():
                result = await self.result_of(name, call)
                if result is not None:
                    await engine.conclude([result])
                    moved += 1
            moved += await engine.conclude_kept()
        return moved

    async def fire_due(self) -> int:
        """Fire every timer that is due. The number fired."""
        return await self.bus.fire_due()

    async def wait(self, **time: float) -> None:
        """Let business time pass, timer by timer, and settle after each."""
        until = self.clock.now + timedelta(**time)
        while True:
            due = [at for engine in self.engines.values() if (at := engine.next_due()) is not None and at <= until]
            if not due:
                break
            self.clock.now = max(self.clock.now, min(due))
            await self.fire_due()
            await self.settle()
        self.clock.now = until
        await self.settle()

    def stumbles(self, service: str) -> None:
        """PostgreSQL answers the service's next commit with "try again": the whole transaction is run once more."""
        engine = self.engines[service]

        def once() -> None:
            self.stands(service)
            raise Transient("deadlock")

        engine.before_commit = once

    def stands(self, service: str) -> None:
        """Commits go well again."""
        self.engines[service].before_commit = lambda: None
