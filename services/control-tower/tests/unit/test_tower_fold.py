"""A card is the same in whatever order its facts are heard: no fact is undone by an older one (H1, B2, C3, I8)."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from msgspec.structs import replace
from tower_kit import UNITS, Story, at, urgency

from control_tower.domain.card import Card
from control_tower.domain.fold import fold
from control_tower.domain.place import stage_of
from expedite_events import (
    Event,
    OrderHeld,
    OrderHoldReleased,
    PriorityAssigned,
    Reason,
    SLABreached,
    Stage,
    Tier,
    TrackingStatus,
)
from expedite_events.intake import HoldKind, HoldSummary, Problem

ORDER = "20261123-EC-000001"
STORY = Story(ORDER)


def breached(level: int, owner: str) -> Event:
    return SLABreached(
        order_id=ORDER, subject=ORDER, stage=Stage.STOCK_LOCK, level=level, owner=owner, due_at=at(60),
        breached_at=at(61 + level), tier="regular",
    )  # fmt: skip


def assigned(revision: int, tier: Tier, why: str) -> Event:
    return PriorityAssigned(
        order_id=ORDER, brief=STORY.brief, lines=STORY.lines, urgency=urgency(tier, revision), assigned_at=at(revision),
        reasons=(Reason(rule=why, points=0, text=why),),
    )  # fmt: skip


HELD = OrderHeld(
    order_id=ORDER, hold_id=f"{ORDER}-H1", kind=HoldKind.REVIEW, owner="ann", held_at=at(0), due_at=at(45),
    received_at=at(0), summary=HoldSummary(channel="web"), customer=STORY.customer,
    problems=(Problem(field="/lines", code="big", message="unusually big"),),
)  # fmt: skip
RELEASED = OrderHoldReleased(
    order_id=ORDER,
    hold_id=HELD.hold_id,
    kind=HoldKind.REVIEW,
    outcome="approved",
    released_by="ann",
    released_at=at(10),
)


def folded(events: list[Event]) -> Card:
    card = Card(order_id=ORDER)
    for event in events:
        card = fold(event, card)
    return card


def test_the_highest_level_of_a_breach_stands() -> None:
    """C3: whoever heard of it last is who must act."""
    for events in permutations([breached(0, "piet"), breached(1, "lead"), breached(2, "boss")]):
        (breach,) = folded(list(events)).breaches.values()
        assert (breach.level, breach.owner) == (2, "boss")


def test_a_hold_that_is_over_stays_over() -> None:
    for events in permutations([HELD, RELEASED]):
        (hold,) = folded(list(events)).holds.values()
        assert (hold.released_at, hold.released_by, hold.owner) == (at(10), "ann", "ann")


def test_the_newest_urgency_stands() -> None:
    """B2: by its revision, not by when it was heard."""
    several = [
        assigned(1, Tier.REGULAR, "none"),
        assigned(2, Tier.URGENT, "raised"),
        assigned(3, Tier.HIGH, "lowered"),
    ]
    for events in permutations(several):
        card = folded(list(events))
        assert card.urgency is not None
        assert (card.urgency.revision, card.urgency.tier, card.reasons) == (3, Tier.HIGH, ("lowered",))


def test_an_order_is_where_the_last_of_its_units_is() -> None:
    """H1: a stage is done when it is done for every unit; what was packed, sent or brought in part is still to do."""
    one, rest = UNITS.first_n(1), UNITS - UNITS.first_n(1)

    def parcels(event: Event) -> list[Event]:
        return [replace(event, parcel_id=f"{ORDER}-P{n}", units=units) for n, units in ((1, one), (2, rest))]

    heard = [STORY.received(), STORY.assigned()]
    for stage, events in (
        ("stock_lock", [replace(STORY.reserved(), units=one), STORY.reserved()]),
        ("prepare", parcels(STORY.packed())), ("ship", parcels(STORY.shipped())), ("track", parcels(STORY.delivered())),
    ):  # fmt: skip
        for event in events:
            assert stage_of(folded(heard)) == stage
            heard.append(event)
    assert stage_of(folded(heard)) == "confirm"


@pytest.mark.parametrize("seed", range(50))
def test_a_troubled_order_has_one_card_in_any_order(seed: int) -> None:
    """H1: holds, raises, breaches and scans as they may come from different topics and lanes."""
    events: list[Event] = [
        HELD, RELEASED, STORY.received(), assigned(1, Tier.REGULAR, "none"), assigned(2, Tier.URGENT, "raised"),
        breached(0, "piet"), breached(1, "lead"), STORY.reserved(), STORY.packed(), STORY.shipped(),
        STORY.tracked(TrackingStatus.IN_TRANSIT, 90), STORY.tracked(TrackingStatus.OUT_FOR_DELIVERY, 120),
        STORY.delivered(), STORY.closed(),
    ]  # fmt: skip
    shuffled = events.copy()
    random.Random(seed).shuffle(shuffled)
    assert folded(shuffled) == folded(events)
