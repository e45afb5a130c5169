"""Events that the control tower owns: one row per order for BI."""

from __future__ import annotations

from expedite_events.base import Moment, OrderEvent


class OrderState(OrderEvent):
    """Where an order is now (compacted by order id, coalesced; no personal data)."""

    channel: str
    tier: str | None = None
    stage: str  # held, audit, stock_lock, prepare, ship, track, confirm, closed, cancelled
    light: str  # green, yellow, red
    units: int = 0
    delivered: int = 0
    cancelled: int = 0
    promise_by: Moment | None = None
    received_at: Moment | None = None
    revision: int
    at: Moment
