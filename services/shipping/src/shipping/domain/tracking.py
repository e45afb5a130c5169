"""The tracking lattice: a parcel only ever moves forward, whatever order the carrier's messages come in (P47, F3).

Statuses with a rank are *phases*; a phase is reached by rank, then by time. Statuses without a rank are *incidents*
(failed attempt, delay, hold): the newest one counts and no incident changes the phase. Taking the greater of two
positions is commutative and idempotent, so until the end of the way duplicates, bursts and out-of-order messages lead
to the same place. The first end absorbs everything, except that a delivered parcel may be sent back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from expedite_events import TrackingStatus
from shipping.domain.state import Checkpoint, Mark, Tracking

S = TrackingStatus

RANK: dict[TrackingStatus, int] = {
    S.PENDING: 0,
    S.PICKED_UP: 1,
    S.IN_TRANSIT: 2,
    S.OUT_FOR_DELIVERY: 3,
    S.READY_FOR_PICKUP: 4,
    S.DELIVERED: 5,
    S.RETURN_TO_SENDER: 6,
}
"""Phases. Out for delivery and then waiting in a shop is progress; back from the shop into the van is not."""

ENDS = frozenset({S.DELIVERED, S.RETURN_TO_SENDER})

PROVES_HAND_OVER = frozenset(
    {
        S.PICKED_UP,
        S.IN_TRANSIT,
        S.OUT_FOR_DELIVERY,
        S.READY_FOR_PICKUP,
        S.DELIVERED,
        S.DELIVERY_FAILED,
        S.RETURN_TO_SENDER,
    }
)
"""Statuses only a carrier that holds the parcel can report. A delay or a hold may concern a parcel still on our dock."""

KEPT_CHECKPOINTS = 200
"""Checkpoints kept per parcel. Forgetting the oldest is safe: the lattice ignores a repetition by itself."""


class Fate(StrEnum):
    """What a carrier's message means beyond its status."""

    LOST = "lost"  # lost or destroyed: nothing will arrive
    BACK = "back"  # a return arrived at the sender


@dataclass(frozen=True, kw_only=True)
class Update:
    """One message of a carrier about one parcel, in our words."""

    carrier_id: str
    tracking_number: str
    status: TrackingStatus
    raw_status: str
    occurred_at: datetime
    location: str | None = None
    message: str | None = None
    expected_at: datetime | None = None
    signed_by: str | None = None
    fate: Fate | None = None

    @cached_property
    def key(self) -> str:
        """Its identity: carriers repeat messages under new ids, so the id is made of what is said (formats 3.3)."""
        parts = (
            self.carrier_id, self.tracking_number, self.raw_status, self.occurred_at.isoformat(), self.location or "",
        )  # fmt: skip
        return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=12).hexdigest()


def follow(tracking: Tracking, update: Update, frozen: bool = False) -> Tracking:
    """The tracking after a message. The message is recorded in any case, once; `shown` moves forward or stays. A parcel
    whose custody is over is `frozen`: nothing moves it."""
    if any(c.key == update.key for c in tracking.checkpoints):
        return tracking
    mark = Mark(status=update.status, at=update.occurred_at, raw=update.raw_status)
    moved = tracking if frozen else _move(tracking, mark)
    checkpoint = Checkpoint(
        key=update.key, status=update.status, raw_status=update.raw_status, occurred_at=update.occurred_at,
        location=update.location, message=update.message, applied=moved is not tracking,
    )  # fmt: skip
    kept = (*moved.checkpoints, checkpoint)[-KEPT_CHECKPOINTS:]
    return moved.put(checkpoints=kept)


def _move(tracking: Tracking, mark: Mark) -> Tracking:
    phase = tracking.phase
    ended = phase is not None and phase.status in ENDS
    if mark.status not in RANK:
        if ended or (tracking.incident is not None and _incident(mark) <= _incident(tracking.incident)):
            return tracking
        return tracking.put(incident=mark)
    if phase is None:
        return tracking.put(phase=mark)
    if ended and not _sent_back(phase, mark):
        return tracking
    if position(mark) <= position(phase):
        return tracking
    return tracking.put(phase=mark)


def _sent_back(phase: Mark, mark: Mark) -> bool:
    """The one way out of an end. A return reported for a time before the delivery is an old story."""
    return phase.status is S.DELIVERED and mark.status is S.RETURN_TO_SENDER and mark.at > phase.at


def position(mark: Mark) -> tuple[int, datetime, str]:
    """Where a phase stands; greater is farther. The raw text breaks ties, so that equal times cannot flicker."""
    return (RANK[mark.status], mark.at, mark.raw)


def _incident(mark: Mark) -> tuple[datetime, str, str]:
    return (mark.at, mark.status.value, mark.raw)
