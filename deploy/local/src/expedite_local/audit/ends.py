"""Every accepted order is in exactly one state, ends once and balanced, and everybody agrees (I2, I9)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from expedite_events.catalogue import ORDER_INTAKE
from expedite_local.audit.databases import Snapshot
from expedite_local.audit.files import Files
from expedite_local.audit.finding import Look
from expedite_local.audit.invariants import unbalanced
from order_intake.domain.order import Order

_TERMINAL = {"OrderCancelled": "cancelled", "OrderClosed": "closed"}

# The state column is what lists and queries go by: it must say what the document says.
_COLUMNS = """
SELECT order_id, state FROM intake_order WHERE state IS DISTINCT FROM CASE WHEN doc::json ->> 'ended' IS NOT NULL
  THEN doc::json ->> 'ended' WHEN doc::json ->> 'announced_at' IS NULL THEN 'held' ELSE 'received' END
"""
_ENDS = """
SELECT key, topic, array_agg(event_id::text) AS ids FROM ledger
WHERE split_part(topic, '.', 1) IN ('OrderCancelled', 'OrderClosed') GROUP BY key, topic
"""

Ends = Mapping[str, Mapping[str, list[str]]]
"""Order -> how it was said to have ended -> ids of the events that said so."""


async def ends(shots: Mapping[str, Snapshot]) -> Ends:
    """What the ledger of order-intake says about ends."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    if ORDER_INTAKE in shots:
        for row in await shots[ORDER_INTAKE].rows(_ENDS):
            found[row["key"]][_TERMINAL[row["topic"].split(".")[0]]] += row["ids"]
    return found


async def columns(look: Look, shots: Mapping[str, Snapshot]) -> None:
    """An order whose state column and document differ is in two states."""
    for row in await shots[ORDER_INTAKE].rows(_COLUMNS):
        look.wrong(f"{row['order_id']} is listed as {row['state']}, its document says otherwise", row["order_id"])


def look_at(look: Look, file: Files, said: Ends, *, ended: bool) -> None:
    """Check one order. `ended`: it must have come to its end."""
    order = file.intake
    if order is None:
        _stranger(look, file)
        return
    look.count += 1
    _balance(look, order, ended=ended)
    _said(look, order, said.get(order.order_id, {}))
    _tower(look, file, order)
    _others(look, file, order)


def _stranger(look: Look, file: Files) -> None:
    """A number people typed may be remembered; units of it may not exist."""
    works = {
        "inventory": file.stock is not None and bool(file.stock.known),
        "fulfillment": file.floor is not None and bool(file.floor.fulfilment_orders),
        "shipping": file.leg is not None and bool(file.leg.parcels),
        "control-tower": file.card is not None and file.card.received_at is not None,
    }
    for service in (name for name, true in works.items() if true):
        look.wrong(f"{file.order_id} was never accepted but {service} has units of it", file.order_id)


def _balance(look: Look, order: Order, *, ended: bool) -> None:
    name, how = order.order_id, order.ended.value if order.ended else None
    for text in unbalanced(name, order.units, order.delivered, order.cancelled, how):
        look.wrong(text, name)
    if ended and not order.ended:
        left = order.units - order.out
        look.wrong(f"{name} has not ended: it is {order.state}, {len(left)} of {len(order.units)} units are open", name)


def _said(look: Look, order: Order, said: Mapping[str, list[str]]) -> None:
    name, how = order.order_id, order.ended.value if order.ended else None
    for kind, ids in said.items():
        if kind != how:
            look.wrong(f"{name} is {order.state} but was announced as {kind} (event {ids[0]})", name)
        elif len(ids) > 1:
            look.wrong(f"{name} was announced as {kind} {len(ids)} times (events {', '.join(ids[:3])})", name)
    if how is not None and how not in said:
        look.wrong(f"{name} is {how} but nobody was told", name)


def _tower(look: Look, file: Files, order: Order) -> None:
    name, card = order.order_id, file.card
    if card is None:
        look.wrong(f"{name} is {order.state}, the tower does not know it", name)
        return
    shown = card.ended or ("held" if card.received_at is None else "received")
    if shown != order.state.value:
        look.wrong(f"{name} is {order.state}, the tower shows {shown}", name)
    pairs = [("cancelled", card.cancelled, order.cancelled), ("delivered", card.delivered, order.delivered)]
    if order.announced_at is not None:
        pairs.append(("ordered", card.units, order.units))
    for what, theirs, ours in pairs:
        if theirs != ours:
            look.wrong(f"{name}: {len(ours)} units are {what}, the tower shows {len(theirs)}", name)


def _others(look: Look, file: Files, order: Order) -> None:
    name, how = order.order_id, order.ended.value if order.ended else None
    priority = "ended" if file.priority is not None and file.priority.ended_at else None
    heard = {
        "inventory": file.stock.ended if file.stock else None,
        "fulfillment": file.floor.ended if file.floor else None,
        "shipping": file.leg.over if file.leg else None,
        "notifier": file.view.ended if file.view else None,
        "prioritizer": how if priority and how else priority,
    }
    for service, theirs in heard.items():
        if theirs != how:
            look.wrong(f"{name} is {order.state}, {service} takes it for {theirs or 'not ended'}", name)
