"""The control tower hears every event of the catalogue but its own."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

from control_tower.domain.card import Card
from control_tower.domain.fold import TOLD_ONLY, fold
from control_tower.domain.place import placed
from control_tower.domain.search import new_terms
from control_tower.domain.told import kept
from control_tower.store import (
    CARDS,
    CHANGES,
    LEVELS,
    PAGES,
    PEOPLE,
    SNAPSHOTS,
    TALLIES,
    TERMS,
    Change,
    Entry,
    Page,
    Snapshot,
    Term,
)
from expedite_events import (
    Decision,
    OrderEvent,
    OrderState,
    PersonChanged,
    StockLevelChanged,
    heard_by,
)
from expedite_events.envelope import Envelope
from expedite_messaging import Batch, Handlers, Received, Tx

handlers = Handlers("control-tower", poll=2_000, gather=3_000)
SLOTS = 32


def entry_of(envelope: Envelope) -> Entry:
    """The timeline's entry of an event."""
    return Entry(
        event_id=str(envelope.id), topic=envelope.row.topic, service=envelope.service, lane=envelope.lane.value,
        at=envelope.time, sequence=envelope.sequence, causation_id=str(envelope.causation_id),
        correlation_id=str(envelope.correlation_id), trace=envelope.traceparent, data=kept(envelope.event),
    )  # fmt: skip


async def place(batch: Batch[Received[Any]], tx: Tx) -> None:
    """Fold order events into their cards and timelines: one load, one page and one save per order, whatever the number
    of its events."""
    heard: dict[str, list[Received[Any]]] = {}
    for received in batch:
        heard.setdefault(received.key, []).append(received)
    facts: dict[str, list[Received[Any]]] = {}
    for order_id, all_heard in heard.items():
        entries = tuple([entry_of(received.envelope) for received in all_heard])
        tx.add(PAGES, Page(order_id=order_id, event_id=entries[0].event_id, entries=entries))
        if stated := [received for received in all_heard if type(received.event) not in TOLD_ONLY]:
            facts[order_id] = stated
    cards = await tx.load(CARDS, facts)
    changed, counts = [], Counter[str]()
    for order_id, stated in facts.items():
        old = card = cards[order_id]
        for received in stated:
            card = fold(received.event, card)
        if card is old:
            continue
        card = placed(card)
        cards.put(card)
        changed.append(order_id)
        for term in new_terms(old, card):
            tx.add(TERMS, Term(term=term, order_id=order_id))
        counts[place_of(card)] += 1
        if old.revision:
            counts[place_of(old)] -= 1
        if not old.revision or _is_news(old, card):
            tx.emit(stated[-1], Decision(card, events=(state_of(card, tx.now),)))
    if changed:
        first = batch.items[0]
        tx.add(CHANGES, Change(change_id=str(first.id), at=datetime.now(UTC), orders=tuple(changed)))
        await _count(tx, f"{first.lane.value}-{crc32(first.key.encode()) % SLOTS}", counts)


def place_of(card: Card) -> str:
    """Where a tally counts the card."""
    return f"{card.stage}|{card.light.value}"


async def _count(tx: Tx, slot: str, counts: Counter[str]) -> None:
    """Note how many orders came to and left each place. Last of all, because the slot's row is locked until the commit."""
    moved = {name: n for name, n in counts.items() if n}
    if moved:
        tallies = await tx.load(TALLIES, [slot])
        orders = tallies[slot].orders
        tallies.put(tallies[slot].put(orders=orders | {name: orders.get(name, 0) + n for name, n in moved.items()}))


def _is_news(old: Card, card: Card) -> bool:
    """Whether a figure changed that BI is told."""
    return (
        card.stage != old.stage
        or card.light is not old.light
        or card.urgency is not old.urgency
        or card.received_at != old.received_at
        or card.units != old.units
        or card.cancelled != old.cancelled
        or (card.parcels is not old.parcels and card.delivered != old.delivered)
    )


def state_of(card: Card, now: datetime) -> OrderState:
    """The order's row for BI, at most one per order and transaction (I1)."""
    return OrderState(
        order_id=card.order_id, channel=card.channel, tier=card.tier, stage=card.stage, light=card.light.value,
        units=len(card.units), delivered=len(card.delivered), cancelled=len(card.cancelled), promise_by=card.promise_by,
        received_at=card.received_at, revision=card.revision, at=now,
    )  # fmt: skip


async def note(batch: Batch[Received[Any]], tx: Tx) -> None:
    """Note master data and receipts, which belong to no order."""
    book = await tx.load(SNAPSHOTS, {(r.envelope.row.topic, r.key) for r in batch})
    for received in batch:
        book.put(Snapshot(kind=received.envelope.row.topic, entity=received.key, at=received.time))


for row in heard_by("control-tower"):
    if issubclass(row.event, OrderEvent):
        handlers.on(row.event)(place)
    elif row.event not in (PersonChanged, StockLevelChanged):
        handlers.on(row.event)(note)


@handlers.on(PersonChanged)
async def learn_person(batch: Batch[Received[PersonChanged]], tx: Tx) -> None:
    """People log in here and own stages."""
    people = await tx.load(PEOPLE, batch.keys)
    for received in batch:
        people.put(received.event)


@handlers.on(StockLevelChanged)
async def learn_level(batch: Batch[Received[StockLevelChanged]], tx: Tx) -> None:
    """The newest level per SKU and warehouse; snapshots of one entity are compared by revision."""
    newest: dict[tuple[str, str], StockLevelChanged] = {}
    for received in batch:
        level = received.event
        known = newest.get((level.sku, level.warehouse_id))
        if known is None or known.revision < level.revision:
            newest[level.sku, level.warehouse_id] = level
    levels = await tx.load(LEVELS, newest)
    for key, level in newest.items():
        known = levels.get(key)
        if known is None or known.revision < level.revision:
            levels.put(level)
