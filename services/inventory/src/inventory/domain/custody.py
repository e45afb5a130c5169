"""Inventory's part of the custody protocol: one pure decision per event (`custody.py`, V).

All functions take the order as it is, the event, the world and why, and return the next order and what to say. They
change the shelves of the world's `StockBook`. Repetition is harmless: outcomes are booked once per (kind, container,
unit). `Illegal` means that another service contradicted what it was told.
"""

from __future__ import annotations

from expedite_events import (
    NO_UNITS,
    CancelRefused,
    CancelRequested,
    Decision,
    Illegal,
    Outcome,
    Packed,
    ParcelReturned,
    PickShort,
    PriorityAssigned,
    ShipmentLost,
    TransferDispatched,
    TransferReceived,
    Units,
    UnitsCancelled,
    already_done,
)
from inventory.domain import plain
from inventory.domain.desk import Desk
from inventory.domain.order import Ask, Content, Order, Segment, Status, Transfer, goods_of
from inventory.domain.stock import Because, Bucket
from inventory.domain.world import World

GONE = (Status.ANNOUNCED, Status.PACKED)  # in another service's custody


def assigned(
    order: Order, event: PriorityAssigned, world: World, because: Because, *, express: bool
) -> Decision[Order]:
    """Units not seen yet are sourced (D2, D3); a higher revision on the express lane is the wave; then the start rule.
    `express`: the event came on the express lane."""
    if (decision := plain.reserve(order, event, world, because)) is not None:
        return decision
    desk = Desk(_learn(order, event), world, because)
    if order.ended:
        return Decision(desk.order, outcome=Outcome.ALREADY_DONE)
    if express and event.urgency.revision > order.assigned > 0:
        desk.wave()
    units = event.units
    desk.source(units - order.known if order.segments else units)
    desk.start()
    return desk.done()


def _learn(order: Order, event: PriorityAssigned) -> Order:
    """Content of the highest order version, urgency of the highest revision; both only rise."""
    known = order.content
    newer = known is None or event.order_version > known.order_version
    learnt: dict[str, object] = {}
    if known is None:
        learnt["content"] = Content(
            order_version=event.order_version, brief=event.brief, lines=goods_of(event.lines), urgency=event.urgency
        )
    else:
        changes: dict[str, object] = {}
        if newer:
            kept = {line.line: line for line in (*known.lines, *goods_of(event.lines))}
            lines = tuple(kept[n] for n in sorted(kept))
            changes.update(order_version=event.order_version, brief=event.brief, lines=lines)
        if event.urgency.revision > known.urgency.revision:
            changes["urgency"] = event.urgency
        if changes:
            learnt["content"] = known.put(**changes)
    if newer:
        learnt["lines"] = order.lines | {line.line: line.sku for line in event.lines}
    if event.urgency.revision > order.assigned:
        learnt["assigned"] = event.urgency.revision
    return order.put(**learnt) if learnt else order


def cancel_requested(order: Order, event: CancelRequested, world: World, because: Because) -> Decision[Order]:
    """Remember the request for ever; cancel what is in our custody or was never seen. Units downstream are answered
    there."""
    desk = Desk(order, world, because)
    before = next((a for a in order.asks if a.request_id == event.request_id), None)
    new = event.units - before.units if before else event.units
    if not new:
        return already_done(order)
    ask = Ask(
        request_id=event.request_id,
        units=event.units | (before.units if before else NO_UNITS),
        standing=event.standing,
    )
    desk.order = order.put(asks=(*(a for a in order.asks if a.request_id != event.request_id), ask))
    if not event.standing:
        new = new - order.settled_of(event.request_id)  # settled downstream before it was heard here
    new = new - order.having(*GONE)
    if new:
        desk.cancel_here(new, [(event.request_id, new)])
    desk.start()
    return desk.done(express=False)


def cancel_refused(order: Order, event: CancelRefused) -> Decision[Order]:
    """A later station said no: for a non-standing request that is final for these units."""
    settled = order.settle(event.request_id, event.units)
    return already_done(order) if settled is order else Decision(settled)


def units_cancelled(order: Order, event: UnitsCancelled, world: World, because: Because) -> Decision[Order]:
    """Fulfillment or shipping put the goods back: free once per (container, unit), and the units are dead."""
    desk = Desk(order, world, because)
    container = event.container_id or ""
    fresh = order.fresh("UnitsCancelled", container, event.units)
    if not fresh:
        return already_done(order)
    desk.order = order.remember("UnitsCancelled", container, fresh)
    for segment, part in _gone(order, fresh, "cancelled"):
        source = Bucket.OUT if segment.status is Status.PACKED else Bucket.ALLOCATED
        home = str(segment.warehouse_id)
        desk.ship(part, (home, source), (event.warehouse_id or home, Bucket.FREE))
    desk.order = desk.order.place(fresh, Status.DEAD)
    desk.start()
    return desk.done(express=False)


def packed(order: Order, event: Packed, world: World, because: Because) -> Decision[Order]:
    """The goods left the shelf in a parcel. Units that meanwhile came back or died by a faster topic stay as they are. Told
    again, none is in this fulfilment order any more, and its id is never announced for other units: no memory is needed."""
    if (decision := plain.packed(order, event, world, because)) is not None:
        return decision
    desk = Desk(order, world, because)
    for segment, part in list(order.parts(event.units)):
        if segment.status is Status.ANNOUNCED and segment.ref == event.fulfilment_order_id:
            desk.move(part, str(segment.warehouse_id), Bucket.ALLOCATED, Bucket.OUT)
            desk.order = desk.order.place(part, Status.PACKED, segment.warehouse_id, event.parcel_id)
    return Decision(desk.order) if desk.order is not order else already_done(order)


def pick_short(order: Order, event: PickShort, world: World, because: Because) -> Decision[Order]:
    """The bin had less than the system said: the goods it owes go to *in count* before anything is sourced from it
    again."""
    desk = Desk(order, world, because)
    fresh = order.fresh("PickShort", event.fulfilment_order_id, event.units)
    if not fresh:
        return already_done(order)
    desk.order = order.remember("PickShort", event.fulfilment_order_id, fresh)
    for segment, part in _gone(order, fresh, "short"):
        if segment.ref != event.fulfilment_order_id:
            raise Illegal(f"{part} are short in {event.fulfilment_order_id} but were announced in {segment.ref}")
        desk.move(part, str(segment.warehouse_id), Bucket.ALLOCATED, Bucket.IN_COUNT)
    desk.back(fresh, event.settled)
    desk.start()
    return desk.done()


def carrier_loss(order: Order, event: ShipmentLost | ParcelReturned, world: World, because: Because) -> Decision[Order]:
    """Custody comes back from shipping: lost goods are gone, returned goods wait for inspection; units are sourced
    again unless a request still wants them."""
    kind = type(event).__name__
    desk = Desk(order, world, because)
    fresh = order.fresh(kind, event.parcel_id, event.units)
    if not fresh:
        return already_done(order)
    desk.order = order.remember(kind, event.parcel_id, fresh)
    target = Bucket.QUALITY_CHECK if isinstance(event, ParcelReturned) else Bucket.LOST
    for segment, part in _gone(order, fresh, "back from the carrier"):
        # Packed travels on another topic: the units may still look announced.
        source = Bucket.OUT if segment.status is Status.PACKED else Bucket.ALLOCATED
        if segment.ref not in (event.parcel_id, event.fulfilment_order_id):
            raise Illegal(f"{part} came back in {event.parcel_id} but are in {segment.ref}")
        desk.move(part, str(segment.warehouse_id), source, target)
    desk.back(fresh, event.settled)
    desk.start()
    return desk.done()


def _gone(order: Order, units: Units, what: str) -> list[tuple[Segment, Units]]:
    """The segments of units that are in another service's custody; `Illegal` when some are not."""
    parts = [(s, part) for s, part in order.parts(units) if s.status in GONE]
    if sum(len(part) for _, part in parts) != len(units):
        raise Illegal(f"{units} of {order.order_id} are {what} but not all of them were handed over")
    return parts


def transfer_dispatched(order: Order, event: TransferDispatched, world: World, because: Because) -> Decision[Order]:
    """Goods left the sender; what was not on its shelf goes to *in count* there and its units are sourced again."""
    transfer = _transfer(order, event.transfer_id, event.units | event.missing)
    desk = Desk(order, world, because)
    left, missing = event.units & transfer.leaving, event.missing & transfer.leaving
    if not left and not missing:
        return already_done(order)
    desk.ship(left, (transfer.from_warehouse_id, Bucket.LEAVING), (transfer.to_warehouse_id, Bucket.IN_TRANSIT))
    desk.move(missing, transfer.from_warehouse_id, Bucket.LEAVING, Bucket.IN_COUNT)
    changes = {"dispatched": transfer.dispatched | left, "done": transfer.done | missing}
    desk.order = order.with_transfer(transfer.put(**changes))
    _back_from_transfer(desk, transfer.transfer_id, missing)
    desk.start()
    return desk.done()


def transfer_received(order: Order, event: TransferReceived, world: World, because: Because) -> Decision[Order]:
    """Goods arrived: allocated to their units, or available when those died; what did not arrive is lost and its units
    are sourced again. The receipt may be heard before the dispatch."""
    transfer = _transfer(order, event.transfer_id, event.units | event.missing)
    desk = Desk(order, world, because)
    arrived, lost = event.units - transfer.done, event.missing - transfer.done
    if not arrived and not lost:
        return already_done(order)
    to = transfer.to_warehouse_id
    pegged = Units.union(
        s.units for s in order.segments if s.status is Status.TRANSFER and s.ref == transfer.transfer_id
    )
    for units, bucket in ((arrived & pegged, Bucket.ALLOCATED), (arrived - pegged, Bucket.FREE), (lost, Bucket.LOST)):
        desk.ship(units & transfer.in_transit, (to, Bucket.IN_TRANSIT), (to, bucket))
        desk.ship(units & transfer.leaving, (transfer.from_warehouse_id, Bucket.LEAVING), (to, bucket))
    desk.order = order.with_transfer(transfer.put(done=transfer.done | arrived | lost))
    desk.order = desk.order.place(arrived & pegged, Status.ALLOCATED, to)
    _back_from_transfer(desk, transfer.transfer_id, lost)
    desk.start()
    return desk.done()


def _back_from_transfer(desk: Desk, transfer_id: str, units: Units) -> None:
    pegged = [part for s, part in desk.order.parts(units) if s.status is Status.TRANSFER and s.ref == transfer_id]
    desk.back(Units.union(pegged))


def _transfer(order: Order, transfer_id: str, units: Units) -> Transfer:
    transfer = order.transfer(transfer_id)
    if transfer is None:
        raise Illegal(f"transfer {transfer_id} of {order.order_id} was never requested")
    if not units <= transfer.units:
        raise Illegal(f"{units - transfer.units} were never part of transfer {transfer_id}")
    return transfer


def held(order: Order, hold_id: str) -> Decision[Order]:
    """No new work starts until the hold is released; a released or known hold changes nothing."""
    if hold_id in order.released or hold_id in order.holds:
        return already_done(order)
    return Decision(order.put(holds=(*order.holds, hold_id)))


def released(order: Order, hold_id: str, world: World, because: Because) -> Decision[Order]:
    """One hold ended (remembered even when it comes before its hold); the last one lets work start."""
    if hold_id in order.released:
        return already_done(order)
    desk = Desk(order, world, because)
    desk.order = order.put(released=(*order.released, hold_id), holds=tuple(h for h in order.holds if h != hold_id))
    desk.start()
    return desk.done(express=False)


def ended(order: Order, how: str) -> Decision[Order]:
    """The order is cancelled or closed: nothing starts any more."""
    return already_done(order) if order.ended else Decision(order.put(ended=how))


def fill(order: Order, skus: set[str], world: World, because: Because) -> Decision[Order]:
    """Free stock came: serve this order's backordered units of these SKUs, then let shipping start by itself (D5)."""
    content = order.content
    if order.ended or content is None:
        return already_done(order)
    desk = Desk(order, world, because)
    desk.fill(skus)
    desk.start()
    return desk.done(express=content.urgency.express)
