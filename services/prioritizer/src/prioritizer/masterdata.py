"""Warehouses, carriers, products and people as decisions need them: parsed once and at most two seconds old. A deadline
is worked out with the hours known when its cause arrives, so a change may count a moment later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from expedite_events import OrderReceived
from expedite_messaging import Tx
from prioritizer.domain.world import People, World
from prioritizer.store import CARRIERS, PEOPLE, PRODUCTS, WAREHOUSES

# Worlds by the rows they are made of: a few, as the databases of tests share the process.
_worlds: list[tuple[Mapping[Any, Any], Mapping[Any, Any], World]] = []


async def places(tx: Tx) -> World:
    """The world as far as clocks need it: active places and carriers."""
    warehouses, carriers = await tx.masters(WAREHOUSES), await tx.masters(CARRIERS)
    for of_warehouses, of_carriers, known in _worlds:
        if of_warehouses is warehouses and of_carriers is carriers:
            return known
    world = World(
        warehouses=[w for w in warehouses.values() if w.active], carriers=[c for c in carriers.values() if c.active]
    )
    _worlds.append((warehouses, carriers, world))
    del _worlds[:-4]
    return world


async def world_for(tx: Tx, contents: Iterable[OrderReceived | None]) -> World:
    """The world as far as urgency needs it: with the classes of these orders' products."""
    skus = {line.sku for content in contents if content for line in content.lines}
    products = await tx.glance(PRODUCTS, skus)
    return (await places(tx)).knowing({product.sku: product.product_class for product in products.values()})


async def people(tx: Tx) -> People:
    """Everybody, by id."""
    return {person.person_id: person for person in (await tx.masters(PEOPLE)).values()}
