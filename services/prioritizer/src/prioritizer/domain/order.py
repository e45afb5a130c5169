"""What the prioritizer knows about one order.

Its file holds the facts that events taught (`facts.py`), who was told of what, and when its timer rings. It is read and
written with every event, so it is small: what was ordered and why it is urgent stands in `priority.py`. Clocks are not
stored: they are derived from all facts together (`clocks.py`). Units are compared as sets, so a split order, a short pick
or a lost parcel needs no rules of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import field

from expedite_events import (
    NO_UNITS,
    HoldKind,
    Tier,
    TrackingStatus,
    Units,
    Value,
)
from prioritizer.domain.worktime import Interval, merged


class Piece(Value):
    """Units that something happened to at a moment."""

    units: Units
    at: datetime


class Hold(Value):
    """A hold; one of which only the release is known yet has no `held_at` and holds nothing (its tombstone)."""

    kind: HoldKind
    held_at: datetime | None = None
    due_at: datetime | None = None
    owner: str | None = None
    released_at: datetime | None = None

    @property
    def open(self) -> bool:
        return self.held_at is not None and self.released_at is None


class FulfilmentOrder(Value):
    """Units to be picked in one warehouse, and what became of them."""

    warehouse_id: str
    reserved_at: datetime | None = None
    # Units it is known to have had: packed or short ones were reserved, though the announcement may still be on its way.
    locked: Units = NO_UNITS
    waiting: Units = NO_UNITS  # reserved, and neither packed nor short
    short: tuple[Piece, ...] = ()

    @property
    def short_units(self) -> Units:
        return Units.union(piece.units for piece in self.short) if self.short else NO_UNITS


class Parcel(Value):
    """A parcel, from the dock to its end."""

    warehouse_id: str | None = None
    units: Units = NO_UNITS  # as packed; once it left, as shipped
    packed_at: datetime | None = None
    shipped_at: datetime | None = None
    told_at: datetime | None = None  # the customer knows that it left
    delivered: tuple[Piece, ...] = ()
    failed: tuple[Piece, ...] = ()  # lost or returned
    status: TrackingStatus | None = None
    status_at: datetime | None = None

    @property
    def delivered_units(self) -> Units:
        return Units.union(piece.units for piece in self.delivered) if self.delivered else NO_UNITS

    @property
    def failed_units(self) -> Units:
        return Units.union(piece.units for piece in self.failed) if self.failed else NO_UNITS

    @property
    def left(self) -> bool:
        """The carrier has it: handed over, scanned, or already at its end."""
        if self.shipped_at or self.delivered or self.failed:
            return True
        return self.status not in (None, TrackingStatus.PENDING, TrackingStatus.CANCELLED, TrackingStatus.UNKNOWN)


class Transfer(Value):
    """Pegged units on their way between warehouses; `lost` were missing at either end."""

    units: Units = NO_UNITS
    requested_at: datetime | None = None
    received_at: datetime | None = None
    lost: Units = NO_UNITS


class Backorder(Value):
    """Units waiting for receipts, with the date the customer was told."""

    units: Units
    since: datetime
    estimated_at: datetime


class Ask(Value):
    """A cancel request: the clocks do not chase these units any more, unless it was refused and is not standing."""

    units: Units
    standing: bool


class Raise(Value):
    """An order expedited by hand (B4): reversible, may expire."""

    tier: Tier
    reason: str
    by: str
    at: datetime
    expires_at: datetime | None = None


class Told(Value):
    """Who was told that a clock ran over: one person per level, in order."""

    people: tuple[str, ...]
    last_at: datetime
    exhausted: bool = False  # nobody above the last one


class Order(Value):
    """The file of one order. `ended_at` makes it a tombstone: the facts are dropped, later events change nothing."""

    order_id: str
    version: int = 0  # of the content that is known; 0: OrderReceived has not come yet
    received_at: datetime | None = None
    kind: str = "sale"
    country: str | None = None  # where it goes
    units: Units = NO_UNITS  # all that were ordered
    revision: int = 0  # of the urgency last announced
    express: bool = False  # the lane of that urgency
    base_tier: Tier = Tier.REGULAR  # what the rules alone say
    raised: Raise | None = None
    holds: dict[str, Hold] = field(default_factory=dict)
    fulfilments: dict[str, FulfilmentOrder] = field(default_factory=dict)
    parcels: dict[str, Parcel] = field(default_factory=dict)
    transfers: dict[str, Transfer] = field(default_factory=dict)
    backorders: tuple[Backorder, ...] = ()
    short_at: datetime | None = None
    asks: dict[str, Ask] = field(default_factory=dict)
    settled: dict[str, Units] = field(default_factory=dict)  # by request id: units for which it was answered with no
    told: dict[str, Told] = field(default_factory=dict)  # by clock id
    rings_at: datetime | None = None  # the timer that is set
    ended_at: datetime | None = None

    @classmethod
    def unseen(cls, order_id: str) -> Order:
        return cls(order_id=order_id)

    @property
    def tier(self) -> Tier:
        """The tier the clocks run by: the rules' own, or the one it was raised to if that is more urgent."""
        if self.raised and self.raised.tier.rank < self.base_tier.rank:
            return self.raised.tier
        return self.base_tier

    @property
    def held(self) -> bool:
        """Whether any hold is open."""
        return bool(self.holds) and any(hold.open for hold in self.holds.values())

    @property
    def pauses(self) -> tuple[Interval, ...]:
        """The union of the held intervals that are over, by event time."""
        if not self.holds:
            return ()
        return merged([(h.held_at, h.released_at) for h in self.holds.values() if h.held_at and h.released_at])

    @property
    def doomed(self) -> Units:
        """Units that will not be delivered if nobody refuses: asked to be cancelled, and not settled with a no. A
        settled standing request holds again when the units come back, so its refusal does not count."""
        if not self.asks:
            return NO_UNITS
        return Units.union(
            ask.units if ask.standing else ask.units - self.settled.get(request, NO_UNITS)
            for request, ask in self.asks.items()
        )

    def ended(self, at: datetime) -> Order:
        """The tombstone: urgency and who was told stay, everything else is forgotten (I5)."""
        return Order(
            order_id=self.order_id, revision=self.revision, express=self.express, base_tier=self.base_tier,
            raised=self.raised, told=self.told, rings_at=self.rings_at, ended_at=at,
        )  # fmt: skip


def layers(sets: Iterable[Units]) -> list[Units]:
    """How often each unit occurs: the k-th set holds the units that occur more than k times."""
    out: list[Units] = []
    for units in sets:
        carry, depth = units, 0
        while carry:
            if depth == len(out):
                out.append(NO_UNITS)
            out[depth], carry, depth = out[depth] | carry, out[depth] & carry, depth + 1
    return out
