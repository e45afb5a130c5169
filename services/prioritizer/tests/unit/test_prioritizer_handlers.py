"""The handlers over an in-memory engine: history, breaches, lanes, copies of master data."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from expedite_events import Lane, PriorityAssigned, ProductChanged, SLABreached, Stage, Tier, plain, to_json
from expedite_messaging.memory import MemoryClock, MemoryEngine
from prioritizer.domain.world import Person
from prioritizer.handlers import handlers
from prioritizer.store import BREACHES, ORDERS, PEOPLE, PRIORITIES, WAREHOUSES


@pytest.fixture
def engine(story: Any) -> MemoryEngine:
    return MemoryEngine(handlers, MemoryClock(story.at(0)))


async def fire(engine: MemoryEngine) -> None:
    while due := engine.due():
        await engine.fire([due[0]])


def test_every_event_the_catalogue_names_has_a_handler() -> None:
    """C1: no event that moves a clock is unheard."""
    assert handlers.missing() == ()


async def test_an_order_is_assigned_once_on_its_lane(engine: MemoryEngine, story: Any) -> None:
    """B1, B2: urgency goes out once with history; the slow copy of an announcement changes nothing."""
    await engine.deliver([story.envelope(story.received(urgent_mark=True), lane=Lane.EXPRESS)])
    await engine.deliver([story.envelope(story.received(urgent_mark=True))])
    (sent,) = engine.db.outbox
    assert isinstance(sent.event, PriorityAssigned)
    assert (sent.lane, sent.event.urgency.tier, sent.event.lines[0].sku) == (Lane.EXPRESS, Tier.URGENT, "A")
    kept = plain(engine.db.rows[PRIORITIES.name][story.order_id])
    assert [revision["reasons"][0]["rule"] for revision in kept["revisions"]] == ["urgent-mark"]
    assert "ann@example.com" not in str(kept["revisions"])


async def test_a_batch_of_an_order_and_its_lock_leaves_one_timer(engine: MemoryEngine, story: Any) -> None:
    """C4: timers follow within one batch as they do across batches."""
    await engine.deliver([story.envelope(story.received()), story.envelope(story.received())])
    await engine.deliver([story.envelope(story.reserved(0.1, 1, story.all))])
    assert [key[:2] for key in engine.db.timers] == [("sla", story.order_id)]


async def test_all_events_of_an_order_in_one_batch(engine: MemoryEngine, story: Any) -> None:
    """B1, B2, C1: one function for all of them: an order that comes, is held, let go, packed and closed within one poll
    ends as it would over many."""
    events = (story.received(), story.held(0.1), story.released(0.2), story.reserved(0.3, 1, story.all),
              story.packed(0.4, 1, 1, story.all), story.received(order_version=2), story.closed(3))  # fmt: skip
    await engine.deliver([story.envelope(event) for event in events])
    sent = [e.event for e in engine.db.outbox if isinstance(e.event, PriorityAssigned)]
    assert [(e.urgency.revision, e.order_version) for e in sent] == [(1, 1), (2, 1), (3, 2)]
    kept = plain(engine.db.rows[PRIORITIES.name][story.order_id])
    assert [r["revision"] for r in kept["revisions"]] == [1, 2, 3] and kept["content"] is None
    assert not engine.db.timers


async def test_a_breach_is_announced_and_kept_open_until_the_order_ends(engine: MemoryEngine, story: Any) -> None:
    """C3: owner first, then the superior; after the end nothing fires."""
    people = (
        Person(person_id="lead", name="L", email="l@x"),
        Person(person_id="olga", name="O", email="o@x", superior="lead", stages=(Stage.STOCK_LOCK,)),
    )

    async def seed(tx: Any) -> None:
        book = await tx.load(PEOPLE, [p.person_id for p in people])
        for person in people:
            book.put(person)

    await engine.transact([], seed)
    await engine.deliver([story.envelope(story.received())])
    await fire(engine)
    assert not engine.db.rows[BREACHES.name]
    engine.clock.advance(timedelta(hours=1))
    await fire(engine)
    engine.clock.advance(timedelta(hours=2))
    await fire(engine)
    told = [e.event.owner for e in engine.db.outbox if isinstance(e.event, SLABreached)]
    assert told == ["olga", "lead"]
    assert set(engine.db.rows[BREACHES.name]) == {f"{story.order_id}.stock_lock.{level}" for level in (0, 1)}
    await engine.deliver([story.envelope(story.closed(3))])
    assert not engine.db.timers
    engine.clock.advance(timedelta(days=90))
    await fire(engine)
    await engine.deliver([story.envelope(story.packed(4, 1, 1, story.all))])
    assert not engine.db.timers
    for collection in (ORDERS, PRIORITIES):
        assert "ann@example.com" not in to_json(engine.db.rows[collection.name][story.order_id]).decode()


async def test_master_data_is_copied_by_revision_and_bad_calendars_are_parked(engine: MemoryEngine, story: Any) -> None:
    """C2, I4: the newest snapshot wins; one with an impossible zone waits for repair and harms no deadline."""
    await engine.deliver([story.envelope(story.warehouse(revision=2, opens="07:00"))])
    await engine.deliver([story.envelope(story.warehouse(revision=1))])
    assert plain(engine.db.rows[WAREHOUSES.name]["W1"])["calendar"]["opens"] == "07:00"
    await engine.deliver([story.envelope(story.warehouse("W9", time_zone="Mars/Base"))])
    assert list(engine.db.parked) == ["W9"]
    product = ProductChanged(sku="B", name="B", product_class="perishable")
    await engine.deliver([story.envelope(product)])
    await engine.deliver([story.envelope(story.carrier(12))])
    await engine.deliver([story.envelope(story.received())])
    (sent,) = engine.db.outbox
    assert isinstance(sent.event, PriorityAssigned)
    assert "perishable" in {reason.rule for reason in sent.event.reasons}
