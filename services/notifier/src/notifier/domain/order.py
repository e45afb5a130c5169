"""What the notifier knows of an order: whom to tell, in which language, what was told, and what the status page shows."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from expedite_events import NO_UNITS, Customer, Problem, Units, Value


class ParcelView(Value):
    """A parcel as the customer sees it. Each field is set by the one event that knows it, so order does not matter."""

    parcel_id: str
    carrier: str | None = None
    service: str | None = None
    tracking_number: str | None = None
    tracking_url: str | None = None
    shipped_at: datetime | None = None
    expected_at: datetime | None = None
    delayed_because: str | None = None
    delivered_at: datetime | None = None
    lost: bool = False
    returned: bool = False
    units: Units = NO_UNITS


class HoldView(Value):
    """An open question about the order."""

    hold_id: str
    kind: str
    problems: tuple[Problem, ...] = ()
    due_at: datetime
    released: bool = False


class Draft(Value):
    """A message that is due but has no recipient yet: the event that names the customer has not arrived."""

    kind: str
    occasion: str
    facts: dict[str, str] = Field(default_factory=dict)


class OrderView(Value):
    """One order, keyed by its id."""

    order_id: str
    customer: Customer | None = None
    channel: str | None = None
    received_at: datetime | None = None
    items: tuple[tuple[str, int], ...] = ()  # name, quantity
    units: Units = NO_UNITS
    promise_by: datetime | None = None
    revision: int = 0
    reserved: Units = NO_UNITS
    backordered: Units = NO_UNITS
    backorder_estimate: datetime | None = None
    cancelled: Units = NO_UNITS
    parcels: tuple[ParcelView, ...] = ()
    holds: tuple[HoldView, ...] = ()
    ended: str | None = None  # cancelled, closed
    ended_at: datetime | None = None
    told: tuple[str, ...] = ()  # message ids, in the order they were decided
    waiting: tuple[Draft, ...] = ()

    @property
    def language(self) -> str:
        """The customer's language, or English when there is no template for it."""
        wanted = (self.customer.language if self.customer else "en").lower()
        return "zh" if wanted.startswith("zh") else "en"

    def parcel(self, parcel_id: str) -> ParcelView:
        return next((p for p in self.parcels if p.parcel_id == parcel_id), ParcelView(parcel_id=parcel_id))

    def with_parcel(self, parcel: ParcelView) -> OrderView:
        others = tuple(p for p in self.parcels if p.parcel_id != parcel.parcel_id)
        ordered = tuple(sorted((*others, parcel), key=lambda p: p.parcel_id))
        return self.model_copy(update={"parcels": ordered})

    def with_hold(self, hold: HoldView) -> OrderView:
        others = tuple(h for h in self.holds if h.hold_id != hold.hold_id)
        return self.model_copy(update={"holds": (*others, hold)})
