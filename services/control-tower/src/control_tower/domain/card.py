"""The board's card of one order: facts from events.

Topics have no common order, so the card keeps *facts*, each set by the one event that knows it; stage, light, deadline
and problems follow from all of them (`place.py`). The same events in any order give the same card.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import field

from expedite_events import NO_UNITS, Stage, Tier, Units, Urgency, Value


class Light(StrEnum):
    """The board's colours; never shown by colour alone (H1)."""

    GREEN = "green"  # done
    YELLOW = "yellow"  # in progress
    RED = "red"  # exception: somebody must act


RANKS = {tier.value: tier.rank for tier in Tier}


class Hold(Value):
    hold_id: str
    kind: str
    owner: str = ""
    since: datetime
    due_at: datetime | None = None
    text: str = ""
    released_at: datetime | None = None
    released_by: str = ""


class Pick(Value):
    """A fulfilment order: what is to be picked, and which of it went back to inventory."""

    fulfilment_order_id: str
    warehouse_id: str = ""
    units: Units = NO_UNITS
    back: Units = NO_UNITS
    at: datetime | None = None


class Parcel(Value):
    parcel_id: str
    warehouse_id: str = ""
    units: Units = NO_UNITS
    packed_at: datetime | None = None
    packed_by: str = ""
    shipped_at: datetime | None = None
    carrier: str = ""
    service: str = ""
    tracking_number: str = ""
    expected_at: datetime | None = None
    status: str = ""
    status_at: datetime | None = None
    delayed: str = ""
    delivered_at: datetime | None = None
    signed_by: str = ""
    gone: str = ""  # lost, returned
    gone_at: datetime | None = None


class Transfer(Value):
    transfer_id: str
    from_warehouse: str = ""
    to_warehouse: str = ""
    units: Units = NO_UNITS
    requested_at: datetime | None = None
    dispatched_at: datetime | None = None
    received_at: datetime | None = None


class Breach(Value):
    subject: str
    stage: Stage
    level: int
    owner: str
    due_at: datetime
    at: datetime


class CancelAsk(Value):
    request_id: str
    units: Units = NO_UNITS
    at: datetime | None = None
    cancelled: Units = NO_UNITS
    refused: Units = NO_UNITS


class Card(Value):
    """All facts about one order."""

    order_id: str
    channel: str = ""
    customer: str = ""
    country: str = ""
    tags: tuple[str, ...] = ()
    total: str = ""
    currency: str = ""
    first_heard_at: datetime | None = None
    received_at: datetime | None = None
    units: Units = NO_UNITS
    urgency: Urgency | None = None
    reasons: tuple[str, ...] = ()
    holds: dict[str, Hold] = field(default_factory=dict)
    picks: dict[str, Pick] = field(default_factory=dict)
    parcels: dict[str, Parcel] = field(default_factory=dict)
    transfers: dict[str, Transfer] = field(default_factory=dict)
    asks: dict[str, CancelAsk] = field(default_factory=dict)
    breaches: dict[str, Breach] = field(default_factory=dict)
    backordered: Units = NO_UNITS
    backorder_estimate: datetime | None = None
    cancelled: Units = NO_UNITS
    ended: str | None = None
    ended_at: datetime | None = None
    revision: int = 0  # counts the transactions that changed the card; 0: nothing is known yet

    # What follows from the facts, as `place.placed` found it: kept, because columns, counts and rows all ask for it.
    stage: str = Stage.AUDIT.value
    light: Light = Light.YELLOW
    deadline: datetime | None = None  # by when the present stage must be done: the next moment that matters

    @property
    def live(self) -> Units:
        """Units that shall reach the customer."""
        return self.units - self.cancelled

    @property
    def delivered(self) -> Units:
        return _all_of([p.units for p in self.parcels.values() if p.delivered_at]) - self.cancelled

    @property
    def packed(self) -> Units:
        """Units in parcels that are not gone."""
        return _all_of([p.units for p in self.parcels.values() if not p.gone]) - self.cancelled

    @property
    def shipped(self) -> Units:
        under_way = [p.units for p in self.parcels.values() if not p.gone and (p.shipped_at or p.delivered_at)]
        return _all_of(under_way) - self.cancelled

    @property
    def reserved(self) -> Units:
        picked = [p.units - p.back for p in self.picks.values()]
        return _all_of([*picked, *(p.units for p in self.parcels.values() if not p.gone)]) - self.cancelled

    @property
    def open_holds(self) -> list[Hold]:
        return [h for h in self.holds.values() if h.released_at is None] if self.holds else []

    @property
    def promise_by(self) -> datetime | None:
        return self.urgency.promise_by if self.urgency else None

    @property
    def tier(self) -> str | None:
        return self.urgency.tier.value if self.urgency else None

    @property
    def tier_rank(self) -> int:
        return RANKS[self.urgency.tier.value] if self.urgency else RANKS[Tier.REGULAR.value]

    @property
    def is_open(self) -> bool:
        return self.ended is None


def _all_of(many: list[Units]) -> Units:
    """The union; most orders have one pick and one parcel."""
    if len(many) < 2:
        return many[0] if many else NO_UNITS
    return Units.union(many)
