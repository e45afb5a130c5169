"""What the customer's status page says about an order, as plain facts (G3)."""

from __future__ import annotations

from datetime import datetime

from expedite_events import Value
from notifier.domain.order import HoldView, OrderView, ParcelView


class Step(Value):
    """One step of the way. `state` is done, now, todo or problem."""

    name: str
    state: str
    at: datetime | None = None


class StatusPage(Value):
    """Everything the page shows."""

    order_id: str
    steps: tuple[Step, ...]
    promise_by: datetime | None
    open_holds: tuple[HoldView, ...]
    parcels: tuple[ParcelView, ...]
    items: tuple[tuple[str, int], ...]
    cancelled: int
    waiting: int  # backordered pieces not yet on their way
    backorder_estimate: datetime | None
    ended: str | None
    ended_at: datetime | None
    can_confirm: bool


def status_page(order: OrderView) -> StatusPage:
    """The page of an order; every fact comes from an event, nothing is guessed."""
    delivered = [p for p in order.parcels if p.delivered_at]
    shipped = [p for p in order.parcels if p.shipped_at]
    live = sum(quantity for _, quantity in order.items) - len(order.cancelled)
    arrived = 0 < live <= sum(len(p.units) for p in delivered)
    open_holds = tuple(h for h in order.holds if not h.released)
    reached = [
        ("received", order.received_at is not None or bool(order.holds), order.received_at),
        ("checked", order.received_at is not None and not open_holds, order.received_at),
        ("reserved", bool(order.reserved), None),
        ("shipped", bool(shipped), min((p.shipped_at for p in shipped if p.shipped_at), default=None)),
        ("delivered", arrived, max((p.delivered_at for p in delivered if p.delivered_at), default=None)),
    ]
    steps, now_given = [], order.ended == "cancelled"
    for name, done, at in reached:
        if done:
            steps.append(Step(name=name, state="done", at=at))
        elif now_given:
            steps.append(Step(name=name, state="todo"))
        else:
            steps.append(Step(name=name, state="problem" if open_holds else "now"))
            now_given = True
    return StatusPage(
        order_id=order.order_id,
        steps=tuple(steps),
        promise_by=order.promise_by,
        open_holds=open_holds,
        parcels=order.parcels,
        items=order.items,
        cancelled=len(order.cancelled),
        waiting=len(order.backordered - order.reserved - order.cancelled),
        backorder_estimate=order.backorder_estimate,
        ended=order.ended,
        ended_at=order.ended_at,
        can_confirm=arrived and order.ended is None,
    )
