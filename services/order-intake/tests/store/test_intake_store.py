"""Order-intake on a real PostgreSQL: numbers, claims and lists as the database keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import httpx
import orjson
import pytest

from expedite_chassis.testing import client
from expedite_events import Address, Customer, Event, Lane, Shipped, Units, row_of, to_json
from expedite_events.envelope import Envelope, decode
from expedite_events.ids import uuid7
from expedite_messaging import Tx
from expedite_messaging.bundles import unpacked
from expedite_messaging.migrate import StillRunning, drift, upgrade
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.records import wire_headers
from expedite_messaging.testing import create_database, drop_database, postgres_engine
from order_intake import placing
from order_intake.domain.content import Content
from order_intake.domain.order import Order
from order_intake.handlers import find_missed_products, handlers
from order_intake.main import spec
from order_intake.store import AWAITED, CHANNELS, CLAIMS, ORDERS, PARCELS, PRODUCTS, Claim
from order_intake.testing import CHANNEL_ROWS, native, product


@pytest.fixture
async def engine() -> AsyncIterator[PostgresEngine]:
    async with postgres_engine(handlers, "order_intake") as engine:

        async def seed(tx: Tx) -> None:
            for row in CHANNEL_ROWS:
                tx.add(CHANNELS, row)
            for sku in "AB":
                tx.add(PRODUCTS, product(sku))

        await engine.transact([], seed)
        yield engine


@pytest.fixture
async def api(engine: PostgresEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with client(spec, engine) as http:
        yield http


async def test_the_migrations_make_what_the_code_declares() -> None:
    """I2"""
    url = await create_database("order_intake")
    try:
        assert await asyncio.to_thread(drift, url, "order_intake") == []
    finally:
        await drop_database(url)


async def test_what_a_claim_said_about_equal_content_stands_in_its_order() -> None:
    """A6: orders taken in before are suspected as those taken in now."""
    url = await create_database("order_intake")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("ALTER TABLE intake_order DROP COLUMN alike")
        await connection.execute("UPDATE alembic_version SET version_num = '0003'")
        order = Order(
            order_id="1", channel="web", owner="anna", client="shop", content=Content(), accepted_at=datetime.now(UTC)
        )
        await connection.execute("INSERT INTO intake_order (order_id, doc) VALUES ('1', $1)", to_json(order).decode())
        claim = Claim(scope="content", key="web|abc", order_id="1", at=order.accepted_at)
        await connection.execute("INSERT INTO claim VALUES ('content', 'web|abc', $1)", to_json(claim).decode())
        await asyncio.to_thread(upgrade, url, "order_intake")
        async with postgres_engine(handlers, "order_intake", url) as engine:
            assert await engine.read(lambda tx: tx.find(ORDERS, {"alike": ["web|abc"]})) == [order.put(alike="web|abc")]
            assert await engine.read(lambda tx: tx.find(CLAIMS)) == []
    finally:
        await connection.close()
        await drop_database(url)


async def test_events_that_wait_when_the_outbox_gets_its_new_form_are_published() -> None:
    """I4: each is kept with its number, and later ones of its key get higher numbers."""
    url = await create_database("order_intake")
    connection = await asyncpg.connect(url)
    event = heard(shipped("order-1", "parcel-1", Units.quantity(1, 1)))
    try:
        for table in ("outbox", "outbox_express"):
            await connection.execute(f"""
                DROP TABLE {table};
                CREATE TABLE {table} (
                  id bigint CONSTRAINT pk_{table} PRIMARY KEY, shard smallint NOT NULL, topic text NOT NULL,
                  key text COLLATE "C" NOT NULL, event_id uuid NOT NULL, headers bytea NOT NULL, value bytea NOT NULL,
                  at timestamptz NOT NULL DEFAULT clock_timestamp())
            """)
        await connection.execute("ALTER TABLE timer ALTER COLUMN data TYPE json USING data::json")
        await connection.execute("ALTER SEQUENCE emission INCREMENT BY 1; SELECT setval('emission', 5)")
        await connection.execute(
            "INSERT INTO outbox VALUES (5, 3, $1, $2, $3, $4, $5)",
            event.topic, event.key, event.id, event.packed(), event.value,
        )  # fmt: skip
        await connection.execute("UPDATE alembic_version SET version_num = '0004'")
        await asyncio.to_thread(upgrade, url, "order_intake")
        assert drift(url, "order_intake") == []
        ((*row, events),) = await connection.fetch("SELECT id, shard, body, events FROM outbox")
        (kept,) = unpacked(*row).events
        assert (*row[:2], events) == (5, 3, 1)
        assert decode(kept.topic, kept.key.encode(), kept.value, wire_headers(kept.headers, 5)).id == event.id
        assert await connection.fetchval("SELECT nextval('emission')") > 5
    finally:
        await connection.close()
        await drop_database(url)


async def test_a_step_that_the_running_version_cannot_follow_waits_until_it_is_stopped() -> None:
    """I2"""
    url = await create_database("order_intake")
    connection = await asyncpg.connect(url)
    running = await asyncpg.connect(url, server_settings={"application_name": "order-intake-standard-1 relay standard"})
    try:
        await connection.execute("ALTER TABLE intake_order DROP COLUMN alike")
        await connection.execute("UPDATE alembic_version SET version_num = '0003'")
        with pytest.raises(StillRunning, match="order-intake-standard-1,"):
            await asyncio.to_thread(upgrade, url, "order_intake")
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0003"
        await running.close()
        await asyncio.to_thread(upgrade, url, "order_intake")
        assert await connection.fetchval("SELECT version_num FROM alembic_version") > "0003"
    finally:
        await connection.close()
        await drop_database(url)


async def test_an_order_of_equal_content_is_found_among_many(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A6: those of another content that came often and lately do not hide it."""
    monkeypatch.setattr(placing, "TWINS_AT_ONCE", 2)
    other = [{"sku": "B", "quantity": 3}]
    first = (await api.post("/orders", json=native(reference="twin-0"))).json()
    for n in range(5):
        await api.post("/orders", json=native(reference=f"often-{n}", lines=other))
    both = [native(reference="twin-1"), native(reference="often-5", lines=other)]
    said = await api.post("/orders/bulk", content=b"\n".join(map(orjson.dumps, both)))
    assert first["holds"] == []
    verdicts = [orjson.loads(line) for line in said.text.splitlines()[:-1]]
    orders = [(await api.get(f"/orders/{verdict['order_id']}")).json() for verdict in verdicts]
    assert [[h["problem"]["code"] for h in order["holds"]] for order in orders] == [["suspected_duplicate"]] * 2


async def test_an_order_of_equal_content_is_found(api: httpx.AsyncClient) -> None:
    """A6"""
    first, second = [(await api.post("/orders", json=native(reference=f"twin-{n}"))).json() for n in range(2)]
    assert first["holds"] == []
    assert [hold["problem"]["code"] for hold in second["holds"]] == ["suspected_duplicate"]


async def test_two_processes_give_every_number_once(engine: PostgresEngine) -> None:
    """A2, A6: two processes, many orders at once, half of them said to both."""
    async with client(spec, engine) as one, client(spec, engine) as two:
        posts = [
            api.post("/orders", json=native(reference=f"{n}", lines=[{"sku": "A", "quantity": n + 1}]))
            for n in range(40)
            for api in ((one, two) if n % 2 else (one,))
        ]
        answers = await asyncio.gather(*posts)
    assert {a.status_code for a in answers} == {202}
    assert sorted({a.json()["order_id"][-6:] for a in answers}) == [f"{n:06d}" for n in range(1, 41)]
    assert await engine.read(lambda tx: tx.count(ORDERS)) == 40


async def test_a_repeated_key_is_answered_from_the_database(api: httpx.AsyncClient) -> None:
    """A6"""
    key = {"Idempotency-Key": "0123456789abcdef"}
    first = await api.post("/orders", json=native(), headers=key)
    again = await api.post("/orders", json=native(), headers=key)
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"


async def test_lists_are_filtered_and_paged_by_the_database(api: httpx.AsyncClient) -> None:
    """A7"""
    for n in range(3):
        state = "unpaid" if n == 1 else "paid"
        await api.post(
            "/orders", json=native(reference=f"W-{n}", payment_state=state, lines=[{"sku": "A", "quantity": n + 1}])
        )
    page = (await api.get("/orders", params={"limit": 2, "channel": "web"})).json()
    rest = (await api.get("/orders", params={"limit": 2, "after": page["next"]})).json()
    assert [o["order_id"][-1] for o in (*page["items"], *rest["items"])] == ["3", "2", "1"]
    held = (await api.get("/orders", params={"state": "held"})).json()["items"]
    assert [o["order_id"][-1] for o in held] == ["2"]


async def test_extreme_values_can_be_stored(api: httpx.AsyncClient) -> None:
    """A4: the ends of the calendar and of the money column, every kind of text."""
    for n, changes in enumerate((
        {"placed_at": "0001-01-01T00:00:00+14:00"},
        {"total": "-9999999999.9999"},
        {"note": "加急 🚚 \\u0000 \u202e"},
        {"lines": [{"sku": "'; DROP TABLE intake_order; --", "quantity": 10**9}]},
    )):  # fmt: skip
        answer = await api.post("/orders", json=native(reference=f"X-{n}", **changes))
        assert answer.status_code == 202, answer.text
        assert (await api.get(f"/orders/{answer.json()['order_id']}")).status_code == 200


async def test_orders_waiting_for_a_product_are_found(engine: PostgresEngine, api: httpx.AsyncClient) -> None:
    """A4: the wait ends when the product is here."""
    answer = await api.post("/orders", json=native(reference="N-1", lines=[{"sku": "NEW", "quantity": 1}]))
    assert answer.json()["state"] == "held"

    async def arrive(tx: Tx) -> None:
        tx.add(PRODUCTS, product("NEW"))

    await engine.transact([], arrive)
    await find_missed_products(engine)
    order = (await api.get(f"/orders/{answer.json()['order_id']}")).json()
    assert order["state"] == "received"
    assert await engine.read(lambda tx: tx.count(AWAITED, {"waiting": True})) == 0


async def test_shipped_is_one_row_that_cancels_look_at(engine: PostgresEngine, api: httpx.AsyncClient) -> None:
    """A8, I4: told twice, of two parcels; too late is known from the rows alone."""
    order_id = (await api.post("/orders", json=native(reference="P-1"))).json()["order_id"]
    one, two = Units.of(1, 1, 2), Units(((1, 3, 3), (2, 1, 1)))
    await engine.deliver([heard(shipped(order_id, "P1", one)), heard(shipped(order_id, "P2", two))])
    await engine.deliver([heard(shipped(order_id, "P1", one))])
    assert await engine.read(lambda tx: tx.count(PARCELS, {"order_id": order_id})) == 2
    assert (await api.get(f"/orders/{order_id}")).json()["units"]["counts"]["handed_over"] == 4
    assert (await api.post(f"/orders/{order_id}/cancel", json={"reason": "late"})).status_code == 409


def shipped(order_id: str, parcel: str, units: Units) -> Shipped:
    now = datetime(2026, 11, 23, 17, 15, tzinfo=UTC)
    return Shipped(
        order_id=order_id, parcel_id=parcel, warehouse_id="W", units=units, carrier_id="c", service="s",
        tracking_number="t", cost=Decimal(1), currency="USD", expected_at=now, promise_by=now, shipped_at=now,
        chosen_because="x", customer=Customer(name="Ada", ship_to=Address(line1="x", city="London", country="GB")),
    )  # fmt: skip


def heard(event: Event) -> Envelope:
    row = row_of(event)
    return Envelope(
        id=uuid7(), service=row.owners[0], row=row, key=row.key_of(event), lane=Lane.STANDARD, event=event,
        time=datetime.now(UTC), correlation_id=uuid7(), causation_id=uuid7(),
    )  # fmt: skip
