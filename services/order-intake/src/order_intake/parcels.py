"""What intake knows about parcels: a row for each that a carrier was given, read only when somebody asks."""

from __future__ import annotations

from collections.abc import Collection

from expedite_events import Shipped, Units
from expedite_messaging import Tx
from order_intake.domain.order import Order, Parcel
from order_intake.store import PARCELS


def note_shipped(tx: Tx, event: Shipped) -> None:
    """A carrier has a parcel: cancels of its units come too late. Nothing is read for it, so nobody looks here whether
    the parcel came back or was delivered before (`Order.handed` does), nor whether intake ever accepted the order: the row
    of an order that is not there is read by nobody."""
    tx.add(PARCELS, Parcel(order_id=event.order_id, parcel_id=event.parcel_id, units=event.units))


async def handed_of(tx: Tx, orders: Collection[Order]) -> dict[str, Units]:
    """The units of these orders that are in a carrier's hands, by order; what is not in it has none."""
    # An order that ended, or that nobody else has seen, has nothing on its way.
    on_their_way = {order.order_id: order for order in orders if order.announced_at and not order.ended}
    parcels: dict[str, list[Parcel]] = {}
    if on_their_way:
        for parcel in await tx.find(PARCELS, {"order_id": sorted(on_their_way)}):
            parcels.setdefault(parcel.order_id, []).append(parcel)
    return {order_id: on_their_way[order_id].handed(known) for order_id, known in parcels.items()}
