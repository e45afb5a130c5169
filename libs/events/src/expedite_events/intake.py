"""Events that order-intake owns: an order enters, waits, is asked to be cancelled, ends."""

from __future__ import annotations

from enum import StrEnum

from expedite_events.base import Customer, Moment, Money, OrderBrief, OrderEvent, OrderLine
from expedite_events.units import Units
from expedite_events.value import Value


class HoldKind(StrEnum):
    """Why an order waits (A4, A5)."""

    NEEDS_INFO = "needs_info"  # 待补充
    REVIEW = "review"  # 待审核
    UNPAID = "unpaid"


class Problem(Value):
    """One thing that is missing or wrong: where it is, a stable code and the remedy in words."""

    field: str  # JSON pointer into the order, e.g. /customer/ship_to/postcode
    code: str
    message: str


class HoldSummary(Value):
    """Enough about a held order for the people who see it before OrderReceived exists."""

    channel: str
    placed_at: Moment | None = None
    lines: int = 0
    quantity: int = 0
    total: Money | None = None
    currency: str | None = None
    tags: tuple[str, ...] = ()


class OrderReceived(OrderEvent):
    """A verified order enters the pool."""

    order_version: int = 1
    kind: str = "sale"  # sale, return, exchange
    received_at: Moment
    brief: OrderBrief
    lines: tuple[OrderLine, ...]
    total: Money
    payment_state: str = "paid"  # paid, authorized, unpaid
    urgent_mark: bool = False  # the channel's 24-hour mark: travels express from here
    promise_by: Moment | None = None  # asked by the channel; the prioritizer decides


class OrderHeld(OrderEvent):
    """Work on the order stops until every hold is released. May precede OrderReceived: then it opens the audit clock."""

    hold_id: str
    kind: HoldKind
    problems: tuple[Problem, ...] = ()
    owner: str  # person or team that must act
    held_at: Moment
    due_at: Moment
    received_at: Moment
    summary: HoldSummary
    customer: Customer | None = None


class OrderHoldReleased(OrderEvent):
    """One hold ended; work goes on when it was the last."""

    hold_id: str
    kind: HoldKind
    outcome: str  # completed, approved, rejected, paid, cancelled, withdrawn
    released_by: str
    released_at: Moment


class CancelRequested(OrderEvent):
    """Which units shall not be delivered. The custodian answers each unit. A *standing* request holds again when
    units come back (from a short pick, a lost or a returned parcel)."""

    request_id: str
    units: Units
    standing: bool
    whole_order: bool = False
    reason: str
    requested_by: str
    requested_at: Moment


class OrderCancelled(OrderEvent):
    """Terminal: every unit was cancelled."""

    units: Units
    reason: str
    cancelled_at: Moment
    customer: Customer | None = None


class OrderClosed(OrderEvent):
    """Terminal: every unit is delivered or cancelled, and the customer or the confirm clock confirmed."""

    delivered: Units
    cancelled: Units
    confirmed_by: str  # customer, clock
    closed_at: Moment
    customer: Customer | None = None
