"""Who is told what, once."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from notifier_story import (
    ALL,
    ANNA,
    BRIEF,
    GOODS,
    NOW,
    ORDER,
    URGENCY,
    delivered,
    envelope,
    held,
    received,
    released,
    reserved,
    shipped,
)  # fmt: skip

from expedite_events import (
    CancelRefused,
    Event,
    OrderBackordered,
    OrderClosed,
    Outcome,
    PersonChanged,
    SLABreached,
    Stage,
    Units,
)
from expedite_messaging.memory import MemoryBus, MemoryClock, MemoryEngine
from notifier.domain.order import OrderView
from notifier.domain.page import status_page
from notifier.domain.telling import EMAIL, hear, message_id
from notifier.handlers import handlers
from notifier.store import MESSAGES, ORDERS


def mails(state: OrderView, *events: Event) -> tuple[OrderView, list[str]]:
    """The state after the events and the kinds of the messages they caused."""
    kinds = []
    for event in events:
        decision = hear(state, event, NOW)
        state = decision.state
        kinds += [str(effect.data["kind"]) for effect in decision.effects]
    return state, kinds


def test_each_step_is_told_once() -> None:
    """G1, G5: repeated and re-announced events tell nothing twice."""
    story = [received(), reserved(), shipped(), delivered()]
    _, kinds = mails(OrderView(order_id=ORDER), *story, *story)
    assert kinds == ["receipt", "order_confirmation", "shipped", "delivered"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_order_of_arrival_changes_nothing(order: tuple[int, ...]) -> None:
    """G5: events of different topics have no common order."""
    story = [received(), reserved(), shipped(), delivered()]
    state, kinds = mails(OrderView(order_id=ORDER), *(story[i] for i in order))
    assert sorted(kinds) == ["delivered", "order_confirmation", "receipt", "shipped"]
    page = status_page(state)
    assert [step.state for step in page.steps] == ["done"] * 5
    assert page.can_confirm


def test_two_parcels_are_two_occasions() -> None:
    """G5: the occasion of a shipping message is its parcel."""
    _, kinds = mails(OrderView(order_id=ORDER), shipped(), shipped(f"{ORDER}-P2"), shipped())
    assert kinds == ["shipped", "shipped"]


def test_a_message_waits_for_its_customer_and_is_told_once() -> None:
    """G1: an answer that overtakes the order is not lost."""
    refused = CancelRefused(
        order_id=ORDER, request_id=f"{ORDER}-C1", units=ALL, answered_by="shipping", at=NOW, reason="It has left."
    )
    state, kinds = mails(OrderView(order_id=ORDER), refused, refused)
    assert kinds == []
    _, kinds = mails(state, received())
    assert sorted(kinds) == ["cancel_refused", "receipt"]


def test_a_release_that_overtakes_its_hold_leaves_no_open_question() -> None:
    """A4: a tombstone, not an open hold."""
    state, kinds = mails(OrderView(order_id=ORDER), released(), held())
    assert kinds == []
    assert status_page(state).open_holds == ()
    state, kinds = mails(OrderView(order_id=ORDER), held(), released(), held())
    assert kinds == ["needs_info"]
    assert status_page(state).open_holds == ()


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_a_customer_completed_while_the_order_was_held_is_told(order: tuple[int, ...]) -> None:
    """A4 G1: the hold knew no address, the announced order does, whichever of them is heard first."""
    nobody = held()
    nobody = nobody.put(customer=ANNA.put(email=None))
    refused = CancelRefused(
        order_id=ORDER, request_id=f"{ORDER}-C1", units=ALL, answered_by="shipping", at=NOW, reason="It has left."
    )
    story = [nobody, refused, received(), shipped()]
    state, kinds = mails(OrderView(order_id=ORDER), *(story[i] for i in order))
    assert sorted(set(kinds) - {"needs_info"}) == ["cancel_refused", "receipt", "shipped"]
    assert state.customer is not None and state.customer.email == ANNA.email


def test_without_an_address_the_page_speaks_and_nobody_is_mailed() -> None:
    """G3: the status page works for a customer without e-mail."""
    silent = received()
    brief = BRIEF.put(customer=ANNA.put(email=None))
    state, kinds = mails(OrderView(order_id=ORDER), silent.put(brief=brief))
    assert kinds == []
    assert status_page(state).steps[0].state == "done"


def test_a_backorder_is_told_with_its_estimate() -> None:
    """D5, G2."""
    event = OrderBackordered(
        order_id=ORDER, units=Units.of(1, 2, 3), goods=GOODS, since=NOW, estimated_at=NOW + timedelta(days=2),
        brief=BRIEF, urgency=URGENCY,
    )  # fmt: skip
    state, kinds = mails(OrderView(order_id=ORDER), received(), event)
    assert kinds == ["receipt", "backorder"]
    assert status_page(state).waiting == 2
    state, _ = mails(state, reserved())
    assert status_page(state).waiting == 0


def test_message_ids_are_safe_in_a_mail_header() -> None:
    assert message_id(ORDER, "backorder", "Units(1:2-3)") == f"{ORDER}.backorder.Units_1_2-3_.customer"


async def test_a_breach_goes_to_the_person_and_each_level_to_its_own() -> None:
    """C3, G6: owner first, then the superior; once per stage and level."""
    engine = MemoryEngine(handlers, MemoryClock(NOW))
    sent: list[dict] = []

    async def perform(call):  # type: ignore[no-untyped-def]
        sent.append(dict(call.data))
        return {}

    handlers.performs(EMAIL, perform)
    tom = PersonChanged(person_id="tom", name="Tom", email="tom@example.com", roles=("picker",), superior="amir")
    await engine.deliver([envelope(tom, "prioritizer")])

    def breach(level: int, owner: str) -> SLABreached:
        return SLABreached(
            order_id=ORDER,
            subject=ORDER,
            stage=Stage.PREPARE,
            level=level,
            owner=owner,
            due_at=NOW,
            breached_at=NOW,
            tier="high",
        )

    for event in (breach(0, "tom"), breach(0, "tom"), breach(1, "stranger")):
        await engine.deliver([envelope(event, "prioritizer")])
    bus = MemoryBus([engine])
    await bus.settle()
    assert [mail["to"] for mail in sent] == ["tom@example.com", "operations@expedite.example"]
    rows = await engine.read(lambda tx: tx.find(MESSAGES, {"status": "sent"}))
    assert len(rows) == 2
    assert [e.row.topic for e in engine.db.ledger] == ["CustomerNotified", "CustomerNotified"]


async def test_every_declared_event_has_a_handler() -> None:
    assert handlers.missing() == ()
    engine = MemoryEngine(handlers, MemoryClock(NOW))
    await engine.deliver([envelope(received(), "order-intake")])
    closed = OrderClosed(
        order_id=ORDER, delivered=ALL, cancelled=Units(), confirmed_by="clock", closed_at=NOW, customer=ANNA
    )
    await engine.deliver([envelope(closed, "order-intake")])
    book = await engine.read(lambda tx: tx.load(ORDERS, [ORDER]))
    assert book[ORDER].ended == "closed"
    assert Outcome.DONE == "done"
