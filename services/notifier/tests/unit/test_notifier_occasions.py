"""Each occasion is told, not only the first of its kind; and only what left is announced as told."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from notifier_story import ALL, BRIEF, GOODS, NOW, ORDER, URGENCY, envelope, received, shipped

from expedite_events import CancelRefused, CustomerNotified, Event, OrderBackordered, Units, row_of
from expedite_messaging import EffectCall, GaveUp
from expedite_messaging.memory import MemoryBus, MemoryClock, MemoryEngine
from notifier.domain.order import OrderView
from notifier.domain.telling import EMAIL, hear
from notifier.handlers import handlers
from notifier.store import MESSAGES


def told(*events: Event) -> list[tuple[str, str]]:
    """Kind and occasion of the messages these events cause."""
    state, found = OrderView(order_id=ORDER), []
    for event in events:
        decision = hear(state, event, NOW)
        state = decision.state
        found += [(str(effect.data["kind"]), str(effect.data["occasion"])) for effect in decision.effects]
    return found


def backordered(units: Units) -> OrderBackordered:
    return OrderBackordered(
        order_id=ORDER, units=units, goods=GOODS, since=NOW, estimated_at=NOW + timedelta(days=2), brief=BRIEF,
        urgency=URGENCY,
    )  # fmt: skip


def refused(number: int) -> CancelRefused:
    return CancelRefused(
        order_id=ORDER,
        request_id=f"{ORDER}-C{number}",
        units=ALL,
        answered_by="shipping",
        at=NOW,
        reason="It has left.",
    )


def test_a_second_backorder_is_another_occasion() -> None:
    """G5: what is missing now is not what was missing before; the same again is told once."""
    first, second = backordered(Units.of(1, 1, 1)), backordered(Units.of(1, 2, 3))
    kinds = [kind for kind, _ in told(received(), first, second, first)]
    assert kinds == ["receipt", "backorder", "backorder"]


def test_all_that_waited_for_the_customers_name_is_told() -> None:
    """I3, G1: two answers overtake the order they are about."""
    assert [message for message in told(refused(1), refused(2), received()) if message[0] == "cancel_refused"] == [
        ("cancel_refused", f"{ORDER}-C1"),
        ("cancel_refused", f"{ORDER}-C2"),
    ]


async def test_a_message_that_waited_says_when_as_one_that_did_not() -> None:
    """A moment is the same text in a mail, whether its order was known or had to be waited for."""
    said = []
    for first, second in ((received(), shipped()), (shipped().put(customer=None), received())):
        engine = MemoryEngine(handlers, MemoryClock(NOW))
        for event in (first, second):
            await engine.deliver([envelope(event, row_of(event).owners[0])])
        (mail,) = [call.data for call in engine.pending_effects() if call.data["kind"] == "shipped"]
        said.append(datetime.fromisoformat(mail["facts"]["expected_at"]))
    assert said == [NOW, NOW]


async def test_a_message_nobody_took_is_not_announced_as_told() -> None:
    """G5: who hears CustomerNotified stops a clock by it."""
    engine = MemoryEngine(handlers, MemoryClock(NOW))

    async def refuses(_call: EffectCall) -> dict[str, Any]:
        raise GaveUp("no such mailbox")

    handlers.performs(EMAIL, refuses)
    await engine.deliver([envelope(received(), "order-intake")])
    await MemoryBus([engine]).settle()
    (message,) = await engine.read(lambda tx: tx.find(MESSAGES))
    assert (message.status, message.error) == ("failed", "no such mailbox")
    assert [e for e in engine.db.ledger if isinstance(e.event, CustomerNotified)] == []
