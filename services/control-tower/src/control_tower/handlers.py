"""The control tower hears every event of the catalogue but its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from control_tower.domain.card import Card
from control_tower.domain.fold import fold
from control_tower.store import CARDS, ENTRIES, LEVELS, PEOPLE, SNAPSHOTS, Entry, Snapshot
from expedite_events import Decision, OrderEvent, OrderState, PersonChanged, StockLevelChanged, heard_by
from expedite_messaging import Batch, Engine, Handlers, Received, Root, Tx

handlers = Handlers("control-tower")
PUBLISH_BATCH = 500


def entry_of(received: Received[Any], said: str) -> Entry:
    """The timeline's row of an event. Personal data stays in the services that need it."""
    envelope = received.envelope
    data = envelope.event.model_dump(mode="json", exclude_none=True)
    data.pop("customer", None)
    if isinstance(data.get("brief"), dict):
        data["brief"].pop("customer", None)
    return Entry(
        order_id=received.key, event_id=str(received.id), topic=envelope.row.topic, service=envelope.service,
        lane=envelope.lane.value, at=envelope.time, sequence=envelope.sequence, causation_id=str(envelope.causation_id),
        correlation_id=str(envelope.correlation_id), trace=envelope.traceparent, said=said, data=data,
    )  # fmt: skip


async def place(batch: Batch[Received[Any]], tx: Tx) -> None:
    """Fold order events into their cards and timelines."""
    cards = await tx.load(CARDS, batch.keys)
    changed = datetime.now(UTC)
    for received in batch:
        card = cards[received.key]
        folded, said = fold(received.event, card)
        revised = folded.model_copy(update={"revision": card.revision + 1, "changed_at": changed})
        cards.put(revised)
        tx.add(ENTRIES, entry_of(received, said))


async def note(batch: Batch[Received[Any]], tx: Tx) -> None:
    """Note master data and receipts, which belong to no order."""
    for received in batch:
        book = await tx.load(SNAPSHOTS, [(received.envelope.row.topic, received.key)])
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
    levels = await tx.load(LEVELS, [(r.event.sku, r.event.warehouse_id) for r in batch])
    for received in batch:
        known = levels.get((received.event.sku, received.event.warehouse_id))
        if known is None or known.revision < received.event.revision:
            levels.put(received.event)


def published(card: Card, now: datetime) -> Decision[Card]:
    """OrderState for BI, once per revision that is looked at: coalesced (I1)."""
    state = OrderState(
        order_id=card.order_id, channel=card.channel, tier=card.tier, stage=card.stage, light=card.light.value,
        units=len(card.units), delivered=len(card.delivered), cancelled=len(card.cancelled), promise_by=card.promise_by,
        received_at=card.received_at, revision=card.revision, at=now,
    )  # fmt: skip
    return Decision(card.model_copy(update={"published": card.revision}), events=(state,))


@handlers.every(1.0)
async def publish_states(engine: Engine) -> None:
    """Publish the newest state of every order that changed since the last round."""

    async def changed(tx: Tx) -> list[Card]:
        return await tx.find(CARDS, {"needs_publishing": True}, order_by=("order_id",), limit=PUBLISH_BATCH)

    while keys := [card.order_id for card in await engine.read(changed)]:

        async def publish(tx: Tx, keys: list[str] = keys) -> None:
            cards = await tx.load(CARDS, keys)
            for key in keys:
                if (card := cards.get(key)) and card.needs_publishing:
                    tx.apply(Root(key), cards, published(card, tx.now))

        await engine.transact(keys, publish, allow_parked=True)
