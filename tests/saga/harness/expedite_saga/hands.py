"""What everybody in a random saga has in common: chance, and requests that may be lost, repeated, or kill who answers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx

from expedite_saga.people import House
from expedite_saga.plan import ENDING, Step, T, choose
from expedite_saga.process import Crash, Fuse

EXPECTED = {404, 409, 422}
LONGEST = 16  # a process dies before one of so many steps, or after the last it took


class Hands:
    """Chance and trouble of one run, shared by everybody who acts in it. `met` counts what happened, `trail` tells it."""

    def __init__(self, house: House, met: Counter[str], trail: list[str]) -> None:
        self.house, self.world, self.met, self.trail = house, house.world, met, trail
        self.r, self.step = random.Random(0), Step(ENDING, "end", 0, calm=True)
        self.placed: dict[int, str] = {}  # step -> order
        self._tokens = 0

    def begin(self, step: Step) -> None:
        """This step's turn."""
        self.step, self.r, self._tokens = step, random.Random(step.seed), 0

    def trouble(self, share: float) -> bool:
        """Whether something goes wrong now."""
        return (self.r.random() < share) & (not self.step.calm)

    def choose(self, items: Sequence[T], name: Callable[[T], Any]) -> T:
        """One of what is there."""
        return choose(self.r, items, name)

    def token(self, what: str) -> str:
        """A name nobody used before."""
        self._tokens += 1
        return f"{what}-{self.step.number:05d}-{self.step.seed % 9973:04d}-{self._tokens:04d}"

    async def dies_in(self, service: str, work: Callable[[], Awaitable[Any]]) -> None:
        """A process of this service does some work and dies before any step of it, or after all of them; what it did not
        acknowledge until then is not. Another one is there afterwards."""
        fuse = Fuse(self.r.randrange(LONGEST))
        self.world.engines[service].fuse = fuse
        with suppress(Crash):
            await work()
        self.note_death(service, fuse)

    def note_death(self, service: str, fuse: Fuse) -> None:
        """A process died; another one begins from what is committed."""
        where = f"before {fuse.burnt}" if fuse.burnt else "after its work"
        self.met[f"died {where}"] += 1
        self.trail.append(f"  {service} dies {where}, and starts again")
        self.world.restart(service)

    async def ask(
        self, service: str, path: str, body: Any, headers: Mapping[str, str] | None = None, *, method: str = "POST"
    ) -> httpx.Response:
        """A request, asked until it is answered: the service may die of it, its database may stumble, and who asks may
        ask again."""
        if self.trouble(0.06):
            self.met["requests decided again"] += 1
            self.world.stumbles(service)
        if self.trouble(0.05):
            await self._ask_a_dying_one(service, method, path, body, headers)
        response = await self.world.call(service, method, path, body, headers)
        if self.trouble(0.12):
            self.met["requests repeated"] += 1
            response = await self.world.call(service, method, path, body, headers)
        self.world.stands(service)
        return response

    async def _ask_a_dying_one(
        self, service: str, method: str, path: str, body: Any, headers: Mapping[str, str] | None
    ) -> None:
        """The connection breaks: whether anything happened is not known."""
        fuse = Fuse(self.r.randrange(LONGEST))
        self.world.engines[service].fuse = fuse
        asking = asyncio.ensure_future(self.world.call(service, method, path, body, headers))
        # Group commits die in a task of their own, and never answer.
        dying = asyncio.ensure_future(fuse.out.wait())
        await asyncio.wait({asking, dying}, return_when=asyncio.FIRST_COMPLETED)
        for task in (asking, dying):
            task.cancel()
            with suppress(asyncio.CancelledError, Crash):
                await task
        self.met["died while somebody asked"] += 1
        self.note_death(service, fuse)

    async def asks(self, service: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> bool:
        """A request that may be refused; whether the answer was yes."""
        response = await self.ask(service, path, body, headers)
        assert response.is_success or response.status_code in EXPECTED, f"{path} {body}: {response.text}"
        why = "" if response.is_success else f" ({response.json().get('type', '').rpartition('/')[2]})"
        self.trail.append(f"{service} {path} {'' if body is None else body}: {response.status_code}{why}")
        self.met["requests answered yes" if response.is_success else "requests answered no"] += 1
        return response.is_success


__all__ = ["EXPECTED", "LONGEST", "Hands"]
