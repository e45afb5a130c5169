"""Effects: what a decision wants done outside the database is done here, outside any transaction, and its result comes
back through load, decide, save."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

import structlog

from expedite_events import Lane
from expedite_messaging import metrics
from expedite_messaging.cause import EffectCall, EffectResult, GaveUp
from expedite_messaging.engine import Transient
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.tx import as_json
from expedite_messaging.wake import effects_hint

BATCH = 32
PERFORM_TIMEOUT_S = 30.0
LEASE_S = 60.0  # longer than performing may take: only a crash lets it run out
LONGEST_BACKOFF_S = 300.0
_POLL_S = 0.5
log = structlog.get_logger(__name__)


def backoff_s(attempt: int) -> float:
    """Real seconds before the attempt after this one: doubling from one second, spread out."""
    return float(min(2 ** min(attempt - 1, 12), LONGEST_BACKOFF_S) * random.uniform(0.75, 1.25))


class EffectWorker:
    """Performs the effects of one lane. The standard worker also takes express effects nobody took for five seconds."""

    def __init__(self, engine: PostgresEngine, lane: Lane) -> None:
        self.engine, self.lane = engine, lane
        self.lanes = [Lane.EXPRESS] if lane is Lane.EXPRESS else [Lane.EXPRESS, Lane.STANDARD]
        self.performed = 0
        self.failed = 0

    async def run(self) -> None:
        """Work for ever, until cancelled."""
        hint = effects_hint(self.lane)
        woken = self.engine.wake.event(hint)
        try:
            while True:
                try:
                    woken.clear()
                    await self.bring_kept()
                    if await self.run_once():
                        continue
                except Transient as error:
                    log.info("effects wait for the database", error=str(error))
                except Exception:
                    log.exception("the effect worker failed and goes on")
                    await asyncio.sleep(_POLL_S)
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), _POLL_S)
        finally:
            self.engine.wake.forget(hint)

    async def run_once(self) -> int:
        """Claim a batch, perform it concurrently, bring the results home. The number claimed."""
        calls = await self.engine.claim_effects(self.lanes, BATCH, LEASE_S)
        if calls:
            results = await asyncio.gather(*(self._perform(call) for call in calls))
            await self._bring([r for r in results if r is not None])
        return len(calls)

    async def bring_kept(self) -> int:
        """Try again to decide on results that were kept. The number tried."""
        kept = await self.engine.kept_results(self.lanes)
        await self._bring(kept)
        return len(kept)

    async def _bring(self, results: Sequence[EffectResult]) -> None:
        kinds: dict[str, list[EffectResult]] = defaultdict(list)
        for result in results:
            kinds[result.kind].append(result)
        for group in kinds.values():
            await self.engine.conclude(group)

    async def _perform(self, call: EffectCall) -> EffectResult | None:
        """One effect; None when it is to be tried again later. Its id is the provider's idempotency key, because a crash
        after performing performs it again."""
        try:
            async with asyncio.timeout(PERFORM_TIMEOUT_S):
                data = as_json(await self.engine.handlers.performers[call.kind](call))
        except GaveUp as gave_up:
            return self._result(call, False, {}, str(gave_up))
        except Exception as error:
            self.failed += 1
            metrics.EFFECTS_FAILED.labels(self.engine.service, call.lane.value, call.kind).inc()
            text = f"{type(error).__name__}: {error}"
            log.info("effect to be tried again", kind=call.kind, order=call.key, attempt=call.attempt, error=text)
            await self.engine.postpone_effect(call, text, backoff_s(call.attempt))
            return None
        self.performed += 1
        metrics.EFFECTS_PERFORMED.labels(self.engine.service, call.lane.value, call.kind).inc()
        return self._result(call, True, data, None)

    def _result(self, call: EffectCall, ok: bool, data: dict[str, object], error: str | None) -> EffectResult:
        return EffectResult(
            id=call.id,
            kind=call.kind,
            subject=call.subject,
            key=call.key,
            ok=ok,
            data=data,
            request=call.data,
            error=error,
            attempts=call.attempt,
            lane=call.lane,
            correlation_id=call.correlation_id,
            traceparent=call.traceparent,
        )
