"""The queue of orders that wait for a SKU, in urgency order (D5). Derived from the order, one row per (order, SKU)."""

from __future__ import annotations

from datetime import datetime

from expedite_events import Value
from inventory.domain.order import Order, Status
from inventory.domain.world import Waiting


class Backorder(Value):
    """How much of a SKU an order waits for and where it stands in the queue."""

    order_id: str
    sku: str
    quantity: int
    warehouse_id: str | None = None  # the nearest one, which counts the demand
    tier_rank: int
    score_rank: float  # the negated score: ascending is more urgent first
    promise_by: datetime
    since: datetime
    estimated_at: datetime | None = None

    @property
    def open(self) -> bool:
        return self.quantity > 0

    @property
    def rank(self) -> tuple[int, float, datetime]:
        return (self.tier_rank, self.score_rank, self.promise_by)

    @property
    def waiting(self) -> Waiting:
        return Waiting(self.order_id, self.rank, self.quantity)


def queue_rows(before: Order, after: Order) -> tuple[Backorder, ...]:
    """The rows that a change of the order changes: quantities, and ranks when the urgency changed."""
    was, content = before.content, after.content
    if content is None or after.backordered_since is None:
        return ()
    if was is content and before.segments is after.segments:
        return ()
    old, new = _quantities(before), _quantities(after)
    reranked = was is None or was.urgency != content.urgency
    tier_rank, score_rank, promise_by = content.urgency.sort_key
    return tuple(
        Backorder(
            order_id=after.order_id,
            sku=sku,
            quantity=new.get(sku, (0, None))[0],
            warehouse_id=new.get(sku, (0, None))[1],
            tier_rank=tier_rank,
            score_rank=score_rank,
            promise_by=promise_by,
            since=after.backordered_since,
            estimated_at=after.backorder_estimate,
        )
        for sku in sorted(old.keys() | new.keys())
        if reranked or old.get(sku) != new.get(sku)
    )


def _quantities(order: Order) -> dict[str, tuple[int, str | None]]:
    out: dict[str, tuple[int, str | None]] = {}
    for segment in order.segments:
        if segment.status is Status.BACKORDERED:
            for sku, units in order.by_sku(segment.units).items():
                out[sku] = (out.get(sku, (0, None))[0] + len(units), segment.warehouse_id)
    return out
