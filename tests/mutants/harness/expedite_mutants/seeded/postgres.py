"""Faults of the engine on PostgreSQL. The simulation runs on the memory twin and cannot meet them; the behaviour suite and the
store tests run on a real server."""

from __future__ import annotations

from functools import partial

from expedite_mutants.mutant import MESSAGING
from expedite_mutants.mutant import Mutant as _Mutant

SCHEMA, SESSION, POSTGRES = f"{MESSAGING}/schema.py", f"{MESSAGING}/session.py", f"{MESSAGING}/postgres.py"

Mutant = partial(_Mutant, unseen="SQL")

MUTANTS = (
    Mutant(
        name="postgres-inbox-skipped",
        wrong="The inbox calls every event new: what is delivered again is decided again.",
        attacks="I3",
        file=SCHEMA,
        old="SELECT coalesce(array_agg(event_id), '{}') INTO fresh FROM entered;",
        new="SELECT ids INTO fresh;",
    ),
    Mutant(
        name="postgres-parked-unseen",
        wrong="Nobody sees that a key is parked: later events are decided before the parked one.",
        attacks="I5",
        file=SCHEMA,
        old="SELECT array_agg(DISTINCT p.key) INTO parked_keys FROM parked p WHERE p.key = ANY (wanted);",
        new="parked_keys := NULL;",
    ),
    Mutant(
        name="postgres-keys-unlocked",
        wrong="Two transactions work on one order at once.",
        attacks="I1 I5",
        file=SCHEMA,
        old="PERFORM pg_advisory_xact_lock(h) FROM",
        new="PERFORM h FROM",
    ),
    Mutant(
        name="postgres-emissions-shuffled",
        wrong="What one transaction emits leaves by event id instead of in its order.",
        attacks="I5 P22",
        file=SESSION,
        old="bundles = bundled(envelopes)",
        new="bundles = bundled(sorted(envelopes, key=lambda e: e.id))",
    ),
    Mutant(
        name="postgres-express-without-ledger",
        wrong="Express events leave without a row in the ledger.",
        attacks="I4",
        file=SESSION,
        old="WITH ORDINALITY AS e(event_id, key, topic, place)),",
        new="WITH ORDINALITY AS e(event_id, key, topic, place) WHERE topic NOT LIKE '%.express'),",
    ),
    Mutant(
        name="postgres-express-on-both-lanes",
        wrong="An express event is put into the outbox of the standard lane too.",
        attacks="I3",
        file=SESSION,
        old="FROM bundle WHERE NOT express\n",
        new="FROM bundle\n",
    ),
    Mutant(
        name="postgres-replay-takes-the-newest",
        wrong="Parked events are replayed from the last to the first.",
        attacks="I5",
        file=SESSION,
        old="FROM (SELECT seq FROM parked WHERE key = $1 ORDER BY seq LIMIT 2) AS two",
        new="FROM (SELECT seq FROM parked WHERE key = $1 ORDER BY seq DESC LIMIT 1) AS two",
    ),
    Mutant(
        name="postgres-replaced-timer-lost",
        wrong="A scan that read a timer before it was set anew removes the new one and fires neither.",
        attacks="I7",
        file=SESSION,
        old="AND t.level = f.level AND t.id = f.id AND t.due_at <= $5",
        new="AND t.level = f.level AND t.due_at <= $5",
    ),
    Mutant(
        name="postgres-one-level-forgotten",
        wrong="Cancelling all levels of a timer cancels none.",
        attacks="I7 I10",
        file=SESSION,
        old="AND (c.level IS NULL OR t.level = c.level)",
        new="AND t.level = c.level",
    ),
    Mutant(
        name="postgres-result-decided-twice",
        wrong="An effect that was performed twice is concluded twice.",
        attacks="I3",
        file=SESSION,
        old="AND f.subject = r.subject AND f.state <> 'done' RETURNING f.kind, f.subject",
        new="AND f.subject = r.subject RETURNING f.kind, f.subject",
    ),
    Mutant(
        name="postgres-effect-wanted-again",
        wrong="Asking again for an effect that was performed performs it once more.",
        attacks="I3",
        file=SESSION,
        old='ON CONFLICT DO NOTHING RETURNING id"',
        new="ON CONFLICT (kind, subject) DO UPDATE SET state = 'wanted', next_at = excluded.next_at RETURNING id\"",
    ),
    Mutant(
        name="postgres-effect-unleased",
        wrong="A claimed effect is not leased: every worker that looks performs it too.",
        attacks="I3",
        file=POSTGRES,
        old="SET next_at = clock_timestamp() + make_interval(secs => $3), attempts = attempts + 1",
        new="SET next_at = clock_timestamp() - make_interval(secs => $3), attempts = attempts + 1",
    ),
    Mutant(
        name="postgres-lost-answer-is-a-failure",
        wrong="A commit whose answer was lost counts as failed, and the work is done once more.",
        attacks="I6 P39",
        file=POSTGRES,
        old="if xact is None or not await self._committed(xact, session.proof):",
        new="if xact is not None or not await self._committed(str(xact), session.proof):",
    ),
    Mutant(
        name="postgres-job-unlocked",
        wrong="A job that takes longer than its period runs in two replicas at once.",
        attacks="P31",
        file=f"{MESSAGING}/jobs.py",
        old='"SELECT pg_try_advisory_lock($1, $2)"',
        new='"SELECT $1::int IS NOT NULL AND $2::int IS NOT NULL"',
    ),
    Mutant(
        name="postgres-shelf-taken-from-the-air",
        wrong="Plain orders take goods that somebody else took meanwhile, down to what the table's own check refuses.",
        attacks="D2 I1",
        file="services/inventory/src/inventory/settling.py",
        old='      AND least({", ".join(f"t.{name}" for name in _PLAIN)}) >= 0\n',
        new="",
    ),
    Mutant(
        name="postgres-signs-reversed",
        wrong="What a plain order moves is moved the other way round.",
        attacks="I1 D10",
        file="services/inventory/src/inventory/settling.py",
        old="s.{name} + {name}_ AS {name}",
        new="s.{name} - {name}_ AS {name}",
    ),
    Mutant(
        name="postgres-queue-jumped",
        wrong="A plain order takes goods for which somebody began to wait meanwhile.",
        attacks="D5",
        file="services/inventory/src/inventory/settling.py",
        old="WHERE sku = ANY (demanded) AND backordered > 0) THEN",
        new="WHERE sku = ANY (demanded) AND backordered < 0) THEN",
    ),
)
