"""Events that the prioritizer owns: urgency, clocks, people."""

from __future__ import annotations

from expedite_events.base import Event, Moment, OrderBrief, OrderEvent, OrderLine, Reason, Stage, Urgency
from expedite_events.units import Units


class PriorityAssigned(OrderEvent):
    """How urgent the order is and why. Carries the order content, so inventory needs no other event. The revision in
    `urgency` rises only when tier or deadlines change."""

    order_version: int = 1
    brief: OrderBrief
    lines: tuple[OrderLine, ...]
    urgency: Urgency
    reasons: tuple[Reason, ...]
    assigned_at: Moment

    @property
    def units(self) -> Units:
        """All units ever numbered."""
        return Units((line.line, 1, line.quantity) for line in self.lines)


class RaiseRequested(OrderEvent):
    """An order the prioritizer has not seen yet was raised: intake announces it again on the express lane."""

    requested_by: str
    requested_at: Moment
    reason: str


class SLABreached(OrderEvent):
    """A stage is over its deadline. Once per (subject, stage, level): level 0 tells the owner, 1 the superior, and so on."""

    subject: str  # the order, or the hold or parcel whose clock it is
    stage: Stage
    level: int
    owner: str  # person id who must act now
    due_at: Moment
    breached_at: Moment
    tier: str


class PersonChanged(Event):
    """A person, the roles they hold, whom they report to and what they own (compacted by person id)."""

    person_id: str
    name: str
    email: str
    roles: tuple[str, ...]  # operator, picker, supervisor, planner, buyer …
    superior: str | None = None
    stages: tuple[Stage, ...] = ()  # stages this person owns
    warehouses: tuple[str, ...] = ()  # empty: all
    language: str = "en"
    active: bool = True
