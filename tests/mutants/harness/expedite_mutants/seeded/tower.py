"""Faults of those who tell: the notifier and the control tower."""

from __future__ import annotations

from expedite_mutants.mutant import Mutant

TELLING = "services/notifier/src/notifier/domain/telling.py"
NOTIFIER = "services/notifier/src/notifier/handlers.py"
FOLD = "services/control-tower/src/control_tower/domain/fold.py"
PLACE = "services/control-tower/src/control_tower/domain/place.py"
TOWER = "services/control-tower/src/control_tower/handlers.py"

MUTANTS = (
    Mutant(
        name="notifier-one-shipment-per-order",
        wrong="Of several parcels only the first is told to have left.",
        attacks="I3 G5",
        file=TELLING,
        old='return tell(known, "shipped", event.parcel_id, facts)',
        new='return tell(known, "shipped", event.order_id, facts)',
    ),
    Mutant(
        name="notifier-backorders-share-an-occasion",
        wrong="A customer hears of the first backorder only.",
        attacks="G5",
        file=TELLING,
        old='return tell(known, "backorder", repr(event.units), facts)',
        new='return tell(known, "backorder", event.order_id, facts)',
    ),
    Mutant(
        name="notifier-escalation-untold",
        wrong="The superior of who was told of a late stage is not told.",
        attacks="C3 G6",
        file=TELLING,
        old='"breach", f"{event.subject}.{event.stage.value}.{event.level}"',
        new='"breach", f"{event.subject}.{event.stage.value}"',
    ),
    Mutant(
        name="notifier-told-forgotten",
        wrong="A message is decided again each time its event is announced again.",
        attacks="I3 G5",
        file=TELLING,
        old="    if name in state.told:\n        return already_done(state)\n",
        new="",
    ),
    Mutant(
        name="notifier-solved-question-asked",
        wrong="A customer is asked for what was completed before the question was heard.",
        attacks="A4 G1",
        file=TELLING,
        old="    if any(h.hold_id == event.hold_id for h in known.holds):  # released before it was heard, or heard before\n"
        "        return already_done(known)\n",
        new="",
    ),
    Mutant(
        name="notifier-drafts-lost",
        wrong="Of the messages that waited for a customer's name only one is sent.",
        attacks="I3",
        file=TELLING,
        old="    for draft in drafts:\n",
        new="    for draft in drafts[:1]:\n",
    ),
    Mutant(
        name="notifier-failure-announced",
        wrong="A message nobody took is announced as told.",
        attacks="G5",
        file=NOTIFIER,
        old="        if result.ok:\n",
        new="        if result.ok or result.error:\n",
    ),
    Mutant(
        name="tower-level-falls",
        wrong="A card shows the lowest level of a breach instead of the highest.",
        attacks="C3 H1",
        file=FOLD,
        old="if known and known.level >= event.level:",
        new="if known and known.level <= event.level:",
    ),
    Mutant(
        name="tower-scan-goes-back",
        wrong="An older scan replaces a newer one on the card.",
        attacks="I8 H1",
        file=FOLD,
        old="if known and known.status_at and known.status_at > event.occurred_at:",
        new="if known and known.status_at and known.status_at < event.occurred_at:",
    ),
    Mutant(
        name="tower-hold-opens-again",
        wrong="A hold heard after its release stays open on the card.",
        attacks="H1",
        file=FOLD,
        old="released_at=known.released_at if known else None,",
        new="released_at=None,",
    ),
    Mutant(
        name="tower-urgency-falls-back",
        wrong="A card keeps the first urgency that is heard, or falls back to an older one.",
        attacks="B2 H1",
        file=FOLD,
        old="card.urgency.revision >= event.urgency.revision:",
        new="card.urgency.revision <= event.urgency.revision:",
    ),
    Mutant(
        name="tower-part-is-all",
        wrong="An order passes a stage when the first of its units has.",
        attacks="H1",
        file=PLACE,
        old="return done == live or live <= done",
        new="return done == live or bool(live & done) or not live",
    ),
    Mutant(
        name="tower-cancelled-units-wait",
        wrong="Units that a custodian cancelled count as units to deliver.",
        attacks="H1 I1",
        file=FOLD,
        old="return asked.put(cancelled=card.cancelled | event.units)",
        new="return asked",
    ),
    Mutant(
        name="tower-counts-drift",
        wrong="An order counts in every place of the board it ever was.",
        attacks="H1",
        file=TOWER,
        old="            counts[place_of(old)] -= 1\n",
        new="            counts[place_of(old)] -= 0\n",
    ),
)
