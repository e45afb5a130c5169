"""The tower's read models."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from msgspec import field

from control_tower.domain.card import Card
from expedite_events import PersonChanged, StockLevelChanged, Value
from expedite_messaging import Collection, Column
from expedite_messaging.collection import metadata_naming


class Entry(Value):
    """One event as a page keeps it: who said it, when, on which lane, caused by what. `data` is what the event itself
    states (`domain/told.py`)."""

    event_id: str
    topic: str
    service: str
    lane: str = "standard"
    at: datetime
    sequence: int
    causation_id: str
    correlation_id: str
    trace: str | None = None
    said: str = ""  # on pages that were written with their sentences
    data: Any


class Page(Value):
    """Entries of one order that were heard in one transaction; together an order's pages are its timeline. `event_id` is
    the first entry's."""

    order_id: str
    event_id: str
    entries: tuple[Entry, ...]


class Term(Value):
    """Something an order is found by (`domain/search.py`)."""

    term: str
    order_id: str


class Tally(Value):
    """How many orders stand where, "stage|light" → orders. Transactions count in different slots, so that they do not
    wait for each other; the truth is the sum over all slots."""

    slot: str
    orders: dict[str, int] = field(default_factory=dict)


class Change(Value):
    """The orders whose cards one transaction changed, for the live feed. `at` is real time; `change_id` is the first
    event's."""

    change_id: str
    at: datetime
    orders: tuple[str, ...]


class Snapshot(Value):
    """The newest snapshot of an entity the tower only counts: products, warehouses, carriers, receipts."""

    kind: str
    entity: str
    at: datetime


metadata = sa.MetaData(naming_convention=metadata_naming)
MOMENT = sa.DateTime(timezone=True)

CARDS = Collection(
    "card",
    Card,
    metadata=metadata,
    new=lambda order_id: Card(order_id=order_id),
    columns=(
        Column("stage", sa.Text()),
        Column("light", sa.Text()),
        Column("channel", sa.Text()),
        Column("tier", sa.Text()),
        Column("tier_rank", sa.SmallInteger()),
        Column("deadline", MOMENT),
        Column("promise_by", MOMENT),
        Column("ended", sa.Text()),
        Column("ended_at", MOMENT),
    ),
)
_CARD = CARDS.table.c
# Each index answers one list of the API and holds only the orders of that list. Columns that are only filtered by come
# last: a filter is then answered inside the index, and only rows that are shown are fetched.
for index in (
    sa.Index(
        "ix_card_urgency", _CARD.tier_rank, _CARD.deadline, _CARD.order_id, _CARD.stage, _CARD.light, _CARD.channel,
        postgresql_where=_CARD.ended.is_(None),
    ),
    sa.Index(
        "ix_card_promise", _CARD.promise_by, _CARD.order_id, _CARD.stage, _CARD.light, _CARD.channel,
        postgresql_where=_CARD.ended.is_(None),
    ),
    sa.Index(
        "ix_card_red", _CARD.deadline, _CARD.tier_rank, _CARD.order_id,
        postgresql_where=sa.and_(_CARD.ended.is_(None), _CARD.light == sa.literal_column("'red'")),
    ),
    sa.Index(
        "ix_card_ended", _CARD.ended, _CARD.ended_at, _CARD.order_id, _CARD.channel, _CARD.tier_rank,
        postgresql_where=_CARD.ended.is_not(None),
    ),
):  # fmt: skip
    CARDS.table.append_constraint(index)

PAGES = Collection("page", Page, metadata=metadata, key=("order_id", "event_id"))
TERMS = Collection("term", Term, metadata=metadata, key=("term", "order_id"))
TALLIES = Collection("tally", Tally, metadata=metadata, key=("slot",), new=lambda slot: Tally(slot=slot), lock=True)
CHANGES = Collection(
    "change", Change, metadata=metadata, key=("change_id",), columns=(Column("at", MOMENT, index=True),)
)
PEOPLE = Collection("person", PersonChanged, metadata=metadata, key=("person_id",))
LEVELS = Collection("stock_level", StockLevelChanged, metadata=metadata, key=("sku", "warehouse_id"))
SNAPSHOTS = Collection("snapshot", Snapshot, metadata=metadata, key=("kind", "entity"))

for column in (_CARD.order_id, TERMS.table.c.term):
    column.type = sa.Text(collation="C")  # what begins with a text is a range of this order alone
