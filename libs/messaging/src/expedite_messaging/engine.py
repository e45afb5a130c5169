"""An engine runs transactions. One lock order holds for every writer: inbox ids, then keys (orders), then shared rows,
each sorted; state is read after the lock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar
from uuid import UUID

from expedite_events import Illegal, NotYet
from expedite_events.envelope import Envelope
from expedite_messaging.cause import Batch, EffectResult, Fired, Received
from expedite_messaging.handlers import Handlers
from expedite_messaging.tx import Session, Tx

R = TypeVar("R")
Q = TypeVar("Q")
Work = Callable[[Tx], Awaitable[R]]


class KeyParked(Exception):
    """A person's write to a key whose events are parked: answered 409 `parked` (repair and replay come first)."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f"parked: {', '.join(keys)}")
        self.keys = tuple(keys)


class Transient(Exception):
    """The database or the broker is away or asked to try again: never counts against an event."""


class DeliverySession(Session, ABC):
    """What delivery needs besides the primitives that handlers use."""

    @abstractmethod
    async def inbox(self, ids: Sequence[UUID]) -> set[UUID]:
        """Insert ids, sorted; the ones that are new."""

    @abstractmethod
    async def lock(self, keys: Sequence[str]) -> set[str]:
        """Lock keys in order, inserting missing ones; the ones that are parked."""

    @abstractmethod
    async def park(self, envelopes: Sequence[Envelope], reason: str | None, retry_after_s: float | None) -> None:
        """Keep events behind their key. `reason=None`: they queue behind an earlier parked event. `retry_after_s`: not
        poison, try again by yourself."""

    @abstractmethod
    async def take_timers(self, fired: Sequence[Fired]) -> list[Fired]:
        """Delete the timers that are still due under the lock, and return them."""

    @abstractmethod
    async def take_effects(self, results: Sequence[EffectResult]) -> list[EffectResult]:
        """Mark effects finished that are not yet, and return their results."""


class Engine(ABC):
    """Runs the transactions of one service."""

    service: str
    handlers: Handlers

    @abstractmethod
    def begin(self) -> AbstractAsyncContextManager[DeliverySession]:
        """A transaction: commits when the block ends, rolls back when it raises. Raises `Transient` for what passes."""

    @abstractmethod
    async def backoff(self, attempt: int) -> None:
        """Wait before a whole transaction is run again."""

    @abstractmethod
    def woke(self, tx: Tx) -> None:
        """Called after a commit: wakes relay, effects and timers when there is something for them."""

    async def transact(self, keys: Sequence[str], work: Work[R], *, allow_parked: bool = False) -> R:
        """Run `work` with the keys locked, then save and emit. Retried whole on deadlocks and lost connections, so
        `work` must not touch anything but `tx`. Raises `KeyParked` unless `allow_parked`."""

        async def once() -> R:
            async with self.begin() as session:
                parked = await session.lock(sorted(set(keys)))
                if parked and not allow_parked:
                    raise KeyParked(sorted(parked))
                tx = Tx(self.service, session)
                result = await work(tx)
                await tx.flush()
            self.woke(tx)
            return result

        return await self._retrying(once)

    async def read(self, work: Work[R]) -> R:
        """Run `work` without locks and without saving: for queries."""

        async def once() -> R:
            async with self.begin() as session:
                return await work(Tx(self.service, session))

        return await self._retrying(once)

    async def deliver(self, envelopes: Sequence[Envelope]) -> None:
        """Process one group of events of one type in one transaction; bisect to the bad one and park it."""
        try:
            await self._retrying(lambda: self._deliver_once(envelopes))
            return
        except Exception as error:
            failure = error
        if len(envelopes) == 1:
            await self._retrying(lambda: self._park_once(envelopes[0], failure))
            return
        middle = len(envelopes) // 2
        await self.deliver(envelopes[:middle])
        await self.deliver(envelopes[middle:])

    async def _deliver_once(self, envelopes: Sequence[Envelope]) -> None:
        handler = self.handlers.events[type(envelopes[0].event)]
        async with self.begin() as session:
            new = await session.inbox(sorted({e.id for e in envelopes}))
            fresh = list({e.id: e for e in envelopes if e.id in new}.values())
            tx = Tx(self.service, session)
            if fresh:
                parked = await session.lock(sorted({e.key for e in fresh}))
                behind = [e for e in fresh if e.key in parked]
                if behind:
                    await session.park(behind, None, None)
                live = tuple(Received[object](e) for e in fresh if e.key not in parked)  # type: ignore[type-var]
                if live:
                    await handler(Batch(live), tx)
                    await tx.flush()
        self.woke(tx)

    async def _park_once(self, envelope: Envelope, error: Exception) -> None:
        async with self.begin() as session:
            if await session.inbox([envelope.id]):
                await session.lock([envelope.key])
                retry = error.after_s if isinstance(error, NotYet) else None
                kind = "" if isinstance(error, Illegal | NotYet) else f"{type(error).__name__}: "
                await session.park([envelope], f"{kind}{error}"[:2000], retry)

    async def fire(self, fired: Sequence[Fired]) -> None:
        """Fire due timers of one kind: lock their keys, keep the ones still due, decide. A failing one is bisected out
        and stays for the next scan."""
        handler = self.handlers.timers[fired[0].kind]

        async def once() -> None:
            async with self.begin() as session:
                parked = await session.lock(sorted({f.key for f in fired}))
                due = await session.take_timers([f for f in fired if f.key not in parked])
                tx = Tx(self.service, session)
                if due:
                    await handler(Batch(tuple(due)), tx)
                    await tx.flush()
            self.woke(tx)

        await self._retrying(once)

    async def conclude(self, results: Sequence[EffectResult]) -> None:
        """Bring results of effects of one kind back through load, decide, save. Results of parked keys wait."""
        handler = self.handlers.results[results[0].kind]

        async def once() -> None:
            async with self.begin() as session:
                parked = await session.lock(sorted({r.key for r in results}))
                taken = await session.take_effects([r for r in results if r.key not in parked])
                tx = Tx(self.service, session)
                if taken:
                    await handler(Batch(tuple(taken)), tx)
                    await tx.flush()
            self.woke(tx)

        await self._retrying(once)

    async def _retrying(self, once: Callable[[], Awaitable[R]]) -> R:
        attempt = 0
        while True:
            try:
                return await once()
            except Transient:
                attempt += 1
                await self.backoff(attempt)


class Group(Generic[Q, R]):
    """Group commit for HTTP writes: concurrent requests share one transaction (≤ 5 ms or 500 requests), each gets its
    own answer, and only after its row is durable. A failing group bisects so that one bad request fails alone. A client
    that goes away never cancels the group.

    `keys` names the locks a request needs; `work` answers all requests of the group, in order."""

    def __init__(
        self,
        engine: Engine,
        keys: Callable[[Q], Sequence[str]],
        work: Callable[[Tx, Sequence[Q]], Awaitable[Sequence[R]]],
        *,
        window_s: float = 0.005,
        limit: int = 500,
    ) -> None:
        self._engine, self._keys, self._work, self._window_s, self._limit = engine, keys, work, window_s, limit

    async def submit(self, request: Q) -> R:
        """Wait for the group that carries this request to be durable; the request's own answer or exception."""
        answers = await self._engine.transact(self._keys(request), lambda tx: self._work(tx, [request]))
        return answers[0]
