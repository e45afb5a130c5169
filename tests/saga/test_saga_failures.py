"""Every service dies at every commit, and takes everything twice: the saga ends the same."""

from __future__ import annotations

import pytest
from expedite_saga import Crash
from expedite_saga.masters import LON, MUG
from expedite_saga.people import House
from expedite_saga.world import SPECS

from expedite_messaging.memory import MemoryEngine


class Fragile:
    """Makes a service die at each new message once: before its commit, or after it and before its offset."""

    def __init__(self, engine: MemoryEngine, *, after: bool) -> None:
        self.deaths = 0
        self._engine, self._after, self._deliver = engine, after, engine.deliver
        engine.deliver = self.deliver  # type: ignore[method-assign]

    async def deliver(self, envelopes: list) -> None:  # type: ignore[type-arg]
        def die() -> None:
            raise Crash

        if not self._after:
            self._engine.before_commit = die
            try:
                await self._deliver(envelopes)
            except Crash:
                self.deaths += 1
            finally:
                self._engine.before_commit = lambda: None
        await self._deliver(envelopes)
        if self._after:
            self.deaths += 1
            await self._deliver(envelopes)


@pytest.mark.parametrize("after", [False, True], ids=["before-commit", "after-commit"])
@pytest.mark.parametrize("service", SPECS)
async def test_a_service_dies_at_every_message(house: House, service: str, after: bool) -> None:
    """I4 (nothing lost, nothing doubled): one order is delivered with a lost parcel, another cancelled from a tote."""
    await house.planner.opens({(MUG, LON): 3})
    fragile = Fragile(house.world.engines[service], after=after)
    kept, dropped = await house.channel.places((MUG, 1)), await house.channel.places((MUG, 1))
    await house.world.settle()
    await house.london.picks(dropped)
    await house.channel.cancels(dropped)
    await house.world.settle()
    await house.london.puts_back(dropped)
    await house.carriers.says(await house.london.ships(kept), "lost")
    await house.delivers(kept, await house.london.ships(kept))
    assert fragile.deaths > 0
    assert (await house.channel.sees(dropped))["state"] == "cancelled"
    assert (await house.channel.sees(kept))["state"] == "closed"


async def test_every_effect_is_performed_twice(house: House) -> None:
    """F2 G5: a lease ran out after each effect: the same label, the same message, one of each."""
    await house.planner.opens({(MUG, LON): 1})
    performed = house.world.result_of

    async def twice(service: str, call: object) -> object:
        await performed(service, call)  # type: ignore[arg-type]
        return await performed(service, call)  # type: ignore[arg-type]

    house.world.result_of = twice  # type: ignore[method-assign,assignment]
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    await house.delivers(order, await house.london.ships(order))
    assert len(house.world.carriers.labels) == 1
    assert house.world.mail.of(order) == ["receipt", "order_confirmation", "shipped", "delivered", "closed"]
