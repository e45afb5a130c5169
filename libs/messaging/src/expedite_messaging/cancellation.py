"""Cancellations that nobody asked for, and endings that do not end.

A task that waits for a cancelled future ends as if it had been told to end, and whoever watches tasks (a `TaskGroup`, a
callback that leaves cancelled tasks alone) takes that for the wish of somebody: the loop is gone and nothing says so.
Clients do it: aiokafka's `close()`, interrupted once, raises `CancelledError` when it is called again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

R = TypeVar("R")

_LOOK_EVERY_S = 1.0
_LISTENS_S = 1.0  # so long a cancelled task has for its end
log = structlog.get_logger(__name__)


class Interrupted(Exception):
    """What a task waited for was cancelled, although nobody asked the task to end."""

    def __init__(self) -> None:
        super().__init__("something it waited for was cancelled")


class Standstill(Exception):
    """A task lives and does nothing any more."""


async def uninterrupted(work: Awaitable[R]) -> R:
    """Await `work`. Raises `Interrupted` instead of a cancellation that nobody asked of this task."""
    try:
        return await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Interrupted from error


async def ended(work: Awaitable[object], within_s: float) -> bool:
    """Let `work`, a client's farewell, come to its end; cancel it after so long, and go on without it when it does not listen.
    True when it ended by itself and well; what it raises is nobody's concern."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=within_s)
        if done:
            return not task.cancelled() and task.exception() is None
        task.cancel()
        await asyncio.wait({task}, timeout=_LISTENS_S)
    finally:
        if not task.done():
            task.cancel()
        task.add_done_callback(seen)
    return False


async def moving(work: Coroutine[Any, Any, None], steps: Callable[[], int], within_s: int, farewell_s: float) -> None:
    """Await `work` as long as its number of `steps` rises within so many seconds in which this process ran: a frozen process
    is not at fault. Then, or when we are cancelled, it is cancelled and has `farewell_s` to end. Raises what it raises,
    `Standstill`, or `Interrupted`."""
    task = asyncio.create_task(work)
    still, last = 0, steps()
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_EVERY_S))[0]:
            still, last = (still + 1 if last == steps() else 0), steps()
            if still * _LOOK_EVERY_S >= within_s:
                raise Standstill(f"nothing was done for {within_s} s")
        if task.cancelled():
            raise Interrupted
        task.result()
    finally:
        if not task.done():
            task.cancel()
            if not (await asyncio.wait({task}, timeout=farewell_s))[0]:
                log.error("a task that was cancelled does not end and is left behind", where=_where(task))
        task.add_done_callback(seen)


def _where(task: asyncio.Task[None]) -> str:
    return " < ".join(f"{frame.f_code.co_qualname}:{frame.f_lineno}" for frame in reversed(task.get_stack()))


def seen(future: asyncio.Future[Any]) -> None:
    """A callback for what nobody waits for any more: its failure is not reported as one nobody looked at."""
    if not future.cancelled():
        future.exception()
