"""What the notifier listens to."""

from __future__ import annotations

from typing import Any

from expedite_events import Decision, PersonChanged, SLABreached
from expedite_messaging import Batch, Book, EffectResult, Handlers, Received, Tx
from notifier.domain.order import OrderView
from notifier.domain.telling import CUSTOMER_EVENTS, EMAIL, STAFF_EVENTS, hear, sent, tell_staff
from notifier.settings import settings
from notifier.store import MESSAGES, ORDERS, PEOPLE, Message

handlers = Handlers("notifier", poll=1_000, gather=3_000)


def _apply(tx: Tx, cause: Received[Any], orders: Book[OrderView], decision: Decision[OrderView]) -> None:
    """Apply a decision and keep a row for each message it asks for."""
    tx.apply(cause, orders, decision)
    for effect in decision.effects:
        mail = effect.data
        message = Message(
            message_id=effect.subject, order_id=cause.key, kind=mail["kind"], occasion=mail["occasion"],
            audience=mail["audience"], language=mail["language"], to=mail["to"], decided_at=tx.now,
        )  # fmt: skip
        tx.add(MESSAGES, message)


async def tell_people(batch: Batch[Received[Any]], tx: Tx) -> None:
    """Anything happens to an order: its customer is told, and the person who must act now of a hold or a late stage
    (A4, C3, G1, G6). One function for all, so that whatever a poll brings of an order loads and saves it once."""
    orders = await tx.load(ORDERS, batch.keys)
    owners = {received.event.owner for received in batch if type(received.event) in STAFF_EVENTS}
    people = await tx.load(PEOPLE, owners) if owners else None
    now = tx.now
    for received in batch:
        event, kind = received.event, type(received.event)
        if kind in CUSTOMER_EVENTS:
            _apply(tx, received, orders, hear(orders[received.key], event, now))
        if people is not None and kind in STAFF_EVENTS:
            person = people.get(event.owner)
            whom = (person.email, person.name, person.language) if person else (settings.staff_email, event.owner, "en")
            _apply(tx, received, orders, tell_staff(orders[received.key], event, *whom))


for event_type in CUSTOMER_EVENTS:
    handlers.on(event_type)(tell_people)
handlers.on(SLABreached)(tell_people)


@handlers.on(PersonChanged)
async def learn_person(batch: Batch[Received[PersonChanged]], tx: Tx) -> None:
    """Keep the copy of people that staff messages need."""
    people = await tx.load(PEOPLE, batch.keys)
    for received in batch:
        people.put(received.event)


@handlers.result(EMAIL)
async def message_left(batch: Batch[EffectResult], tx: Tx) -> None:
    """A mail server took the message, or it was given up: both are kept."""
    messages = await tx.load(MESSAGES, [result.subject for result in batch])
    for result in batch:
        message, facts = messages[result.subject], result.request["facts"]
        if result.ok:
            tx.emit(result, sent(result.key, result.subject, result.request, tx.now))
            messages.put(message.put(status="sent", sent_at=tx.now, attempts=result.attempts, facts=facts))
        else:
            messages.put(message.put(status="failed", attempts=result.attempts, error=result.error, facts=facts))
