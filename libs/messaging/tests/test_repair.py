"""What repair promises, proved against the in-memory twin and against real PostgreSQL by the same tests (I4, I5)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
from expedite_sample.worlds import BehaviourWorld, Killed, OnPostgres, again, cancelled, tracked

from expedite_events import Lane
from expedite_events.envelope import Undecodable
from expedite_messaging import RawRecord, repair
from expedite_messaging.repair import ChangedMeanwhile, NotParked, Waiting, Who

Any_ = BehaviourWorld[Any]
LENA = Who("operator", "lena", "the warehouse named it wrongly")


async def blocked(world: Any_) -> list[Waiting]:
    """Key A waits with a bad event and three behind it, on both lanes; B and C go on."""
    await world.deliver(tracked("A", "bad0"), tracked("B", "ok0"))
    await world.deliver(tracked("A", "ok1"), tracked("B", "ok1"))
    await world.deliver(cancelled("A", "ok2"))
    await world.deliver(tracked("A", "ok3", Lane.EXPRESS), tracked("C", "ok0", Lane.EXPRESS))
    return await repair.waiting(world.engine, "A")


def saying(event: Waiting, word: str) -> bytes:
    return orjson.dumps({**orjson.loads(event.record.value or b""), "parcel_id": word})


async def test_three_events_behind_an_edited_one_are_decided_in_order_and_other_keys_never_waited(world: Any_) -> None:
    """I4, I5: edit, then retry: the repaired event first, then those behind it; each once, whatever is redelivered."""
    original = tracked("A", "bad0")
    await world.deliver(original)
    await world.deliver(tracked("A", "ok1"), tracked("B", "ok1"))
    await world.deliver(cancelled("A", "ok2"))
    await world.deliver(tracked("A", "ok3", Lane.EXPRESS))
    (head, *_) = await repair.waiting(world.engine, "A")
    edited = await repair.edit(world.engine, "A", head.event_id, head.tag, saying(head, "ok0"), LENA)
    assert edited.event_id == original.id
    assert edited.repaired is not None
    assert await world.seen("A") == (), "an edit decides nothing"
    assert await world.engine.replay("A", LENA) == 4
    assert await world.seen("A") == ("ok0", "ok1", "ok2", "ok3")
    assert await world.seen("B") == ("ok1",)
    await world.deliver(again(original))
    assert await world.seen("A") == ("ok0", "ok1", "ok2", "ok3"), "the id of the original is known for ever"
    with pytest.raises(NotParked):
        await repair.waiting(world.engine, "A")


async def test_keys_that_wait_are_listed_by_their_first_event(world: Any_) -> None:
    """I4: what waits, behind what, since when; a page at a time."""
    await blocked(world)
    await world.deliver(tracked("D", "bad"))
    (a, d) = await repair.parked_keys(world.engine)
    assert (a.key, a.topic, a.events, a.attempts) == ("A", "ShipmentTracked", 4, 0)
    assert "bad0 is a bug" in (a.reason or "")
    assert (d.key, d.events) == ("D", 1)
    assert await repair.parked_keys(world.engine, limit=1) == [a]
    assert await repair.parked_keys(world.engine, after="A") == [d]


async def test_the_audit_trail_tells_who_did_what_and_keeps_the_original(world: Any_) -> None:
    """I4: who, why, digests before and after, the original; a reveal and each retried event are entries too."""
    (head, *_) = await blocked(world)
    after = saying(head, "bad-again")
    edited = await repair.edit(world.engine, "A", head.event_id, head.tag, after, LENA)
    await world.engine.replay("A", LENA)
    shown, originals = await repair.reveal(world.engine, "A", LENA)
    assert originals[head.event_id].value == head.record.value
    assert dict(originals[head.event_id].headers) == dict(head.record.headers)
    assert len(shown) == 4
    (seen, retried, entry) = await repair.history(world.engine, "A")
    assert (seen.action, seen.outcome, seen.who) == ("reveal", "4 events", LENA)
    assert (retried.action, retried.event_id) == ("retry", head.event_id)
    assert "failed: bad-again is a bug" in (retried.outcome or "")
    assert (entry.action, entry.id, entry.who) == ("edit", edited.repaired, LENA)
    assert (entry.before, entry.after) == (repair.digest(head.record.value), repair.digest(after))
    assert [one.id for one in await repair.history(world.engine, before=retried.id)] == [entry.id]
    second = await repair.edit(world.engine, "A", head.event_id, edited.tag, saying(head, "ok0"), LENA)
    assert second.repaired != edited.repaired
    assert (await repair.reveal(world.engine, "A", LENA))[1][head.event_id].value == head.record.value
    await world.engine.replay("A", LENA)
    assert [one.outcome for one in await repair.history(world.engine, "A", limit=4)] == ["decided"] * 4
    if isinstance(world, OnPostgres):
        for statement in ("DELETE FROM repair", "UPDATE repair SET why = ''", "TRUNCATE repair"):
            with pytest.raises(asyncpg.RaiseError, match="append-only"):
                await world.sql(statement)


async def test_two_operators_cannot_undo_each_other(world: Any_) -> None:
    """I4: who looked at something that is not there any more is refused, and nothing is noted."""
    (head, behind, *_) = await blocked(world)
    await repair.edit(world.engine, "A", head.event_id, head.tag, saying(head, "ok0"), LENA)
    for work in (
        repair.edit(world.engine, "A", head.event_id, head.tag, saying(head, "ok9"), LENA),
        repair.drop(world.engine, "A", head.event_id, head.tag, LENA),
    ):
        with pytest.raises(ChangedMeanwhile):
            await work
    with pytest.raises(NotParked):
        await repair.drop(world.engine, "B", behind.event_id, behind.tag, LENA)
    with pytest.raises(NotParked):
        await repair.restore(world.engine, behind.event_id, LENA)
    assert [one.action for one in await repair.history(world.engine)] == ["edit"]


async def test_a_dropped_event_is_kept_and_those_behind_it_go_on_at_the_next_retry(world: Any_) -> None:
    """I4, I5: a drop loses nothing; the key waits on until somebody retries it."""
    (head, *_) = await blocked(world)
    assert await repair.drop(world.engine, "A", head.event_id, head.tag, LENA) == 3
    await world.retry_due()
    assert await world.seen("A") == ()
    (gone,) = await repair.dropped(world.engine, "A")
    assert (gone.event.event_id, gone.dropped_by, gone.why) == (head.event_id, "lena", LENA.why)
    assert gone.event.record.value == head.record.value
    assert await world.engine.replay("A", LENA) == 3
    assert await world.seen("A") == ("ok1", "ok2", "ok3")
    assert await repair.dropped(world.engine, "B") == []


async def test_a_restored_event_takes_its_old_place_in_order(world: Any_) -> None:
    """I5: restored before those behind it were decided, it is decided before them; else it parks its key again."""
    (head, *_) = await blocked(world)
    await repair.drop(world.engine, "A", head.event_id, head.tag, LENA)
    assert await repair.restore(world.engine, head.event_id, LENA) == "A"
    assert next(w.event_id for w in await repair.waiting(world.engine, "A")) == head.event_id
    world.world.bad_is_fixed = True
    assert await world.engine.replay("A") == 4
    assert await world.seen("A") == ("bad0", "ok1", "ok2", "ok3")
    world.world.bad_is_fixed = False
    await world.deliver(tracked("B", "bad"), tracked("B", "ok2"))
    (bad, _) = await repair.waiting(world.engine, "B")
    await repair.drop(world.engine, "B", bad.event_id, bad.tag, LENA)
    await world.engine.replay("B")
    await repair.restore(world.engine, bad.event_id, LENA)
    await world.deliver(tracked("B", "ok3"))
    assert next(w.seq for w in await repair.waiting(world.engine, "B")) == bad.seq
    assert await repair.dropped(world.engine) == []
    assert [one.action for one in await repair.history(world.engine, "B")] == ["restore", "drop"]


async def test_a_crash_in_the_middle_of_a_retry_loses_nothing_and_doubles_nothing(world: Any_) -> None:
    """I3, I4: killed before the commit of the third event: two are decided, two wait, in order, with their entries."""
    (head, *_) = await blocked(world)
    await repair.edit(world.engine, "A", head.event_id, head.tag, saying(head, "ok0"), LENA)
    world.killed_at_commit(3)
    with pytest.raises(Killed):
        await world.engine.replay("A", LENA)
    assert await world.seen("A") == ("ok0", "ok1")
    assert len(await repair.waiting(world.engine, "A")) == 2
    assert [one.action for one in await repair.history(world.engine, "A")] == ["retry", "retry", "edit"]
    assert await world.engine.replay("A", LENA) == 2
    assert await world.seen("A") == ("ok0", "ok1", "ok2", "ok3")
    assert len([sent for sent in await world.outbox() if sent.key == "A"]) == 4


async def test_a_record_nobody_understood_is_repaired_with_its_attributes(world: Any_) -> None:
    """I4: bad JSON and unusable attributes are replaced; the id it was parked under stays."""
    good = tracked("A", "ok0")
    record = repair.Waiting(
        "A", 0, good.id, RawRecord(good.topic, b"A", good.value, tuple(good.headers())), None, 0, good.time
    )
    headers = {name: text.decode() for name, text in record.record.headers}
    raw = RawRecord("ShipmentTracked", b"A", b"{not json", (("ce_id", b"nonsense"), ("ce_type", b"x")), 0, 7)
    await world.engine.park_raw(raw, "Undecodable: no JSON")
    await world.deliver(tracked("A", "ok1"))
    (head, _) = await repair.waiting(world.engine, "A")
    assert head.trouble is not None
    with pytest.raises(Undecodable, match="ce_source"):
        await repair.edit(world.engine, "A", head.event_id, head.tag, good.value, LENA)
    other = tracked("B", "ok0").value
    with pytest.raises(Undecodable, match="its key is 'A', its event is about 'B'"):
        await repair.edit(world.engine, "A", head.event_id, head.tag, other, LENA, headers)
    edited = await repair.edit(world.engine, "A", head.event_id, head.tag, good.value, LENA, headers)
    assert edited.trouble is None
    assert edited.event_id == head.event_id == raw.event_id
    assert await world.engine.replay("A") == 2
    assert await world.seen("A") == ("ok0", "ok1")
    await world.engine.park_raw(raw, "Undecodable: no JSON")
    with pytest.raises(NotParked):
        await repair.waiting(world.engine, "A")


async def test_a_record_without_a_key_moves_to_the_key_it_is_about_behind_what_waits_there(world: Any_) -> None:
    """I5: parked with its like until somebody says what it is about; then that key's order holds."""
    good = tracked("A", "ok9")
    raw = RawRecord("ShipmentTracked", None, b"\xff\xfe", (("ce_id", str(good.id).encode()),), 0, 7)
    await world.engine.park_raw(raw, "Undecodable: no JSON")
    await world.deliver(tracked("A", "bad0"))
    (lost,) = await repair.waiting(world.engine, "?ShipmentTracked")
    assert lost.event_id == UUID(str(good.id))
    headers = {name: text.decode() for name, text in good.headers()}
    moved = await repair.edit(world.engine, lost.key, lost.event_id, lost.tag, good.value, LENA, headers)
    assert moved.key == "A"
    with pytest.raises(NotParked):
        await repair.waiting(world.engine, lost.key)
    assert [w.event_id for w in await repair.waiting(world.engine, "A")][1] == good.id
    world.world.bad_is_fixed = True
    assert await world.engine.replay("A") == 2
    assert await world.seen("A") == ("bad0", "ok9")
