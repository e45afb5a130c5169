"""What inventory remembers of one order: where each of its units is, who asked for what, and what was announced.

Units that appear in no segment were never seen here: they can only be upstream (custody.py, ``unseen``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Self

from msgspec import field

from expedite_events import NO_UNITS, LineGoods, OrderBrief, OrderLine, Settled, Units, Urgency, Value

EXPLANATIONS_KEPT = 10


class Status(StrEnum):
    """Where a unit is. Everything but announced, packed and dead is in inventory's custody."""

    ALLOCATED = "allocated"  # goods on the shelf of `warehouse_id`, waiting for the start rule
    TRANSFER = "transfer"  # goods on the way, `ref` is the transfer
    BACKORDERED = "backordered"  # no goods; counted on the shelf of `warehouse_id`
    ANNOUNCED = "announced"  # fulfillment has it, `ref` is the fulfilment order
    PACKED = "packed"  # shipping or the customer has it, `ref` is the parcel
    DEAD = "dead"  # cancelled, for ever


class Segment(Value):
    """Units that are in the same place."""

    units: Units
    status: Status
    warehouse_id: str | None = None
    ref: str | None = None


class FulfilmentOrder(Value):
    """What was announced to fulfillment; announced again with the same id when the order is raised."""

    fulfilment_order_id: str
    warehouse_id: str
    units: Units
    at: datetime
    complete: bool


class Transfer(Value):
    """Goods pegged to this order that move between warehouses. Per unit: on the sender's shelf, then dispatched, then
    done (arrived, missing or lost). The goods move on even when the units die."""

    transfer_id: str
    from_warehouse_id: str
    to_warehouse_id: str
    units: Units
    at: datetime
    announced: bool = False
    dispatched: Units = NO_UNITS
    done: Units = NO_UNITS

    @property
    def leaving(self) -> Units:
        """Still on the sender's shelf."""
        return self.units - self.dispatched - self.done

    @property
    def in_transit(self) -> Units:
        return self.dispatched - self.done


class Ask(Value):
    """A cancel request as it was heard. Remembered for ever."""

    request_id: str
    units: Units
    standing: bool


class Seen(Value):
    """Outcomes already booked: one per (kind, container, unit)."""

    kind: str
    container: str
    units: Units


class Content(Value):
    """What an order is, as PriorityAssigned brought it: the newest version, the newest urgency. Of its lines, what names
    and finds the goods."""

    order_version: int
    brief: OrderBrief
    lines: tuple[LineGoods, ...]
    urgency: Urgency

    def goods(self, units: Units) -> tuple[LineGoods, ...]:
        """What to pick and how to name it, for the lines of these units."""
        wanted = units.lines
        return tuple([goods for goods in self.lines if goods.line in wanted])


class Order(Value):
    """The aggregate of one order. Methods return changed copies."""

    order_id: str
    lines: dict[int, str] = field(default_factory=dict)  # SKU by line, of every line ever announced
    assigned: int = 0  # the highest revision of PriorityAssigned handled: later ones are the wave
    segments: tuple[Segment, ...] = ()
    fulfilment_orders: tuple[FulfilmentOrder, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    asks: tuple[Ask, ...] = ()
    settled: tuple[Settled, ...] = ()
    seen: tuple[Seen, ...] = ()
    holds: tuple[str, ...] = ()
    released: tuple[str, ...] = ()  # tombstones: a release may come before its hold
    ended: str | None = None  # cancelled, closed
    backordered_since: datetime | None = None
    backorder_estimate: datetime | None = None
    sourced: tuple[str, ...] = ()  # why each sourcing chose what it chose (D3), newest last
    f_count: int = 0
    t_count: int = 0
    content: Content | None = None  # none before the first PriorityAssigned

    # -- units

    @property
    def known(self) -> Units:
        """All units ever seen here."""
        if not self.segments:
            return NO_UNITS
        return Units.union(segment.units for segment in self.segments)

    def parts(self, units: Units) -> Iterator[tuple[Segment, Units]]:
        """The segments that hold some of these units, and which."""
        for segment in self.segments:
            part = units if segment.units == units else segment.units & units
            if part:
                yield segment, part

    def having(self, *statuses: Status) -> Units:
        """The units with one of these statuses."""
        return Units.union(segment.units for segment in self.segments if segment.status in statuses)

    def place(self, units: Units, status: Status, warehouse_id: str | None = None, ref: str | None = None) -> Self:
        """Put units where they are now, wherever they were before."""
        if not units:
            return self
        kept: list[Segment] = []
        here = units
        for segment in self.segments:
            if segment.status is status and segment.warehouse_id == warehouse_id and segment.ref == ref:
                here = here | segment.units
                continue
            if segment.units == units:
                continue
            rest = segment.units - units
            if rest == segment.units:
                kept.append(segment)
            elif rest:
                kept.append(segment.put(units=rest))
        kept.append(Segment(units=here, status=status, warehouse_id=warehouse_id, ref=ref))
        return self.put(segments=tuple(kept))

    def explained(self, why: str) -> Self:
        """Remember why a sourcing chose what it chose (D3); the oldest ones are forgotten."""
        return self.put(sourced=(*self.sourced, why)[-EXPLANATIONS_KEPT:])

    # -- what units are

    def sku_of(self, line: int) -> str:
        """The SKU of a line; KeyError for a line that was never announced."""
        try:
            return self.lines[line]
        except KeyError:
            raise KeyError(f"{self.order_id} has no line {line}") from None

    def by_sku(self, units: Units) -> dict[str, Units]:
        """The same units, by SKU, in line order."""
        out: dict[str, Units] = {}
        for line, part in by_line(units):
            sku = self.sku_of(line)
            out[sku] = out[sku] | part if sku in out else part
        return out

    def skus(self, units: Units) -> set[str]:
        """The SKUs of the units whose line is known."""
        return {self.lines[line] for line in units.lines if line in self.lines}

    # -- memory

    def fresh(self, kind: str, container: str, units: Units) -> Units:
        """The part of `units` that has no outcome of this kind from this container yet."""
        for seen in self.seen:
            if seen.kind == kind and seen.container == container:
                return units - seen.units
        return units

    def remember(self, kind: str, container: str, units: Units) -> Self:
        """Record outcomes so that they are booked once."""
        for i, seen in enumerate(self.seen):
            if seen.kind == kind and seen.container == container:
                merged = seen.put(units=seen.units | units)
                return self.put(seen=(*self.seen[:i], merged, *self.seen[i + 1 :]))
        return self.put(seen=(*self.seen, Seen(kind=kind, container=container, units=units)))

    def settled_of(self, request_id: str) -> Units:
        """The units for which a later station refused this request."""
        return next((s.units for s in self.settled if s.request_id == request_id), NO_UNITS)

    def settle(self, request_id: str, units: Units) -> Self:
        """Remember that a request was refused for these units."""
        before = self.settled_of(request_id)
        if units <= before:
            return self
        others = tuple(s for s in self.settled if s.request_id != request_id)
        return self.put(settled=(*others, Settled(request_id=request_id, units=before | units)))

    def settled_on(self, units: Units) -> tuple[Settled, ...]:
        """Refused requests restricted to these units: they travel with them."""
        if not self.settled:
            return ()
        parts = ((s.request_id, s.units & units) for s in self.settled)
        return tuple(Settled(request_id=rid, units=part) for rid, part in parts if part)

    def transfer(self, transfer_id: str) -> Transfer | None:
        return next((t for t in self.transfers if t.transfer_id == transfer_id), None)

    def with_transfer(self, transfer: Transfer) -> Self:
        """Replace the transfer of the same id, or append it."""
        others = tuple(t for t in self.transfers if t.transfer_id != transfer.transfer_id)
        return self.put(transfers=(*others, transfer))


@lru_cache(maxsize=8192)
def by_line(units: Units) -> tuple[tuple[int, Units], ...]:
    """The same units, line by line. Small orders look alike, and each is taken apart several times."""
    lines = units.lines
    return ((lines[0], units),) if len(lines) == 1 else tuple([(line, units.on_line(line)) for line in lines])


def goods_of(lines: Sequence[OrderLine]) -> tuple[LineGoods, ...]:
    """What names and finds the goods of these lines."""
    return tuple([_goods(line.line, line.sku, line.name) for line in lines])


@lru_cache(maxsize=8192)
def _goods(line: int, sku: str, name: str) -> LineGoods:
    return LineGoods(line=line, sku=sku, name=name)  # one object for all orders that want the same


def new_order(order_id: str) -> Order:
    """An order nothing was heard of."""
    return Order(order_id=order_id)
