"""What shipping listens to: load the orders of a batch, decide, save."""

from __future__ import annotations

from typing import Any

from expedite_events import (
    CancelRequested,
    Decision,
    Lane,
    OrderCancelled,
    OrderClosed,
    OrderHeld,
    OrderHoldReleased,
    Packed,
    PriorityAssigned,
    ProductChanged,
    SLABreached,
    WarehouseChanged,
)
from expedite_messaging import Batch, Collection, EffectResult, Engine, Fired, Handlers, Received, Tx
from shipping import webhooks
from shipping.domain import custody, labels, orders
from shipping.domain.labels import LABEL_RETRY
from shipping.domain.quotes import quote_of
from shipping.domain.state import OrderLeg
from shipping.quotes import KEPT
from shipping.store import LABELS, PRODUCTS, WAREHOUSES, Desktop, LabelFile

handlers = Handlers("shipping")


async def hear_of_orders(batch: Batch[Received[Any]], tx: Tx) -> None:
    """Everything about orders is decided on the same rows: one load and one save, whatever a batch holds."""
    news = [received for received in batch if _is_news(received)]
    skus = {goods.sku for received in news if isinstance(received.event, Packed) for goods in received.event.goods}
    desktop = await Desktop.load(tx, dict.fromkeys(received.key for received in news), skus)
    for received in news:
        desktop.save(received, _decide(desktop.orders[received.key], received, desktop))


for _event in (
    Packed,
    CancelRequested,
    OrderHeld,
    OrderHoldReleased,
    PriorityAssigned,
    SLABreached,
    OrderCancelled,
    OrderClosed,
):
    handlers.on(_event)(hear_of_orders)


def _is_news(received: Received[Any]) -> bool:
    """First priorities come with the parcel."""
    event = received.event
    return not isinstance(event, PriorityAssigned) or event.urgency.revision > 1


def _decide(leg: OrderLeg, received: Received[Any], desktop: Desktop) -> Decision[OrderLeg]:
    event, desk, now = received.event, desktop.desk, desktop.now
    match event:
        case Packed():
            return custody.receive(leg, event, desk, now)
        case CancelRequested():
            return custody.cancel(leg, event, now)
        case OrderHeld():
            return orders.hold(leg, event)
        case OrderHoldReleased():
            return orders.release(leg, event, desk, now)
        case PriorityAssigned():
            return orders.raise_urgency(leg, event, wave=received.lane is Lane.EXPRESS)
        case SLABreached():
            return orders.breach(leg, event)
        case OrderCancelled():
            return orders.end(leg, "cancelled")
        case OrderClosed():
            return orders.end(leg, "closed")
    raise TypeError(f"shipping does not decide on {type(event).__name__}")


@handlers.on(WarehouseChanged)
async def learn_warehouses(batch: Batch[Received[WarehouseChanged]], tx: Tx) -> None:
    """Addresses for labels, cut-offs for promises."""
    await _learn(batch, tx, WAREHOUSES)


@handlers.on(ProductChanged)
async def learn_products(batch: Batch[Received[ProductChanged]], tx: Tx) -> None:
    """Weights and classes of what is in the boxes."""
    await _learn(batch, tx, PRODUCTS)


async def _learn(batch: Batch[Any], tx: Tx, collection: Collection[Any]) -> None:
    """Keep the newest snapshot of each entity."""
    book = await tx.load(collection, [collection.key_of(received.event) for received in batch])
    for received in batch:
        known = book.get(collection.key_of(received.event))
        if known is None or received.event.revision > known.revision:
            book.put(received.event)


@handlers.timer(LABEL_RETRY)
async def retry_labels(batch: Batch[Fired], tx: Tx) -> None:
    """A label failed a while ago: the carriers are asked again."""
    desktop = await Desktop.load(tx, batch.keys)
    for fired in batch:
        leg = desktop.orders[fired.key]
        desktop.save(fired, labels.try_again(leg, fired.subject, desktop.desk, tx.now))


@handlers.result("quote_rates")
async def choose_carriers(batch: Batch[EffectResult], tx: Tx) -> None:
    """Rates are in: choose a service and buy it. What holds for other parcels too is kept for them, whatever becomes of
    this transaction: it is the carriers' word."""
    desktop = await Desktop.load(tx, batch.keys)
    for result in batch:
        leg, parcel_id = desktop.orders[result.key], labels.parcel_of(result.subject)
        if result.ok:
            decision = labels.quoted(leg, parcel_id, result.subject, result.data, result.request, desktop.desk, tx.now)
            if quote := quote_of(result.request, result.data, tx.now):
                KEPT.keep(quote)
        else:
            decision = labels.not_quoted(leg, parcel_id, result.subject, result.error or "unknown", tx.now)
        desktop.save(result, decision)


@handlers.result("buy_label")
async def keep_labels(batch: Batch[EffectResult], tx: Tx) -> None:
    """Labels are bought or refused. What a carrier already said about a new number is applied at once."""
    desktop = await Desktop.of_orders(tx, batch.keys)
    if not all(result.ok for result in batch):
        await desktop.open()
    new = {}
    for result in batch:
        leg, parcel_id = desktop.orders[result.key], labels.parcel_of(result.subject)
        if not result.ok:
            error = result.error or "unknown"
            desktop.save(
                result,
                labels.not_bought(leg, parcel_id, result.subject, error, result.request, desktop.desk, tx.now),
            )
            continue
        desktop.save(result, labels.bought(leg, parcel_id, result.data, result.request, tx.now))
        tx.add(LABELS, _file(parcel_id, result))
        row = desktop.rows.get(parcel_id)
        if row is not None and row.tracking_number and row.carrier_id:
            new[row.carrier_id, row.tracking_number] = row
    await webhooks.apply_unmatched(desktop, new)


def _file(parcel_id: str, result: EffectResult) -> LabelFile:
    data = result.data
    return LabelFile(
        label_id=data["label_id"], parcel_id=parcel_id, zpl=data.get("zpl"), pdf_base64=data.get("pdf_base64"),
        pdf_url=data.get("pdf_url"),
    )  # fmt: skip


@handlers.result("void_label")
async def note_voids(batch: Batch[EffectResult], tx: Tx) -> None:
    """A label was given back; one that was not is shown to a person."""
    desktop = await Desktop.of_orders(tx, batch.keys)
    for result in batch:
        leg, parcel_id = desktop.orders[result.key], str(result.request["parcel_id"])
        if not result.ok:
            desktop.save(result, labels.not_voided(leg, parcel_id, result.subject, result.error or "unknown"))


@handlers.every(5.0)
async def apply_waiting_webhooks(engine: Engine) -> None:
    """Webhooks whose parcel or order was not ready: apply those that are now."""
    await webhooks.sweep(engine)
