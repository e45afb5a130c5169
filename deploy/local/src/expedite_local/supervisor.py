"""A small supervisor: processes declared as data, started in order when ready, restarted, stopped without orphans."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from expedite_local.child import Child, ProcessSpec, ProcessStatus, StateName
from expedite_local.errors import LocalError, StartFailed
from expedite_local.home import Home
from expedite_local.logs import Terminal
from expedite_local.nursery import Nursery


class Supervisor:
    """Runs the processes of one system. `await start()`, later `await stop()`; crashed ones come back by themselves.

    on_change: called (on the event loop) after every change of any process's state.
    at_once: how many processes may be starting at the same time; by default two per core: half of a start is waiting
    for servers.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        home: Home,
        terminal: Terminal | None = None,
        on_change: Callable[[], None] = lambda: None,
        at_once: int | None = None,
    ) -> None:
        """Check the declarations; raises LocalError for a name used twice or an unknown or circular dependency."""
        self.specs = in_start_order(specs)
        self._home = home
        self._terminal = terminal or Terminal(max((len(s.name) for s in specs), default=0))
        self._on_change = on_change
        self._starting = asyncio.Semaphore(at_once or 2 * max(2, os.cpu_count() or 2))
        self._nursery = Nursery()
        self._children: dict[str, Child] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Start every process, each after those it depends on are ready; returns when all are.

        Raises StartFailed (with the end of the log) when one cannot be brought to readiness; everything
        that was started is stopped then.
        """
        for spec in self.specs:
            self._children[spec.name] = Child(
                spec, self._home.logs / f"{spec.name}.log", self._terminal, self._on_change, self._nursery
            )
        for name, child in self._children.items():
            self._tasks[name] = asyncio.create_task(self._run(child), name=f"supervise {name}")
        try:
            await self._all_ready()
        except BaseException:
            await self.stop()
            raise

    async def _all_ready(self) -> None:
        waiting = {asyncio.create_task(child.ready.wait()) for child in self._children.values()}
        failures = {asyncio.create_task(child.failed.wait()) for child in self._children.values()}
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting | failures, return_when=asyncio.FIRST_COMPLETED)
                if done & failures:
                    raise next(child.failure() for child in self._children.values() if child.failed.is_set())
                waiting -= done
        finally:
            for task in waiting | failures:
                task.cancel()

    async def _run(self, child: Child) -> None:
        for name in child.spec.depends_on:
            await self._children[name].ready.wait()
        tasks: list[asyncio.Task[Any]] = []
        try:
            # A place is held until the first readiness (or final failure) only; restarts do not queue.
            async with self._starting:
                life = asyncio.create_task(child.run(), name=f"run {child.spec.name}")
                tasks = [life, asyncio.create_task(child.ready.wait()), asyncio.create_task(child.failed.wait())]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await life
        except Exception as error:  # a defect in the supervision itself: never leave the start hanging on it
            child.give_up(f"supervision failed: {error!r}")
        finally:
            for task in tasks:
                task.cancel()

    async def stop(self, grace: float = 10.0) -> None:
        """Stop everything: SIGTERM in reverse order of starting, up to `grace` seconds for all, then SIGKILL."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        children = list(self._children.values())
        for child in reversed(children):
            child.terminate()
        deadline = time.monotonic() + grace
        await asyncio.gather(*(child.wait_gone(deadline) for child in children))
        await self._nursery.close()
        self._tasks.clear()

    def status(self) -> list[ProcessStatus]:
        """What each process does now, in order of starting."""
        return [child.status() for child in self._children.values()]

    def child(self, name: str) -> Child:
        """The process of this name; raises LocalError when there is none."""
        try:
            return self._children[name]
        except KeyError:
            raise LocalError(f"there is no process {name!r}") from None


def in_start_order(specs: Sequence[ProcessSpec]) -> list[ProcessSpec]:
    """The declarations with every process after those it depends on, otherwise in the order given."""
    by_name = {spec.name: spec for spec in specs}
    if len(by_name) != len(specs):
        raise LocalError("two processes have the same name")
    ordered: dict[str, ProcessSpec] = {}

    def place(spec: ProcessSpec, above: tuple[str, ...]) -> None:
        if spec.name in above:
            raise LocalError(f"processes wait for each other: {' -> '.join((*above, spec.name))}")
        for name in spec.depends_on:
            if name not in by_name:
                raise LocalError(f"{spec.name} depends on {name}, which is not declared")
            place(by_name[name], (*above, spec.name))
        ordered.setdefault(spec.name, spec)

    for spec in specs:
        place(spec, ())
    return list(ordered.values())


__all__ = ["ProcessSpec", "ProcessStatus", "StartFailed", "StateName", "Supervisor", "in_start_order"]
