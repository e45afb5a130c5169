"""For tests: order-intake alone on a MemoryEngine. A test posts as channels do, speaks as the other services and reads
what intake says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx

from expedite_chassis import webhooks
from expedite_chassis.testing import client
from expedite_events import Event, Lane, ProductChanged, row_of
from expedite_events.envelope import Envelope
from expedite_events.ids import uuid7
from expedite_messaging.memory import MemoryClock, MemoryEngine
from order_intake.domain.channel import Channel, Format
from order_intake.domain.order import Order
from order_intake.handlers import handlers
from order_intake.main import spec
from order_intake.store import CHANNELS, DELIVERIES, ORDERS, PRODUCTS, Delivery

NOW = datetime(2026, 11, 23, 17, 15, tzinfo=UTC)
SECRET = "test-secret"

CHANNEL_ROWS = (
    Channel(id="web", code="EC", owner="anna", urgent_methods=("NEXT_DAY",), high_value_limit=Decimal(5000)),
    Channel(id="shop", code="SH", format=Format.SHOPIFY, owner="anna", urgent_methods=("EXPRESS_NEXT_DAY",)),
    Channel(id="woo", code="WC", format=Format.WOOCOMMERCE, urgent_methods=("Express 24 h",)),
)
SKUS = ("A", "B", "OXY-REG-02", "CAN-10-AD", "GLV-NIT-M", "IPF-SET-4", "2230")


def product(sku: str, **more: Any) -> ProductChanged:
    return ProductChanged(sku=sku, name=f"Product {sku}", **more)


def native(**changes: Any) -> dict[str, Any]:
    """A complete native order; `changes` replaces fields, None takes one away."""
    order: dict[str, Any] = {
        "channel": "web",
        "customer": {
            "name": "Ada Byron",
            "email": "ada@example.com",
            "phone": "+44 20 7946 0018",
            "ship_to": {"line1": "12 St James's Square", "city": "London", "postcode": "SW1Y 4LB", "country": "GB"},
        },
        "lines": [{"sku": "A", "quantity": 3, "unit_price": "10.50"}, {"sku": "B", "quantity": 1}],
    }
    return {name: value for name, value in {**order, **changes}.items() if value is not None}


class World:
    """The service over memory."""

    def __init__(self, rows: Sequence[Any] = CHANNEL_ROWS, skus: Sequence[str] = SKUS) -> None:
        self.clock = MemoryClock(NOW)
        self.engine = MemoryEngine(handlers, self.clock)
        self.engine.db.rows[CHANNELS.name] = {row.id: row for row in rows}
        self.engine.db.rows[PRODUCTS.name] = {sku: product(sku) for sku in skus}

    async def hear(self, event: Event, lane: Lane = Lane.STANDARD, service: str | None = None) -> None:
        """Deliver an event as its owner would send it."""
        row = row_of(event)
        envelope = Envelope(
            id=uuid7(), service=service or row.owners[0], row=row, key=row.key_of(event), lane=lane, event=event,
            time=self.clock.now, correlation_id=uuid7(), causation_id=uuid7(),
        )  # fmt: skip
        await self.engine.deliver([envelope])

    async def fire_due(self) -> int:
        """Fire every timer that is due; how many."""
        due = self.engine.due()
        for fired in due:
            await self.engine.fire([fired])
        return len(due)

    def said(self, *kinds: type[Event]) -> list[Any]:
        """What intake said so far, of these kinds."""
        return [e.event for e in self.engine.db.ledger if not kinds or isinstance(e.event, kinds)]

    def envelopes(self, kind: type[Event]) -> list[Envelope]:
        return [e for e in self.engine.db.ledger if isinstance(e.event, kind)]

    def order(self, order_id: str) -> Order:
        found = self.engine.db.rows[ORDERS.name][order_id]
        assert isinstance(found, Order)
        return found

    @property
    def orders(self) -> list[Order]:
        return [row for row in self.engine.db.rows[ORDERS.name].values() if isinstance(row, Order)]

    @property
    def deliveries(self) -> list[Delivery]:
        return [row for row in self.engine.db.rows[DELIVERIES.name].values() if isinstance(row, Delivery)]

    @property
    def parked(self) -> dict[str, Any]:
        return {key: value for key, value in self.engine.db.parked.items() if value}

    def client(self, scopes: Sequence[str] = ("*",), **options: Any) -> httpx.AsyncClient:
        """A client that gives each order without a reference a key of its own, as every caller must."""
        found = client(spec, self.engine, scopes, **options)
        found.event_hooks = {"request": [_keyed]}
        return found


async def _keyed(request: httpx.Request) -> None:
    if request.method == "POST" and request.url.path == "/orders" and b'"reference"' not in request.content:
        request.headers.setdefault("Idempotency-Key", str(uuid7()))


def shopify_headers(body: bytes, topic: str = "orders/create", webhook_id: str = "w-1") -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-Shopify-Topic": topic,
        "X-Shopify-Shop-Domain": "expedite-demo.myshopify.com",
        "X-Shopify-Webhook-Id": webhook_id,
        "X-Shopify-Hmac-Sha256": webhooks.sign_base64(body, SECRET),
    }


def woo_headers(body: bytes, topic: str = "order.created") -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-WC-Webhook-Topic": topic,
        "X-WC-Webhook-Resource": "order",
        "X-WC-Webhook-Source": "https://shop.example.com/",
        "X-WC-Webhook-ID": "17",
        "X-WC-Webhook-Delivery-ID": "6f1b0c9d2e7a4853b1c0d9e8f7a6b5c4",
        "X-WC-Webhook-Signature": webhooks.sign_woocommerce(body, SECRET),
    }
