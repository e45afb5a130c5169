"""Cards, timelines, counts and states for BI, whatever order and whatever polls events come in."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tower_kit import NOW, UNITS, Story, at, sealed, urgency

from control_tower.domain.place import problems_of
from control_tower.domain.search import phrases
from control_tower.feed import Feed
from control_tower.handlers import handlers
from control_tower.store import CARDS
from control_tower.views import Row
from expedite_events import (
    CancelRequested,
    Lane,
    OrderBackordered,
    OrderHeld,
    OrderHoldReleased,
    ParcelReturned,
    RaiseRequested,
    SLABreached,
    Stage,
    Tier,
    TrackingStatus,
    Units,
    UnitsCancelled,
    heard_by,
)
from expedite_events.intake import HoldKind, HoldSummary, Problem

ORDER = "20261123-EC-000001"


def test_every_event_of_an_order_has_words_and_a_handler() -> None:
    """H3: nothing that happens to an order is missing from its page."""
    assert not handlers.missing()
    assert len({handlers.events[row.event] for row in heard_by("control-tower")}) == 4


@pytest.mark.parametrize("seed", range(20))
async def test_the_same_events_in_any_order_and_any_polls_give_the_same_card(new_tower: Any, seed: int) -> None:
    """H1, I1: topics have no common order, and how far the tower lags decides how many events share a poll."""
    stories = [Story(f"20261123-EC-00000{n}", tags=("gift",) if n % 2 else ()) for n in range(1, 5)]
    envelopes = [sealed(event) for story in stories for event in story.whole()]
    reference, shuffled = new_tower(), new_tower()
    for envelope in envelopes:
        await reference.hears_sealed([envelope])
    chance = random.Random(seed)
    chance.shuffle(envelopes)
    while envelopes:
        size = chance.choice((1, 2, 5, 30))
        poll, envelopes = envelopes[:size], envelopes[size:]
        await shuffled.hears_sealed(poll)
        if chance.random() < 0.3:
            await shuffled.hears_sealed(poll)  # delivered again
    for story in stories:
        one, other = await reference.card(story.order_id), await shuffled.card(story.order_id)
        assert one.put(revision=0) == other.put(revision=0)
        pages = [await t.asks(f"/orders/{story.order_id}") for t in (reference, shuffled)]
        told = [sorted((e["event_id"], e["topic"], e["said"]) for e in page["timeline"]) for page in pages]
        assert told[0] == told[1] and len(told[0]) == len(story.whole())
    assert await shuffled.tally() == {"closed|green": 4} == await reference.tally()
    newest = {state.order_id: state for state in shuffled.states()}
    assert {(s.stage, s.delivered) for s in newest.values()} == {("closed", 3)} and len(newest) == 4


async def test_one_poll_costs_an_order_one_save_one_page_and_one_state(tower: Any) -> None:
    """I1: what the tower does per order does not grow with the events of the order in a poll."""
    story = Story(ORDER)
    await tower.hears(*story.whole()[:8])
    card = await tower.card(ORDER)
    assert card.revision == 1 and card.stage == "track"
    assert [len(page.entries) for page in tower.engine.db.rows["page"].values()] == [8]
    (state,) = tower.states()
    assert (state.stage, state.tier, state.units, state.revision) == ("track", "regular", 3, 1)
    assert await tower.tally() == {"track|yellow": 1}


async def test_bi_is_told_when_a_figure_changed_and_not_otherwise(tower: Any) -> None:
    """I1: a tracking scan changes the card, not what BI counts."""
    story = Story(ORDER)
    for event in story.whole():
        await tower.hears(event)
    assert [s.stage for s in tower.states()] == [
        "stock_lock", "stock_lock", "prepare", "ship", "track", "confirm", "closed"
    ]  # fmt: skip
    revisions = [s.revision for s in tower.states()]
    assert revisions == sorted(set(revisions))
    (tracked,) = [e for e in tower.engine.db.ledger if e.event.stage == "closed"]
    assert tracked.causation_id in tower.engine.db.inbox


async def test_a_message_to_the_customer_is_on_the_page_and_changes_no_card(tower: Any) -> None:
    """H3: even when it is the first that is heard of an order."""
    story = Story(ORDER)
    raised = RaiseRequested(order_id=ORDER, requested_by="ann", requested_at=NOW, reason="birthday")
    await tower.hears(story.told("receipt"), raised)
    assert await tower.card(ORDER) is None and not tower.states() and not await tower.ids()
    page = await tower.asks(f"/orders/{ORDER}")
    assert [e["said"] for e in page["timeline"]] == ["customer told by email: receipt", "raise asked by ann: birthday"]
    await tower.hears(story.received())
    assert len((await tower.asks(f"/orders/{ORDER}"))["timeline"]) == 3
    assert await tower.ids() == [ORDER]


async def test_a_timeline_holds_who_what_when_and_nothing_personal(tower: Any) -> None:
    """H3, I5: personal data stays in the services that need it; what events carry for others is told once."""
    story = Story(ORDER)
    for event in story.whole():
        await tower.hears(event)
    page = await tower.asks(f"/orders/{ORDER}")
    entries = {e["topic"]: e for e in page["timeline"]}
    assert "mia@example.com" not in str(page) and "High St" not in str(page)
    assert entries["OrderReceived"]["data"]["brief"]["channel"] == "web"
    assert entries["OrderReceived"]["data"]["lines"][0]["sku"] == "mug"
    assert entries["PriorityAssigned"]["data"]["urgency"]["tier"] == "regular"
    assert entries["PriorityAssigned"]["data"]["reasons"][0]["text"] == "no rule raised it"
    assert entries["Packed"]["data"]["units"] == UNITS.to_json() and "brief" not in entries["Packed"]["data"]
    assert {e["order_id"] for e in page["timeline"]} == {ORDER}
    for name in ("event_id", "service", "at", "sequence", "causation_id", "correlation_id", "said", "lane"):
        assert all(name in e for e in page["timeline"])


async def test_an_entry_is_kept_small_and_shown_whole(tower: Any) -> None:
    """H3: what stands at its default is not stored, and is on the page all the same."""
    await tower.hears(Story(ORDER).received(), Story(ORDER).assigned())
    (page,) = tower.engine.db.rows["page"].values()
    kept = [entry.data for entry in page.entries]
    assert kept[0]["brief"].keys() == {"channel", "placed_at"} and "payment_state" not in kept[0]
    shown = [entry["data"] for entry in (await tower.asks(f"/orders/{ORDER}"))["timeline"]]
    brief = {
        "channel": "web",
        "placed_at": "2026-11-23T09:00:00Z",
        "currency": "USD",
        "partial_shipment": True,
        "tags": [],
    }
    assert shown[0] == {
        "order_version": 1, "kind": "sale", "received_at": "2026-11-23T09:00:00Z", "brief": brief, "total": "12.40",
        "payment_state": "paid", "urgent_mark": False,
        "lines": [
            {"line": 1, "sku": "mug", "name": "Mug", "quantity": 2, "unit_price": "4.95", "product_class": "standard"},
            {"line": 2, "sku": "jar", "name": "Jar", "quantity": 1, "unit_price": "2.50", "product_class": "standard"},
        ],
    }  # fmt: skip
    assert shown[1]["urgency"]["express"] is False and len(shown[1]["urgency"]["deadlines"]) == len(Stage)
    assert "brief" not in shown[1] and "lines" not in shown[1]


async def test_a_row_has_every_field(tower: Any) -> None:
    """H1: also what stands at its default, in lists and in the live feed."""
    await tower.hears(Story(ORDER).received())
    (row,) = (await tower.asks("/board"))["items"]
    frame, _ = await Feed(tower.engine).changed_since(NOW - timedelta(days=30))
    assert [row] == json.loads(json.dumps(frame.rows)) and row.keys() == set(Row.__struct_fields__)
    assert {(mark["state"], mark["by"], mark["at"]) for mark in row["marks"]} >= {("todo", "", None)}


async def test_a_hold_is_red_with_its_action_and_a_release_ends_it(tower: Any) -> None:
    """H1, H2, A4: the colour, the owner and the button of a held order."""
    held = OrderHeld(
        order_id=ORDER, hold_id=f"{ORDER}-H1", kind=HoldKind.REVIEW, owner="ann", held_at=at(0), due_at=at(45),
        received_at=at(0), summary=HoldSummary(channel="web"), customer=Story(ORDER).customer,
        problems=(Problem(field="/lines", code="big", message="unusually big"),),
    )  # fmt: skip
    await tower.hears(held, lane=Lane.EXPRESS)
    (row,) = (await tower.asks("/needs-action"))["items"]
    assert (row["stage"], row["light"], row["owner"]) == ("audit", "red", "ann")
    assert row["problem"]["text"] == "unusually big" and row["problem"]["path"].endswith("/approve")
    released = OrderHoldReleased(
        order_id=ORDER, hold_id=held.hold_id, kind=HoldKind.REVIEW, outcome="approved", released_by="ann",
        released_at=at(10),
    )  # fmt: skip
    await tower.hears(Story(ORDER).received(), released)
    assert not await tower.ids("/needs-action")
    assert await tower.tally() == {"stock_lock|yellow": 1}
    assert [s.light for s in tower.states()] == ["red", "yellow"]


async def test_breaches_backorders_and_lost_parcels_are_red_until_they_are_over(tower: Any) -> None:
    """H2: each exception with what can be done, the worst first."""
    story = Story(ORDER)
    late = SLABreached(
        order_id=ORDER, subject=ORDER, stage=Stage.STOCK_LOCK, level=1, owner="bob", due_at=at(60), breached_at=at(61),
        tier="regular",
    )  # fmt: skip
    waits = OrderBackordered(
        order_id=ORDER, units=UNITS, goods=story.goods, since=at(2), estimated_at=at(99), brief=story.brief,
        urgency=story.urgency,
    )  # fmt: skip
    await tower.hears(story.received(), story.assigned(), waits, late)
    card = await tower.card(ORDER)
    assert [p.kind for p in problems_of(card)] == ["breach", "backorder"] and card.light == "red"
    await tower.hears(story.reserved())
    assert (await tower.card(ORDER)).light == "yellow"  # reserved: neither late for it any more nor waiting
    back = ParcelReturned(
        order_id=ORDER, parcel_id=story.parcel_id, fulfilment_order_id=story.pick_id, warehouse_id="LON", units=UNITS,
        goods=story.goods, cause="refused", at=at(200), customer=story.customer,
    )  # fmt: skip
    await tower.hears(story.packed(), story.shipped(), back)
    card = await tower.card(ORDER)
    assert (card.stage, card.light) == ("stock_lock", "red")
    assert "returned" in [p.kind for p in problems_of(card)]


async def test_cancelled_units_count_as_done_and_an_older_scan_changes_nothing(tower: Any) -> None:
    """D2, F2: the stage looks at what shall still reach the customer."""
    story = Story(ORDER)
    one = Units.of(2, 1, 1)
    asked = CancelRequested(
        order_id=ORDER, request_id="C1", units=one, standing=False, reason="too many", requested_by="mia",
        requested_at=at(3),
    )  # fmt: skip
    gone = UnitsCancelled(order_id=ORDER, request_id="C1", units=one, answered_by="inventory", at=at(4))
    await tower.hears(story.received(), story.assigned(), story.reserved(), asked, gone, lane=Lane.EXPRESS)
    await tower.hears(story.tracked(TrackingStatus.OUT_FOR_DELIVERY, 300))
    before = await tower.card(ORDER)
    assert len(before.live) == 2 and before.cancelled == one
    await tower.hears(story.tracked(TrackingStatus.IN_TRANSIT, 200))
    assert await tower.card(ORDER) == before
    await tower.hears(Story(ORDER, tier=Tier.URGENT).assigned())  # the same revision again
    assert (await tower.card(ORDER)).tier == "regular"


async def test_counts_are_those_of_the_cards_whatever_lanes_and_slots(new_tower: Any) -> None:
    """H1: the header's figures, without counting rows."""
    chance, tower = random.Random(3), new_tower()
    for n in range(60):
        story = Story(f"20261123-EC-0001{n:02}")
        events = story.whole()[: chance.randrange(1, 12)]
        if n % 9 == 0:
            events.append(story.cancelled())
        while events:
            size = chance.randrange(1, 5)
            await tower.hears(*events[:size], lane=chance.choice((Lane.STANDARD, Lane.EXPRESS)))
            events = events[size:]
    cards = list(tower.engine.db.rows[CARDS.name].values())
    assert await tower.tally() == dict(Counter(f"{card.stage}|{card.light.value}" for card in cards))
    assert len(tower.engine.db.rows["tally"]) > 2
    summary = await tower.asks("/summary")
    assert summary["kpi"]["open"] == sum(card.is_open for card in cards)
    assert summary["kpi"]["closed"] == sum(card.stage == "closed" for card in cards)


def test_phrases_begin_at_every_word() -> None:
    """H1: found by any of their names, and by any character of Chinese ones."""
    assert phrases("Mia  van Jansen ") == {"mia van jansen", "van jansen", "jansen"}
    assert phrases("王小明") == {"王小明", "小明", "明"}
    assert phrases("") == set()
    assert len(phrases("a b c d e f g h i j k l")) == 8


async def test_deadline_of_the_present_stage(tower: Any) -> None:
    """C1: each stage has its own deadline; the last is the promise."""
    story = Story(ORDER)
    seen = []
    for event in story.whole():
        await tower.hears(event)
        card = await tower.card(ORDER)
        seen.append(card.deadline)
    wanted = urgency().deadlines
    assert [d for n, d in enumerate(seen) if n == 0 or d != seen[n - 1]] == [
        None, wanted[Stage.STOCK_LOCK], wanted[Stage.PREPARE], wanted[Stage.SHIP], wanted[Stage.TRACK],
        wanted[Stage.CONFIRM], None,
    ]  # fmt: skip
    assert (await tower.card(ORDER)).ended_at == at(500) == NOW + timedelta(minutes=500)
