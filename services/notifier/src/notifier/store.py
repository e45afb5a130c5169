"""The notifier's collections."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import Field

from expedite_events import PersonChanged, Value
from expedite_messaging import Collection, Column
from expedite_messaging.collection import metadata_naming
from notifier.domain.order import OrderView


class Message(Value):
    """One message: decided once, sent once, kept as proof of what was said."""

    message_id: str
    order_id: str
    kind: str
    occasion: str
    audience: str
    language: str
    to: str
    status: str = "queued"  # queued, sent, failed
    decided_at: datetime
    sent_at: datetime | None = None
    attempts: int = 0
    error: str | None = None
    content: dict[str, Any] = Field(default_factory=dict)


metadata = sa.MetaData(naming_convention=metadata_naming)

ORDERS = Collection("order_view", OrderView, metadata=metadata, new=lambda order_id: OrderView(order_id=order_id))
PEOPLE = Collection("person", PersonChanged, metadata=metadata, key=("person_id",))
MESSAGES = Collection(
    "message",
    Message,
    metadata=metadata,
    key=("message_id",),
    columns=(
        Column("order_id", sa.Text(), index=True),
        Column("kind", sa.Text()),
        Column("status", sa.Text(), index=True),
        Column("decided_at", sa.DateTime(timezone=True), index=True),
    ),
)
