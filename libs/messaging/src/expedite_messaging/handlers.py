"""The registry of what a service listens to: one function per consumed event, timer kind, effect kind and job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from expedite_events import Event, heard_by, row_of
from expedite_messaging.cause import Batch, EffectCall, EffectResult, Fired, Received

if TYPE_CHECKING:
    from expedite_messaging.engine import Engine
    from expedite_messaging.tx import Tx

E = TypeVar("E", bound=Event)
EventHandler = Callable[[Batch[Received[E]], "Tx"], Awaitable[None]]
TimerHandler = Callable[[Batch[Fired], "Tx"], Awaitable[None]]
ResultHandler = Callable[[Batch[EffectResult], "Tx"], Awaitable[None]]
Performer = Callable[[EffectCall], Awaitable[dict[str, Any]]]
BatchPerformer = Callable[[Sequence[EffectCall]], Awaitable[Sequence[dict[str, Any] | Exception]]]
Job = Callable[["Engine"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job of the standard worker: runs every `every_s` real seconds, in one replica at a time."""

    name: str
    every_s: float
    run: Job


@dataclass
class Handlers:
    """What one service does. Built once in its `handlers.py`; performers of effects are bound in `main.py`.

    `poll`: how many records of the standard topics one batch takes. `gather`: a service nobody waits for may hold so many
    records of each topic when it falls behind, and then decides together what happened to an order meanwhile. `later`, with
    `gather`: only these events are held, which nothing waits for, two seconds from when they came in at the longest, and
    only while much happens."""

    service: str
    poll: int = 500
    gather: int = 0
    later: frozenset[type[Event]] = frozenset()
    events: dict[type[Event], Callable[..., Awaitable[None]]] = field(default_factory=dict)
    timers: dict[str, TimerHandler] = field(default_factory=dict)
    results: dict[str, ResultHandler] = field(default_factory=dict)
    performers: dict[str, BatchPerformer] = field(default_factory=dict)
    performed_at_once: dict[str, int] = field(default_factory=dict)
    jobs: list[JobSpec] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.later and not self.gather:
            raise ValueError(f"{self.service} leaves events for later and has no room to hold them: it needs gather=")

    def on(self, event: type[E]) -> Callable[[EventHandler[E]], EventHandler[E]]:
        """Register the one handler of an event. The catalogue must name this service as its consumer. A function
        registered for several events gets them in one batch, several of one order among them."""
        if self.service not in row_of(event).hearers:
            raise ValueError(f"{self.service} is not a declared consumer of {event.__name__}")
        if event in self.events:
            raise ValueError(f"{self.service} handles {event.__name__} twice")

        def register(handler: EventHandler[E]) -> EventHandler[E]:
            self.events[event] = handler
            return handler

        return register

    def timer(self, kind: str) -> Callable[[TimerHandler], TimerHandler]:
        """Register what happens when timers of a kind fire."""

        def register(handler: TimerHandler) -> TimerHandler:
            self.timers[kind] = handler
            return handler

        return register

    def result(self, kind: str) -> Callable[[ResultHandler], ResultHandler]:
        """Register what happens with the results of an effect."""

        def register(handler: ResultHandler) -> ResultHandler:
            self.results[kind] = handler
            return handler

        return register

    def performs(self, kind: str, performer: Performer) -> None:
        """Bind the I/O of an effect. It gets the call, returns small JSON, raises to be tried again, `GaveUp` to end."""

        async def one_by_one(calls: Sequence[EffectCall]) -> Sequence[dict[str, Any] | Exception]:
            return await asyncio.gather(*(_outcome(performer, call) for call in calls))

        self.performs_batch(kind, one_by_one, limit=32)

    def performs_batch(self, kind: str, performer: BatchPerformer, *, limit: int = 200) -> None:
        """Bind the I/O of an effect whose partner takes many at once: it gets up to `limit` calls and returns one answer
        each, in order: small JSON, `GaveUp`, or any other exception to have that one tried again."""
        self.performers[kind] = performer
        self.performed_at_once[kind] = limit

    def every(self, seconds: float) -> Callable[[Job], Job]:
        """Register a periodic job."""

        def register(job: Job) -> Job:
            self.jobs.append(JobSpec(getattr(job, "__name__", "job"), seconds, job))
            return job

        return register

    def missing(self) -> tuple[str, ...]:
        """Events the catalogue says this service hears but that have no handler."""
        return tuple(row.topic for row in heard_by(self.service) if row.event not in self.events)


async def _outcome(performer: Performer, call: EffectCall) -> dict[str, Any] | Exception:
    try:
        return await performer(call)
    except Exception as error:
        return error
