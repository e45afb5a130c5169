"""Promises of the custody protocol that the audit does not name, checked on the real handlers. `tests/model/promises.py`
lists all of them beside the model's own checks.

`at_any_time` holds between any two commits, `at_rest` when nothing moves any more and every order has ended. Both look at
committed rows and at what was said, never at how it came about.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from expedite_events import (
    CancelRefused,
    Delivered,
    OrderHeld,
    OrderHoldReleased,
    OrderReceived,
    Packed,
    ParcelReturned,
    PickShort,
    ShipmentLost,
    Shipped,
    StockReserved,
    StockShort,
    TransferDispatched,
    TransferReceived,
    Units,
    UnitsCancelled,
)
from expedite_saga.audit import demand
from expedite_saga.world import World
from fulfillment.domain.tasks import Status as TaskStatus
from fulfillment.store import ORDERS as FLOOR
from fulfillment.store import TASKS
from inventory.store import BOOKINGS, SHELVES
from inventory.store import ORDERS as STOCK
from order_intake.store import ORDERS
from shipping.store import ORDERS as LEGS


def at_any_time(world: World) -> None:
    """What holds between any two commits."""
    nothing_is_offered_while_held(world)


def at_rest(world: World) -> None:
    """What holds in the end."""
    for check in (
        one_container_answers, intake_says_what_was_answered, refused_for_good_is_delivered, held_orders_waited,
        holds_have_ended, a_parcel_never_changes, content_is_as_received, each_setback_is_mended_once,
        complete_orders_started_together, books_match_reports,
    ):  # fmt: skip
        check(world)


def _by_order(events: Iterable[Any]) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = defaultdict(list)
    for event in events:
        grouped[event.order_id].append(event)
    return grouped


def nothing_is_offered_while_held(world: World) -> None:
    """A4 A5: the floor offers no pick and no dispatch of an order whose hold it has heard of."""
    held = {floor.order_id for floor in world.rows("fulfillment", FLOOR) if floor.held}
    for task in world.rows("fulfillment", TASKS) if held else ():
        if task.order_id in held and task.kind.value in ("pick", "transfer_out"):
            demand(task.status in (TaskStatus.WAITING, TaskStatus.DONE), "A5 held work is not offered", task)


def one_container_answers(world: World) -> None:
    """A8: a unit is cancelled in one fulfilment order or parcel, which had it; inventory answers without one."""
    works = {w.fulfilment_order_id: w.units for o in world.rows("fulfillment", FLOOR) for w in o.fulfilment_orders}
    parcels = {p.parcel_id: p.all_units for leg in world.rows("shipping", LEGS) for p in leg.parcels}
    where: dict[tuple[str, tuple[int, int]], set[str]] = defaultdict(set)
    for event in world.said(UnitsCancelled, CancelRefused):
        if event.container_id is None:
            demand(event.answered_by == "inventory", "A8 stations name their container", event)
            continue
        had = (works if event.answered_by == "fulfillment" else parcels).get(event.container_id, Units())
        demand(event.units <= had, "A8 only who had the units answers", event, had)
        if isinstance(event, UnitsCancelled):
            for unit in event.units.each():
                where[event.order_id, unit].add(event.container_id)
    for unit, containers in where.items():
        demand(len(containers) == 1, "A8 a unit is cancelled once", unit, containers)


def intake_says_what_was_answered(world: World) -> None:
    """A8: what intake shows of a request is what the custodians said, a yes before any no."""
    yes: dict[str, Units] = defaultdict(Units)
    no: dict[str, Units] = defaultdict(Units)
    for event in world.said(UnitsCancelled, CancelRefused):
        (yes if isinstance(event, UnitsCancelled) else no)[event.request_id] |= event.units
    for order in world.rows("order-intake", ORDERS):
        for request in order.cancels:
            number = request.request_id
            demand(yes[number] <= request.cancelled, "A8 every yes is known", request, yes[number])
            demand(request.refused == no[number] - request.cancelled, "A8 every last no is known", request, no[number])
            demand(
                not (request.refused & order.cancelled and request.standing), "A8 a cancelled unit has its yes", request
            )


def refused_for_good_is_delivered(world: World) -> None:
    """A8: a standing request stays refused only by the parcel in which the unit was delivered."""
    arrived = {(e.order_id, unit): e.parcel_id for e in world.said(Delivered) for unit in e.units.each()}
    refused: dict[tuple[str, tuple[int, int]], set[str | None]] = defaultdict(set)
    for event in world.said(CancelRefused):
        for unit in event.units.each():
            refused[event.request_id, unit].add(event.container_id)
    for order in world.rows("order-intake", ORDERS):
        for request in order.cancels:
            for unit in request.refused.each() if request.standing else ():
                parcel = arrived.get((order.order_id, unit))
                said = refused[request.request_id, unit]
                demand(parcel in said, "A8 a standing cancel holds again", request.request_id, unit, parcel, said)


def held_orders_waited(world: World) -> None:
    """A4 A5: an order is received when its last hold is over, nobody holds it later, and no work is older than that."""
    received: dict[str, int] = {}
    for envelope in world.envelopes(OrderReceived):
        received.setdefault(envelope.key, envelope.sequence)
        received[envelope.key] = min(received[envelope.key], envelope.sequence)
    for envelope in world.envelopes(OrderHeld, OrderHoldReleased):
        if envelope.key in received:
            demand(envelope.sequence < received[envelope.key], "A5 received after the last hold", envelope.event)
    announced = {order.order_id: order.announced_at for order in world.rows("order-intake", ORDERS)}
    for event in world.said(StockReserved, Packed, Shipped):
        at = getattr(event, "reserved_at", None) or getattr(event, "packed_at", None) or event.shipped_at
        since = announced[event.order_id]
        demand(since is not None and at >= since, "A5 no work before the order is received", event)


def holds_have_ended(world: World) -> None:
    """A4 A5 I9: each hold of each order has an outcome, was told and untold, and nobody keeps it."""
    told = {e.hold_id for e in world.said(OrderHeld)}
    untold = {e.hold_id for e in world.said(OrderHoldReleased)}
    ids = set()
    for order in world.rows("order-intake", ORDERS):
        for hold in order.holds:
            ids.add(hold.hold_id)
            demand(hold.outcome is not None, "I9 every hold ends", hold)
    demand(ids == told == untold, "I9 every hold is told and untold", ids ^ told, ids ^ untold)
    for service, collection in (("inventory", STOCK), ("fulfillment", FLOOR), ("shipping", LEGS)):
        for row in world.rows(service, collection):
            mine = {hold for hold in ids if hold.rpartition("-H")[0] == row.order_id}
            demand(not row.holds, "I9 no station holds on", service, row.order_id, row.holds)
            demand(mine <= set(row.released), "I9 every station knows", service, row.order_id, mine)


def a_parcel_never_changes(world: World) -> None:
    """A8: told again, a parcel is the same parcel; what leaves and arrives is part of what was packed."""
    first: dict[str, Packed] = {}
    for event in world.said(Packed):
        before = first.setdefault(event.parcel_id, event)
        same = (before.units, before.goods, before.brief, before.fulfilment_order_id)
        again = (event.units, event.goods, event.brief, event.fulfilment_order_id)
        demand(same == again, "A8 a parcel never changes", before, event)
    for event in world.said(Shipped, Delivered, ShipmentLost, ParcelReturned):
        packed = first[event.parcel_id]
        demand(event.units <= packed.units, "A8 only what was packed leaves", event, packed)
        if isinstance(event, Shipped | Delivered):
            demand(event.customer == packed.brief.customer, "A8 it goes where it was packed for", event, packed)


def content_is_as_received(world: World) -> None:
    """A4 A8: what completion made of an order is what everybody is told, at once and for ever."""
    received: dict[str, OrderReceived] = {}
    for event in world.said(OrderReceived):
        before = received.setdefault(event.order_id, event)
        demand((before.lines, before.brief) == (event.lines, event.brief), "A8 an order is received as one", event)
    for order in world.rows("order-intake", ORDERS):
        if order.order_id in received:
            demand(received[order.order_id].lines == order.lines, "A8 intake keeps what it said", order)
    for event in world.said(StockReserved, Packed):
        said = received[event.order_id]
        skus = {line.line: line.sku for line in said.lines}
        demand(event.brief == said.brief, "A8 everybody is told the same", event, said.brief)
        demand(event.units <= Units.union(line.units for line in said.lines), "A8 only what was ordered", event)
        demand(all(skus.get(g.line) == g.sku for g in event.goods), "A8 the goods that were ordered", event, skus)


def each_setback_is_mended_once(world: World) -> None:
    """D4 E4 F4: a unit starts once, and once more for each time it came back; each shortage is told once."""
    back: dict[tuple[str, tuple[int, int]], set[str]] = defaultdict(set)
    for event in world.said(PickShort, ShipmentLost, ParcelReturned, TransferDispatched, TransferReceived):
        moved = isinstance(event, TransferDispatched | TransferReceived)
        units = event.missing if moved else event.units
        place = event.transfer_id if moved else getattr(event, "parcel_id", None) or event.fulfilment_order_id
        for unit in units.each():
            back[event.order_id, unit].add(f"{type(event).__name__} {place}")
    starts: Counter[tuple[str, tuple[int, int]]] = Counter()
    for stock in world.rows("inventory", STOCK):
        for work in stock.fulfilment_orders:
            starts.update((stock.order_id, unit) for unit in work.units.each())
    told: Counter[tuple[str, tuple[int, int]]] = Counter()
    for event in world.said(StockShort):
        told.update((event.order_id, unit) for unit in event.units.each())
    for unit, n in starts.items():
        demand(n <= 1 + len(back[unit]), "E4 one start per setback", unit, n, back[unit])
    for unit, n in told.items():
        demand(n <= 1 + len(back[unit]), "D4 one remedy per setback", unit, n, back[unit])


def complete_orders_started_together(world: World) -> None:
    """D2: when something of an order that leaves complete starts, all of it starts, has started, or was cancelled."""
    cancelled = {order.order_id: order.cancelled for order in world.rows("order-intake", ORDERS)}
    briefs = {e.order_id: e for e in world.said(OrderReceived)}
    for stock in world.rows("inventory", STOCK):
        said = briefs.get(stock.order_id)
        if said is None or said.brief.partial_shipment:
            continue
        wanted = Units.union(line.units for line in said.lines) - cancelled[stock.order_id]
        for work in stock.fulfilment_orders:
            started = Units.union(w.units for w in stock.fulfilment_orders if w.at <= work.at)
            demand(wanted <= started, "D2 a complete order starts together", stock.order_id, work, wanted - started)


def books_match_reports(world: World) -> None:
    """D10 D11 I1: lost, in count and in quality check is what the stations reported, SKU by SKU."""
    skus = {(o.order_id, line.line): line.sku for o in world.rows("order-intake", ORDERS) for line in o.lines}
    reported: dict[tuple[str, str, str], Units] = defaultdict(Units)  # (bucket, order, container)
    for event in world.said(PickShort, ShipmentLost, ParcelReturned, TransferDispatched, TransferReceived):
        match event:
            case PickShort():
                bucket, place, units = "in_count", event.fulfilment_order_id, event.units
            case ShipmentLost():
                bucket, place, units = "lost", event.parcel_id, event.units
            case ParcelReturned():
                bucket, place, units = "quality_check", event.parcel_id, event.units
            case TransferDispatched():
                bucket, place, units = "in_count", event.transfer_id, event.missing
            case _:
                bucket, place, units = "lost", event.transfer_id, event.missing
        reported[bucket, event.order_id, place] |= units
    wanted: Counter[tuple[str, str]] = Counter()
    for (bucket, order_id, _), units in reported.items():
        wanted.update((bucket, skus[order_id, line]) for line, _ in units.each())
    for booking in world.rows("inventory", BOOKINGS):
        for line in booking.lines if booking.kind == "count" else ():
            wanted["in_count", line.sku] -= line.quantity - line.corrected
    found: Counter[tuple[str, str]] = Counter()
    for shelf in world.rows("inventory", SHELVES):
        for bucket in ("in_count", "lost", "quality_check"):
            found[bucket, shelf.sku] += getattr(shelf, bucket)
    for key in wanted.keys() | found.keys():
        demand(wanted[key] == found[key], "I1 the books say what was reported", key, wanted[key], found[key])
