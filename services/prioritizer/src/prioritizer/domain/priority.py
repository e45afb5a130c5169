"""How urgent an order was and is, and why: what the rules decide on, and every answer they gave (B1, B2).

Written when urgency is announced and read only when it is decided again or asked for, so it stands beside the order's
file, which moves with every event.
"""

from __future__ import annotations

from datetime import datetime

from expedite_events import OrderReceived, PriorityAssigned, Reason, Stage, Tier, Value
from prioritizer.domain.budgets import BUDGETS_VERSION
from prioritizer.domain.rules import RULES_VERSION


class Assignment(Value):
    """One revision of an order's urgency, kept for ever and without personal data: what was said when, and why (B2).
    The versions of rules and budgets are always given: those of the day must not change with the tables."""

    revision: int
    tier: Tier
    score: float
    promise_by: datetime
    deadlines: dict[Stage, datetime]
    express: bool
    reasons: tuple[Reason, ...]
    assigned_at: datetime
    rules_version: int
    budgets_version: int

    @classmethod
    def of(cls, event: PriorityAssigned) -> Assignment:
        said = event.urgency
        return cls(
            revision=said.revision, tier=said.tier, score=said.score, promise_by=said.promise_by,
            deadlines=said.deadlines, express=said.express, reasons=event.reasons, assigned_at=event.assigned_at,
            rules_version=RULES_VERSION, budgets_version=BUDGETS_VERSION,
        )  # fmt: skip


class Priority(Value):
    """The content urgency was decided on, as it came, because each revision announces it again; dropped when the order
    ends (I5). Every revision, in order."""

    order_id: str
    content: OrderReceived | None = None
    revisions: tuple[Assignment, ...] = ()

    @classmethod
    def unseen(cls, order_id: str) -> Priority:
        return cls(order_id=order_id)

    @property
    def last(self) -> Assignment | None:
        """The urgency in force."""
        return self.revisions[-1] if self.revisions else None

    def announced(self, event: PriorityAssigned, content: OrderReceived | None) -> Priority:
        """One more revision, decided on this content."""
        return self.put(content=content, revisions=(*self.revisions, Assignment.of(event)))

    def ended(self) -> Priority:
        """Without the content: what was said stays (B2, I5)."""
        return self.put(content=None) if self.content else self
