"""What the notifier knows of an order: whom to tell, in which language, what was told, and what the status page shows."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

from msgspec import field
from msgspec.structs import replace

from expedite_events import NO_UNITS, Customer, Problem, Units, Urgency, Value


@lru_cache(maxsize=1024)
def spoken(language: str) -> str:
    """The language a message is written in: the wanted one, or English when there is no template for it."""
    return "zh" if language.lower().startswith("zh") else "en"


class Recipient(Value):
    """What telling a customer takes, and nothing more of them (I5). `draft`: known from an order that was still held, whose
    customer may yet be completed."""

    name: str
    email: str | None = None
    language: str = "en"
    draft: bool = False


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
    units: Units = NO_UNITS  # that arrived


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
    facts: dict[str, Any] = field(default_factory=dict)


class OrderView(Value):
    """One order, keyed by its id."""

    order_id: str
    customer: Recipient | None = None
    received_at: datetime | None = None
    items: tuple[tuple[str, int], ...] = ()  # name, quantity
    promise_by: datetime | None = None
    revision: int = 0  # of the urgency the promise is from
    reserved: Units = NO_UNITS
    backordered: Units = NO_UNITS
    backorder_estimate: datetime | None = None
    cancelled: Units = NO_UNITS
    parcels: tuple[ParcelView, ...] = ()
    holds: tuple[HoldView, ...] = ()
    ended: str | None = None  # cancelled, closed
    ended_at: datetime | None = None
    told: tuple[str, ...] = ()  # ids of messages without the order's, in the order they were decided
    waiting: tuple[Draft, ...] = ()

    @property
    def language(self) -> str:
        """The language to speak to the customer in."""
        return spoken(self.customer.language) if self.customer else "en"

    @property
    def settled(self) -> bool:
        """Whether it is known whom to tell, or that there is no address: a draft without one may yet be completed."""
        return self.customer is not None and (bool(self.customer.email) or not self.customer.draft)

    def knowing(
        self, customer: Customer | None, *, draft: bool = False, urgency: Urgency | None = None, **facts: Any
    ) -> OrderView:
        """Remember what an event says. Whom to tell: the customer of the order as it was announced or ended, which is the
        same in every event; until one of those comes, the draft of the latest hold. The promise: that of the highest
        revision, whichever event brings it."""
        if customer is not None and (self.customer is None or self.customer.draft):
            facts["customer"] = Recipient(
                name=customer.name, email=customer.email, language=customer.language, draft=draft
            )
        if urgency is not None and urgency.revision > self.revision:
            facts["promise_by"], facts["revision"] = urgency.promise_by, urgency.revision
        return replace(self, **facts) if facts else self

    def parcel(self, parcel_id: str) -> ParcelView:
        for parcel in self.parcels:
            if parcel.parcel_id == parcel_id:
                return parcel
        return ParcelView(parcel_id=parcel_id)

    def parcels_with(self, changed: ParcelView) -> tuple[ParcelView, ...]:
        """The order's parcels, one of them as it is known now."""
        if not self.parcels:
            return (changed,)
        others = [p for p in self.parcels if p.parcel_id != changed.parcel_id]
        return tuple(sorted([*others, changed], key=lambda p: p.parcel_id))

    def with_hold(self, hold: HoldView) -> OrderView:
        others = tuple(h for h in self.holds if h.hold_id != hold.hold_id)
        return self.put(holds=(*others, hold))
