"""Faults of order-intake: identities, holds, cancel requests, ends."""

from __future__ import annotations

from expedite_mutants.mutant import Mutant

SOURCE = "services/order-intake/src/order_intake"
CANCELLING, ENDING, HOLDING = (f"{SOURCE}/domain/{name}.py" for name in ("cancelling", "ending", "holding"))

MUTANTS = (
    Mutant(
        name="intake-reference-forgotten",
        wrong="The same reference posted again becomes a second order.",
        attacks="I6 A6",
        file=f"{SOURCE}/placing.py",
        old="""        for scope, key in request.claims:
            self.claims.put(Claim(scope=scope, key=key, order_id=number, fingerprint=request.fingerprint, at=now))
""",
        new="",
    ),
    Mutant(
        name="intake-twin-after-the-window",
        wrong="Orders of equal content are suspected only after the time in which they would be.",
        attacks="A6",
        file=f"{SOURCE}/placing.py",
        old="self.tx.now - other.accepted_at >= self.policy.duplicate_window:",
        new="self.tx.now - other.accepted_at < self.policy.duplicate_window:",
    ),
    Mutant(
        name="intake-approval-forgotten",
        wrong="An approved order is held for the same review again.",
        attacks="A5",
        file=HOLDING,
        old="approved={**state.approved, hold.problem.code: state.content.amount}",
        new="approved={**state.approved}",
    ),
    Mutant(
        name="intake-one-hold-is-enough",
        wrong="An order is received when the first of its holds ends.",
        attacks="A3 A4",
        file=HOLDING,
        old="    if decision.state.open_holds:\n        return decision\n",
        new="    if decision.state.open_holds == decision.state.holds:\n        return decision\n",
    ),
    Mutant(
        name="intake-raise-not-announced",
        wrong="An order raised before the prioritizer saw it is not announced again on the express lane.",
        attacks="B4",
        file=HOLDING,
        old="return Decision(state, events=(received(state),), express=True)",
        new="return Decision(state)",
    ),
    Mutant(
        name="intake-no-after-yes",
        wrong="A refusal counts again for units that were answered before.",
        attacks="A8 I2",
        file=CANCELLING,
        old="    fresh = event.units & request.pending\n",
        new="    fresh = event.units\n",
    ),
    Mutant(
        name="intake-no-outlives-yes",
        wrong="A unit that is cancelled after all still counts as refused.",
        attacks="A8",
        file=CANCELLING,
        old="refused=request.refused - event.units)",
        new="refused=request.refused)",
    ),
    Mutant(
        name="intake-standing-asks-for-others",
        wrong="Where named units are refused, others are cancelled instead.",
        attacks="A8",
        file=CANCELLING,
        old="if request.standing or order.ended:",
        new="if order.ended:",
    ),
    Mutant(
        name="intake-tried-units-asked-again",
        wrong="A quantity cancel asks again for units that were refused.",
        attacks="A8",
        file=CANCELLING,
        old="left = order.units.on_line(line) - order.out - tried",
        new="left = order.units.on_line(line) - order.out",
    ),
    Mutant(
        name="intake-quantity-from-the-front",
        wrong="A quantity cancel takes units that a carrier has before those in the house.",
        attacks="A8",
        file=CANCELLING,
        old="for group in (near - asked, near & asked, left & handed):",
        new="for group in (left & handed, near - asked, near & asked):",
    ),
    Mutant(
        name="intake-cancel-key-any-body",
        wrong="A known Idempotency-Key of a cancel answers whatever is asked under it.",
        attacks="I6",
        file=CANCELLING,
        old="if request.asked != ask.fingerprint:",
        new="if request.asked is None:",
    ),
    Mutant(
        name="intake-return-forgotten",
        wrong="Intake forgets that a parcel came back: its units still count as with the carrier.",
        attacks="A8",
        file=ENDING,
        old="parcels_back=(*order.parcels_back, event.parcel_id)",
        new="parcels_back=order.parcels_back",
    ),
    Mutant(
        name="intake-closed-too-early",
        wrong="An order is confirmed while units are still on their way.",
        attacks="A10 I2",
        file=ENDING,
        old="if order.state is State.HELD or open_units:",
        new="if order.state is State.HELD:",
    ),
    Mutant(
        name="intake-confirm-clock-stays",
        wrong="The confirm clock of an order that ended runs on.",
        attacks="I7 I10",
        file=f"{SOURCE}/domain/order.py",
        old="timers=(CancelTimer(CONFIRM, order.order_id),), express=order.lane)",
        new="timers=(), express=order.lane)",
    ),
    Mutant(
        name="intake-cancelled-units-forgotten",
        wrong="An order cancelled at intake ends without its units.",
        attacks="I2",
        file=ENDING,
        old="cancels=(*order.cancels, answered), cancelled=units)",
        new="cancels=(*order.cancels, answered))",
    ),
)
