"""What must not be left over, and what people took away: parked and dropped events (6) and timers that nobody serves or nobody needs (8, I7, I10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from expedite_local.audit.databases import Snapshot
from expedite_local.audit.finding import Look

OVERDUE_BUSINESS_S = 60.0
OVERDUE_REAL_S = 10.0
"""A timer fires within these real seconds, however fast the clock runs."""

_PARKED = "SELECT key, event_id::text AS id, topic, reason FROM parked ORDER BY key, seq"
_DROPPED = "SELECT key, event_id::text AS id, topic, dropped_by, why FROM dropped ORDER BY dropped_at"
_UNDECIDED = "SELECT kind, subject, reason FROM effect WHERE state = 'performed' AND reason IS NOT NULL"
_KEYS = "SELECT count(DISTINCT key) FROM parked"
_TIMERS = """
SELECT t.key, t.kind, t.subject, t.level, t.error, t.due_at, extract(epoch FROM business_now() - t.due_at)::float8 AS late,
  coalesce((SELECT speed FROM clock_anchor ORDER BY id DESC LIMIT 1), 1) AS speed,
  EXISTS (SELECT FROM parked p WHERE p.key = t.key) AS parked
FROM timer t
"""


async def parked(shots: Iterable[Snapshot]) -> Look:
    """Nothing waits for a person: no parked event, no result nobody could decide on."""
    look = Look("parked", "keys")
    for shot in shots:
        look.count += int((await shot.rows(_KEYS))[0][0])
        for row in await shot.rows(_PARKED):
            reason = row["reason"] or "behind an earlier one"
            look.wrong(f"{shot.service} parked {row['topic']} of {row['key']}: {reason} (event {row['id']})")
        for row in await shot.rows(_UNDECIDED):
            look.wrong(f"{shot.service} could not decide on {row['kind']} {row['subject']}: {row['reason']}")
    return look


async def dropped(shots: Iterable[Snapshot]) -> dict[str, str]:
    """By key, what people took out of its queue and why: such an event is not lost."""
    found: dict[str, list[str]] = {}
    for shot in shots:
        for row in await shot.rows(_DROPPED):
            text = (
                f"{row['dropped_by']} dropped {row['topic']} in {shot.service} because {row['why']} (event {row['id']})"
            )
            found.setdefault(row["key"], []).append(text)
    return {key: "; ".join(texts) for key, texts in found.items()}


async def timers(shots: Iterable[Snapshot], ended: Mapping[str, str]) -> Look:
    """No timer is left for an ended order, none is overdue. `ended`: how each ended order ended."""
    look = Look("timers", f"timers, {len(ended):,} ended orders")
    for shot in shots:
        async for row in shot.stream(_TIMERS):
            look.count += 1
            name = f"timer {row['kind']} {row['subject']} of {shot.service}"
            if row["key"] in ended:
                look.wrong(f"{name} is left although {row['key']} is {ended[row['key']]}")
            slack = OVERDUE_BUSINESS_S + OVERDUE_REAL_S * max(row["speed"], 0.0)
            if row["late"] > slack and not row["parked"]:
                why = f": {row['error']}" if row["error"] else ""
                look.wrong(f"{name} is {row['late']:.0f} business seconds late{why}")
    return look
