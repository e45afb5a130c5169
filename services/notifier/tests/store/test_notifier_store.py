"""The notifier on a real PostgreSQL: what a poll costs, and every query the service makes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import notifier_story as story
import pytest

from expedite_chassis.testing import client
from expedite_events import Lane, plain
from expedite_messaging import EffectCall, GaveUp
from expedite_messaging.bundles import unpacked
from expedite_messaging.effects import EffectWorker
from expedite_messaging.migrate import drift
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.testing import create_database, drop_database, postgres_engine
from notifier.domain.telling import EMAIL
from notifier.effects import compose
from notifier.handlers import handlers
from notifier.main import spec
from notifier.settings import settings
from notifier.store import MESSAGES, ORDERS, of_order

ORDER, NEXT = story.ORDER, "20261123-EC-0000010"  # the second id begins with the first


@pytest.fixture
async def engine() -> AsyncIterator[PostgresEngine]:
    async with postgres_engine(replace(handlers, performers={}, performed_at_once={}), "notifier") as made:
        yield made


async def deliver(engine: PostgresEngine, order_id: str) -> None:
    """An order's first three messages, as one poll brings them."""
    events = [event.put(order_id=order_id) for event in (story.received(), story.reserved(), story.shipped())]
    owners = ("order-intake", "inventory", "shipping")
    await engine.deliver([story.envelope(event, owner) for event, owner in zip(events, owners, strict=True)])


async def test_the_migrations_make_what_the_store_declares() -> None:
    """I2: a migrated database has no drift from the collections."""
    url = await create_database("notifier")
    try:
        assert await asyncio.to_thread(drift, url, "notifier") == []
    finally:
        await drop_database(url)


async def test_a_poll_loads_and_saves_an_order_once(engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """G5: three messages of one order in one transaction, each with one row that says what was said to whom."""
    seen: list[str] = []
    fetch = engine.session_type._fetch

    async def counted(self: Any, sql: str, *args: Any) -> Any:
        seen.append(sql)
        return await fetch(self, sql, *args)

    monkeypatch.setattr(engine.session_type, "_fetch", counted)
    await deliver(engine, ORDER)
    assert len([sql for sql in seen if "order_view" in sql]) <= 2
    rows = await engine.read(lambda tx: tx.find(MESSAGES, of_order(ORDER), order_by=("message_id",)))
    assert [row.kind for row in rows] == ["order_confirmation", "receipt", "shipped"]
    assert {row.to for row in rows} == {"anna@example.com"}
    book = await engine.read(lambda tx: tx.load(ORDERS, [ORDER]))
    assert len(book[ORDER].told) == 3


async def test_personal_data_that_telling_does_not_take_is_not_kept(engine: PostgresEngine) -> None:
    """I5: name, address and language; not where the customer lives."""
    await deliver(engine, ORDER)
    (row,) = await engine.connections.fetch("SELECT doc::text FROM order_view")
    assert "High St" not in row[0]
    assert set(json.loads(row[0])["customer"]) == {"name", "email"}  # what is not written is at its default
    (known,) = await engine.read(lambda tx: tx.find(ORDERS))
    expected = {"name": "Anna Lee", "email": "anna@example.com", "language": "en", "draft": False}
    assert plain(known.customer) == expected


async def test_a_mail_of_the_version_before_is_sent(engine: PostgresEngine) -> None:
    """I3: it names the message and the order itself; they are the effect's, and its recipient hears of it all the same."""
    await deliver(engine, ORDER)
    before = "json_build_object('message_id', subject, 'order_id', key)::jsonb || data::jsonb"
    await engine.connections.fetch(f"UPDATE effect SET data = {before}")
    mails: list[EmailMessage] = []

    async def perform(calls: Sequence[EffectCall]) -> list[Any]:
        mails.extend(compose(call, "http://x", settings, story.NOW) for call in calls)
        return [{"message_id": call.subject} for call in calls]

    engine.handlers.performs_batch(EMAIL, perform)
    assert await EffectWorker(engine, Lane.STANDARD).perform_some(EMAIL) == 3
    rows = await engine.read(lambda tx: tx.find(MESSAGES, {"status": "sent"}))
    assert {f"<{row.message_id}@expedite.example>" for row in rows} == {mail["Message-ID"] for mail in mails}
    assert {mail["X-Expedite-Order"] for mail in mails} == {ORDER}
    waiting = await engine.connections.fetch("SELECT id, shard, body FROM outbox")
    said = [event for row in waiting for event in unpacked(*row).events]
    assert {json.loads(event.value)["message_id"] for event in said} == {row.message_id for row in rows}


async def test_what_waits_is_shown_and_what_left_is_announced(engine: PostgresEngine) -> None:
    """G5: a message is queued until the server took it, failed when it was refused; the queue is in the API."""
    await deliver(engine, ORDER)
    await deliver(engine, NEXT)

    async def perform(calls: Any) -> list[Any]:
        return [GaveUp("refused") if call.data["kind"] == "receipt" else {"ok": True} for call in calls]

    async with client(spec, engine) as http:

        async def shown(**params: str) -> list[tuple[str, str]]:
            found = (await http.get("/messages", params=params)).json()["items"]
            assert not any("facts" in item for item in found)
            return [(item["order_id"], item["kind"]) for item in found]

        queue = (await http.get("/messages/queue")).json()
        assert (queue["waiting"], queue["failed"]) == (6, 0)
        assert queue["oldest_decided_at"]
        assert len(await shown(order_id=ORDER)) == 3
        assert len(await shown(status="queued")) == 6
        engine.handlers.performs_batch(EMAIL, perform)
        assert await EffectWorker(engine, Lane.STANDARD).perform_some(EMAIL) == 6
        queue = (await http.get("/messages/queue")).json()
        assert (queue["waiting"], queue["failed"], queue["oldest_decided_at"]) == (0, 2, None)
        assert sorted(await shown(status="failed")) == [(ORDER, "receipt"), (NEXT, "receipt")]
        assert {kind for _, kind in await shown(order_id=NEXT, status="sent")} == {"shipped", "order_confirmation"}
    rows = await engine.read(lambda tx: tx.find(MESSAGES, of_order(ORDER), order_by=("message_id",)))
    assert [row.kind for row in rows] == ["order_confirmation", "receipt", "shipped"]
    assert rows[2].facts["tracking_number"] == "SP1"
    assert rows[0].facts == {"promise_by": story.URGENCY.promise_by.isoformat()}
    said = await engine.connections.fetch("SELECT key, topic FROM ledger ORDER BY key")
    assert [(row["key"], row["topic"]) for row in said] == [(ORDER, "CustomerNotified")] * 2 + [
        (NEXT, "CustomerNotified")
    ] * 2
