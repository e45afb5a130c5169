"""What order-intake hears: answers of custodians, the carrier leg, raises, master data; and its own timers."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from expedite_events import (
    NO_UNITS,
    CancelRefused,
    Decision,
    Delivered,
    Illegal,
    OrderEvent,
    ParcelReturned,
    ProductChanged,
    RaiseRequested,
    SetTimer,
    ShipmentLost,
    Shipped,
    Units,
    UnitsCancelled,
)
from expedite_messaging import Batch, Engine, Fired, Handlers, KeyParked, Received, Root, Tx
from order_intake.changes import OnBehalf, reexamine
from order_intake.domain.cancelling import answered
from order_intake.domain.ending import came_back, confirm_by_clock, delivered
from order_intake.domain.holding import raise_order
from order_intake.domain.order import CONFIRM, Order
from order_intake.inbound import retry_parked
from order_intake.parcels import handed_of, note_shipped
from order_intake.settings import policy
from order_intake.store import AWAITED, ORDERS, PRODUCTS

handlers = Handlers("order-intake")

REEXAMINE = "reexamine"  # timer kind: verify an order again, now
_PAGE = 500


def _decide(order: Order, event: OrderEvent, handed: Units, now: datetime) -> Decision[Order]:
    match event:
        case Delivered():
            return delivered(order, event, policy())
        case UnitsCancelled() | CancelRefused():
            return answered(order, event, handed, now, policy())
        case ShipmentLost() | ParcelReturned():
            return came_back(order, event)
    raise TypeError(f"{type(event).__name__} is not for the order")


async def on_order_news(batch: Batch[Received[OrderEvent]], tx: Tx) -> None:
    """What others did with an order: a carrier has a parcel, lost it, brought it back or delivered it (with the last unit
    the confirm clock starts); a custodian answers a cancel request. One load and one save, whatever a poll brings; and
    none for Shipped, which comes with every order: it is only noted."""
    news: list[Received[OrderEvent]] = []
    for received in batch:
        if isinstance(received.event, Shipped):
            note_shipped(tx, received.event)
        else:
            news.append(received)
    orders = await tx.load(ORDERS, {received.key for received in news})
    # Where a custodian refused some units, others are asked for, which no carrier has.
    refused = {received.key for received in news if isinstance(received.event, CancelRefused)}
    handed = await handed_of(tx, [order for order in orders if order.order_id in refused])
    for received in news:
        order = orders.get(received.key)
        if order is None:
            raise Illegal(f"{type(received.event).__name__} for {received.key}, an order that was never accepted")
        tx.apply(received, orders, _decide(order, received.event, handed.get(received.key, NO_UNITS), tx.now))


for _event in (UnitsCancelled, CancelRefused, Shipped, ShipmentLost, ParcelReturned, Delivered):
    handlers.on(_event)(on_order_news)


@handlers.on(RaiseRequested)
async def on_raise_requested(batch: Batch[Received[RaiseRequested]], tx: Tx) -> None:
    """An order the prioritizer has not seen was raised: announce it again, express. A number nobody ever got (people
    type them) is nobody's order."""
    orders = await tx.load(ORDERS, batch.keys)
    for received in batch:
        order = orders.get(received.key)
        if order is not None:
            tx.apply(received, orders, raise_order(order))


@handlers.on(ProductChanged)
async def on_product_changed(batch: Batch[Received[ProductChanged]], tx: Tx) -> None:
    """Keep the copy. When a product can be sold from now on, orders that wait for it are verified again, each under its
    own lock: a timer carries the work there."""
    products = await tx.load(PRODUCTS, batch.keys)
    sellable: dict[str, Received[ProductChanged]] = {}
    for received in batch:
        known, product = products.get(received.key), received.event
        if known is not None and known.revision >= product.revision:
            continue
        if product.active and (known is None or not known.active):
            sellable[product.sku] = received
        products.put(product)
    if not sellable:
        return
    waiting = await tx.find(AWAITED, {"sku": list(sellable), "waiting": True}, order_by=("order_id",), limit=10_000)
    for order_id, sku in {row.order_id: row.sku for row in waiting}.items():
        timer = SetTimer(REEXAMINE, order_id, tx.now)
        tx.emit(OnBehalf(sellable[sku], order_id), Decision(None, timers=(timer,)))


@handlers.timer(REEXAMINE)
async def on_reexamine(batch: Batch[Fired], tx: Tx) -> None:
    """A product these orders wait for has appeared."""
    await reexamine(tx, batch, policy())


@handlers.timer(CONFIRM)
async def on_confirm_clock(batch: Batch[Fired], tx: Tx) -> None:
    """Nobody confirmed in time: the clock does (A10)."""
    orders = await tx.load(ORDERS, batch.keys)
    for fired in batch:
        tx.apply(fired, orders, confirm_by_clock(orders[fired.key], tx.now))


@handlers.every(60)
async def find_missed_products(engine: Engine) -> None:
    """An order that was being accepted while its product appeared is not among those the product's event found: look
    for orders that wait for products which are here."""
    after = ""
    while True:
        last = after

        async def found(tx: Tx, last: str = last) -> tuple[str, list[str]]:
            where = {"waiting": True, "order_id__gt": last}
            rows = await tx.find(AWAITED, where, order_by=("order_id",), limit=_PAGE)
            here = {p.sku for p in await tx.load(PRODUCTS, {row.sku for row in rows}) if p.active}
            return (rows[-1].order_id if rows else ""), sorted({row.order_id for row in rows if row.sku in here})

        after, order_ids = await engine.read(found)
        for order_id in order_ids:
            await _reexamine_one(engine, order_id)
        if not after:
            return


async def _reexamine_one(engine: Engine, order_id: str) -> None:
    with suppress(KeyParked):  # its parked events come first; the next round finds it again
        await engine.transact([order_id], lambda tx: reexamine(tx, [Root(key=order_id)], policy()))


@handlers.every(30)
async def retry_parked_deliveries(engine: Engine) -> None:
    """Webhooks that waited behind parked events of their order are tried again."""
    await retry_parked(engine, policy())
