"""Every unit is in exactly one custody (design section 2): at order-intake until it is announced, then with inventory,
fulfillment or shipping, and at last delivered or cancelled."""

from __future__ import annotations

from collections.abc import Iterator

from expedite_events import NO_UNITS, Units
from expedite_local.audit.files import Files
from expedite_local.audit.finding import Look
from inventory.domain.order import Segment, Status
from order_intake.domain.order import State
from shipping.domain.state import End, OrderLeg, Parcel, Station

_IN_STOCK = (Status.ALLOCATED, Status.TRANSFER, Status.BACKORDERED)


def holders(file: Files) -> Iterator[tuple[str, Units]]:
    """Who answers for which units, and which have come to their end."""
    order = file.intake
    assert order is not None
    yield "the cancelled", order.cancelled
    yield "the customer", order.delivered
    if order.state is State.HELD:
        yield "order-intake", order.units - order.cancelled
    if file.stock:
        yield "inventory", file.stock.having(*_IN_STOCK)
    for work in file.floor.fulfilment_orders if file.floor else ():
        yield f"fulfillment ({work.fulfilment_order_id})", work.in_custody
    for parcel in file.leg.parcels if file.leg else ():
        if parcel.station is not Station.ENDED:
            yield f"shipping ({parcel.parcel_id})", in_parcel(parcel)


def in_parcel(parcel: Parcel) -> Units:
    """Units physically in the parcel, on the dock or on their way, or delivered with it; none of a parcel that is lost,
    back or cancelled."""
    if parcel.station is Station.ENDED and parcel.end is not End.DELIVERED:
        return NO_UNITS
    return parcel.packed | parcel.held_back


def look_at(look: Look, file: Files) -> None:
    """Check one order: its holders cover its units exactly, and each service's idea of where they went is true."""
    order = file.intake
    if order is None:
        return
    units, name = order.units, order.order_id
    look.count += len(units)
    held = [(who, part) for who, part in holders(file) if part]
    together = Units.union(part for _, part in held)
    if together != units or sum(len(part) for _, part in held) != len(units):
        for lost in _places(units - together, file):
            look.wrong(f"{name}: {lost}", name)
        if strange := together - units:
            who = ", ".join(who for who, part in held if part & strange)
            look.wrong(f"{name}: {strange} were never ordered but are with {who}", name)
        for n, (who, part) in enumerate(held):
            for other, theirs in held[n + 1 :]:
                if twice := part & theirs:
                    look.wrong(f"{name}: {twice} are with {who} and with {other}", name)
    if file.leg:
        arrived = _arrived(file.leg)
        if arrived != order.delivered:
            text = (arrived - order.delivered) | (order.delivered - arrived)
            look.wrong(f"{name}: shipping and order-intake differ on what was delivered: {text}", name)
    for segment in file.stock.segments if file.stock else ():
        if wrong := _misplaced(segment, file):
            look.wrong(f"{name}: inventory takes {wrong} for {_where(segment)}, which is not so", name)


def _arrived(leg: OrderLeg) -> Units:
    return Units.union(p.packed for p in leg.parcels if p.end is End.DELIVERED)


def _misplaced(segment: Segment, file: Files) -> Units:
    """The units of a segment that are not where inventory believes them to be."""
    assert file.intake is not None
    if segment.status is Status.DEAD:
        return segment.units - file.intake.cancelled
    if segment.status is Status.ANNOUNCED:
        work = file.floor.fulfilment_order(segment.ref or "") if file.floor else None
        return segment.units - (work.in_custody if work else NO_UNITS)
    if segment.status is Status.PACKED:
        parcel = file.leg.parcel(segment.ref or "") if file.leg else None
        return segment.units - (in_parcel(parcel) if parcel else NO_UNITS)
    return NO_UNITS


def _places(lost: Units, file: Files) -> Iterator[str]:
    """Units in no custody, with where inventory saw them last."""
    if not lost:
        return
    for segment, part in file.stock.parts(lost) if file.stock else ():
        yield f"{part} are in no custody; inventory takes them for {_where(segment)}"
    unseen = lost - (file.stock.known if file.stock else NO_UNITS)
    if unseen:
        yield f"{unseen} are in no custody; inventory never saw them"


def _where(segment: Segment) -> str:
    return f"{segment.status}" + (f" in {segment.ref}" if segment.ref else "")
