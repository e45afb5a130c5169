"""Group commit: concurrent HTTP writes share one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from expedite_messaging.cancellation import uninterrupted
from expedite_messaging.engine import Crowded, Engine, KeyParked, Transient
from expedite_messaging.tx import Tx

R = TypeVar("R")
Q = TypeVar("Q")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Q, R]):
    request: Q
    keys: tuple[str, ...]
    answer: asyncio.Future[R]


class Group(Generic[Q, R]):
    """Group commit for HTTP writes: concurrent requests share one transaction (≤ 5 ms or 500 requests), each gets its
    own answer, and only after its row is durable. A failing group bisects so that one bad request fails alone. A client
    that goes away never cancels the group.

    `keys` names the locks a request needs; `work` answers all requests of the group, in order. Requests for a parked
    key fail with `KeyParked`; `Transient` when the database did not answer in the engine's patience; `Crowded` when
    `depth` requests wait already (what is urgent finds as many places again): a queue longer than the clients' patience
    only costs memory."""

    def __init__(
        self,
        engine: Engine,
        keys: Callable[[Q], Sequence[str]],
        work: Callable[[Tx, Sequence[Q]], Awaitable[Sequence[R]]],
        *,
        window_s: float = 0.005,
        limit: int = 500,
        depth: int = 2_000,
    ) -> None:
        self._engine, self._keys, self._work, self._window_s, self._limit = engine, keys, work, window_s, limit
        self._depth = depth
        self._waiting: list[_Waiting[Q, R]] = []
        self._full = asyncio.Event()
        self._leader: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def submit(self, request: Q, *, urgent: bool = False) -> R:
        """Wait for the group that carries this request to be durable; the request's own answer or exception."""
        if len(self._waiting) >= (2 * self._depth if urgent else self._depth):
            raise Crowded(f"{len(self._waiting)} requests wait already")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(request, tuple(self._keys(request)), future))
        if len(self._waiting) >= self._limit:
            self._full.set()
        if self._leader is None or self._leader.done():
            self._leader = asyncio.create_task(self._lead())
        return await asyncio.shield(future)

    async def _lead(self) -> None:
        """Gather for a window, then hand the group over; goes on while requests wait."""
        while self._waiting:
            if len(self._waiting) < self._limit:
                self._full.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), self._window_s)
            group, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
            task = asyncio.create_task(self._settle(group))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            # Two groups at once keep the disk busy; more would only contend for locks while requests gather anyway.
            if len(self._running) >= 2:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def _settle(self, group: list[_Waiting[Q, R]]) -> None:
        """Give every request of the group its answer or its exception."""
        if not group:
            return
        keys = sorted({key for waiting in group for key in waiting.keys})
        try:
            work = self._engine.transact(keys, lambda tx: self._work(tx, [w.request for w in group]))
            answers = await uninterrupted(work)
            if len(answers) != len(group):
                raise RuntimeError(f"{len(group)} requests got {len(answers)} answers")
        except KeyParked as parked:
            blocked = set(parked.keys)
            for waiting in group:
                mine = sorted(blocked.intersection(waiting.keys))
                if mine:
                    _fail(waiting, KeyParked(mine))
            await self._settle([w for w in group if not blocked.intersection(w.keys)])
        except Transient as away:
            for waiting in group:
                _fail(waiting, Transient(str(away)))
        except Exception as error:
            if len(group) == 1:
                _fail(group[0], error)
                return
            middle = len(group) // 2
            await self._settle(group[:middle])
            await self._settle(group[middle:])
        else:
            for waiting, answer in zip(group, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)


def _fail(waiting: _Waiting[Q, R], error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
        waiting.answer.exception()  # marked as seen: its client may have gone away
