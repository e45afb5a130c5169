"""Faults of shipping: the dock, labels, carriers' messages, the ends of a parcel."""

from __future__ import annotations

from expedite_mutants.mutant import Mutant

SOURCE = "services/shipping/src/shipping/domain"
CUSTODY, LABELS, JOURNEY, ORDERS, TRACKING = (
    f"{SOURCE}/{name}.py" for name in ("custody", "labels", "journey", "orders", "tracking")
)

MUTANTS = (
    Mutant(
        name="shipping-early-cancel-forgotten",
        wrong="What was cancelled before its parcel came leaves all the same.",
        attacks="A8 I2",
        file=CUSTODY,
        old="    for request in leg.requests:\n        decision",
        new="    for request in ():\n        decision",
    ),
    Mutant(
        name="shipping-silent-after-hand-over",
        wrong="A cancel that comes after the hand-over is never answered.",
        attacks="A8 I9",
        file=CUSTODY,
        old="elif parcel.station is Station.HANDED or parcel.end is End.DELIVERED:",
        new="elif parcel.end is End.DELIVERED:",
    ),
    Mutant(
        name="shipping-settled-applied-again",
        wrong="A cancel that was refused before the parcel came is applied on the dock.",
        attacks="A8",
        file=CUSTODY,
        old="    if not request.standing:\n        units = units - parcel.settled_of(request.request_id)\n",
        new="",
    ),
    Mutant(
        name="shipping-cancelled-parcel-leaves",
        wrong="A parcel with cancelled units in it may be handed over.",
        attacks="A8 F2",
        file=CUSTODY,
        old="    if parcel.waiting:\n        rest",
        new="    if parcel.waiting and not parcel.packed:\n        rest",
    ),
    Mutant(
        name="shipping-held-parcel-leaves",
        wrong="A parcel of a held order may be handed over.",
        attacks="A4",
        file=CUSTODY,
        old='    if leg.held:\n        return Refused("order-held"',
        new='    if leg.held and parcel.label is None:\n        return Refused("order-held"',
    ),
    Mutant(
        name="shipping-scan-without-refusal",
        wrong="When a carrier takes a parcel that was to be put back, the cancels are not answered.",
        attacks="A8 I9",
        file=CUSTODY,
        old="        events.append(_refused(leg, parcel, waiting.request_id, waiting.units, TOO_LATE, now))\n",
        new="",
    ),
    Mutant(
        name="shipping-refusals-stay-behind",
        wrong="What was refused for the units of a lost parcel does not travel back with them.",
        attacks="A8",
        file=CUSTODY,
        old="settled=parcel.settled_in(parcel.packed), cause",
        new="settled=(), cause",
    ),
    Mutant(
        name="shipping-early-release-forgotten",
        wrong="A hold that comes after its release holds the parcels for ever.",
        attacks="I9",
        file=ORDERS,
        old="if event.hold_id in leg.holds or event.hold_id in leg.released:",
        new="if event.hold_id in leg.holds:",
    ),
    Mutant(
        name="shipping-label-bought-twice",
        wrong="Every repeated announcement of a parcel buys one more label for it.",
        attacks="I3 F1",
        file=LABELS,
        old="if parcel.label_state is LabelState.NONE and wants_label(leg, parcel):",
        new="if wants_label(leg, parcel):",
    ),
    Mutant(
        name="shipping-label-not-given-back",
        wrong="A label that was bought for a parcel cancelled meanwhile is paid and never used.",
        attacks="I9 F1",
        file=LABELS,
        old="return Decision(leg.with_parcel(parcel), effects=(void(label, parcel_id),))",
        new="return Decision(leg.with_parcel(parcel))",
    ),
    Mutant(
        name="shipping-retry-outlives",
        wrong="The timer that asks for a label again outlives its parcel.",
        attacks="I7 I10",
        file=LABELS,
        old="return (CancelTimer(LABEL_RETRY, parcel.parcel_id),) if failed else ()",
        new="return ()",
    ),
    Mutant(
        name="shipping-old-answer-counts",
        wrong="An answer to an earlier attempt at a label counts for the present one.",
        attacks="I3 F1",
        file=LABELS,
        old="return parcel if parcel and wanted and _subject(parcel) == subject else None",
        new="return parcel if parcel and wanted else None",
    ),
    Mutant(
        name="shipping-rank-falls",
        wrong="A parcel moves by the time of the carrier's messages alone: out for delivery, then only picked up.",
        attacks="I8 P47",
        file=TRACKING,
        old="    if position(mark) <= position(phase):\n",
        new="    if mark.at <= phase.at:\n",
    ),
    Mutant(
        name="shipping-old-return-counts",
        wrong="A return reported for a time before the delivery takes the parcel from its customer.",
        attacks="I8",
        file=TRACKING,
        old="mark.status is S.RETURN_TO_SENDER and mark.at > phase.at",
        new="mark.status is S.RETURN_TO_SENDER",
    ),
    Mutant(
        name="shipping-delays-share-an-occasion",
        wrong="The second delay of a parcel has the number of the first.",
        attacks="G5 F3",
        file=JOURNEY,
        old="        number += 1\n",
        new="        number = max(number, 1)\n",
    ),
)
