"""Every order, with what each service remembers of it: read page by page, in order of the order number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from control_tower.domain.card import Card
from control_tower.store import CARDS
from expedite_events.catalogue import (
    CONTROL_TOWER,
    FULFILLMENT,
    INVENTORY,
    NOTIFIER,
    ORDER_INTAKE,
    PRIORITIZER,
    SHIPPING,
)
from expedite_local.audit.databases import Snapshot
from expedite_messaging import Collection
from fulfillment.domain.model import Order as FloorOrder
from fulfillment.store import ORDERS as FLOOR
from inventory.domain.order import Order as StockOrder
from inventory.store import ORDERS as STOCK
from notifier.domain.order import OrderView
from notifier.store import ORDERS as VIEWS
from order_intake.domain.order import Order as IntakeOrder
from order_intake.store import ORDERS as INTAKE
from prioritizer.domain.order import Order as PriorityOrder
from prioritizer.store import ORDERS as PRIORITIES
from shipping.domain.state import OrderLeg
from shipping.store import ORDERS as LEGS

PAGE = 500

_COLLECTIONS: dict[str, Collection[Any]] = {
    PRIORITIZER: PRIORITIES,
    INVENTORY: STOCK,
    FULFILLMENT: FLOOR,
    SHIPPING: LEGS,
    NOTIFIER: VIEWS,
    CONTROL_TOWER: CARDS,
}


@dataclass(frozen=True, slots=True)
class Files:
    """One order in the memory of every service; None where a service never heard of it."""

    order_id: str
    intake: IntakeOrder | None = None
    priority: PriorityOrder | None = None
    stock: StockOrder | None = None
    floor: FloorOrder | None = None
    leg: OrderLeg | None = None
    view: OrderView | None = None
    card: Card | None = None


async def files(shots: Mapping[str, Snapshot]) -> AsyncIterator[Files]:
    """All orders any service knows. Pages are ranges of order numbers, so orders unknown to order-intake show too."""
    after = ""
    while True:
        accepted = await shots[ORDER_INTAKE].find(INTAKE, {"order_id__gt": after}, order_by=("order_id",), limit=PAGE)
        full = len(accepted) == PAGE
        where = {"order_id__gt": after} | ({"order_id__lte": accepted[-1].order_id} if full else {})
        books = {name: _by_id(await shots[name].find(kept, where)) for name, kept in _COLLECTIONS.items()}
        books[ORDER_INTAKE] = _by_id(accepted)
        for order_id in sorted({order_id for book in books.values() for order_id in book}):
            yield Files(
                order_id,
                books[ORDER_INTAKE].get(order_id),
                books[PRIORITIZER].get(order_id),
                books[INVENTORY].get(order_id),
                books[FULFILLMENT].get(order_id),
                books[SHIPPING].get(order_id),
                books[NOTIFIER].get(order_id),
                books[CONTROL_TOWER].get(order_id),
            )
        if not full:
            return
        after = accepted[-1].order_id


def _by_id(found: list[Any]) -> dict[str, Any]:
    return {state.order_id: state for state in found}
