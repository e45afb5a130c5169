"""The retrier: parked events whose next time has come are tried again by themselves."""

from __future__ import annotations

import asyncio

import structlog

from expedite_messaging.engine import Transient
from expedite_messaging.postgres import PostgresEngine

INTERVAL_S = 1.0
log = structlog.get_logger(__name__)


async def retry_parked(engine: PostgresEngine) -> int:
    """Replay every key whose first event is to be tried again by now. The number of events decided."""
    decided = 0
    for key in await engine.retriable():
        decided += await engine.replay(key)
    return decided


async def run_retrier(engine: PostgresEngine) -> None:
    """Retry for ever, until cancelled."""
    while True:
        try:
            if decided := await retry_parked(engine):
                log.info("parked events decided", events=decided)
        except Transient as error:
            log.info("the retrier waits for the database", error=str(error))
        except Exception:
            log.exception("the retrier failed and goes on")
        await asyncio.sleep(INTERVAL_S)
