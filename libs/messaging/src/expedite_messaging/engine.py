"""An engine runs transactions. One lock order holds for every writer: inbox ids, then keys (orders), then shared rows,
each sorted; state is read after the lock."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar
from uuid import UUID

from expedite_events import Event, Illegal, NotYet
from expedite_events.envelope import Envelope
from expedite_messaging import metrics
from expedite_messaging.cause import Batch, EffectResult, Fired, ParkedEvent, RawRecord, Received
from expedite_messaging.handlers import Handlers
from expedite_messaging.masters import Masters
from expedite_messaging.repair import Repair, RepairSession, Who
from expedite_messaging.tx import Session, Tx

R = TypeVar("R")
F = TypeVar("F", Envelope, Fired, EffectResult)
Work = Callable[[Tx], Awaitable[R]]


class KeyParked(Exception):
    """A person's write to a key whose events are parked: answered 409 `parked` (repair and replay come first)."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f"parked: {', '.join(keys)}")
        self.keys = tuple(keys)


class Transient(Exception):
    """The database or the broker is away or asked to try again: never counts against an event. From `transact`, `read`
    and `Group.submit` it means "try again later" (503): the outcome of the write is unknown or none."""


class Crowded(Transient):
    """So many requests wait for the database that one more would only wait in vain: it was not begun."""


class PoisonLimit(Exception):
    """Too many keys were parked within a minute: more likely a bad deployment than bad events. Nothing more is parked;
    the consumer stops and its offsets stay."""


class PoisonGuard:
    """Counts distinct keys parked for a reason within the last minute of real time."""

    def __init__(self, limit: int = 50, window_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.window_s, self._clock = limit, window_s, clock
        self._seen: dict[str, float] = {}

    def admit(self, key: str) -> None:
        """Note a key about to be parked; raises `PoisonLimit` when it would be one too many."""
        now = self._clock()
        self._seen = {k: at for k, at in self._seen.items() if now - at < self.window_s}
        if key not in self._seen and len(self._seen) >= self.limit:
            raise PoisonLimit(f"{len(self._seen)} keys were parked within {self.window_s:.0f} s")
        self._seen[key] = now


class DeliverySession(RepairSession, Session, ABC):
    """What delivery needs besides the primitives that handlers use."""

    @abstractmethod
    async def inbox(self, ids: Sequence[UUID]) -> set[UUID]:
        """Insert ids, sorted; the ones that are new."""

    async def arrive(self, envelopes: Sequence[Envelope]) -> tuple[Sequence[Envelope], set[str]]:
        """Take ids into the inbox, then lock the keys of the new ones: (those that are new, each once; parked keys)."""
        new = await self.inbox(sorted({e.id for e in envelopes}))
        fresh = list({e.id: e for e in envelopes if e.id in new}.values())
        return fresh, await self.lock(sorted({e.key for e in fresh})) if fresh else set()

    @abstractmethod
    async def park(self, envelopes: Sequence[Envelope], reason: str | None, retry_after_s: float | None) -> None:
        """Keep events behind their key. `reason=None`: they queue behind an earlier parked event. `retry_after_s`: not
        poison, try again by yourself."""

    @abstractmethod
    async def park_raw(self, record: RawRecord, reason: str) -> None:
        """Keep a record nobody understood behind its key."""

    @abstractmethod
    async def take_parked(self, key: str) -> Envelope | None:
        """Remove and return the first event parked behind a locked key; with the last one the key is free again. Raises
        `Undecodable` when it still cannot be understood."""

    @abstractmethod
    async def postpone_parked(self, key: str, reason: str, retry_after_s: float | None) -> None:
        """Note why the first event behind a key failed again, and when it is tried next (None: when a person says)."""

    @abstractmethod
    async def take_timers(self, fired: Sequence[Fired]) -> list[Fired]:
        """Delete the timers that are still due under the lock, and return them."""

    @abstractmethod
    async def postpone_timer(self, fired: Fired, reason: str, retry_after_s: float | None) -> None:
        """Keep a timer whose firing failed, with the reason; it is tried again after a while (by attempts if None)."""

    @abstractmethod
    async def take_effects(self, results: Sequence[EffectResult]) -> list[EffectResult]:
        """Mark effects finished that are not yet, and return their results."""

    @abstractmethod
    async def keep_results(self, results: Sequence[EffectResult], reason: str | None) -> None:
        """Store results that cannot be decided on now (parked key, failing handler); they are brought back later, the
        effect is not performed again."""


class Engine(ABC):
    """Runs the transactions of one service."""

    service: str
    handlers: Handlers
    masters: Masters
    guard: PoisonGuard | None = None  # set by the consumer; without one nothing limits parking
    patience_s: float = 10.0  # how long `transact` and `read` try again before they raise `Transient`

    @abstractmethod
    def begin(self, *, write: bool = True) -> AbstractAsyncContextManager[DeliverySession]:
        """A transaction: commits when the block ends, rolls back when it raises. Raises `Transient` for what passes."""

    @abstractmethod
    async def backoff(self, attempt: int) -> None:
        """Wait before a whole transaction is run again."""

    @abstractmethod
    def woke(self, tx: Tx) -> None:
        """Called after a commit: wakes relay, effects and timers when there is something for them."""

    @abstractmethod
    async def parked(self, limit: int = 200) -> list[ParkedEvent]:
        """Events that wait behind their keys, by key and order of arrival."""

    def _committed_by(self, tx: Tx) -> None:
        self.masters.forget(tx.saved)
        self.woke(tx)

    async def transact(self, keys: Sequence[str], work: Work[R], *, allow_parked: bool = False) -> R:
        """Run `work` with the keys locked, then save and emit. Retried whole on deadlocks and lost connections, so
        `work` must not touch anything but `tx`. Raises `KeyParked` unless `allow_parked`, and `Transient` when the
        database stays away for longer than `patience_s`."""

        async def once() -> R:
            async with self.begin() as session:
                parked = await session.lock(sorted(set(keys)))
                if parked and not allow_parked:
                    raise KeyParked(sorted(parked))
                tx = Tx(self.service, session, self.masters)
                result = await work(tx)
                await tx.flush()
            self._committed_by(tx)
            return result

        return await self._retrying(once, self.patience_s)

    async def read(self, work: Work[R]) -> R:
        """Run `work` on one snapshot, without locks and without saving: for queries. Raises `Transient` as `transact`."""

        async def once() -> R:
            async with self.begin(write=False) as session:
                return await work(Tx(self.service, session, self.masters))

        return await self._retrying(once, self.patience_s)

    async def deliver(self, envelopes: Sequence[Envelope]) -> None:
        """Process one group of events of one handler in one transaction; bisect to the bad one and park it. Raises
        `PoisonLimit` when too many keys were parked already."""
        await self._bisect(envelopes, self._deliver_once, self._park_once)

    async def _deliver_once(self, envelopes: Sequence[Envelope]) -> None:
        handler = self.handlers.events[type(envelopes[0].event)]
        async with self.begin() as session:
            fresh, parked = await session.arrive(envelopes)
            tx = Tx(self.service, session, self.masters)
            behind = [e for e in fresh if e.key in parked]
            if behind:
                await session.park(behind, None, None)
            live: tuple[Received[Event], ...] = tuple([Received(e) for e in fresh if e.key not in parked])
            if live:
                await handler(Batch(live), tx)
                await tx.flush()
        self._committed_by(tx)
        if len(fresh) < len(envelopes):
            metrics.DUPLICATES.labels(self.service).inc(len(envelopes) - len(fresh))

    async def _park_once(self, envelope: Envelope, error: Exception) -> None:
        reason, retry = _why(error)
        async with self.begin() as session:
            if await session.inbox([envelope.id]):
                parked = await session.lock([envelope.key])
                if parked:  # another lane parked it between our attempt and now: queue behind
                    await session.park([envelope], None, None)
                    return
                if retry is None and self.guard:
                    self.guard.admit(envelope.key)
                await session.park([envelope], reason, retry)

    async def park_raw(self, record: RawRecord, reason: str) -> None:
        """Park a record that could not be decoded, with its key, visible to operators."""

        async def once() -> None:
            async with self.begin() as session:
                if await session.inbox([record.event_id]):
                    await session.lock([record.lock_key])
                    if self.guard:
                        self.guard.admit(record.lock_key)
                    await session.park_raw(record, reason)

        await self._retrying(once)

    async def replay(self, key: str, by: Who | None = None) -> int:
        """Decide again on the events parked behind a key, in order, on the state of now. Stops at the first that fails
        again, which stays parked with its new reason. The number decided. `by`: the person who asked for it; what came
        of each event is noted in the audit trail, in its transaction."""
        done = 0

        async def once() -> bool:
            async with self.begin() as session:
                await session.lock([key])
                envelope = await session.take_parked(key)
                if envelope is None:
                    return False
                tx = Tx(self.service, session, self.masters)
                await self.handlers.events[type(envelope.event)](Batch((Received(envelope),)), tx)
                if by is not None:
                    await session.note(Repair("retry", key, by, envelope.id, envelope.topic, "decided"))
                await tx.flush()
            self._committed_by(tx)
            return True

        while True:
            try:
                if not await self._retrying(once):
                    return done
            except Exception as error:
                reason, retry = _why(error)
                await self._retrying(lambda why=reason, after=retry: self._postpone(key, why, after, by))  # type: ignore[misc]
                return done
            done += 1

    async def _postpone(self, key: str, reason: str, retry_after_s: float | None, by: Who | None) -> None:
        async with self.begin() as session:
            await session.lock([key])
            if by is not None and (waiting := await session.waiting(key)):
                head = waiting[0]
                await session.note(Repair("retry", key, by, head.event_id, head.record.topic, f"failed: {reason}"))
            await session.postpone_parked(key, reason, retry_after_s)

    async def fire(self, fired: Sequence[Fired]) -> None:
        """Fire due timers of one kind: lock their keys, keep the ones still due, decide. Timers of parked keys wait. A
        failing one is bisected out and kept with its reason for a later scan."""
        await self._bisect(fired, self._fire_once, self._postpone_timer)

    async def _fire_once(self, fired: Sequence[Fired]) -> None:
        handler = self.handlers.timers[fired[0].kind]
        async with self.begin() as session:
            parked = await session.lock(sorted({f.key for f in fired}))
            due = await session.take_timers([f for f in fired if f.key not in parked])
            tx = Tx(self.service, session, self.masters)
            if due:
                await handler(Batch(tuple(due)), tx)
                await tx.flush()
        self._committed_by(tx)

    async def _postpone_timer(self, fired: Fired, error: Exception) -> None:
        reason, retry = _why(error)
        async with self.begin() as session:
            await session.lock([fired.key])
            await session.postpone_timer(fired, reason, retry)

    async def conclude(self, results: Sequence[EffectResult]) -> None:
        """Bring results of effects of one kind back through load, decide, save. Results of parked keys, and a result
        whose handler fails, are stored and brought back later."""
        await self._bisect(results, self._conclude_once, self._keep_result)

    async def _conclude_once(self, results: Sequence[EffectResult]) -> None:
        handler = self.handlers.results.get(results[0].kind)  # none: nobody waits for the result
        async with self.begin() as session:
            parked = await session.lock(sorted({r.key for r in results}))
            waiting = [r for r in results if r.key in parked]
            if waiting:
                await session.keep_results(waiting, None)
            taken = await session.take_effects([r for r in results if r.key not in parked])
            tx = Tx(self.service, session, self.masters)
            if taken and handler:
                await handler(Batch(tuple(taken)), tx)
                await tx.flush()
        self._committed_by(tx)

    async def _keep_result(self, result: EffectResult, error: Exception) -> None:
        async with self.begin() as session:
            await session.lock([result.key])
            await session.keep_results([result], _why(error)[0])

    async def _bisect(
        self,
        items: Sequence[F],
        work: Callable[[Sequence[F]], Awaitable[None]],
        refuse: Callable[[F, Exception], Awaitable[None]],
    ) -> None:
        """Run `work` on all items; when it fails, on halves, down to the one that `refuse` puts aside."""
        if not items:
            return
        try:
            await self._retrying(lambda: work(items))
            return
        except Exception as error:
            failure = error
        if len(items) == 1:
            await self._retrying(lambda: refuse(items[0], failure))
            return
        middle = len(items) // 2
        await self._bisect(items[:middle], work, refuse)
        await self._bisect(items[middle:], work, refuse)

    async def _retrying(self, once: Callable[[], Awaitable[R]], patience_s: float | None = None) -> R:
        attempt, started = 0, time.monotonic()
        while True:
            try:
                return await once()
            except Transient:
                if patience_s is not None and time.monotonic() - started > patience_s:
                    raise
                attempt += 1
                await self.backoff(attempt)


def _why(error: Exception) -> tuple[str, float | None]:
    """The reason to show, and after how many seconds to try again (None: when a person says)."""
    kind = "" if isinstance(error, Illegal | NotYet) else f"{type(error).__name__}: "
    text = f"{kind}{error}"[:2000].replace("\x00", "\ufffd")
    return text or type(error).__name__, error.after_s if isinstance(error, NotYet) else None
