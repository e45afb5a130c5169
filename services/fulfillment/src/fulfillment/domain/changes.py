"""Facts about the whole order: holds, urgency, the end."""

from __future__ import annotations

from expedite_events import (
    Decision,
    Event,
    OrderHeld,
    OrderHoldReleased,
    Packed,
    PickShort,
    PriorityAssigned,
    TransferDispatched,
    TransferReceived,
    Units,
    already_done,
)
from fulfillment.domain.model import FulfilmentOrder, Hold, Order, Parcel, ShortReport, Transfer


def hold(order: Order, event: OrderHeld) -> Decision[Order]:
    """Nothing of the order is offered until every hold is released. A hold whose release came first never opens."""
    if event.hold_id in order.released or any(h.hold_id == event.hold_id for h in order.holds):
        return already_done(order)
    opened = Hold(hold_id=event.hold_id, kind=event.kind.value, owner=event.owner)
    return Decision(order.put(holds=(*order.holds, opened)))


def release(order: Order, event: OrderHoldReleased) -> Decision[Order]:
    """One hold ended; its id is remembered, whether it was seen open or not."""
    if event.hold_id in order.released:
        return already_done(order)
    return Decision(
        order.put(
            holds=tuple(h for h in order.holds if h.hold_id != event.hold_id),
            released=(*order.released, event.hold_id),
        )
    )


def end(order: Order, how: str) -> Decision[Order]:
    """The order is `cancelled` or `closed`. A transfer under way goes on: inventory decides what its goods are for."""
    if order.ended:
        return already_done(order)
    return Decision(order.put(ended=how))


def prioritise(order: Order, event: PriorityAssigned, *, overtakes: bool) -> Decision[Order]:
    """The order became more (or less) urgent: its work moves in the queues. `overtakes`: the news came on the express
    lane, so what we said on the slow one is said again there. Revision 1 says nothing that the work will not bring."""
    if event.urgency.revision <= order.waved:
        return already_done(order)
    state = order.heard(event.urgency).put(waved=event.urgency.revision)
    again = announce_again(state) if (overtakes or event.urgency.express) and not order.ended else ()
    return Decision(state, again, express=True)


def announce_again(order: Order) -> tuple[Event, ...]:
    """Each of our outcomes that nothing later has overtaken, under the same business ids. An outcome is concluded when
    all its units came back to us in a later fulfilment order."""
    events: list[Event] = []
    works = order.fulfilment_orders
    for position, work in enumerate(works):
        later = Units.union(w.units for w in works[position + 1 :])
        events += [
            packed(order, work, parcel)
            for parcel in order.parcels
            if parcel.fulfilment_order_id == work.fulfilment_order_id and not parcel.units <= later
        ]
        events += [short(order, work, report) for report in work.shorts if not report.units <= later]
    reserved = Units.union(w.units for w in works)
    for transfer in order.transfers:
        if transfer.arrived is not None and not transfer.units <= reserved:
            events.append(received(order, transfer))
        elif transfer.sent is not None and transfer.arrived is None:
            events.append(dispatched(order, transfer))
    return tuple(events)


def packed(order: Order, work: FulfilmentOrder, parcel: Parcel) -> Packed:
    """What shipping needs to know about a parcel, with the requests already settled for its units."""
    if order.brief is None:
        raise ValueError(f"{parcel.parcel_id} was packed for an order nobody described")
    return Packed(
        order_id=order.order_id,
        parcel_id=parcel.parcel_id,
        fulfilment_order_id=work.fulfilment_order_id,
        warehouse_id=work.warehouse_id,
        units=parcel.units,
        goods=work.goods_of(parcel.units),
        box=parcel.box,
        weight_g=parcel.weight_g,
        valuable=parcel.valuable,
        packed_by=parcel.packed_by,
        packed_at=parcel.packed_at,
        brief=order.brief,
        urgency=order.known_urgency,
        settled=work.settled_for(parcel.units),
    )


def short(order: Order, work: FulfilmentOrder, report: ShortReport) -> PickShort:
    """Custody of the units goes back to inventory, with the requests already settled for them."""
    return PickShort(
        order_id=order.order_id,
        fulfilment_order_id=work.fulfilment_order_id,
        warehouse_id=work.warehouse_id,
        units=report.units,
        goods=work.goods_of(report.units),
        settled=work.settled_for(report.units),
        reported_by=report.by,
        at=report.at,
    )


def dispatched(order: Order, transfer: Transfer) -> TransferDispatched:
    """What left the sending warehouse, and what was not on its shelf."""
    assert transfer.sent is not None and transfer.sent_at is not None
    return TransferDispatched(
        order_id=order.order_id,
        transfer_id=transfer.transfer_id,
        from_warehouse_id=transfer.from_warehouse_id,
        to_warehouse_id=transfer.to_warehouse_id,
        units=transfer.sent,
        missing=transfer.units - transfer.sent,
        dispatched_by=transfer.sent_by,
        at=transfer.sent_at,
    )


def received(order: Order, transfer: Transfer) -> TransferReceived:
    """What arrived, and what was sent but did not arrive."""
    assert transfer.sent is not None and transfer.arrived is not None and transfer.arrived_at is not None
    return TransferReceived(
        order_id=order.order_id,
        transfer_id=transfer.transfer_id,
        from_warehouse_id=transfer.from_warehouse_id,
        to_warehouse_id=transfer.to_warehouse_id,
        units=transfer.arrived,
        missing=transfer.sent - transfer.arrived,
        received_by=transfer.arrived_by,
        at=transfer.arrived_at,
    )
