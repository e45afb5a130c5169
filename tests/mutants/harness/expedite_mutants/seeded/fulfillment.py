"""Faults of fulfillment: work arrives, is cancelled, picked, packed, moved."""

from __future__ import annotations

from expedite_mutants.mutant import Mutant

SOURCE = "services/fulfillment/src/fulfillment/domain"
CUSTODY, CHANGES, FLOOR = (f"{SOURCE}/{name}.py" for name in ("custody", "changes", "floor"))

MUTANTS = (
    Mutant(
        name="fulfillment-early-cancel-forgotten",
        wrong="What was cancelled before it came is picked all the same.",
        attacks="A8 I2",
        file=CUSTODY,
        old="doomed = Units.union(units for _, units in due(order, work, work.units)) if order.asks else NO_UNITS",
        new="doomed = NO_UNITS",
    ),
    Mutant(
        name="fulfillment-work-arrives-twice",
        wrong="A fulfilment order that is announced again is taken for another one.",
        attacks="I2 I3",
        file=CUSTODY,
        old="    if order.fulfilment_order(event.fulfilment_order_id):\n        return already_done(order.put(**news) if news else order)\n",
        new="",
    ),
    Mutant(
        name="fulfillment-settled-applied-again",
        wrong="A cancel that was refused elsewhere before the units came is applied here.",
        attacks="A8",
        file=CUSTODY,
        old="        if not ask.standing:\n            hit -= work.settled_by(ask.request_id)\n",
        new="",
    ),
    Mutant(
        name="fulfillment-tote-cancelled-at-once",
        wrong="A cancel of picked goods is answered before they are back on their shelf.",
        attacks="A8 I1",
        file=CUSTODY,
        old="again, shelf, tote = hit & work.cancelled, hit & work.open, hit & work.picked",
        new="again, shelf, tote = hit & work.cancelled, hit & (work.open | work.picked), NO_UNITS",
    ),
    Mutant(
        name="fulfillment-put-back-unanswered",
        wrong="A confirmed put-back answers nobody.",
        attacks="A8 I9",
        file=CUSTODY,
        old="        return Decision(state, answers, express=order.express)\n    raise Refused(",
        new="        return Decision(state, (), express=order.express)\n    raise Refused(",
    ),
    Mutant(
        name="fulfillment-early-release-forgotten",
        wrong="A hold that comes after its release holds the work for ever.",
        attacks="I9",
        file=CHANGES,
        old="if event.hold_id in order.released or any(h.hold_id == event.hold_id for h in order.holds):",
        new="if any(h.hold_id == event.hold_id for h in order.holds):",
    ),
    Mutant(
        name="fulfillment-held-order-picked",
        wrong="A held order is picked and packed.",
        attacks="A4 E2",
        file=FLOOR,
        old="    if order.held:\n        names",
        new="    if order.held and order.ended:\n        names",
    ),
    Mutant(
        name="fulfillment-packed-twice",
        wrong="Units stay in the tote when they are packed, and go into the next parcel too.",
        attacks="I2",
        file=FLOOR,
        old="work = work.put(picked=work.picked - units, packed=work.packed | units)",
        new="work = work.put(packed=work.packed | units)",
    ),
    Mutant(
        name="fulfillment-scan-counted-twice",
        wrong="A scan that is sent again counts further pieces.",
        attacks="E2 I6",
        file=FLOOR,
        old="        if one.scan_id is not None and one.scan_id in work.seen:\n            continue\n",
        new="",
    ),
    Mutant(
        name="fulfillment-short-reported-twice",
        wrong="A report of an empty shelf that is sent again reports further pieces.",
        attacks="E4 I6",
        file=FLOOR,
        old="    if report_id is not None and report_id in work.seen:\n        return already_done(order)\n",
        new="",
    ),
    Mutant(
        name="fulfillment-missing-unsaid",
        wrong="What a transfer did not find on its shelf is told to nobody.",
        attacks="E5 I1",
        file=CHANGES,
        old="missing=transfer.units - transfer.sent,",
        new="missing=Units(),",
    ),
    Mutant(
        name="fulfillment-refusals-stay-behind",
        wrong="What was refused for the units of a parcel does not travel with them.",
        attacks="A8",
        file=CHANGES,
        old="settled=work.settled_for(parcel.units),",
        new="settled=(),",
    ),
)
