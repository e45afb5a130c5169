"""What must be true of a world, whatever happened in it. `at_any_time` holds between any two commits, `at_rest` when nothing
moves any more and every order has ended.

The invariants of the reliability reference, and what checks them here:

- I1 conservation: `stock_is_conserved` (shelves, movements and orders agree; booked = what came in; nothing allocated, leaving,
  in transit or backordered at rest; what is out = what customers have).
- I2 one terminal state, one custodian: `custodians` and `at_any_time` (never two custodians of a unit, no cancelled unit in
  anybody's hands); `every_order_has_ended` (one terminal event, the last one of intake; every unit delivered or cancelled,
  never both); `everybody_agrees`.
- I3 effect once: `each_message_once`, `each_label_once`; once per event and consumer: the ids in each ledger are distinct
  (`the_bus_is_the_ledger`), as a decision taken twice would emit its ids twice.
- I4 no loss: `the_bus_is_the_ledger` (ledger = topics, every declared consumer took every event); `every_post_is_an_order`.
- I5 order per owner, key and topic: `the_bus_is_the_ledger`, over first occurrences.
- I6 idempotent intake: `orders.Orders` compares every answer for a key, byte by byte, with the first one, and the order
  behind every repeated reference; `every_post_is_an_order` (as many orders as were posted).
- I7 timers: `process.Watch` sees each firing and cancel as it is committed (once, never early, never after a cancel);
  `breaches_are_late`.
- I8 webhooks: `ranks_only_rise`; `floor.Floor` forges webhooks and compares shipping before and after.
- I9 closure: `every_order_has_ended`, `stock_is_conserved`, `everybody_agrees`. Expedite takes no payments, so none is void.
- I10 no leaks: `nothing_is_under_way` (queues, outboxes, effects, timers), nothing parked, postponed or kept. Connections and
  tasks do not exist in memory; the chaos suite counts them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Set
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
    SLABreached,
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
from shipping.domain.tracking import RANK
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
    """No event parked as a bug, no unit with two custodians, nothing cancelled in somebody's hands, no negative shelf, no
    parcel that went back a rank, no timer that fired early, twice, or after its cancel."""
    found = bugs(world)
    demand(not found, "nothing is parked as a bug", *found)
    ranks_only_rise(world)
    if world.watch.broken:
        raise Broken(world.watch.broken[0])
    for shelf in world.rows("inventory", SHELVES):
        least = min(shelf.free, shelf.allocated, shelf.leaving, shelf.in_transit, shelf.in_count, shelf.quality_check)
        demand(least >= 0, "I1 no bucket of a shelf is negative", shelf)
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


def ranks_only_rise(world: World) -> None:
    """I8: a parcel's phase never goes back."""
    for leg in world.rows("shipping", LEGS):
        for parcel in leg.parcels:
            if parcel.tracking.phase is not None:
                world.watch.reaches(parcel.parcel_id, RANK[parcel.tracking.phase.status])


async def at_rest(world: World, booked: Mapping[str, int], accepted: Set[str] | None = None) -> None:
    """Everything at once. `booked` is what came in by SKU, as the saga counted it; `accepted` the orders that channels were
    told, when they noted them."""
    at_any_time(world)
    demand(not world.parked, "nothing is parked", *world.parked)
    nothing_is_under_way(world)
    every_order_has_ended(world)
    everybody_agrees(world)
    await stock_is_conserved(world, booked)
    each_message_once(world)
    each_label_once(world)
    breaches_are_late(world)
    the_bus_is_the_ledger(world)
    if accepted is not None:
        every_post_is_an_order(world, accepted)


def every_post_is_an_order(world: World, accepted: Set[str]) -> None:
    """I4, I6: each order a channel was told exists, and nobody else's does."""
    there = {order.order_id for order in world.rows("order-intake", ORDERS)}
    demand(there == accepted, "I4 every post has an order, and every order was posted", there ^ accepted)


def each_label_once(world: World) -> None:
    """I3: no carrier sold a label that nobody uses and nobody gave back, and no parcel has two."""
    used = Counter(
        parcel.label.tracking_number
        for leg in world.rows("shipping", LEGS)
        for parcel in leg.parcels
        if parcel.label is not None
    )
    demand(all(n == 1 for n in used.values()), "I3 a label is on one parcel", used.most_common(3))
    extra = len(world.carriers.labels) - len(used.keys() & world.carriers.labels.keys())
    demand(
        extra <= len(world.carriers.voided),
        "I3 labels that nobody uses are given back",
        extra,
        len(world.carriers.voided),
    )


def breaches_are_late(world: World) -> None:
    """I7: no breach is told before its time, and each level of a clock once."""
    for event in world.said(SLABreached):
        demand(event.breached_at >= event.due_at, "I7 no breach before its time", event)


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
    last = {e.key: e.event for e in world.engines["order-intake"].db.ledger}
    for order in world.rows("order-intake", ORDERS):
        number = order.order_id
        demand(order.ended is not None, "I9 every order ends", number, order.state, order.units - order.out)
        demand(ends[number] == 1, "I2 one terminal event", number, ends[number])
        said = last.get(number)
        demand(isinstance(said, OrderCancelled | OrderClosed), "I2 nothing follows the terminal event", number, said)
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
    decided = [e.id for engine in world.engines.values() for e in engine.db.ledger]
    demand(len(decided) == len(set(decided)), "I3 no decision is taken twice")
    demand(set(sent) == set(decided), "I4 ledger and topics hold the same events")
    last: dict[tuple[str, str, str], int] = {}
    for envelope in world.bus.log:
        for service in envelope.hearers:
            demand(envelope.id in world.engines[service].db.inbox, "I4 every consumer took it", service, envelope)
        place = (envelope.service, envelope.key, envelope.topic)
        demand(last.get(place, 0) < envelope.sequence, "I5 order per owner, key and topic", place)
        last[place] = envelope.sequence
        if envelope.row.routing is Routing.EXPRESS:
            demand(envelope.topic.endswith(".express"), "change requests are express", envelope.topic)
