"""What shipping listens to: load the orders of a batch, decide, save."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from expedite_events import (
    CancelRequested,
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
from shipping.store import LABELS, PARCELS, PRODUCTS, WAREHOUSES, Desktop, LabelFile

handlers = Handlers("shipping")


@handlers.on(Packed)
async def receive_parcels(batch: Batch[Received[Packed]], tx: Tx) -> None:
    """Parcels arrive on the dock: what was asked about their units meanwhile is applied, labels are bought."""
    skus = {goods.sku for received in batch for goods in received.event.goods}
    desktop = await Desktop.load(tx, batch.keys, desk=True, skus=skus)
    for received in batch:
        leg = desktop.orders[received.key]
        desktop.save(received, custody.receive(leg, received.event, desktop.desk, tx.now))


@handlers.on(CancelRequested)
async def cancel_units(batch: Batch[Received[CancelRequested]], tx: Tx) -> None:
    """Units shall not be delivered: held back on the dock, refused when they are with the carrier."""
    desktop = await Desktop.load(tx, batch.keys)
    for received in batch:
        desktop.save(received, custody.cancel(desktop.orders[received.key], received.event, tx.now))


@handlers.on(OrderHeld)
async def hold_orders(batch: Batch[Received[OrderHeld]], tx: Tx) -> None:
    """No label is bought and nothing leaves while a hold is open."""
    desktop = await Desktop.load(tx, batch.keys)
    for received in batch:
        desktop.save(received, orders.hold(desktop.orders[received.key], received.event))


@handlers.on(OrderHoldReleased)
async def release_orders(batch: Batch[Received[OrderHoldReleased]], tx: Tx) -> None:
    """A hold is over; labels that waited for it are bought."""
    desktop = await with_products(tx, batch.keys)
    for received in batch:
        leg = desktop.orders[received.key]
        desktop.save(received, orders.release(leg, received.event, desktop.desk, tx.now))


@handlers.on(PriorityAssigned)
async def raise_orders(batch: Batch[Received[PriorityAssigned]], tx: Tx) -> None:
    """A raised order sorts the dock anew and sends the wave on. First assignments come with the parcel."""
    raised = [r for r in batch if r.event.urgency.revision > 1]
    desktop = await Desktop.load(tx, dict.fromkeys(r.key for r in raised))
    for received in raised:
        wave = received.lane is Lane.EXPRESS
        desktop.save(received, orders.raise_urgency(desktop.orders[received.key], received.event, wave))


@handlers.on(SLABreached)
async def note_breaches(batch: Batch[Received[SLABreached]], tx: Tx) -> None:
    """A stage is late: lists show it."""
    desktop = await Desktop.load(tx, batch.keys)
    for received in batch:
        desktop.save(received, orders.breach(desktop.orders[received.key], received.event))


@handlers.on(OrderCancelled)
async def end_cancelled(batch: Batch[Received[OrderCancelled]], tx: Tx) -> None:
    """Terminal: every unit was cancelled."""
    await _end(batch, tx, "cancelled")


@handlers.on(OrderClosed)
async def end_closed(batch: Batch[Received[OrderClosed]], tx: Tx) -> None:
    """Terminal: everything is accounted for."""
    await _end(batch, tx, "closed")


async def _end(batch: Batch[Any], tx: Tx, how: str) -> None:
    desktop = await Desktop.load(tx, batch.keys)
    for received in batch:
        desktop.save(received, orders.end(desktop.orders[received.key], how))


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
    desktop = await with_products(tx, batch.keys)
    for fired in batch:
        leg = desktop.orders[fired.key]
        desktop.save(fired, labels.try_again(leg, fired.subject, desktop.desk, tx.now))


@handlers.result("quote_rates")
async def choose_carriers(batch: Batch[EffectResult], tx: Tx) -> None:
    """Rates are in: choose a service and buy it."""
    desktop = await with_products(tx, batch.keys)
    for result in batch:
        leg, parcel_id = desktop.orders[result.key], labels.parcel_of(result.subject)
        if result.ok:
            decision = labels.quoted(leg, parcel_id, result.subject, result.data, result.request, desktop.desk, tx.now)
        else:
            decision = labels.not_quoted(leg, parcel_id, result.subject, result.error or "unknown", tx.now)
        desktop.save(result, decision)


@handlers.result("buy_label")
async def keep_labels(batch: Batch[EffectResult], tx: Tx) -> None:
    """Labels are bought or refused. What a carrier already said about a new number is applied at once."""
    desktop = await with_products(tx, batch.keys)
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
        row = (await tx.load(PARCELS, ())).get(parcel_id)
        if row is not None and row.tracking_number and row.carrier_id:
            new[row.carrier_id, row.tracking_number] = row
    await webhooks.apply_unmatched(desktop, new)


def _file(parcel_id: str, result: EffectResult) -> LabelFile:
    data = result.data
    return LabelFile(
        label_id=data["label_id"], parcel_id=parcel_id, zpl=data.get("zpl"), pdf_base64=data.get("pdf_base64")
    )


@handlers.result("void_label")
async def note_voids(batch: Batch[EffectResult], tx: Tx) -> None:
    """A label was given back; one that was not is shown to a person."""
    desktop = await Desktop.load(tx, batch.keys)
    for result in batch:
        leg, parcel_id = desktop.orders[result.key], str(result.request["parcel_id"])
        if not result.ok:
            desktop.save(result, labels.not_voided(leg, parcel_id, result.subject, result.error or "unknown"))


@handlers.every(5.0)
async def apply_waiting_webhooks(engine: Engine) -> None:
    """Webhooks whose parcel or order was not ready: apply those that are now."""
    await webhooks.sweep(engine)


async def with_products(tx: Tx, order_ids: Iterable[str]) -> Desktop:
    """Orders with the desk and the products in their parcels: whatever starts a label needs them."""
    desktop = await Desktop.load(tx, order_ids)
    skus = {goods.sku for leg in desktop.orders for parcel in leg.parcels for goods in parcel.goods}
    return await Desktop.load(tx, (), desk=True, skus=skus)
