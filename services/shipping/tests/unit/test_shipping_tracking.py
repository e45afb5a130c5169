"""The lattice: a parcel never moves backwards."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from expedite_events import TrackingStatus as S
from shipping.domain.state import Tracking
from shipping.domain.tracking import ENDS, RANK, Update, follow, position

T0 = datetime(2026, 11, 24, tzinfo=UTC)


def said(status: S, hour: int, location: str | None = None, raw: str | None = None) -> Update:
    return Update(
        carrier_id="c", tracking_number="n", status=status, raw_status=raw or status.value,
        occurred_at=T0 + timedelta(hours=hour), location=location,
    )  # fmt: skip


def after(*updates: Update) -> Tracking:
    tracking = Tracking()
    for update in updates:
        tracking = follow(tracking, update)
    return tracking


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ([(S.PENDING, 1)], S.PENDING),
        ([(S.PENDING, 1), (S.PICKED_UP, 2), (S.IN_TRANSIT, 3)], S.IN_TRANSIT),
        ([(S.IN_TRANSIT, 3), (S.PICKED_UP, 2)], S.IN_TRANSIT),
        ([(S.OUT_FOR_DELIVERY, 3), (S.IN_TRANSIT, 4)], S.OUT_FOR_DELIVERY),
        ([(S.DELIVERED, 3), (S.IN_TRANSIT, 4)], S.DELIVERED),
        ([(S.DELIVERED, 3), (S.OUT_FOR_DELIVERY, 2)], S.DELIVERED),
        ([(S.DELIVERED, 3), (S.DELIVERY_FAILED, 4)], S.DELIVERED),
        ([(S.DELIVERED, 3), (S.RETURN_TO_SENDER, 4)], S.RETURN_TO_SENDER),
        ([(S.DELIVERED, 3), (S.RETURN_TO_SENDER, 2)], S.DELIVERED),
        ([(S.RETURN_TO_SENDER, 3), (S.DELIVERED, 4)], S.RETURN_TO_SENDER),
        ([(S.RETURN_TO_SENDER, 3), (S.IN_TRANSIT, 4)], S.RETURN_TO_SENDER),
        ([(S.IN_TRANSIT, 1), (S.DELIVERY_DELAYED, 2)], S.DELIVERY_DELAYED),
        ([(S.IN_TRANSIT, 1), (S.DELIVERY_DELAYED, 2), (S.IN_TRANSIT, 3)], S.IN_TRANSIT),
        ([(S.IN_TRANSIT, 3), (S.DELIVERY_DELAYED, 2)], S.IN_TRANSIT),
        ([(S.OUT_FOR_DELIVERY, 1), (S.DELIVERY_FAILED, 2), (S.OUT_FOR_DELIVERY, 9)], S.OUT_FOR_DELIVERY),
        ([(S.IN_TRANSIT, 1), (S.UNKNOWN, 2)], S.UNKNOWN),
        ([(S.ON_HOLD, 1)], S.ON_HOLD),
    ],
)
def test_where_a_parcel_is_after_what_was_told(told: list[tuple[S, int]], shown: S) -> None:
    """F3: late and out-of-order events do not move a parcel backwards; ends absorb, except delivered → returned."""
    tracking = after(*(said(status, hour) for status, hour in told))
    assert tracking.shown is not None and tracking.shown.status is shown
    assert len(tracking.checkpoints) == len(told)  # late ones are recorded, not lost


def test_a_late_event_is_recorded_as_not_applied() -> None:
    """F3: what came late is visible in the history."""
    tracking = after(said(S.DELIVERED, 3), said(S.IN_TRANSIT, 1))
    assert [c.applied for c in tracking.checkpoints] == [True, False]


def test_the_same_message_twice_is_one_checkpoint() -> None:
    """F3: duplicates change nothing, not even the history; another place is another message."""
    once = after(said(S.IN_TRANSIT, 1, "Leeds"))
    assert follow(once, said(S.IN_TRANSIT, 1, "Leeds")) is once
    assert len(follow(once, said(S.IN_TRANSIT, 1, "York")).checkpoints) == 2


updates = st.builds(said, st.sampled_from(list(S)), st.integers(0, 12), st.sampled_from([None, "Leeds"]))


@for_all(st.lists(updates, max_size=14))
def test_no_message_ever_moves_a_parcel_backwards(told: list[Update]) -> None:
    """F3: after every message the phase is the same or farther; an end is left only by a return of the delivered."""
    tracking = Tracking()
    for update in told:
        before, tracking = tracking.phase, follow(tracking, update)
        if before is not None:
            assert tracking.phase is not None
            assert position(tracking.phase) >= position(before)
            if before.status in ENDS and tracking.phase != before:
                assert (before.status, tracking.phase.status) == (S.DELIVERED, S.RETURN_TO_SENDER)


under_way = st.builds(said, st.sampled_from([s for s in S if s not in ENDS]), st.integers(0, 9))


@for_all(st.lists(under_way, max_size=8), st.randoms(use_true_random=False))
def test_until_the_end_the_order_of_arrival_does_not_matter(told: list[Update], rnd: random.Random) -> None:
    """F3: any order and any number of repetitions of the same messages lead to the same place."""
    mixed = [*told, *told]
    rnd.shuffle(mixed)
    one, other = after(*told), after(*mixed)
    assert (one.phase, one.incident) == (other.phase, other.incident)


@for_all(st.lists(updates, max_size=10))
def test_a_frozen_parcel_only_takes_notes(told: list[Update]) -> None:
    """F3: a lost parcel whose units are sourced again stays lost, whatever is scanned later."""
    start = after(said(S.IN_TRANSIT, 5))
    tracking: Any = start
    for update in told:
        tracking = follow(tracking, update, frozen=True)
    assert (tracking.phase, tracking.incident) == (start.phase, start.incident)


def test_every_status_is_a_phase_or_an_incident() -> None:
    """F3: the vocabulary of twelve is covered."""
    assert {*RANK} | {S.DELIVERY_FAILED, S.DELIVERY_DELAYED, S.ON_HOLD, S.CANCELLED, S.UNKNOWN} == set(S)
