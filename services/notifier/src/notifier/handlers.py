"""What the notifier listens to."""

from __future__ import annotations

from typing import Any

from expedite_events import (
    CancelRefused,
    Decision,
    Delivered,
    DeliveryDelayed,
    Event,
    OrderBackordered,
    OrderCancelled,
    OrderClosed,
    OrderHeld,
    OrderHoldReleased,
    OrderReceived,
    ParcelReturned,
    PersonChanged,
    PriorityAssigned,
    ShipmentLost,
    Shipped,
    SLABreached,
    StockReserved,
    StockShort,
    UnitsCancelled,
)
from expedite_messaging import Batch, Book, EffectResult, Handlers, Received, Tx
from notifier.domain.order import OrderView
from notifier.domain.telling import EMAIL, hear, sent, tell_staff
from notifier.settings import settings
from notifier.store import MESSAGES, ORDERS, PEOPLE, Message

handlers = Handlers("notifier")


def _apply(tx: Tx, cause: Received[Any], orders: Book[OrderView], decision: Decision[OrderView]) -> None:
    """Apply a decision and keep a row for each message it asks for."""
    tx.apply(cause, orders, decision)
    for effect in decision.effects:
        told = {
            name: effect.data[name]
            for name in ("message_id", "order_id", "kind", "occasion", "audience", "language", "to")
        }
        tx.add(MESSAGES, Message(**told, decided_at=tx.now, content=dict(effect.data)))


async def _hear(batch: Batch[Received[Any]], tx: Tx) -> None:
    orders = await tx.load(ORDERS, batch.keys)
    for received in batch:
        _apply(tx, received, orders, hear(orders[received.key], received.event, tx.now))


async def _to_staff(batch: Batch[Received[Any]], tx: Tx) -> None:
    orders = await tx.load(ORDERS, batch.keys)
    people = await tx.load(PEOPLE, {received.event.owner for received in batch})
    for received in batch:
        person = people.get(received.event.owner)
        to, name, language = (
            (person.email, person.name, person.language)
            if person
            else (settings.staff_email, received.event.owner, "en")
        )
        _apply(tx, received, orders, tell_staff(orders[received.key], received.event, to, name, language))


CUSTOMER_EVENTS: tuple[type[Event], ...] = (
    OrderReceived, OrderHoldReleased, PriorityAssigned, StockReserved, StockShort, OrderBackordered, UnitsCancelled,
    CancelRefused, Shipped, DeliveryDelayed, ShipmentLost, ParcelReturned, Delivered, OrderCancelled, OrderClosed,
)  # fmt: skip
for event_type in CUSTOMER_EVENTS:
    handlers.on(event_type)(_hear)


@handlers.on(OrderHeld)
async def tell_of_hold(batch: Batch[Received[OrderHeld]], tx: Tx) -> None:
    """A question is open: the customer is asked when only they can answer, the owner always (A4, G6)."""
    await _hear(batch, tx)
    await _to_staff(batch, tx)


@handlers.on(SLABreached)
async def tell_of_breach(batch: Batch[Received[SLABreached]], tx: Tx) -> None:
    """A stage is late: the person at this level of the ladder is told (C3, G6)."""
    await _to_staff(batch, tx)


@handlers.on(PersonChanged)
async def learn_person(batch: Batch[Received[PersonChanged]], tx: Tx) -> None:
    """Keep the copy of people that staff messages need."""
    people = await tx.load(PEOPLE, batch.keys)
    for received in batch:
        people.put(received.event)


@handlers.result(EMAIL)
async def message_left(batch: Batch[EffectResult], tx: Tx) -> None:
    """A mail server took the message, or it was given up: both are kept."""
    orders = await tx.load(ORDERS, batch.keys)
    messages = await tx.load(MESSAGES, [result.subject for result in batch])
    for result in batch:
        message = messages[result.subject]
        done: dict[str, Any] = {"attempts": result.attempts, "error": result.error}
        if result.ok:
            tx.apply(result, orders, sent(orders[result.key], result.request, tx.now))
            messages.put(message.model_copy(update={**done, "status": "sent", "sent_at": tx.now}))
        else:
            messages.put(message.model_copy(update={**done, "status": "failed"}))
