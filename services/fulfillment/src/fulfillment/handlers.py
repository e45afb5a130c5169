"""What fulfillment does with each event it hears: load → decide → apply."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache

from expedite_events import (
    CancelRequested,
    Decision,
    Event,
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
from fulfillment.domain.model import Order
from fulfillment.store import BARCODES, PEOPLE, PRODUCTS, WAREHOUSES, floor

handlers = Handlers("fulfillment")
CutOffs = Callable[[str, str | None], datetime | None]


async def work_on_orders(batch: Batch[Received[Event]], tx: Tx) -> None:
    """Everything that happens to an order's work: one load and one save per order, however many events of it came."""
    # Revision 1 travels on with the work itself; reading every new order's row for it would halve the pipeline.
    told = [r for r in batch if not (isinstance(r.event, PriorityAssigned) and r.event.urgency.revision == 1)]
    orders = await floor(tx, {r.key for r in told})
    cut_offs = await _cut_offs(tx, {r.event.warehouse_id for r in told if isinstance(r.event, StockReserved)})
    for received in told:
        orders.apply(received, _decide(orders[received.key], received, cut_offs, tx.now))


for _event in (
    StockReserved, TransferRequested, PriorityAssigned, CancelRequested, OrderHeld, OrderHoldReleased, OrderCancelled,
    OrderClosed,
):  # fmt: skip
    handlers.on(_event)(work_on_orders)


def _decide(order: Order, received: Received[Event], cut_offs: CutOffs, now: datetime) -> Decision[Order]:
    match received.event:
        case StockReserved() as event:
            # It joins the pick queue, less what was cancelled before it came.
            cut_off = cut_offs(event.warehouse_id, event.brief.carrier_preference)
            return custody.arrive(order, event, cut_off, now)
        case TransferRequested() as event:
            return transfers.request(order, event, now)
        case PriorityAssigned() as event:
            return changes.prioritise(order, event, overtakes=received.lane is Lane.EXPRESS)
        case CancelRequested() as event:
            return custody.cancel(order, event, now)
        case OrderHeld() as event:
            return changes.hold(order, event)
        case OrderHoldReleased() as event:
            return changes.release(order, event)
        case OrderCancelled():
            return changes.end(order, "cancelled")
        case OrderClosed():
            return changes.end(order, "closed")
        case other:
            raise TypeError(f"{type(other).__name__} is not about an order's work")


async def _cut_offs(tx: Tx, warehouse_ids: set[str]) -> CutOffs:
    """The next cut-off per warehouse and preferred carrier at this moment, worked out once per batch."""
    warehouses = await tx.glance(WAREHOUSES, warehouse_ids)

    @cache
    def cut_off(warehouse_id: str, carrier_id: str | None) -> datetime | None:
        return next_cut_off(warehouses.get(warehouse_id), carrier_id, tx.now)

    return cut_off


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
