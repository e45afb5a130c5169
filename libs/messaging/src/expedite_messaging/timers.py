"""Durable timers: a scan of what is due in business time, fired under the locks of the keys concerned."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import groupby

import structlog

from expedite_messaging import metrics
from expedite_messaging.engine import Transient
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.wake import TIMERS

LONGEST_SLEEP_S = 1.0
BATCH = 200
log = structlog.get_logger(__name__)


async def scan_timers(engine: PostgresEngine) -> int:
    """Fire what is due, one transaction per kind. The number of candidates found; which of them still were due is
    decided under the locks, so two scanners at once fire nothing twice."""
    due = await engine.due(BATCH)
    for _, fired in groupby(sorted(due, key=lambda f: f.kind), key=lambda f: f.kind):
        await engine.fire(tuple(fired))
    metrics.TIMERS_FIRED.labels(engine.service).inc(len(due))
    return len(due)


async def run_timers(engine: PostgresEngine) -> None:
    """Scan for ever, until cancelled: at the next due time, after a wake hint, at least once a second."""
    woken = engine.wake.event(TIMERS)
    try:
        while True:
            pause = LONGEST_SLEEP_S
            try:
                woken.clear()
                if await scan_timers(engine) >= BATCH:
                    continue
                ahead = await engine.seconds_to_next_timer()
                if ahead is not None:
                    pause = min(max(ahead, 0.0), LONGEST_SLEEP_S)
            except Transient as error:
                log.info("timers wait for the database", error=str(error))
            except Exception:
                log.exception("the timer scan failed and goes on")
            # A crowd of timers set one after another must not keep us scanning.
            await asyncio.sleep(0.05)
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), pause)
    finally:
        engine.wake.forget(TIMERS)
