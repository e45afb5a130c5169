"""The state of one order on the floor: its fulfilment orders, transfers, parcels, and what was asked and never forgotten.

Units are in our custody while they are *open* (to be picked), *picked* (in a tote) or *awaiting put-back* (picked, then
cancelled). They end packed, short or cancelled, each exactly once per fulfilment order.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from expedite_events import NO_UNITS, LineGoods, OrderBrief, Settled, Stage, Units, Urgency, Value


class Ask(Value):
    """A cancel request, remembered for ever. A standing one holds again whenever its units come back."""

    request_id: str
    units: Units
    standing: bool


class Hold(Value):
    """Why work on the order must wait, and who can end that."""

    hold_id: str
    kind: str
    owner: str


class Note(NamedTuple):
    """One line of the trace: who did what when, and to how many units (E6). Stored as an array: an order has several."""

    container_id: str  # fulfilment order or transfer
    at: datetime
    by: str
    did: str
    quantity: int = 0
    detail: str = ""


class Page(Value):
    """A full page of an order's trace. What was noted since the last full page is in the order itself."""

    order_id: str
    number: str  # counted per order, zero-padded so that text sorts as numbers do
    notes: tuple[Note, ...]


class PutBack(Value):
    """Picked units that were cancelled: they are answered when somebody says they are on the shelf again."""

    put_back_id: str
    units: Units
    asked_at: datetime
    confirmed_by: str | None = None
    confirmed_at: datetime | None = None


class ShortReport(Value):
    """One report of an empty shelf. Its units went back to inventory."""

    units: Units
    reason: str
    by: str
    at: datetime


class FulfilmentOrder(Value):
    """Units of one order to pick in one warehouse."""

    fulfilment_order_id: str
    warehouse_id: str
    units: Units
    goods: tuple[LineGoods, ...]
    settled: tuple[Settled, ...] = ()  # requests answered elsewhere before these units came
    picked: Units = NO_UNITS
    packed: Units = NO_UNITS
    short: Units = NO_UNITS
    cancelled: Units = NO_UNITS
    to_put_back: Units = NO_UNITS
    put_backs: tuple[PutBack, ...] = ()
    shorts: tuple[ShortReport, ...] = ()
    seen: tuple[str, ...] = ()  # ids of scans and reports already counted
    claimed_by: str | None = None
    arrived_at: datetime
    cut_off: datetime | None = None  # the carrier's next one when the work arrived

    @property
    def open(self) -> Units:
        """Units nobody has picked yet."""
        return self.units - self.picked - self.packed - self.short - self.cancelled - self.to_put_back

    @property
    def untouched(self) -> bool:
        """Whether nothing has happened to its units yet: all are open."""
        return not (self.picked or self.packed or self.short or self.cancelled or self.to_put_back)

    @property
    def in_custody(self) -> Units:
        """Units this service answers for."""
        return self.units - self.packed - self.short - self.cancelled

    def settled_by(self, request_id: str) -> Units:
        """Units for which this request was already answered elsewhere."""
        return Units.union(s.units for s in self.settled if s.request_id == request_id)

    def settled_for(self, units: Units) -> tuple[Settled, ...]:
        """The settled requests that travel on with these units."""
        if not self.settled:
            return ()
        kept = (Settled(request_id=s.request_id, units=s.units & units) for s in self.settled)
        return tuple(s for s in kept if s.units)

    def goods_of(self, units: Units) -> tuple[LineGoods, ...]:
        if units == self.units:
            return self.goods
        lines = units.lines
        return tuple(g for g in self.goods if g.line in lines)


class Parcel(Value):
    """What stands on the dock under one number. Shipping answers for its units."""

    parcel_id: str
    fulfilment_order_id: str
    units: Units
    box: str
    weight_g: int
    valuable: bool
    packed_by: str
    packed_at: datetime
    scan_id: str | None = None  # the first scan of the bulk confirmation that packed it: how its repetition is known


class Transfer(Value):
    """Pegged units on their way between two warehouses. Inventory keeps custody of them."""

    transfer_id: str
    from_warehouse_id: str
    to_warehouse_id: str
    units: Units
    goods: tuple[LineGoods, ...]
    requested_at: datetime
    sent: Units | None = None
    sent_by: str = ""
    sent_at: datetime | None = None
    arrived: Units | None = None
    arrived_by: str = ""
    arrived_at: datetime | None = None

    @property
    def status(self) -> str:
        """requested, dispatched or received. A transfer whose shelf was empty ends with its dispatch."""
        if self.sent is None:
            return "requested"
        return "dispatched" if self.arrived is None and self.sent else "received"


class Order(Value):
    """Everything the floor knows about one order."""

    order_id: str
    order_version: int = 0
    brief: OrderBrief | None = None
    urgency: Urgency | None = None
    waved: int = 1  # the highest revision whose PriorityAssigned was heard
    asks: tuple[Ask, ...] = ()
    holds: tuple[Hold, ...] = ()
    released: tuple[str, ...] = ()  # tombstones: a hold that comes after its release never opens
    fulfilment_orders: tuple[FulfilmentOrder, ...] = ()  # in order of arrival: the last one with a unit has its truth
    transfers: tuple[Transfer, ...] = ()
    parcels: tuple[Parcel, ...] = ()
    ended: str | None = None  # cancelled, closed
    pages: int = 0  # how many full pages of the trace were put away
    notes: tuple[Note, ...] = ()  # the page of the trace that is being written

    @property
    def held(self) -> bool:
        """Whether new work must wait. An ended order waits for nobody."""
        return bool(self.holds) and self.ended is None

    @property
    def express(self) -> bool:
        return self.urgency is not None and self.urgency.express

    def fulfilment_order(self, fulfilment_order_id: str) -> FulfilmentOrder | None:
        for work in self.fulfilment_orders:
            if work.fulfilment_order_id == fulfilment_order_id:
                return work
        return None

    def transfer(self, transfer_id: str) -> Transfer | None:
        return next((t for t in self.transfers if t.transfer_id == transfer_id), None)

    def replaced(self, changed: FulfilmentOrder, *notes: Note, parcel: Parcel | None = None) -> Order:
        """This order with one fulfilment order exchanged for its next state, what there is to note about it and the
        parcel that came of it."""
        same = changed.fulfilment_order_id
        works = tuple([changed if f.fulfilment_order_id == same else f for f in self.fulfilment_orders])
        parcels = self.parcels if parcel is None else (*self.parcels, parcel)
        return self.put(fulfilment_orders=works, notes=(*self.notes, *notes), parcels=parcels)

    def moved(self, changed: Transfer) -> Order:
        """This order with one transfer exchanged for its next state."""
        return self.put(transfers=tuple(changed if t.transfer_id == changed.transfer_id else t for t in self.transfers))

    def news(self, urgency: Urgency, version: int = 0, brief: OrderBrief | None = None) -> dict[str, Any]:
        """What is new of this: the highest revision of the urgency and the highest version of the content win, whichever
        event brings them."""
        news: dict[str, Any] = {}
        if self.urgency is None or urgency.revision > self.urgency.revision:
            news["urgency"] = urgency
        if version > self.order_version:
            news["order_version"], news["brief"] = version, brief
        return news

    def heard(self, urgency: Urgency) -> Order:
        """This order with its urgency; the very same object when nothing is new."""
        news = self.news(urgency)
        return self.put(**news) if news else self

    def deadline(self, stage: Stage) -> datetime:
        """When a stage must be done: the promise itself when the stage has no deadline of its own."""
        urgency = self.known_urgency
        return urgency.deadlines.get(stage, urgency.promise_by)

    @property
    def known_urgency(self) -> Urgency:
        """The urgency; every event that brings work brings one, so work without it is a bug."""
        if self.urgency is None:
            raise ValueError(f"{self.order_id} has work but no urgency")
        return self.urgency

    def note(self, container_id: str, at: datetime, by: str, did: str, *, quantity: int = 0, detail: str = "") -> Order:
        """One more line of the trace."""
        return self.put(notes=(*self.notes, Note(container_id, at, by, did, quantity, detail)))

    def turned(self) -> tuple[Order, Page]:
        """This order with an empty page of the trace, and the page that was written so far."""
        page = Page(order_id=self.order_id, number=f"{self.pages + 1:08d}", notes=self.notes)
        return self.put(pages=self.pages + 1, notes=()), page


@lru_cache(maxsize=8192)
def pieces(units: Units) -> Mapping[int, int]:
    """How many pieces of each line. Small orders look alike, and each is counted several times."""
    return {line: len(units.on_line(line)) for line in units.lines}


class Refused(Exception):
    """What a person asked for cannot be done now. `code` is stable, `detail` says what to do instead, `index` names the
    offending entry of a list in the request, `expected` what would have been right."""

    def __init__(self, code: str, detail: str, *, index: int | None = None, expected: str | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.index, self.expected = code, detail, index, expected
