"""What the tower's API answers: rows of the board and pages of orders, made from cards."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from control_tower.domain.card import Card, Parcel, Problem, StageMark, Transfer, stage_marks
from control_tower.store import Entry
from expedite_events import PersonChanged, Stage, Value


class Row(Value):
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


def owners_of(people: list[PersonChanged]) -> dict[str, str]:
    """Stage → name of the person who owns it everywhere; persons of single warehouses come after."""
    owners: dict[str, str] = {}
    for person in sorted(people, key=lambda p: (bool(p.warehouses), p.person_id)):
        for stage in person.stages:
            owners.setdefault(stage.value, person.name)
    return owners


def owner_of(card: Card, people: list[PersonChanged]) -> str:
    """Who is on the order now: the hold's owner, else the person of its stage in its warehouse."""
    names = {p.person_id: p.name for p in people}
    for hold in card.open_holds:
        if hold.owner:
            return names.get(hold.owner, hold.owner)
    if card.ended:
        return ""
    places = {p.warehouse_id for p in card.picks.values() if p.warehouse_id}
    stage = Stage(card.stage)
    mine = [p for p in people if stage in p.stages and p.active]
    local = [p for p in mine if places & set(p.warehouses)]
    return next((p.name for p in [*local, *mine]), "")


def row_of(card: Card, people: list[PersonChanged]) -> Row:
    owners = owners_of(people)
    owner = owner_of(card, people)
    if not card.ended:
        owners[card.stage] = owner
    problems = card.problems
    return Row(
        order_id=card.order_id, revision=card.revision, channel=card.channel, customer=card.customer, country=card.country,
        tags=card.tags, tier=card.tier, score=card.urgency.score if card.urgency else 0.0, stage=card.stage,
        light=card.light.value, deadline=card.deadline, promise_by=card.promise_by,
        received_at=card.received_at or card.first_heard_at, units=len(card.units), delivered=len(card.delivered),
        cancelled=len(card.cancelled), owner=owner, is_open=card.is_open, marks=tuple(stage_marks(card, owners)),
        problem=problems[0] if problems else None,
    )  # fmt: skip


def page_of(card: Card, entries: list[Entry], people: list[PersonChanged]) -> OrderPage:
    return OrderPage(
        row=row_of(card, people), reasons=card.reasons, problems=tuple(card.problems),
        parcels=tuple(card.parcels.values()), transfers=tuple(card.transfers.values()), total=card.total,
        currency=card.currency, timeline=tuple(sorted(entries, key=lambda e: (e.at, e.service, e.sequence))),
    )  # fmt: skip


def dump(value: Value) -> dict[str, Any]:
    return value.model_dump(mode="json")
