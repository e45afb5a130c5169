"""What happens once happens once, however late or often somebody comes back with it: in memory and on PostgreSQL alike."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from expedite_sample.worlds import BehaviourWorld, OnPostgres, tracked

from expedite_events import Lane
from expedite_messaging import EffectCall, EffectResult, Handlers
from expedite_messaging.jobs import JobRunner
from expedite_messaging.postgres import PostgresEngine

Any_ = BehaviourWorld[Any]


async def due(world: Any_) -> Any:
    return await world.engine.due() if isinstance(world, OnPostgres) else world.engine.due()


async def claimed(world: Any_) -> list[EffectCall]:
    if isinstance(world, OnPostgres):
        return await world.engine.claim_effects("call", [Lane.STANDARD], 10, 60.0)
    return list(world.engine.pending_effects())


def performed(call: EffectCall) -> EffectResult:
    return EffectResult(call.id, call.kind, call.subject, call.key, True, {"label": "L"}, call.data)


async def test_a_result_brought_home_twice_is_decided_once(world: Any_) -> None:
    """I3: the lease ran out, and two workers performed the same effect."""
    await world.deliver(tracked("A", "effect1"))
    (call,) = await claimed(world)
    await world.engine.conclude([performed(call)])
    await world.engine.conclude([performed(call)])
    assert await world.seen("A") == ("effect1", "called:L")


async def test_an_effect_asked_for_again_after_it_was_performed_is_not_performed_again(world: Any_) -> None:
    """I3: asking twice performs once, for ever."""
    await world.deliver(tracked("A", "effect1"))
    await world.perform_all()
    await world.deliver(tracked("A", "effect2"))
    await world.perform_all()
    assert len(world.world.performed) == 1
    assert await world.seen("A") == ("effect1", "called:L-A-call", "effect2")


async def test_a_result_that_comes_while_its_order_is_parked_is_decided_after_the_replay(world: Any_) -> None:
    """I4, I5: what was done outside is not forgotten, and not decided before what is parked."""
    await world.deliver(tracked("A", "effect1"))
    (call,) = await claimed(world)
    await world.deliver(tracked("A", "bad"))
    await world.engine.conclude([performed(call)])
    await world.bring_kept()
    assert await world.seen("A") == ("effect1",)
    world.world.bad_is_fixed = True
    await world.engine.replay("A")
    await world.bring_kept()
    assert await world.seen("A") == ("effect1", "bad", "called:L")


async def test_a_scan_overtaken_by_a_timer_that_is_due_too_leaves_that_to_the_next_scan(world: Any_) -> None:
    """I7: the timer that was set anew fires, once, with what it was told; the one it replaced does not."""
    await world.deliver(tracked("A", "timer1"))
    await world.advance(timedelta(hours=1))
    stale = await due(world)
    await world.deliver(tracked("A", "timer2"))
    await world.advance(timedelta(hours=1))
    await world.engine.fire(stale)
    assert await world.seen("A") == ("timer1", "timer2")
    assert await world.fire_due() == 1
    assert await world.seen("A") == ("timer1", "timer2", "fired:timer2")


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_a_claimed_effect_is_nobody_elses_until_its_lease_ends(world: OnPostgres) -> None:
    """I3: two workers of one lane."""
    await world.deliver(tracked("A", "effect1"))
    assert len(await claimed(world)) == 1
    assert await claimed(world) == []
    await world.sql("UPDATE effect SET next_at = next_at - interval '61 s'")
    (again,) = await claimed(world)
    assert again.attempt == 2


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
async def test_a_job_slower_than_its_period_is_begun_by_nobody_else(world: OnPostgres) -> None:
    """P31: a lock of a live connection, not a lease."""
    begun, go = asyncio.Event(), asyncio.Event()
    handlers, runs = Handlers("prioritizer"), 0

    @handlers.every(0.01)
    async def slow(_engine: Any) -> None:
        nonlocal runs
        runs += 1
        begun.set()
        await go.wait()

    engines = [PostgresEngine(handlers, world.url) for _ in range(2)]
    runners = [JobRunner(engine) for engine in engines]
    try:
        await world.sql("INSERT INTO job (name) VALUES ('slow')")
        first = asyncio.create_task(runners[0].run_due())
        await begun.wait()
        await asyncio.sleep(0.05)  # its period is over
        second = asyncio.create_task(runners[1].run_due())
        done, _ = await asyncio.wait({second}, timeout=5)
        go.set()
        assert done and second.result() == []
        assert await first == ["slow"]
        assert runs == 1
    finally:
        go.set()
        for runner in runners:
            runner.close()
        for engine in engines:
            await engine.close()
