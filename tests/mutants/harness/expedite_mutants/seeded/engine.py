"""Faults of the engine and of its memory twin: what every handler relies on."""

from __future__ import annotations

from expedite_mutants.mutant import MESSAGING, Mutant

ENGINE, MEMORY, TX = f"{MESSAGING}/engine.py", f"{MESSAGING}/memory.py", f"{MESSAGING}/tx.py"

MUTANTS = (
    Mutant(
        name="memory-inbox-skipped",
        wrong="The inbox calls every event new: what is delivered again is decided again.",
        attacks="I3",
        file=MEMORY,
        old="new = set(ids) - self.db.inbox",
        new="new = set(ids)",
    ),
    Mutant(
        name="batch-repetition-kept",
        wrong="An event that a poll brings twice is decided twice in the same transaction.",
        attacks="I3",
        file=ENGINE,
        old="fresh = list({e.id: e for e in envelopes if e.id in new}.values())",
        new="fresh = [e for e in envelopes if e.id in new]",
    ),
    Mutant(
        name="parked-key-handled",
        wrong="Events behind a parked one are decided all the same, before it.",
        attacks="I5",
        file=ENGINE,
        old="tuple([Received(e) for e in fresh if e.key not in parked])",
        new="tuple([Received(e) for e in fresh])",
    ),
    Mutant(
        name="parked-key-written",
        wrong="People may write to an order whose events wait for repair.",
        attacks="I5",
        file=ENGINE,
        old="if parked and not allow_parked:",
        new="if parked and allow_parked:",
    ),
    Mutant(
        name="half-of-a-failed-batch-lost",
        wrong="When a batch is halved to find the bad event, one innocent event is left out.",
        attacks="I4",
        file=ENGINE,
        old="await self._bisect(items[middle:], work, refuse)",
        new="await self._bisect(items[middle + 1 :], work, refuse)",
    ),
    Mutant(
        name="poison-not-counted",
        wrong="Only events that heal by themselves count as poison: a bad deployment parks the whole topic.",
        attacks="P13",
        file=ENGINE,
        old="if retry is None and self.guard:",
        new="if retry is not None and self.guard:",
    ),
    Mutant(
        name="replay-takes-the-newest",
        wrong="Parked events are replayed from the last to the first.",
        attacks="I5",
        file=MEMORY,
        old="""head = waiting[0].envelope
        envelope = head if isinstance(head, Envelope) else decode(head.topic, head.key, head.value, head.headers)

        def drop() -> None:
            del waiting[0]
""",
        new="""head = waiting[-1].envelope
        envelope = head if isinstance(head, Envelope) else decode(head.topic, head.key, head.value, head.headers)

        def drop() -> None:
            del waiting[-1]
""",
    ),
    Mutant(
        name="results-of-parked-orders-dropped",
        wrong="The result of an effect that comes while its order is parked is not kept.",
        attacks="I4",
        file=ENGINE,
        old="await session.keep_results(waiting, None)",
        new="await session.take_effects(waiting)",
    ),
    Mutant(
        name="memory-no-ledger",
        wrong="Events leave without a row in the ledger.",
        attacks="I4",
        file=MEMORY,
        old="                self.db.ledger.append(numbered)\n",
        new="",
    ),
    Mutant(
        name="memory-emissions-backwards",
        wrong="What one transaction emits for a key is numbered and sent from the last to the first.",
        attacks="I5",
        file=MEMORY,
        old="            for envelope in envelopes:\n                self.db.sequences",
        new="            for envelope in reversed(envelopes):\n                self.db.sequences",
    ),
    Mutant(
        name="memory-timer-stays",
        wrong="A timer that fired stays where it was and fires again.",
        attacks="I7",
        file=MEMORY,
        old="                self._later.append(partial(self._drop_timer, (item.kind, item.subject, item.level)))\n",
        new="",
    ),
    Mutant(
        name="memory-replaced-timer-fires",
        wrong="A timer that was set anew meanwhile fires with what it was told before.",
        attacks="I7",
        file=MEMORY,
        old="if found and found[0].id == item.id and found[0].due_at <= self.now:",
        new="if found and found[0].due_at <= self.now:",
    ),
    Mutant(
        name="timer-cancelled-in-vain",
        wrong="A timer that is set and cancelled in one transaction stays set.",
        attacks="I7",
        file=TX,
        old="                del self._timers[identity]\n",
        new="                pass\n",
    ),
    Mutant(
        name="memory-one-level-forgotten",
        wrong="Cancelling all levels of a timer cancels none.",
        attacks="I7 I10",
        file=MEMORY,
        old="if order.level in (None, identity[2]):",
        new="if order.level == identity[2]:",
    ),
    Mutant(
        name="memory-result-decided-twice",
        wrong="An effect that was performed twice is concluded twice.",
        attacks="I3",
        file=MEMORY,
        old="            if not finished:\n",
        new="            if row is not None:\n",
    ),
    Mutant(
        name="memory-effect-wanted-again",
        wrong="Asking again for an effect that was performed performs it once more.",
        attacks="I3",
        file=MEMORY,
        old="self.db.effects.setdefault((row.kind, row.subject), (row, False))",
        new="self.db.effects[row.kind, row.subject] = (row, False)",
    ),
    Mutant(
        name="lane-forgotten",
        wrong="What an express event causes travels on the standard lane.",
        attacks="B4",
        file=TX,
        old="lane = cause.lane if decision.express is None else",
        new="lane = Lane.STANDARD if decision.express is None else",
    ),
    Mutant(
        name="own-writes-unseen",
        wrong="Master data that this process has just written is read stale.",
        attacks="D5",
        file=ENGINE,
        old="        self.masters.forget(tx.saved)\n",
        new="",
    ),
)
