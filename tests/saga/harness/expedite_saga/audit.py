"""What must be true of a world, whatever happened in it. `at_any_time` holds between any two commits, `at_rest` when nothing
moves any more and every order has ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from control_tower.store import CARDS
from expedite_events import (
    CustomerNotified,
    Delivered,
    OrderCancelled,
    OrderClosed,
    OrderState,
    Routing,
    Shipped,
    Units,
)
from expedite_saga.world import World
from fulfillment.store import ORDERS as FLOOR
from inventory.audit import check
from inventory.domain.order import Status
from inventory.store import BACKORDERS, SHELVES
from inventory.store import ORDERS as STOCK
from notifier.store import MESSAGES
from notifier.store import ORDERS as VIEWS
from order_intake.store import ORDERS
from prioritizer.store import ORDERS as URGENCY
from shipping.domain.state import End
from shipping.store import ORDERS as LEGS

HERE = (Status.ALLOCATED, Status.TRANSFER, Status.BACKORDERED)


class Broken(AssertionError):
    """An invariant does not hold; the text names it."""


def demand(holds: bool, invariant: str, *facts: object) -> None:
    if not holds:
        raise Broken(f"{invariant}: {'; '.join(str(fact) for fact in facts)}")


def custodians(world: World) -> Iterator[tuple[str, dict[str, Units]]]:
    """For each order, which service (or the customer) has which of its units. Units between two are with nobody."""
    held: dict[str, dict[str, Units]] = defaultdict(lambda: defaultdict(Units))
    for stock in world.rows("inventory", STOCK):
        held[stock.order_id]["inventory"] |= stock.having(*HERE)
    for floor in world.rows("fulfillment", FLOOR):
        for work in floor.fulfilment_orders:
            demand(not work.in_custody & held[floor.order_id]["fulfillment"], "I2 one fulfilment order", work)
            held[floor.order_id]["fulfillment"] |= work.in_custody
    for leg in world.rows("shipping", LEGS):
        for parcel in leg.parcels:
            whose = "shipping" if parcel.end is None else "customer" if parcel.end is End.DELIVERED else None
            if whose:
                units = parcel.packed | parcel.held_back
                demand(not units & held[leg.order_id][whose], "I2 one parcel", leg.order_id, parcel.parcel_id, units)
                held[leg.order_id][whose] |= units
    yield from held.items()


def at_any_time(world: World) -> None:
    """No event parked as a bug, no unit with two custodians, nothing cancelled in somebody's hands, no negative shelf."""
    demand(not bugs(world), "nothing is parked as a bug", *bugs(world))
    cancelled = {order.order_id: order.cancelled for order in world.rows("order-intake", ORDERS)}
    for order_id, held in custodians(world):
        seen = Units()
        for service, units in held.items():
            demand(not units & seen, "I2 one custodian per unit", order_id, dict(held))
            gone = units & cancelled.get(order_id, Units())
            demand(not gone, "I2 a cancelled unit is in nobody's custody", order_id, service, gone)
            seen |= units


def bugs(world: World) -> list[str]:
    """Parked events that do not heal by themselves."""
    return [
        f"{name} {key} {parked.envelope.topic}: {parked.reason}"
        for name, engine in world.engines.items()
        for key, waiting in sorted(engine.db.parked.items())
        for parked in waiting
        if parked.reason is not None and parked.retry_after_s is None
    ] + [
        f"{name} timer {identity}: {why}"
        for name, engine in world.engines.items()
        for identity, (_, why) in engine.db.postponed.items()
    ] + [
        f"{name} result {identity}: {why}"
        for name, engine in world.engines.items()
        for identity, (_, why) in engine.db.results.items()
        if why
    ]  # fmt: skip


async def at_rest(world: World, booked: Mapping[str, int]) -> None:
    """Everything at once: I1, I2, I3, I4, I5, I9, I10. `booked` is what came in by SKU, as the saga counted it."""
    at_any_time(world)
    demand(not world.parked, "nothing is parked", *world.parked)
    nothing_is_under_way(world)
    every_order_has_ended(world)
    everybody_agrees(world)
    await stock_is_conserved(world, booked)
    each_message_once(world)
    the_bus_is_the_ledger(world)


def nothing_is_under_way(world: World) -> None:
    """I10: queues, effects and outboxes are empty, and no timer outlives its order."""
    demand(not world.bus.ready(), "I10 every queue is empty", *world.bus.ready())
    for name, engine in world.engines.items():
        demand(not engine.db.outbox, "I10 the outbox is empty", name)
        demand(not engine.pending_effects(), "I10 every effect is done", name, engine.pending_effects())
        demand(not engine.db.timers, "I10 no timer outlives its order", name, sorted(engine.db.timers))


def every_order_has_ended(world: World) -> None:
    """I2, I9: closed or cancelled, once; each unit delivered or cancelled, never both; each request answered per unit;
    nothing cancelled that nobody asked for."""
    ends = Counter(e.key for e in world.envelopes(OrderCancelled, OrderClosed))
    for order in world.rows("order-intake", ORDERS):
        number = order.order_id
        demand(order.ended is not None, "I9 every order ends", number, order.state, order.units - order.out)
        demand(ends[number] == 1, "I2 one terminal event", number, ends[number])
        demand(order.units == order.delivered | order.cancelled, "I2 every unit is accounted for", order)
        demand(not order.delivered & order.cancelled, "I2 delivered or cancelled", number)
        demand(order.ended == "cancelled" or bool(order.delivered), "I2 closed orders delivered something", number)
        for request in order.cancels:
            demand(not request.pending, "every cancel request is answered per unit", number, request)
        asked_by_name = Units.union(r.units for r in order.cancels if r.standing)
        for line in order.units.lines:
            extra = (order.cancelled - asked_by_name).on_line(line)
            first = [r for r in order.cancels if not r.standing and r.request_id == r.origin]
            asked = sum(len(r.units.on_line(line)) for r in first)
            demand(len(extra) <= asked, "nothing is cancelled beyond what was asked", number, extra, asked)


def everybody_agrees(world: World) -> None:
    """Every service that worked on an order knows that it is over; the tower shows what intake says."""
    over = {order.order_id: order for order in world.rows("order-intake", ORDERS)}
    cards: dict[Any, Any] = world.engines["control-tower"].db.rows[CARDS.name]  # type: ignore[assignment]
    states = {e.order_id: e for e in world.said(OrderState)}
    for number, order in over.items():
        card, state = cards.get(number), states.get(number)
        demand(card is not None, "the tower knows every order", number)
        demand(card.ended == order.ended, "the tower shows the order's end", number, card.ended, order.ended)
        if order.announced_at is not None:
            demand(card.cancelled == order.cancelled, "the tower knows what was cancelled", number, card.cancelled)
            demand(card.delivered == order.delivered, "the tower knows what was delivered", number, card.delivered)
        demand(state is not None and state.stage == order.ended, "BI sees the order's end", number, state)
    for service, collection, name in (
        ("inventory", STOCK, "ended"), ("fulfillment", FLOOR, "ended"), ("shipping", LEGS, "over"),
        ("notifier", VIEWS, "ended"), ("prioritizer", URGENCY, "ended_at"),
    ):  # fmt: skip
        for row in world.rows(service, collection):
            if row.order_id in over:
                demand(bool(getattr(row, name)), "the end is known everywhere", service, row.order_id)


async def stock_is_conserved(world: World, booked: Mapping[str, int]) -> None:
    """I1: what came in is where the books say; nothing is held for the dead; what is out is with customers."""
    skus = sorted({shelf.sku for shelf in world.rows("inventory", SHELVES)})
    for verdict in await check(world.engines["inventory"], skus):
        demand(verdict.conserved, "I1 shelves, movements and orders agree", verdict)
        demand(verdict.booked == booked.get(verdict.sku, 0), "I1 booked is what came in", verdict, booked)
        for bucket in ("allocated", "leaving", "in_transit"):
            demand(verdict.sums[bucket] == 0, "I1 nothing is held for the dead", verdict)
        demand(verdict.backordered == 0, "I1 nobody waits", verdict)
        demand(verdict.sums["out"] == delivered_pieces(world, verdict.sku), "I1 what is out is with customers", verdict)
    demand(not [row for row in world.rows("inventory", BACKORDERS) if row.open], "I1 the backorder queue is empty")


def delivered_pieces(world: World, sku: str) -> int:
    """Pieces of a SKU that customers have, as intake knows it."""
    return sum(
        len(order.delivered.on_line(line.line))
        for order in world.rows("order-intake", ORDERS)
        for line in order.lines
        if line.sku == sku
    )


def each_message_once(world: World) -> None:
    """I3: one message per order, kind, occasion and audience, and everybody who must be told was."""
    told = Counter((e.order_id, e.kind, e.occasion, e.audience) for e in world.said(CustomerNotified))
    demand(all(n == 1 for n in told.values()), "I3 each message is announced once", told.most_common(3))
    rows = Counter((m.order_id, m.kind, m.occasion, m.audience) for m in world.rows("notifier", MESSAGES))
    demand(all(n == 1 for n in rows.values()), "I3 one message per occasion", rows.most_common(3))
    demand(set(rows) == set(told), "I3 every message left", set(rows) ^ set(told))
    mails = Counter((m["Message-ID"], m["X-Expedite-Order"], m["X-Expedite-Kind"], m["X-Expedite-Occasion"])
                    for m in world.mail.mails)  # fmt: skip
    demand(len({name for name, *_ in mails}) == len(mails), "I3 a Message-ID is one message", mails)
    emails = {o.order_id: o.content.customer.email for o in world.rows("order-intake", ORDERS)}
    for kind, event_type, occasion in (
        ("shipped", Shipped, "parcel_id"), ("delivered", Delivered, "parcel_id"), ("closed", OrderClosed, "order_id"),
        ("cancelled", OrderCancelled, "order_id"),
    ):  # fmt: skip
        for event in world.said(event_type):
            if emails.get(event.order_id) and event.customer is not None:
                message = (event.order_id, kind, getattr(event, occasion), "customer")
                demand(told[message] == 1, "the customer was told", message)


def the_bus_is_the_ledger(world: World) -> None:
    """I3, I4, I5: every committed event is on the bus once, every consumer took each once, and per owner, key and topic
    the first occurrences are in the order of their commits."""
    sent = [e.id for e in world.bus.log]
    demand(len(sent) == len(set(sent)), "I4 no event twice")
    ledger = {e.id for engine in world.engines.values() for e in engine.db.ledger}
    demand(set(sent) == ledger, "I4 ledger and topics hold the same events")
    last: dict[tuple[str, str, str], int] = {}
    for envelope in world.bus.log:
        for service in envelope.hearers:
            demand(envelope.id in world.engines[service].db.inbox, "I4 every consumer took it", service, envelope)
        place = (envelope.service, envelope.key, envelope.topic)
        demand(last.get(place, 0) < envelope.sequence, "I5 order per owner, key and topic", place)
        last[place] = envelope.sequence
        if envelope.row.routing is Routing.EXPRESS:
            demand(envelope.topic.endswith(".express"), "change requests are express", envelope.topic)
