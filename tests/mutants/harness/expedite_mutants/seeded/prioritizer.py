"""Faults of the prioritizer: urgency, holds, stage clocks."""

from __future__ import annotations

from expedite_mutants.mutant import Mutant

SOURCE = "services/prioritizer/src/prioritizer/domain"
ASSIGN, CLOCKS, FACTS, ORDER = (f"{SOURCE}/{name}.py" for name in ("assign", "clocks", "facts", "order"))

MUTANTS = (
    Mutant(
        name="prioritizer-raise-lowers",
        wrong="An order raised by hand gets the less urgent of the two tiers.",
        attacks="B4",
        file=ORDER,
        old="self.raised.tier.rank < self.base_tier.rank:",
        new="self.raised.tier.rank > self.base_tier.rank:",
    ),
    Mutant(
        name="prioritizer-revision-stands-still",
        wrong="A new urgency is announced under the number of the one before.",
        attacks="B2 B4",
        file=ASSIGN,
        old="revision = order.revision + 1",
        new="revision = order.revision or 1",
    ),
    Mutant(
        name="prioritizer-raise-on-the-slow-lane",
        wrong="An order raised by hand stays on the standard lane.",
        attacks="B4",
        file=ASSIGN,
        old="express, why = True, (_by_hand(order.raised), *why)",
        new="why = (_by_hand(order.raised), *why)",
    ),
    Mutant(
        name="prioritizer-tombstone-forgotten",
        wrong="An event that comes after an order's end starts its clocks again.",
        attacks="I2 I7",
        file=ASSIGN,
        old="if order.ended_at or not teaches(event):",
        new="if not teaches(event):",
    ),
    Mutant(
        name="prioritizer-early-release-forgotten",
        wrong="A release that comes before its hold is forgotten: the order stays held.",
        attacks="C2",
        file=FACTS,
        old="known = order.holds.get(event.hold_id) or Hold(kind=event.kind)\n    if known.released_at:",
        new="known = order.holds.get(event.hold_id)\n    if known is None or known.released_at:",
    ),
    Mutant(
        name="prioritizer-hold-costs-time",
        wrong="The time an order was held is not given back to its deadlines.",
        attacks="C2",
        file=ASSIGN,
        old="known.holds is not order.holds and not known.held:",
        new="known.holds is not order.holds and known.held:",
    ),
    Mutant(
        name="prioritizer-told-too-early",
        wrong="Somebody is told of a late stage before it is late.",
        attacks="I7 C3",
        file=CLOCKS,
        old="if clock.paused or (told and told.exhausted) or at > now:",
        new="if clock.paused or (told and told.exhausted):",
    ),
    Mutant(
        name="prioritizer-told-for-ever",
        wrong="It is forgotten who was told: the same person hears of the same delay without end.",
        attacks="I3 C3",
        file=CLOCKS,
        old="return order.put(told={**order.told, clock.id: told})",
        new="return order.put(told={**order.told})",
    ),
    Mutant(
        name="prioritizer-timer-outlives",
        wrong="The timer of an order without a running clock stays set.",
        attacks="I7 I10",
        file=CLOCKS,
        old="cancelled = (CancelTimer(TIMER, order.order_id),)",
        new="cancelled = ()",
    ),
    Mutant(
        name="prioritizer-refused-units-unwatched",
        wrong="No clock runs for units whose cancel was refused.",
        attacks="C1",
        file=ORDER,
        old="ask.units if ask.standing else ask.units - self.settled.get(request, NO_UNITS)",
        new="ask.units",
    ),
    Mutant(
        name="prioritizer-escalation-keeps-its-time",
        wrong="The next person up is told at once, not when the one before had their time.",
        attacks="C3",
        file=CLOCKS,
        old="return max(ends, due(order, Span.ESCALATE, told.last_at, world.calendar_of(place)))",
        new="return ends",
    ),
)
