"""Tiers, scores and reasons (B1, B2)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta, timezone
from typing import Any

import pytest

from expedite_events import PriorityAssigned, Stage, StockShort, Tier
from expedite_events.inventory import Remedy
from prioritizer.domain.assign import lower, observe, raise_by_hand
from prioritizer.domain.budgets import BUDGETS, Span
from prioritizer.domain.order import Order
from prioritizer.domain.priority import Priority
from prioritizer.domain.rules import RULES, fired
from prioritizer.domain.world import Carrier, Warehouse, World


def assigned(story: Any, world: World | None = None, hours: float = 0, **given: Any) -> PriorityAssigned:
    order, priority = Order.unseen(story.order_id), Priority.unseen(story.order_id)
    _, decision = observe(order, story.received(**given), priority, world or World(), story.at(hours))
    assert decision
    (event,) = decision.events
    assert isinstance(event, PriorityAssigned)
    assert decision.express == event.urgency.express
    return event


@pytest.mark.parametrize(
    ("given", "tier", "rule", "express"),
    [
        ({}, Tier.REGULAR, "default", False),
        ({"urgent_mark": True}, Tier.URGENT, "urgent-mark", True),
        ({"tags": ("Urgent",)}, Tier.URGENT, "urgent-tag", True),
        ({"tags": ("加急",)}, Tier.URGENT, "urgent-tag", True),
        ({"level": "Diamond"}, Tier.HIGH, "vip-customer", False),
        ({"level": "VIP"}, Tier.HIGH, "vip-customer", False),
        ({"level": "gold"}, Tier.REGULAR, "default", False),
        ({"tags": ("custom",)}, Tier.HIGH, "custom-order", False),
        ({"tags": ("定制",)}, Tier.HIGH, "custom-order", False),
        ({"total": 1000}, Tier.HIGH, "high-value", False),
        ({"total": 999.99}, Tier.REGULAR, "default", False),
        ({"total": 1000, "currency": "JPY"}, Tier.REGULAR, "default", False),
        ({"total": 150_000, "currency": "JPY"}, Tier.HIGH, "high-value-jpy", False),
        ({"kind": "return"}, Tier.LOW, "deferrable-return", False),
        ({"kind": "return", "tags": ("quality",)}, Tier.REGULAR, "default", False),
        ({"kind": "return", "level": "vip"}, Tier.HIGH, "vip-customer", False),
        ({"urgent_mark": True, "kind": "return", "total": 5000}, Tier.URGENT, "urgent-mark", True),
    ],
)
def test_tiers(story: Any, given: dict[str, Any], tier: Tier, rule: str, express: bool) -> None:
    """B1, B2: four tiers by rules as data; the decisive rule is the first reason."""
    event = assigned(story, **given)
    assert (event.urgency.tier, event.reasons[0].rule, event.urgency.express) == (tier, rule, express)
    assert event.urgency.revision == 1


def test_reasons_name_rule_points_and_inputs(story: Any) -> None:
    """B2: every point of the score is explained, with the inputs in words."""
    world = World(carriers=[Carrier.of(story.carrier(24))], classes={"A": "perishable"})
    event = assigned(story, world, level="vip", total=1234.5, promise_by=story.at(30))
    texts = {reason.rule: reason.text for reason in event.reasons}
    assert "vip" in texts["vip-customer"]
    assert "1234.5 GBP" in texts["high-value"]
    assert "perishable" in texts["perishable"]
    assert "6.0 h of slack" in texts["slack-8h"]
    assert event.urgency.score == sum(reason.points for reason in event.reasons) > 0


def test_less_slack_and_short_stock_score_higher(story: Any, desk_of: Callable[..., Any]) -> None:
    """B1: score inside the tier from slack, product, customer, value and stock."""
    plain = assigned(story, promise_by=story.at(200)).urgency.score
    assert assigned(story, promise_by=story.at(10)).urgency.score > plain
    assert assigned(story, promise_by=story.at(200), klass="valuable").urgency.score > plain
    assert assigned(story, promise_by=story.at(200), level="silver").urgency.score > plain
    assert assigned(story, promise_by=story.at(200), total=300).urgency.score > plain
    short = StockShort(order_id=story.order_id, units=story.all, goods=story.goods, considered=(),
                       chosen=Remedy.BACKORDER, at=story.at(0))  # fmt: skip
    desk = desk_of()
    desk.see(short)
    desk.see(story.received(promise_by=story.at(200)))
    assert desk.assigned[0].urgency.score > plain


def test_every_rule_reads_facts_that_exist(story: Any) -> None:
    """B1: no row of the table asks for a fact nobody gives, and every reason can be written."""
    from prioritizer.domain.assign import facts_of

    facts = facts_of(Order.unseen(story.order_id), story.received(), World())
    for rule in RULES:
        fired((rule,), facts)
        assert rule.explain(facts).text
    assert len({rule.rule for rule in RULES}) == len(RULES)


def test_the_budget_table_is_complete_and_says_what_was_asked() -> None:
    """C1: one row per span and tier; the figures of the requirement."""
    hours = {(b.span, b.tier): b.minutes / 60 for b in BUDGETS}
    assert set(hours) == {(span, tier) for span in Span for tier in Tier}
    assert hours[Span.AUDIT, Tier.REGULAR] == 1
    assert (hours[Span.PREPARE, Tier.URGENT], hours[Span.PREPARE, Tier.REGULAR]) == (2, 4)
    assert (hours[Span.TRACK, Tier.LOW], hours[Span.TOLD, Tier.URGENT]) == (48, 1)


def test_deadlines_lie_in_working_hours_of_the_nearest_warehouse(story: Any, desk_of: Callable[..., Any]) -> None:
    """C1, C2: a regular order of Monday 17:30 is reserved by 08:30 next day, packed by 12:30, shipped by 10:30 on
    Wednesday; an urgent one counts every hour."""
    world = World(warehouses=[
        Warehouse.of(story.warehouse("W0", serves=(), time_zone="Asia/Shanghai")), Warehouse.of(story.warehouse())
    ])  # fmt: skip
    desk, other = desk_of(world=world), desk_of(world=world)
    desk.see(story.received(8.5), story.at(8.5))
    (event,) = desk.assigned
    deadlines = event.urgency.deadlines
    assert deadlines[Stage.STOCK_LOCK] == story.at(23.5)
    assert deadlines[Stage.PREPARE] == story.at(27.5)
    assert deadlines[Stage.SHIP] == story.at(49.5)
    assert event.urgency.promise_by == deadlines[Stage.SHIP] + timedelta(hours=96)
    other.see(story.received(8.5, urgent_mark=True), story.at(8.5))
    (urgent,) = other.assigned
    assert urgent.urgency.deadlines[Stage.PREPARE] == story.at(8.5 + 0.25 + 2)


def test_the_channels_date_is_the_promise_and_moves_the_ship_deadline_forward(story: Any) -> None:
    """C1: a promise asked for is kept as it is; shipping must leave the fastest carrier its time."""
    world = World(carriers=[Carrier.of(story.carrier(24))])
    urgency = assigned(story, world, promise_by=story.at(32)).urgency
    assert urgency.promise_by == story.at(32)
    assert urgency.deadlines[Stage.SHIP] == story.at(8)
    impossible = assigned(story, world, promise_by=story.at(1)).urgency
    assert impossible.deadlines[Stage.SHIP] == impossible.deadlines[Stage.PREPARE]
    past = assigned(story, world, promise_by=story.at(-1))
    assert past.urgency.promise_by > story.at(0)
    assert "is not after the order" in past.reasons[-1].text
    abroad = assigned(story, world, promise_by=story.at(32).astimezone(timezone(timedelta(hours=2))))
    assert abroad.reasons[-1].text.endswith("by 2026-11-24 19:00 +02:00")
    assert assigned(story, world, promise_by=story.at(32)).reasons[-1].text.endswith("17:00 UTC")


def test_a_raise_gives_new_deadlines_from_now_and_lowering_takes_them_back(
    story: Any, desk_of: Callable[..., Any]
) -> None:
    """B4: reversible; nothing is overdue merely because the order was raised late."""
    desk = desk_of()
    desk.see(story.received())
    (first,) = desk.assigned
    raised = desk.apply(
        raise_by_hand(desk.order, desk.priority, Tier.URGENT, "VIP called", "olga", None, World(), story.at(0.9))
    )
    event = desk.assigned[1]
    assert (event.urgency.revision, event.urgency.tier, event.urgency.express, raised.express) == (
        2, Tier.URGENT, True, True
    )  # fmt: skip
    assert "olga" in event.reasons[0].text and "VIP called" in event.reasons[0].text
    assert event.urgency.deadlines[Stage.PREPARE] > story.at(0.9)
    assert event.urgency.deadlines[Stage.SHIP] < first.urgency.deadlines[Stage.SHIP]
    assert (event.brief, event.lines) == (first.brief, first.lines)
    desk.apply(lower(desk.order, desk.priority, World(), story.at(1)))
    event = desk.assigned[2]
    assert event.urgency.revision == 3
    assert (event.urgency.tier, event.urgency.deadlines, event.urgency.express) == (
        Tier.REGULAR, first.urgency.deadlines, False
    )  # fmt: skip


def test_a_hold_moves_the_deadlines_once_it_is_over_and_its_union_counts_once(
    story: Any, desk_of: Callable[..., Any]
) -> None:
    """C2: revision n+1 only when deadlines changed, by the union of the held intervals, by event time."""
    desk = desk_of()
    desk.see(story.received())
    before = desk.assigned[0].urgency.deadlines
    held = (story.held(0.1, 1), story.held(0.2, 2), story.released(0.6, 1), story.released(0.4, 2))
    events = [desk.see(event, story.at(1)).events for event in held]
    assert [len(e) for e in events] == [0, 0, 0, 1]
    assert desk.order.revision == 2
    assert desk.priority.last and desk.priority.last.deadlines[Stage.SHIP] == before[Stage.SHIP] + timedelta(hours=0.5)
    known = desk.order
    again = desk.see(story.released(0.4, 2), story.at(2))
    assert again.state is known and not again.events
