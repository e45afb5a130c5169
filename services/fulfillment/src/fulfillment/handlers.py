"""What fulfillment does with each event it hears: load → decide → apply."""

from __future__ import annotations

from expedite_events import (
    CancelRequested,
    Lane,
    OrderCancelled,
    OrderClosed,
    OrderHeld,
    OrderHoldReleased,
    PersonChanged,
    PriorityAssigned,
    ProductChanged,
    StockReserved,
    TransferRequested,
    WarehouseChanged,
)
from expedite_messaging import Batch, Handlers, Received, Tx
from fulfillment.domain import changes, custody, transfers
from fulfillment.domain.copies import Barcode, newer, next_cut_off
from fulfillment.store import BARCODES, PEOPLE, PRODUCTS, WAREHOUSES, floor

handlers = Handlers("fulfillment")


@handlers.on(StockReserved)
async def open_fulfilment_order(batch: Batch[Received[StockReserved]], tx: Tx) -> None:
    """A fulfilment order arrives: it joins the pick queue, less what was cancelled before it came."""
    orders = await floor(tx, batch.keys)
    warehouses = await tx.load(WAREHOUSES, {r.event.warehouse_id for r in batch})
    for received in batch:
        event = received.event
        cut_off = next_cut_off(warehouses.get(event.warehouse_id), event.brief.carrier_preference, tx.now)
        orders.apply(received, custody.arrive(orders[received.key], event, cut_off, tx.now))


@handlers.on(CancelRequested)
async def cancel_units(batch: Batch[Received[CancelRequested]], tx: Tx) -> None:
    """Units shall not be delivered: open ones are freed, picked ones wait for put-back, absent ones are remembered."""
    orders = await floor(tx, batch.keys)
    for received in batch:
        orders.apply(received, custody.cancel(orders[received.key], received.event, tx.now))


@handlers.on(OrderHeld)
async def hold_order(batch: Batch[Received[OrderHeld]], tx: Tx) -> None:
    """Nothing of the order is offered while a hold is open."""
    orders = await floor(tx, batch.keys)
    for received in batch:
        orders.apply(received, changes.hold(orders[received.key], received.event))


@handlers.on(OrderHoldReleased)
async def release_order(batch: Batch[Received[OrderHoldReleased]], tx: Tx) -> None:
    """A hold ended; with the last one the order's work is offered again."""
    orders = await floor(tx, batch.keys)
    for received in batch:
        orders.apply(received, changes.release(orders[received.key], received.event))


@handlers.on(OrderCancelled)
async def end_cancelled(batch: Batch[Received[OrderCancelled]], tx: Tx) -> None:
    """Every unit was cancelled: nothing starts any more."""
    orders = await floor(tx, batch.keys)
    for received in batch:
        orders.apply(received, changes.end(orders[received.key], "cancelled"))


@handlers.on(OrderClosed)
async def end_closed(batch: Batch[Received[OrderClosed]], tx: Tx) -> None:
    """Every unit is accounted for: nothing starts any more."""
    orders = await floor(tx, batch.keys)
    for received in batch:
        orders.apply(received, changes.end(orders[received.key], "closed"))


@handlers.on(PriorityAssigned)
async def raise_urgency(batch: Batch[Received[PriorityAssigned]], tx: Tx) -> None:
    """A raised order moves up in the queues and its parcels are announced again on the express lane."""
    # Revision 1 travels on with the work itself; reading every new order's row for it would halve the pipeline.
    raised = [r for r in batch if r.event.urgency.revision > 1]
    orders = await floor(tx, {r.key for r in raised})
    for received in raised:
        overtakes = received.lane is Lane.EXPRESS
        orders.apply(received, changes.prioritise(orders[received.key], received.event, overtakes=overtakes))


@handlers.on(TransferRequested)
async def open_transfer(batch: Batch[Received[TransferRequested]], tx: Tx) -> None:
    """A transfer joins the queue of the sending warehouse."""
    orders = await floor(tx, batch.keys)
    for received in batch:
        orders.apply(received, transfers.request(orders[received.key], received.event, tx.now))


@handlers.on(ProductChanged)
async def learn_product(batch: Batch[Received[ProductChanged]], tx: Tx) -> None:
    """Keep the copy of a product and which barcodes stand for it."""
    products = await tx.load(PRODUCTS, batch.keys)
    before = {code for p in products for code in p.barcodes}
    barcodes = await tx.load(BARCODES, before | {code for r in batch for code in r.event.barcodes})
    for received in batch:
        product, known = received.event, products.get(received.event.sku)
        if not newer(known, product):
            continue
        for code in set(known.barcodes if known else ()) - set(product.barcodes):
            # Another product may have taken the code over meanwhile: then it is not ours to give up.
            if (held := barcodes.get(code)) is not None and held.sku == product.sku:
                barcodes.put(Barcode(code=code, sku=None))
        for code in product.barcodes:
            barcodes.put(Barcode(code=code, sku=product.sku))
        products.put(product)


@handlers.on(WarehouseChanged)
async def learn_warehouse(batch: Batch[Received[WarehouseChanged]], tx: Tx) -> None:
    """Keep the copy of a warehouse: its hours and carrier cut-offs."""
    warehouses = await tx.load(WAREHOUSES, batch.keys)
    for received in batch:
        if newer(warehouses.get(received.event.warehouse_id), received.event):
            warehouses.put(received.event)


@handlers.on(PersonChanged)
async def learn_person(batch: Batch[Received[PersonChanged]], tx: Tx) -> None:
    """Keep the copy of a person: who may work here and who answers for what."""
    people = await tx.load(PEOPLE, batch.keys)
    for received in batch:
        people.put(received.event)
