"""What the tower's API answers: rows of the board and pages of orders, made from cards.

Rows, and what is inside them, are written with their defaults (`omit_defaults=False`): hundreds go out at once, so they
become JSON as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import field, to_builtins
from msgspec.structs import asdict

from control_tower import store
from control_tower.domain.card import Card, Parcel, Transfer
from control_tower.domain.place import Problem, StageMark, problems_of, stage_marks
from control_tower.domain.told import said, shown
from control_tower.store import Page
from expedite_events import PersonChanged, Stage, Value
from expedite_messaging import Key


class Row(Value, omit_defaults=False):
    """One order on the board."""

    order_id: str
    revision: int
    channel: str
    customer: str
    country: str
    tags: tuple[str, ...]
    tier: str | None
    score: float
    stage: str
    light: str
    deadline: datetime | None
    promise_by: datetime | None
    received_at: datetime | None
    units: int
    delivered: int
    cancelled: int
    owner: str
    is_open: bool
    marks: tuple[StageMark, ...]
    problem: Problem | None


class RowList(Value):
    now: str
    items: list[Row]
    next: int | None


class Entry(store.Entry):
    """One event on an order's timeline, with its sentence and everything it states."""

    order_id: str
    said: str
    data: dict[str, Any] = field(default_factory=dict)


class OrderPage(Value):
    """Everything about one order: facts, who did what when, every event with its reason (H3)."""

    row: Row
    reasons: tuple[str, ...]
    problems: tuple[Problem, ...]
    parcels: tuple[Parcel, ...]
    transfers: tuple[Transfer, ...]
    total: str
    currency: str
    timeline: tuple[Entry, ...]


class Owners:
    """Who owns which stage where, worked out once for many rows."""

    def __init__(self, by_id: Mapping[Key, PersonChanged]) -> None:
        people = sorted(by_id.values(), key=lambda p: (bool(p.warehouses), p.person_id))
        self._names = {p.person_id: p.name for p in people}
        active = [p for p in people if p.active]
        self._of_stage = {stage.value: [p for p in active if stage in p.stages] for stage in Stage}
        # Persons of all warehouses come before persons of single ones.
        self._usual: dict[str, str] = {}
        for person in people:
            for stage in person.stages:
                self._usual.setdefault(stage.value, person.name)

    def of(self, card: Card) -> str:
        """Who is on the order now: the hold's owner, else the person of its stage in its warehouse."""
        for hold in card.open_holds:
            if hold.owner:
                return self._names.get(hold.owner, hold.owner)
        if card.ended:
            return ""
        mine = self._of_stage[card.stage]
        places = {p.warehouse_id for p in card.picks.values() if p.warehouse_id}
        return next((p.name for p in mine if places & set(p.warehouses)), mine[0].name if mine else "")

    def by_stage(self, card: Card) -> dict[str, str]:
        """Stage → name of its person, for this card."""
        return self._usual if card.ended else self._usual | {card.stage: self.of(card)}


def row_of(card: Card, owners: Owners) -> Row:
    return Row(
        order_id=card.order_id, revision=card.revision, channel=card.channel, customer=card.customer, country=card.country,
        tags=card.tags, tier=card.tier, score=card.urgency.score if card.urgency else 0.0, stage=card.stage,
        light=card.light.value, deadline=card.deadline, promise_by=card.promise_by,
        received_at=card.received_at or card.first_heard_at, units=len(card.units), delivered=len(card.delivered),
        cancelled=len(card.cancelled), owner=owners.of(card), is_open=card.is_open,
        marks=tuple(stage_marks(card, owners.by_stage(card))), problem=next(problems_of(card), None),
    )  # fmt: skip


def page_of(card: Card, pages: Sequence[Page], owners: Owners) -> OrderPage:
    entries = (_entry(entry, card.order_id) for page in pages for entry in page.entries)
    return OrderPage(
        row=row_of(card, owners), reasons=card.reasons, problems=tuple(problems_of(card)),
        parcels=tuple(card.parcels.values()), transfers=tuple(card.transfers.values()), total=card.total,
        currency=card.currency, timeline=tuple(sorted(entries, key=lambda e: (e.at, e.service, e.sequence))),
    )  # fmt: skip


def _entry(kept: store.Entry, order_id: str) -> Entry:
    sentence = kept.said or said(kept.topic, kept.data)
    return Entry(**asdict(kept) | {"order_id": order_id, "said": sentence, "data": shown(kept.topic, kept.data)})


def dump(row: Row) -> dict[str, Any]:
    written: dict[str, Any] = to_builtins(row)
    return written
