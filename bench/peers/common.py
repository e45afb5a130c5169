"""The saga every peer runs: an order is received, then five steps follow, each durable in PostgreSQL on its own.

`steps` take one order and one connection, in a transaction of the caller. Servers are named by POSTGRES_URL and
KAFKA_BOOTSTRAP.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
POSTGRES = os.environ.get("POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
SKUS = 1000
Order = dict[str, Any]
Connection = asyncpg.Connection

TABLES = f"""
DROP SCHEMA IF EXISTS peer CASCADE;
CREATE SCHEMA peer;
CREATE TABLE peer.orders (id text PRIMARY KEY, doc jsonb NOT NULL, at timestamptz DEFAULT now());
CREATE TABLE peer.priorities (id text PRIMARY KEY, tier text NOT NULL);
CREATE TABLE peer.stock (sku text PRIMARY KEY, available int NOT NULL CHECK (available >= 0));
CREATE TABLE peer.reservations (id text, sku text, qty int, PRIMARY KEY (id, sku));
CREATE TABLE peer.packed (id text PRIMARY KEY, carton text);
CREATE TABLE peer.shipments (id text PRIMARY KEY, tracking text);
CREATE TABLE peer.notifications (id text PRIMARY KEY, body text, at timestamptz DEFAULT clock_timestamp());
INSERT INTO peer.stock SELECT 'SKU-' || n, 100000000 FROM generate_series(0, {SKUS - 1}) n;
"""


def order(number: int) -> Order:
    """Every tenth order is urgent."""
    drawn = random.Random(number)
    return {
        "id": f"20261122EC{number:08d}",
        "channel": "EC",
        "customer": {"name": "A B", "phone": "+15550100", "tier": "gold"},
        "address": {"line1": "1 Main St", "city": "Reno", "country": "US", "postcode": "89501"},
        "lines": [{"sku": f"SKU-{drawn.randrange(SKUS)}", "qty": drawn.randint(1, 3)} for _ in range(2)],
        "tags": ["urgent"] if number % 10 == 0 else [],
    }


async def receive(c: Connection, o: Order) -> None:
    sql = "INSERT INTO peer.orders (id, doc) VALUES ($1, $2) ON CONFLICT DO NOTHING"
    await c.execute(sql, o["id"], json.dumps(o))


async def prioritise(c: Connection, o: Order) -> None:
    tier = "urgent" if o["tags"] else "regular"
    await c.execute("INSERT INTO peer.priorities VALUES ($1, $2) ON CONFLICT DO NOTHING", o["id"], tier)


async def reserve(c: Connection, o: Order) -> None:
    # Sorted, so that two orders never wait for each other.
    for line in sorted(o["lines"], key=lambda line: line["sku"]):
        take = "UPDATE peer.stock SET available = available - $2 WHERE sku = $1 AND available >= $2"
        await c.execute(take, line["sku"], line["qty"])
        keep = "INSERT INTO peer.reservations VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
        await c.execute(keep, o["id"], line["sku"], line["qty"])


async def pack(c: Connection, o: Order) -> None:
    await c.execute("INSERT INTO peer.packed VALUES ($1, 'M') ON CONFLICT DO NOTHING", o["id"])


async def ship(c: Connection, o: Order) -> None:
    await c.execute("INSERT INTO peer.shipments VALUES ($1, $2) ON CONFLICT DO NOTHING", o["id"], "TRK" + o["id"])


async def notify(c: Connection, o: Order) -> None:
    sql = "INSERT INTO peer.notifications (id, body) VALUES ($1, 'shipped') ON CONFLICT DO NOTHING"
    await c.execute(sql, o["id"])


STEPS: tuple[Callable[[Connection, Order], Awaitable[None]], ...] = (prioritise, reserve, pack, ship, notify)


async def pool(most: int = 8) -> asyncpg.Pool:
    return await asyncpg.create_pool(POSTGRES, min_size=min(4, most), max_size=most)


async def tables(more: str = "") -> None:
    """Make the tables anew."""
    connection = await asyncpg.connect(POSTGRES)
    await connection.execute(TABLES + more)
    await connection.close()


DONE = "SELECT count(*) FROM peer.notifications"
