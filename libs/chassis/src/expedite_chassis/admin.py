"""Operators see what is parked and let it be tried again (I4). Only envelopes are shown, never contents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Query

from expedite_chassis.auth import Caller, require
from expedite_chassis.deps import EngineDep
from expedite_chassis.problems import Problem
from expedite_messaging import Engine, KeyParked, ParkedEvent, Tx

log = structlog.get_logger("expedite.admin")
router = APIRouter(tags=["admin"])
Operator = Annotated[Caller, Depends(require("ops"))]


@router.get("/admin/parked")
async def list_parked(
    engine: EngineDep, _: Operator, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> Mapping[str, Any]:
    """Keys that wait for repair, each with its events in the order in which they will be decided. At most `limit` events
    are listed; `complete` says whether those are all."""
    rows = await engine.parked(limit + 1)
    by_key: dict[str, list[ParkedEvent]] = {}
    for row in rows[:limit]:
        by_key.setdefault(row.key, []).append(row)
    items = [{"key": key, "events": [_shown(row) for row in waiting]} for key, waiting in by_key.items()]
    return {"items": items, "next": None, "complete": len(rows) <= limit}


@router.post("/admin/parked/{key:path}/replay")
async def replay_parked(key: str, engine: EngineDep, caller: Operator) -> Mapping[str, Any]:
    """Decide again on a key's parked events, in order, on the state of now; stops at the first that fails again."""
    if not await _is_parked(engine, key):
        raise Problem(404, "not-parked")
    decided = await engine.replay(key)
    still = await _is_parked(engine, key)
    log.info("parked events replayed", key=key, decided=decided, still_parked=still, by=caller.client)
    return {"key": key, "decided": decided, "still_parked": still}


async def _is_parked(engine: Engine, key: str) -> bool:
    async def nothing(tx: Tx) -> None: ...

    try:
        await engine.transact([key], nothing)
    except KeyParked:
        return True
    return False


def _shown(row: ParkedEvent) -> dict[str, Any]:
    return {
        "event_id": row.event_id, "topic": row.topic, "reason": row.reason, "attempts": row.attempts,
        "parked_at": row.at, "retried_at": row.next_at,
    }  # fmt: skip
