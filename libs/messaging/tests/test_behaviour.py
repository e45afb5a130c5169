"""What the engine promises, proved against the in-memory twin and against real PostgreSQL by the same tests."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from expedite_sample.handlers import breach
from expedite_sample.store import MOVEMENTS, SHELVES, TALLIES, Mood, Tally
from expedite_sample.worlds import BehaviourWorld, Crash, InMemory, OnPostgres, again, cancelled, tracked, words

from expedite_events import Decision, Lane, checked
from expedite_messaging import KeyParked, PoisonGuard, PoisonLimit, RawRecord, Root, Tx, metrics
from expedite_messaging.bundles import unpacked

Any_ = BehaviourWorld[Any]


# --- inbox -------------------------------------------------------------------------------------------------------


async def test_an_event_delivered_twice_is_decided_once(world: Any_) -> None:
    first, dropped = tracked("A", "ok1"), metrics.DUPLICATES.labels(world.engine.service)._value.get()
    await world.deliver(first)
    assert metrics.DUPLICATES.labels(world.engine.service)._value.get() == dropped
    await world.deliver(again(first), tracked("A", "ok2"))
    assert await world.seen("A") == ("ok1", "ok2")
    assert len(await world.outbox()) == 2
    assert metrics.DUPLICATES.labels(world.engine.service)._value.get() == dropped + 1


async def test_the_same_event_twice_in_one_batch_is_decided_once(world: Any_) -> None:
    first = tracked("A", "ok1")
    await world.deliver(first, again(first))
    assert await world.seen("A") == ("ok1",)


async def test_events_of_a_key_are_decided_in_the_order_they_came(world: Any_) -> None:
    await world.deliver(*(tracked(key, f"ok{n}") for n in range(20) for key in "ABC"))
    for key in "ABC":
        assert await world.seen(key) == tuple(f"ok{n}" for n in range(20))
    sent = [s for s in await world.outbox() if s.key == "B"]
    assert words(sent) == list(range(1, 21))


async def test_both_lanes_share_one_inbox_and_one_state(world: Any_) -> None:
    slow = tracked("A", "ok1")
    await world.deliver(tracked("A", "fast", Lane.EXPRESS))
    await world.deliver(slow)
    assert await world.seen("A") == ("fast", "ok1")
    assert [s.topic for s in await world.outbox() if s.event.level == 1] == ["SLABreached.express"]
    assert [s.topic for s in await world.outbox() if s.event.level == 2] == ["SLABreached"]


# --- what is emitted ---------------------------------------------------------------------------------------------


async def test_the_emissions_of_every_key_are_numbered_upwards_across_lanes(world: Any_) -> None:
    await world.deliver(*(tracked(key, f"ok{n}") for n in range(3) for key in ("A", "B")))
    await world.deliver(cancelled("A", "ok-cancel"))
    sent = await world.outbox()
    numbers = sorted((s.key, s.sequence) for s in sent)
    assert [key for key, _ in numbers] == ["A"] * 4 + ["B"] * 3
    assert len(set(numbers)) == 7
    last = next(s for s in sent if s.topic.endswith(".express"))
    assert (last.key, last.sequence) == [pair for pair in numbers if pair[0] == "A"][-1], "both lanes, one count"
    assert await world.ledger() == numbers


async def test_trace_and_correlation_travel_from_the_cause_to_what_it_emits(world: Any_) -> None:
    if isinstance(world, OnPostgres):
        cause = tracked("A", "ok1")
        await world.deliver(cause)
        (row,) = await world.sql("SELECT id, shard, body FROM outbox")
        (sent,) = unpacked(*row).events
        assert cause.traceparent is not None
        assert cause.traceparent.encode() in sent.headers
        assert str(cause.correlation_id).encode() in sent.headers


async def test_shared_rows_and_rows_written_once_are_saved_with_the_batch(world: Any_) -> None:
    await world.deliver(*(tracked(f"K{n}", "ok", shelf="S1" if n % 2 else "S2") for n in range(10)))
    shelves = {s.place: s.taken for s in await world.rows(SHELVES)}
    assert shelves == {"S1": 5, "S2": 5}
    assert len(await world.rows(MOVEMENTS)) == 10


# --- bad events --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["bad", "crash"])
async def test_one_bad_event_is_found_by_halving_and_only_its_key_parks(world: Any_, word: str) -> None:
    batch = [tracked(f"K{n}", "ok") for n in range(40)]
    batch[17] = tracked("K17", word)
    batch.append(tracked("K17", "ok-behind"))
    await world.deliver(*batch)
    assert [len(await world.seen(f"K{n}")) for n in range(40)] == [0 if n == 17 else 1 for n in range(40)]
    parked = await world.engine.parked()
    assert [(p.key, p.topic) for p in parked] == [("K17", "ShipmentTracked")] * 2
    assert word in (parked[0].reason or "")
    assert parked[1].reason is None, "an innocent event has no reason of its own"


async def test_later_events_of_a_parked_key_queue_behind_it_on_both_lanes_and_are_replayed_in_order(
    world: Any_,
) -> None:
    await world.deliver(tracked("A", "bad"))
    await world.deliver(tracked("A", "ok1"), tracked("B", "ok1"))
    await world.deliver(cancelled("A", "ok2"))
    await world.deliver(tracked("A", "fast", Lane.EXPRESS))
    assert await world.seen("A") == ()
    assert await world.seen("B") == ("ok1",)
    assert len(await world.engine.parked()) == 4

    world.world.bad_is_fixed = True
    assert await world.engine.replay("A") == 4
    assert await world.seen("A") == ("bad", "ok1", "ok2", "fast")
    assert await world.engine.parked() == []
    await world.deliver(tracked("A", "ok3"))
    assert (await world.seen("A"))[-1] == "ok3"


async def test_a_replay_that_fails_again_stays_parked_with_its_new_reason(world: Any_) -> None:
    await world.deliver(tracked("A", "bad1"))
    await world.deliver(tracked("A", "bad2"))
    assert await world.engine.replay("A") == 0
    (first, second) = await world.engine.parked()
    assert first.attempts == 1
    assert second.attempts == 0
    assert await world.seen("A") == ()


async def test_a_parked_event_redelivered_is_not_parked_twice(world: Any_) -> None:
    event = tracked("A", "bad")
    await world.deliver(event)
    await world.deliver(again(event))
    assert len(await world.engine.parked()) == 1


async def test_people_cannot_write_to_a_parked_key_but_others_can(world: Any_) -> None:
    await world.deliver(tracked("A", "bad"))

    async def nothing(tx: Tx) -> str:
        return "done"

    with pytest.raises(KeyParked) as refused:
        await world.engine.transact(["A", "B"], nothing)
    assert refused.value.keys == ("A",)
    assert await world.engine.transact(["B"], nothing) == "done"
    assert await world.engine.transact(["A"], nothing, allow_parked=True) == "done"


async def test_not_yet_is_tried_again_by_itself_and_does_not_count_as_poison(world: Any_) -> None:
    world.engine.guard = PoisonGuard(limit=0)
    await world.deliver(tracked("A", "later"), tracked("A", "ok"))
    (head, behind) = await world.engine.parked()
    assert head.next_at is not None
    assert behind.reason is None
    await world.retry_due()
    assert await world.seen("A") == (), "its time has not come"
    await world.advance(timedelta(seconds=31))
    await world.retry_due()
    assert (await world.engine.parked())[0].attempts == 1, "still not ready: waits again"
    world.world.ready = True
    await world.advance(timedelta(seconds=62))
    await world.retry_due()
    assert await world.seen("A") == ("later", "ok")


async def test_too_many_parked_keys_stop_parking_instead_of_draining_the_topic(world: Any_) -> None:
    world.engine.guard = PoisonGuard(limit=3)
    with pytest.raises(PoisonLimit):
        await world.deliver(*(tracked(f"K{n}", "bad") for n in range(20)))
    assert len(await world.engine.parked()) == 3
    world.world.bad_is_fixed = True
    await world.deliver(*(tracked(f"L{n}", "ok") for n in range(3)))
    assert await world.seen("L1") == ("ok",)


async def test_a_record_nobody_understands_is_parked_with_its_key_and_comes_back_when_it_is_understood(
    world: Any_,
) -> None:
    raw = RawRecord("ShipmentTracked", b"A", b"{not json", (("ce_id", b"nonsense"),), 0, 7)
    await world.engine.park_raw(raw, "Undecodable: no JSON")
    await world.engine.park_raw(raw, "Undecodable: no JSON")
    await world.deliver(tracked("A", "ok1"))
    parked = await world.engine.parked()
    assert [(p.key, p.reason) for p in parked] == [("A", "Undecodable: no JSON"), ("A", None)]
    assert await world.engine.replay("A") == 0, "still not understood"
    assert "Undecodable" in ((await world.engine.parked())[0].reason or "")


async def test_an_event_too_large_to_publish_is_refused_before_it_reaches_the_relay(world: Any_) -> None:
    await world.deliver(tracked("A", "huge"), tracked("B", "ok"))
    assert [p.key for p in await world.engine.parked()] == ["A"]
    assert await world.seen("B") == ("ok",)


# --- crashes -----------------------------------------------------------------------------------------------------


async def test_a_crash_before_commit_leaves_nothing_and_the_redelivery_emits_the_same_ids(world: Any_) -> None:
    event = tracked("A", "timer1")
    world.crash_before_commit()
    with pytest.raises(Crash):
        await world.engine._deliver_once([event])
    assert await world.outbox() == []
    assert await world.seen("A") == ()
    assert await world.timers() == []
    await world.deliver(event)
    ids = [s.event_id for s in await world.outbox()]
    assert len(ids) == 1
    await world.deliver(again(event))  # the crash came after the commit, before the offset
    assert [s.event_id for s in await world.outbox()] == ids
    assert await world.seen("A") == ("timer1",)


# --- timers ------------------------------------------------------------------------------------------------------


async def test_a_timer_fires_once_and_never_early(world: Any_) -> None:
    await world.deliver(tracked("A", "timer1"))
    await world.advance(timedelta(minutes=59))
    assert await world.fire_due() == 0
    await world.advance(timedelta(minutes=1))
    assert await world.fire_due() == 1
    assert await world.fire_due() == 0
    assert await world.seen("A") == ("timer1", "fired:timer1")


async def test_a_cancelled_timer_never_fires_and_a_replaced_one_fires_as_last_set(world: Any_) -> None:
    await world.deliver(tracked("A", "timer1"), tracked("B", "timer1"))
    await world.advance(timedelta(minutes=30))
    await world.deliver(tracked("A", "untimer"), tracked("B", "timer2"))
    await world.advance(timedelta(minutes=30))
    assert await world.fire_due() == 0
    await world.advance(timedelta(minutes=30))
    assert await world.fire_due() == 1
    assert await world.seen("A") == ("timer1", "untimer")
    assert await world.seen("B") == ("timer1", "timer2", "fired:timer2")


async def test_a_scan_that_is_overtaken_by_a_replacement_fires_nothing(world: Any_) -> None:
    await world.deliver(tracked("A", "timer1"))
    await world.advance(timedelta(hours=1))
    stale = await world.engine.due() if isinstance(world, OnPostgres) else world.engine.due()
    await world.deliver(tracked("A", "timer2"))
    await world.engine.fire(stale)
    assert "fired:timer1" not in await world.seen("A")
    assert await world.timers() == [("check", "A", 0)]


async def test_a_timer_set_and_cancelled_in_one_batch_ends_as_the_last_word(world: Any_) -> None:
    await world.deliver(
        tracked("A", "timer1"), tracked("A", "untimer"), tracked("B", "untimer"), tracked("B", "timer1")
    )
    assert await world.timers() == [("check", "B", 0)]


async def test_timers_of_a_parked_key_wait(world: Any_) -> None:
    await world.deliver(tracked("A", "timer1"))
    await world.deliver(tracked("A", "bad"))
    await world.advance(timedelta(hours=2))
    assert await world.fire_due() == 0
    world.world.bad_is_fixed = True
    await world.engine.replay("A")
    assert await world.fire_due() == 1


async def test_a_timer_whose_handler_fails_is_kept_and_the_others_fire(world: Any_) -> None:
    await world.deliver(*(tracked(key, "timer") for key in ("S1", "T1", "S2")))
    world.world.timers_fail = True
    await world.advance(timedelta(hours=1))
    await world.fire_due()
    assert [await world.seen(k) for k in ("S1", "T1", "S2")] == [
        ("timer", "fired:timer"),
        ("timer",),
        ("timer", "fired:timer"),
    ]
    assert await world.timers() == [("check", "T1", 0)]
    world.world.timers_fail = False
    await world.advance(timedelta(hours=1))
    assert await world.fire_due() == 1
    assert await world.seen("T1") == ("timer", "fired:timer")


# --- effects -----------------------------------------------------------------------------------------------------


async def test_an_effect_is_performed_once_and_its_result_comes_back(world: Any_) -> None:
    await world.deliver(tracked("A", "effect1"))
    await world.deliver(tracked("A", "effect2"))  # asks for the same effect again
    await world.perform_all()
    await world.perform_all()
    assert len(world.world.performed) == 1
    assert await world.seen("A") == ("effect1", "effect2", "called:L-A-call")


async def test_a_failing_effect_is_tried_again_with_the_same_id_and_a_hopeless_one_reports_that(world: Any_) -> None:
    world.world.fail_performing = 2
    await world.deliver(tracked("A", "effect1"), tracked("B", "effect-impossible"))
    for _ in range(3):
        await world.perform_all()
    assert await world.seen("A") == ("effect1", "called:L-A-call")
    assert await world.seen("B") == ("effect-impossible", "gave-up:no such address")
    assert len(set(world.world.performed)) == 2


async def test_a_result_that_cannot_be_decided_on_is_kept_and_not_performed_again(world: Any_) -> None:
    await world.deliver(tracked("A", "effect1"))
    world.world.results_fail = True
    await world.perform_all()
    assert await world.seen("A") == ("effect1",)
    world.world.results_fail = False
    await world.perform_all()
    await world.bring_kept()
    assert await world.seen("A") == ("effect1", "called:L-A-call")
    assert len(world.world.performed) == 1


# --- HTTP writes -------------------------------------------------------------------------------------------------


def _add(word: str) -> Any:
    async def work(tx: Tx) -> int:
        book = await tx.load(TALLIES, ["A"])
        state = book["A"].put(seen=(*book["A"].seen, word), count=book["A"].count + 1)
        tx.apply(Root("A"), book, Decision(state, (breach("A", state.count),)))
        return state.count

    return work


async def test_concurrent_writes_to_one_key_see_each_other(world: Any_) -> None:
    if isinstance(world, InMemory):
        pytest.skip("transactions in memory run one after another")
    counts = await asyncio.gather(*(world.engine.transact(["A"], _add(f"w{n}")) for n in range(20)))
    assert sorted(counts) == list(range(1, 21))
    levels = [s.event.level for s in sorted(await world.outbox(), key=lambda s: s.sequence)]
    assert levels == list(range(1, 21)), "order of numbers is order of commits"


# --- finding -----------------------------------------------------------------------------------------------------


async def test_find_filters_sorts_and_pages_alike_everywhere(world: Any_) -> None:
    async def fill(tx: Tx) -> None:
        book = await tx.load(TALLIES, [f"K{n}" for n in range(10)])
        for n in range(10):
            mood = Mood.BUSY if n % 2 else Mood.CALM
            amount = None if n == 4 else n * 10
            state = {"count": n, "mood": mood, "amount": amount, "tags": tuple("xyz"[: n % 3])}
            book.put(checked(Tally, {"order_id": f"K{n}", **state}))

    await world.engine.transact([], fill)

    async def keys(where: dict[str, Any], *order: str, limit: int | None = None, offset: int = 0) -> list[str]:
        async def work(tx: Tx) -> list[Tally]:
            return await tx.find(TALLIES, where, order_by=order or ("order_id",), limit=limit, offset=offset)

        return [t.order_id for t in await world.engine.read(work)]

    assert await keys({"mood": Mood.BUSY}) == ["K1", "K3", "K5", "K7", "K9"]
    assert await keys({"mood": [Mood.BUSY], "count__gte": 5}) == ["K5", "K7", "K9"]
    assert await keys({"count": (1, 2, 99)}) == ["K1", "K2"]
    assert await keys({"count": []}) == []
    assert await keys({"amount": None}) == ["K4"]
    assert await keys({"amount__lt": 30}) == ["K0", "K1", "K2"]
    assert await keys({"amount__ne": 30, "count__lte": 5}) == ["K0", "K1", "K2", "K5"]
    assert await keys({"mood__contains": "us", "count__lt": 4}) == ["K1", "K3"]
    assert await keys({"count__gt": 6}, "-count") == ["K9", "K8", "K7"]
    assert await keys({}, "amount", limit=3, offset=8) == ["K9", "K4"]
    assert await keys({}, "-amount", limit=2) == ["K4", "K9"]
    assert await keys({}, "mood", "-count", limit=2) == ["K9", "K7"]
    assert await world.engine.read(lambda tx: tx.count(TALLIES, {"mood": "busy"})) == 5


async def test_texts_of_any_kind_stay_apart(world: Any_) -> None:
    """Documents, keys and events of a batch travel joined; no character of one may end it."""
    odd = ["\x1e", "a\x1eb", "{}", '"\\', "'", "NULL", ",", "\x1f\x1d\n\t", "ü€😀", " "]
    tallies = [Tally(order_id=f"K{n}{text}", seen=(text, text * 3)) for n, text in enumerate(odd)]

    async def write(tx: Tx) -> None:
        book = await tx.load(TALLIES, [tally.order_id for tally in tallies])
        for tally in tallies:
            book.put(tally)

    await world.engine.transact([tally.order_id for tally in tallies], write)
    found = {row.order_id: row for row in await world.rows(TALLIES)}
    assert found == {tally.order_id: tally for tally in tallies}
    told = [tracked(f"E{n}{text}", f"ok{text}", shelf="one") for n, text in enumerate(odd)]
    await world.deliver(*told)
    sent = await world.outbox()
    assert sorted(s.key for s in sent) == sorted(e.key for e in told)
    assert all(s.event.order_id == s.key for s in sent)
