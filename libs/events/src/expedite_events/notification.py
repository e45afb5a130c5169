"""Events that the notifier owns."""

from __future__ import annotations

from expedite_events.base import Moment, OrderEvent


class CustomerNotified(OrderEvent):
    """A message left for its recipient. Carries no personal data."""

    message_id: str
    kind: str  # receipt, needs_info, order_confirmation, backorder, shipped, delayed, delivered, cancelled, closed, breach
    occasion: str  # the order, parcel, delay or hold it is about
    audience: str = "customer"  # customer, staff
    channel: str = "email"
    language: str
    sent_at: Moment
