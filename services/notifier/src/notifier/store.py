"""The notifier's collections."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from msgspec import field

from expedite_events import PersonChanged, Value
from expedite_messaging import Collection, Column
from expedite_messaging.collection import metadata_naming
from notifier.domain.order import OrderView


class Message(Value):
    """One message: decided once, sent once, kept as proof of what was said to whom. While it waits its facts are its effect's,
    afterwards they are here; the goods a receipt names are the order's, which keeps them."""

    message_id: str
    order_id: str
    kind: str
    occasion: str
    audience: str = "customer"
    language: str = "en"
    to: str
    facts: dict[str, str] = field(default_factory=dict)
    status: str = "queued"  # queued, sent, failed
    decided_at: datetime
    sent_at: datetime | None = None
    attempts: int = 0
    error: str | None = None


metadata = sa.MetaData(naming_convention=metadata_naming)

ORDERS = Collection("order_view", OrderView, metadata=metadata, new=lambda order_id: OrderView(order_id=order_id))
PEOPLE = Collection("person", PersonChanged, metadata=metadata, key=("person_id",))
MESSAGES = Collection(
    "message",
    Message,
    metadata=metadata,
    key=("message_id",),
    columns=(Column("status", sa.Text()), Column("decided_at", sa.DateTime(timezone=True), index=True)),
    # What is not sent is little and is asked for: those that wait, those that were refused. Two indexes, because each message
    # is in one of them at most, and comparing moments alone is cheaper than texts before them.
    constraints=[
        sa.Index(f"ix_message_{status}", "decided_at", postgresql_where=sa.text(f"status = '{status}'"))
        for status in ("queued", "failed")
    ],
)
# An id begins with its order's: compared by code points, the key finds the messages of an order, and no index is needed.
MESSAGES.table.c.message_id.type = sa.Text(collation="C")


def of_order(order_id: str) -> dict[str, str]:
    """Where the messages of an order are."""
    return {"message_id__gte": f"{order_id}.", "message_id__lt": f"{order_id}/"}
