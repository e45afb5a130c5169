"""The audit itself has been seen red: each invariant is broken once, by hand or by a wrong rule in a service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from expedite_saga import World, audit
from expedite_saga.audit import Broken
from expedite_saga.chance import Run
from expedite_saga.masters import LON, MUG
from expedite_saga.people import House

import fulfillment.domain.custody
import inventory.domain.desk
import inventory.domain.order
import shipping.domain.custody
from expedite_events.envelope import uuid7
from fulfillment.store import ORDERS as FLOOR
from inventory.store import SHELVES
from notifier.store import MESSAGES
from order_intake.store import ORDERS


async def finished(world: World) -> House:
    """A delivered order and a cancelled one."""
    house = House(world)
    await house.planner.opens({(MUG, LON): 2})
    kept, dropped = await house.channel.places((MUG, 1)), await house.channel.places((MUG, 1))
    await world.settle()
    await house.channel.cancels(dropped)
    await world.settle()
    await house.delivers(kept, await house.london.ships(kept))
    return house


def change(world: World, service: str, collection: object, **update: object) -> None:
    """Falsify the first document of a collection."""
    rows = world.engines[service].db.rows[collection.name]  # type: ignore[attr-defined]
    key = sorted(rows)[0]
    rows[key] = rows[key].put(**update)


def free_one_more(world: World) -> None:
    change(world, "inventory", SHELVES, free=7)


def reopen(world: World) -> None:
    change(world, "order-intake", ORDERS, ended=None)


def forget_a_delivery(world: World) -> None:
    rows = world.engines["order-intake"].db.rows[ORDERS.name]
    key = next(k for k, row in rows.items() if row.delivered)  # type: ignore[attr-defined]
    rows[key] = rows[key].put(delivered=rows[key].cancelled)  # type: ignore[attr-defined]


def pick_again(world: World) -> None:
    rows = world.engines["fulfillment"].db.rows[FLOOR.name]
    for key, row in list(rows.items()):
        works = tuple(w.put(packed=w.short) for w in row.fulfilment_orders)  # type: ignore[attr-defined]
        rows[key] = row.put(fulfilment_orders=works)


def lose_an_event(world: World) -> None:
    heard = next(e for e in world.bus.log if e.row.topic == "OrderClosed")
    world.engines["inventory"].db.inbox.discard(heard.id)


def double_an_event(world: World) -> None:
    world.bus.log.append(world.bus.log[-1])


def forget_to_publish(world: World) -> None:
    ledger = world.engines["shipping"].db.ledger
    ledger.append(replace(ledger[-1], id=uuid7()))


def say_it_twice(world: World) -> None:
    rows = world.engines["notifier"].db.rows[MESSAGES.name]
    rows["again"] = next(iter(rows.values())).put(message_id="again")


def leave_a_timer(world: World) -> None:
    db = world.engines["shipping"].db
    db.timers["label_retry", "P1", 0] = (None, 1)  # type: ignore[assignment]


@pytest.mark.parametrize(
    "breaks",
    [free_one_more, reopen, forget_a_delivery, pick_again, lose_an_event, double_an_event, forget_to_publish,
     say_it_twice, leave_a_timer],
    ids=lambda f: f.__name__,
)  # fmt: skip
async def test_a_falsified_world_is_noticed(breaks: Callable[[World], None]) -> None:
    """D10 I4: seen red: each thing the audit looks at, falsified once in a world that was sound."""
    async with World() as world:
        house = await finished(world)
        await audit.at_rest(world, house.planner.booked)
        breaks(world)
        with pytest.raises(Broken):
            await audit.at_rest(world, house.planner.booked)


def deaf_fulfillment(patch: pytest.MonkeyPatch) -> None:
    """Fulfillment forgets requests that came before the work."""
    patch.setattr(fulfillment.domain.custody, "due", lambda order, work, units: iter(()))


def forgetful_inventory(patch: pytest.MonkeyPatch) -> None:
    """Inventory books an outcome as often as it is told of it."""
    patch.setattr(inventory.domain.order.Order, "fresh", lambda self, kind, container, units: units)


def greedy_inventory(patch: pytest.MonkeyPatch) -> None:
    """Inventory never gives back what a cancelled order held."""
    move = inventory.domain.desk.Desk.move
    patch.setattr(
        inventory.domain.desk.Desk, "move",
        lambda self, units, w, source, target: None if target == "free" else move(self, units, w, source, target),
    )  # fmt: skip


def obliging_shipping(patch: pytest.MonkeyPatch) -> None:
    """Shipping hands over what should be put back."""
    patch.setattr(shipping.domain.custody, "why_not", lambda leg, parcel: None)


@pytest.mark.parametrize(
    "wrong", [deaf_fulfillment, forgetful_inventory, greedy_inventory, obliging_shipping], ids=lambda f: f.__name__
)
async def test_a_wrong_rule_is_found_by_chance(wrong: Callable[[pytest.MonkeyPatch], None]) -> None:
    """A8 D10: seen red: random sagas find a broken custody rule within a few seeds."""
    with pytest.MonkeyPatch.context() as patch:
        wrong(patch)
        for seed in range(40):
            try:
                await Run(seed).go()
            except AssertionError as found:
                assert f"SAGA_SEED={seed}" in str(found)
                return
    raise AssertionError("forty random sagas did not notice")
