"""Handlers whose behaviour an event names in its parcel id, so that tests can say what should happen."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from expedite_events import (
    CancelRequested,
    CancelTimer,
    Decision,
    Effect,
    Event,
    Illegal,
    NotYet,
    SetTimer,
    ShipmentTracked,
    SLABreached,
    Stage,
)
from expedite_messaging import Batch, EffectCall, EffectResult, Fired, GaveUp, Handlers, Received, Tx
from expedite_sample.store import EPOCH, MOVEMENTS, SHELVES, TALLIES, Movement, Tally


@dataclass
class World:
    """What a test changes while handlers run."""

    bad_is_fixed: bool = False
    ready: bool = False
    timers_fail: bool = False
    results_fail: bool = False
    performed: list[str] = field(default_factory=list)
    fail_performing: int = 0
    batches: list[int] = field(default_factory=list)


def breach(order_id: str, level: int, subject: str | None = None, owner: str = "p1") -> SLABreached:
    return SLABreached(
        order_id=order_id, subject=subject or order_id, stage=Stage.PREPARE, level=level, owner=owner,
        due_at=EPOCH, breached_at=EPOCH, tier="urgent",
    )  # fmt: skip


def make(world: World) -> Handlers:
    handlers = Handlers("prioritizer")

    def decide(tally: Tally, word: str, now: Any) -> Decision[Tally]:
        if word.startswith("bad") and not world.bad_is_fixed:
            raise Illegal(f"{word} is a bug")
        if word.startswith("crash") and not world.bad_is_fixed:
            raise RuntimeError(f"{word} blew up")
        if word.startswith("later") and not world.ready:
            raise NotYet("something outside is missing", after_s=30)
        state = tally.put(seen=(*tally.seen, word), count=tally.count + 1, at=now)
        owner = "x" * 300_000 if word.startswith("huge") and not world.bad_is_fixed else "p1"
        events: tuple[Event, ...] = (
            () if word.startswith("quiet") else (breach(tally.order_id, state.count, owner=owner),)
        )
        timers: tuple[SetTimer | CancelTimer, ...] = ()
        effects: tuple[Effect, ...] = ()
        if word.startswith("timer"):
            timers = (SetTimer("check", tally.order_id, now + timedelta(hours=1), data={"word": word}),)
        if word.startswith("untimer"):
            timers = (CancelTimer("check", tally.order_id),)
        if word.startswith("effect"):
            effects = (Effect("call", f"{tally.order_id}-call", {"word": word, "at": now}),)
        return Decision(state, events, timers, effects)

    @handlers.on(ShipmentTracked)
    async def track(batch: Batch[Received[ShipmentTracked]], tx: Tx) -> None:
        world.batches.append(len(batch))
        tallies = await tx.load(TALLIES, batch.keys)
        shelves = await tx.load(SHELVES, {("sku", r.event.raw_status) for r in batch})
        for received in batch:
            word = received.event.parcel_id
            tx.apply(received, tallies, decide(tallies[received.key], word, tx.now))
            shelf = shelves["sku", received.event.raw_status]
            shelves.put(shelf.put(taken=shelf.taken + 1))
            tx.add(MOVEMENTS, Movement(order_id=received.key, number=word))

    @handlers.on(CancelRequested)
    async def cancel(batch: Batch[Received[CancelRequested]], tx: Tx) -> None:
        tallies = await tx.load(TALLIES, batch.keys)
        for received in batch:
            tx.apply(received, tallies, decide(tallies[received.key], received.event.request_id, tx.now))

    @handlers.timer("check")
    async def check(batch: Batch[Fired], tx: Tx) -> None:
        tallies = await tx.load(TALLIES, batch.keys)
        for fired in batch:
            if world.timers_fail and fired.key.startswith("T"):
                raise RuntimeError("the timer's handler is broken")
            tally = tallies[fired.key]
            state = tally.put(seen=(*tally.seen, f"fired:{fired.data['word']}"))
            tx.apply(fired, tallies, Decision(state, (breach(fired.key, 100 + fired.level, "timer"),)))

    @handlers.result("call")
    async def called(batch: Batch[EffectResult], tx: Tx) -> None:
        tallies = await tx.load(TALLIES, batch.keys)
        for result in batch:
            if world.results_fail:
                raise RuntimeError("the result's handler is broken")
            tally = tallies[result.key]
            word = f"called:{result.data.get('label')}" if result.ok else f"gave-up:{result.error}"
            tx.apply(result, tallies, Decision(tally.put(seen=(*tally.seen, word))))

    async def perform(call: EffectCall) -> dict[str, Any]:
        world.performed.append(str(call.id))
        if call.data["word"] == "effect-impossible":
            raise GaveUp("no such address")
        if world.fail_performing:
            world.fail_performing -= 1
            raise ConnectionError("the carrier is away")
        return {"label": f"L-{call.subject}"}

    handlers.performs("call", perform)
    return handlers
