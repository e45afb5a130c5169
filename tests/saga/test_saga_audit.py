"""The audit itself has been seen red: each invariant is broken once, by hand or by a wrong rule in a service."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from expedite_saga import World, audit
from expedite_saga.audit import Broken
from expedite_saga.chance import Run
from expedite_saga.masters import LON, MUG
from expedite_saga.people import House
from msgspec.structs import replace

import fulfillment.domain.custody
import inventory.domain.desk
import inventory.domain.order
import shipping.domain.custody
from expedite_events import TrackingStatus
from expedite_events.ids import uuid7
from expedite_messaging import Fired
from fulfillment.store import ORDERS as FLOOR
from inventory.store import SHELVES
from notifier.store import MESSAGES
from order_intake.store import ORDERS
from shipping.store import ORDERS as LEGS


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


def owe_goods(world: World) -> None:
    rows = world.engines["inventory"].db.rows[SHELVES.name]
    key = sorted(rows)[0]
    shelf: Any = rows[key]
    rows[key] = shelf.put(free=shelf.free + shelf.in_count + 1, in_count=-1)


def send_it_back_a_rank(world: World) -> None:
    legs = world.engines["shipping"].db.rows[LEGS.name]
    key, leg = next((k, row) for k, row in legs.items() if row.parcels)  # type: ignore[attr-defined]
    parcel = leg.parcels[0]  # type: ignore[attr-defined]
    phase = parcel.tracking.phase.put(status=TrackingStatus.PICKED_UP)
    legs[key] = leg.put(parcels=(parcel.put(tracking=parcel.tracking.put(phase=phase)),))


def take_an_order_nobody_posted(world: World) -> None:
    rows = world.engines["order-intake"].db.rows[ORDERS.name]
    order = next(iter(rows.values()))
    rows["20261123-EC-000099"] = order.put(order_id="20261123-EC-000099")


def buy_a_label_for_nobody(world: World) -> None:
    world.carriers.labels["SP000000000000"] = 24


def decide_twice(world: World) -> None:
    ledger = world.engines["shipping"].db.ledger
    ledger.append(ledger[-1])


def speak_after_the_end(world: World) -> None:
    ledger = world.engines["order-intake"].db.ledger
    ledger.append(replace(next(e for e in ledger if e.row.topic == "OrderReceived"), id=uuid7()))


def fire_early(world: World) -> None:
    now = world.clock.now
    world.watch.fires(Fired(uuid7(), "confirm", "A", 0, "A", now), now + timedelta(seconds=1), now)


def fire_twice(world: World) -> None:
    now = world.clock.now
    for fired in [Fired(uuid7(), "confirm", "A", 0, "A", now)] * 2:
        world.watch.fires(fired, now, now)


@pytest.mark.parametrize(
    "breaks",
    [free_one_more, reopen, forget_a_delivery, pick_again, lose_an_event, double_an_event, forget_to_publish,
     say_it_twice, leave_a_timer, owe_goods, send_it_back_a_rank, take_an_order_nobody_posted, buy_a_label_for_nobody,
     decide_twice, speak_after_the_end, fire_early, fire_twice],
    ids=lambda f: f.__name__,
)  # fmt: skip
async def test_a_falsified_world_is_noticed(breaks: Callable[[World], None]) -> None:
    """D10 I4: seen red: each thing the audit looks at, falsified once in a world that was sound."""
    async with World() as world:
        house = await finished(world)
        accepted = set(house.orders)
        await audit.at_rest(world, house.planner.booked, accepted)
        breaks(world)
        with pytest.raises(Broken):
            await audit.at_rest(world, house.planner.booked, accepted)


async def test_a_timer_that_fires_after_its_cancel_is_noticed(house: House) -> None:
    """I7: seen red: the store forgets to look whether the timer is still there."""
    await house.planner.opens({(MUG, LON): 1})
    order = await house.channel.places((MUG, 1))
    await house.world.settle()
    engine = house.world.engines["prioritizer"]
    (identity, (row, epoch)) = next((i, found) for i, found in engine.db.timers.items() if found[0].key == order)
    house.world.clock.now = max(house.world.clock.now, row.due_at)
    late = next(f for f in engine.due() if f.id == row.id)
    await house.channel.cancels(order)
    await house.world.settle()
    assert identity not in engine.db.timers
    await engine.fire([late])
    assert house.world.watch.late_scanners == 1 and not house.world.watch.broken
    engine.db.timers[identity] = (row, epoch)
    await engine.fire([late])
    with pytest.raises(Broken, match="I7 a cancelled timer does not fire"):
        audit.at_any_time(house.world)
    house.world.watch.broken.clear()


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
                assert f"expedite simulate --seed {seed}" in str(found)
                return
    raise AssertionError("forty random sagas did not notice")
