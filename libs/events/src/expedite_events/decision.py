"""What a pure ``decide(state, event) -> Decision`` may say.

A decision holds the next state and everything that must happen with it in the same transaction: events to emit, timers
to set or cancel, effects to perform afterwards outside the transaction. It holds no clock, no id generator and no I/O;
the shell (`expedite_messaging`) stamps ids and times.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from msgspec import Struct, field

from expedite_events.base import Event

S = TypeVar("S")


class Outcome(StrEnum):
    """How a decision ended. Redelivery, races and bugs must be told apart (reliability reference, recommendation 2)."""

    DONE = "done"  # a legal transition
    ALREADY_DONE = "already_done"  # a repeated announcement: nothing changes
    TOO_LATE = "too_late"  # a race was lost: the other side is answered
    NOT_YET = "not_yet"  # remembered, applied when the units arrive


class Illegal(Exception):
    """The event contradicts the state: a bug somewhere. The shell parks the event with its key."""


class NotYet(Exception):
    """The event cannot be decided before something outside happens. The shell parks it and tries again after `after_s`
    real seconds, without counting it as poison."""

    def __init__(self, reason: str, after_s: float = 5.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class SetTimer(Struct, frozen=True):
    """Ask to be called at `due_at` (business time). (subject, kind, level) is its identity: setting again replaces it."""

    kind: str
    subject: str  # order, hold, parcel … the timer is about
    due_at: datetime
    level: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)  # small JSON handed back when it fires


class CancelTimer(Struct, frozen=True):
    """Forget a timer; `level=None` forgets all levels of (kind, subject). Cancelling an unknown timer is fine."""

    kind: str
    subject: str
    level: int | None = None


class Effect(Struct, frozen=True):
    """Something to do outside the database (buy a label, send a mail). `subject` makes it unique within its kind for
    ever: asking twice performs once. The result comes back as an event-like `EffectResult` to the same service."""

    kind: str
    subject: str
    data: Mapping[str, Any] = field(default_factory=dict)


class Decision(Struct, Generic[S], frozen=True):
    """The next state and what goes with it. `express=None` lets events travel on the lane of their cause; True or False
    chooses the lane (the catalogue's always-express and no-twin topics win over both)."""

    state: S
    events: tuple[Event, ...] = ()
    timers: tuple[SetTimer | CancelTimer, ...] = ()
    effects: tuple[Effect, ...] = ()
    outcome: Outcome = Outcome.DONE
    express: bool | None = None

    def and_then(self, nxt: Decision[S]) -> Decision[S]:
        """This decision followed by one made on its state; `nxt` has the last word on state, outcome and lane."""
        return Decision(
            state=nxt.state,
            events=self.events + nxt.events,
            timers=self.timers + nxt.timers,
            effects=self.effects + nxt.effects,
            outcome=nxt.outcome if nxt.outcome is not Outcome.DONE else self.outcome,
            express=nxt.express if nxt.express is not None else self.express,
        )


def already_done(state: S) -> Decision[S]:
    """Nothing changes: this was decided before."""
    return Decision(state=state, outcome=Outcome.ALREADY_DONE)
