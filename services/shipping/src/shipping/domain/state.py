"""What shipping remembers of an order: its parcels, what was asked about its units, and why its work may have to wait.

Every unit of a parcel is in exactly one of three sets: `packed` (it will go, or went, with the parcel), waiting (a
cancel holds it on the dock until somebody confirms the put-back) and `put_back` (cancelled, on the shelf again).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from expedite_events import (
    NO_UNITS,
    LineGoods,
    OrderBrief,
    Settled,
    Stage,
    TrackingStatus,
    Units,
    Urgency,
    Value,
)
from expedite_events.base import Address, Moment


def order_of(parcel_id: str) -> str:
    """The order a parcel belongs to: fulfillment numbers the parcels of an order `<order>-P<n>`. Empty for other text."""
    return parcel_id.rpartition("-P")[0]


class Station(StrEnum):
    """Where a parcel is: on our dock, with the carrier, or at the end of its way."""

    DOCK = "dock"
    HANDED = "handed"
    ENDED = "ended"


class End(StrEnum):
    """How a parcel ended."""

    DELIVERED = "delivered"
    LOST = "lost"
    RETURNED = "returned"
    CANCELLED = "cancelled"


class LabelState(StrEnum):
    """How far the label is."""

    NONE = "none"
    BUYING = "buying"  # rates are asked for, then the label
    BOUGHT = "bought"
    FAILED = "failed"  # a person sees it, a timer tries again


class Label(Value):
    """A label as bought. `leaves_at` is the truck it was planned for, `expected_at` the promise of the carrier."""

    label_id: str
    carrier_id: str
    base_url: str  # of the carrier that sold it
    service: str
    service_name: str
    tracking_number: str
    tracking_url: str | None = None
    cost: Decimal
    currency: str
    leaves_at: Moment
    expected_at: Moment
    insured: bool = False
    signature: bool = False
    chosen_because: str


class Checkpoint(Value):
    """One thing a carrier said about a parcel. `applied=False`: recorded only, because it came late or repeats."""

    key: str  # hash(carrier, number, status, occurred_at, location)
    status: TrackingStatus
    raw_status: str
    occurred_at: Moment
    location: str | None = None
    message: str | None = None
    applied: bool = True


class Mark(Value):
    """A status and since when."""

    status: TrackingStatus
    at: Moment
    raw: str


class Tracking(Value):
    """The position of a parcel in the tracking lattice: `phase` is the farthest stage reached, `incident` the newest
    trouble reported. Both only ever grow (by rank, then by time), so the order of arrival does not matter (P47)."""

    phase: Mark | None = None
    incident: Mark | None = None
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def shown(self) -> Mark | None:
        """What people see: the incident when it is newer than the phase and the way is not at its end."""
        if self.incident is None or self.phase is None:
            return self.phase or self.incident
        if self.phase.status in (TrackingStatus.DELIVERED, TrackingStatus.RETURN_TO_SENDER):
            return self.phase
        return self.incident if self.incident.at > self.phase.at else self.phase


class Request(Value):
    """A cancel request, remembered for ever."""

    request_id: str
    units: Units
    standing: bool


class Waiting(Value):
    """Units of a parcel on the dock that a request holds back until the put-back is confirmed."""

    request_id: str
    units: Units


class Parcel(Value):
    """One packed box and everything about its way."""

    parcel_id: str
    fulfilment_order_id: str
    warehouse_id: str
    goods: tuple[LineGoods, ...]
    box: str
    weight_g: int
    valuable: bool
    packed_by: str
    packed_at: Moment
    packed: Units
    waiting: tuple[Waiting, ...] = ()
    put_back: Units = NO_UNITS
    settled: tuple[Settled, ...] = ()
    station: Station = Station.DOCK
    end: End | None = None
    label_state: LabelState = LabelState.NONE
    label: Label | None = None
    label_attempt: int = 0
    excluded: tuple[str, ...] = ()  # carriers that refused this parcel
    problem: str | None = None  # what a person should look at
    tracking: Tracking = Tracking()
    expected_at: Moment | None = None
    delays: int = 0
    handed_at: Moment | None = None
    handed_by: str | None = None
    ended_at: Moment | None = None
    cause: str | None = None
    signed_by: str | None = None

    @property
    def held_back(self) -> Units:
        """Units that wait for a confirmed put-back."""
        return Units.union(w.units for w in self.waiting)

    @property
    def all_units(self) -> Units:
        """Every unit that was ever in the parcel."""
        return self.packed | self.held_back | self.put_back

    @property
    def travels(self) -> bool:
        """It is with the carrier."""
        return self.station is Station.HANDED

    def settled_of(self, request_id: str) -> Units:
        """Units for which this request was already refused, here or upstream."""
        return Units.union(s.units for s in self.settled if s.request_id == request_id)

    def settled_in(self, units: Units) -> tuple[Settled, ...]:
        """What travels with these units: every refusal that concerns them."""
        cut = (Settled(request_id=s.request_id, units=s.units & units) for s in self.settled)
        return tuple(s for s in cut if s.units)


class Breach(Value):
    """A stage of this order that is over its deadline, as the prioritizer told us."""

    subject: str
    stage: Stage
    level: int
    owner: str
    due_at: Moment
    at: Moment


def kept(urgency: Urgency) -> Urgency:
    """What shipping remembers of an urgency: of the deadlines its own."""
    mine = urgency.deadlines.get(Stage.SHIP)
    return urgency.put(deadlines={Stage.SHIP: mine} if mine else {})


class OrderLeg(Value):
    """All that shipping knows about one order. Blank until the first word about it, which may be a cancel or a hold."""

    order_id: str
    brief: OrderBrief | None = None  # known with the first parcel
    urgency: Urgency | None = None
    parcels: tuple[Parcel, ...] = ()
    requests: tuple[Request, ...] = ()
    holds: tuple[str, ...] = ()  # open hold ids
    released: tuple[str, ...] = ()  # hold ids that are over, also those whose release came first
    breaches: tuple[Breach, ...] = ()
    over: str | None = None  # "cancelled" or "closed": nothing starts any more

    @property
    def held(self) -> bool:
        """Work waits for a release."""
        return bool(self.holds)

    @property
    def express(self) -> bool:
        """Its events travel on the express lane."""
        return self.urgency is not None and self.urgency.express

    def parcel(self, parcel_id: str) -> Parcel | None:
        for parcel in self.parcels:
            if parcel.parcel_id == parcel_id:
                return parcel
        return None

    def with_parcel(self, parcel: Parcel) -> OrderLeg:
        """The order with this parcel added, or replaced in its place."""
        if len(self.parcels) == 1 and self.parcels[0].parcel_id == parcel.parcel_id:  # most orders have one
            return self.put(parcels=(parcel,))
        if self.parcel(parcel.parcel_id) is None:
            return self.put(parcels=(*self.parcels, parcel))
        swapped = tuple(parcel if p.parcel_id == parcel.parcel_id else p for p in self.parcels)
        return self.put(parcels=swapped)

    def address(self) -> Address:
        """Where its parcels go; the brief must be known."""
        return self.brief_known().customer.ship_to

    def brief_known(self) -> OrderBrief:
        """The order's brief; a parcel always brings one, so its absence is a bug."""
        if self.brief is None:
            raise LookupError(f"{self.order_id} has no parcel yet")
        return self.brief

    def urgency_known(self) -> Urgency:
        """The order's urgency; a parcel always brings one, so its absence is a bug."""
        if self.urgency is None:
            raise LookupError(f"{self.order_id} has no urgency yet")
        return self.urgency

    def deadline(self) -> datetime:
        """By when its parcels must be with the carrier; the promise when the ship stage has no deadline."""
        urgency = self.urgency_known()
        return urgency.deadlines.get(Stage.SHIP, urgency.promise_by)
