"""Effects: what a decision wants done outside the database is done here, outside any transaction, and its result comes
back through load, decide, save."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from expedite_events import Lane
from expedite_messaging import metrics
from expedite_messaging.cancellation import uninterrupted
from expedite_messaging.cause import EffectCall, EffectResult, GaveUp
from expedite_messaging.engine import Transient
from expedite_messaging.handoff import LEASE_S
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.tx import as_json
from expedite_messaging.wake import effects_hint

PERFORM_TIMEOUT_S = 30.0
LONGEST_BACKOFF_S = 300.0
_POLL_S = 1.0
log = structlog.get_logger(__name__)


def backoff_s(attempt: int) -> float:
    """Real seconds before the attempt after this one: doubling from one second, spread out."""
    return float(min(2 ** min(attempt - 1, 12), LONGEST_BACKOFF_S) * random.uniform(0.75, 1.25))


class EffectWorker:
    """Performs the effects of one lane, each kind in a loop of its own: a slow partner delays nothing else. The standard
    worker also takes express effects nobody took for five seconds."""

    def __init__(self, engine: PostgresEngine, lane: Lane) -> None:
        self.engine, self.lane = engine, lane
        self.lanes = [Lane.EXPRESS] if lane is Lane.EXPRESS else [Lane.EXPRESS, Lane.STANDARD]
        self.performed = 0
        self.failed = 0

    async def run(self) -> None:
        """Work for ever, until cancelled."""
        if not self.engine.handlers.performers:
            await asyncio.Event().wait()  # nothing is performed here, so no result can have been kept
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._looping(None, self.bring_kept))
            for kind in self.engine.handlers.performers:
                loops.create_task(self._serving(kind))

    async def _serving(self, kind: str) -> None:
        self.engine.handoff.open(self.lane, kind, self.engine.handlers.performed_at_once[kind])
        try:
            await self._looping(effects_hint(self.lane, kind), partial(self.perform_some, kind))
        finally:
            left = self.engine.handoff.close(self.lane, kind)
            if left:
                with suppress(Transient):
                    await self.engine.postpone_effects([(call, None, 0.0) for call in left])

    async def _looping(self, hint: str | None, step: Callable[[], Awaitable[int]]) -> None:
        woken = self.engine.wake.event(hint) if hint else asyncio.Event()
        try:
            while True:
                try:
                    woken.clear()
                    if await uninterrupted(step()):
                        continue
                except Transient as error:
                    log.info("effects wait for the database", error=str(error))
                except Exception:
                    log.exception("the effect worker failed and goes on")
                    await asyncio.sleep(_POLL_S)
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), _POLL_S)
        finally:
            if hint:
                self.engine.wake.forget(hint)

    async def perform_some(self, kind: str) -> int:
        """Take effects of a kind that this process wanted, or claim others, perform them together, bring the results
        home. Their number."""
        limit = self.engine.handlers.performed_at_once[kind]
        calls = self.engine.handoff.take(self.lane, kind, limit)
        if not calls:
            calls = await self.engine.claim_effects(kind, self.lanes, limit, LEASE_S)
        if calls:
            await self._bring(await self._perform(kind, calls))
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

    async def _perform(self, kind: str, calls: Sequence[EffectCall]) -> list[EffectResult]:
        """What came of the calls that need not be tried again. An effect's id is the provider's idempotency key, because
        a crash after performing performs it again."""
        answers: Sequence[dict[str, Any] | Exception]
        try:
            async with asyncio.timeout(PERFORM_TIMEOUT_S):
                answers = await uninterrupted(self.engine.handlers.performers[kind](calls))
            if len(answers) != len(calls):
                raise RuntimeError(f"{len(calls)} effects got {len(answers)} answers")
        except Exception as error:
            answers = [error] * len(calls)
        results = []
        failed: list[tuple[EffectCall, str | None, float]] = []
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, GaveUp):
                results.append(self._result(call, False, {}, str(answer)))
            elif isinstance(answer, Exception):
                text = f"{type(answer).__name__}: {answer}"
                log.info("effect to be tried again", kind=kind, order=call.key, attempt=call.attempt, error=text)
                failed.append((call, text, backoff_s(call.attempt)))
            else:
                results.append(self._result(call, True, as_json(answer), None))
        self.performed += len(results)
        labels = (self.engine.service, self.lane.value, kind)
        metrics.EFFECTS_PERFORMED.labels(*labels).inc(len(results))
        if failed:
            self.failed += len(failed)
            metrics.EFFECTS_FAILED.labels(*labels).inc(len(failed))
            await self.engine.postpone_effects(failed)
        return results

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
