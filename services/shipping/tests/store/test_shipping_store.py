"""Shipping's collections on a real PostgreSQL: the schema fits, lists sort as in memory, a webhook is applied once."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from expedite_chassis import root
from expedite_chassis.testing import client
from expedite_events import CancelRequested, Decision, Lane, Packed, Tier, Units, row_of
from expedite_events import TrackingStatus as S
from expedite_events.envelope import Envelope
from expedite_events.ids import uuid7
from expedite_messaging.migrate import drift
from expedite_messaging.testing import create_database, drop_database, postgres_engine
from shipping import webhooks
from shipping.domain.state import LabelState
from shipping.main import spec
from shipping.store import Desktop

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@pytest.fixture
async def engine() -> AsyncIterator[Any]:
    handlers = dataclasses.replace(spec.handlers, performers={})
    async with postgres_engine(handlers, "shipping") as made:
        yield made


def sent(event: Packed | CancelRequested) -> Envelope:
    row = row_of(event)
    return Envelope(uuid7(), row.owners[0], row, event.order_id, Lane.STANDARD, event, NOW, uuid7(), uuid7())


async def packed(engine: Any, given: Any, order: str, tier: Tier, hours: int) -> str:
    """A labelled parcel on the dock of London."""
    urgency = given.urgency(tier=tier)
    event = given.packed(order_id=order, parcel_id=f"{order}-P1", urgency=urgency)
    await engine.deliver([sent(event)])
    label = given.label(f"SP-{order}").put(leaves_at=given.now + timedelta(hours=hours))

    async def work(tx: Any) -> None:
        desktop = await Desktop.load(tx, [order])
        leg = desktop.orders[order]
        done = {"label": label, "label_state": LabelState.BOUGHT, "expected_at": label.expected_at}
        desktop.save(root(order), Decision(leg.with_parcel(leg.parcels[0].put(**done))))

    await engine.transact([order], work)
    return f"{order}-P1"


async def test_the_dock_sorts_in_sql_as_it_does_in_memory(engine: Any, given: Any) -> None:
    """E1, F2: tier, then the truck, then the deadline; parcels without a truck yet come last in their tier."""
    for order, tier, hours in (
        ("a", Tier.LOW, 1),
        ("b", Tier.URGENT, 9),
        ("c", Tier.URGENT, 3),
        ("d", Tier.REGULAR, 1),
    ):
        await packed(engine, given, order, tier, hours)
    await engine.deliver([sent(given.packed(order_id="e", parcel_id="e-P1", urgency=given.urgency(tier=Tier.URGENT)))])
    async with client(spec, engine) as api:
        page = (await api.get("/warehouses/LON/dock?limit=4")).json()
        assert [i["order_id"] for i in page["items"]] == ["c", "b", "e", "d"]
        rest = (await api.get("/warehouses/LON/dock", params={"limit": 4, "after": page["next"]})).json()
        assert [i["order_id"] for i in rest["items"]] == ["a"] and rest["next"] is None
        assert (await api.get("/warehouses/LO/dock")).json()["items"] == []
        page = (await api.get("/warehouses/LON/dock?action=hand_over&limit=3")).json()
        assert [i["order_id"] for i in page["items"]] == ["c", "b", "d"], "e waits for its label, and takes no place"
        rest = (await api.get("/warehouses/LON/dock", params={"action": "hand_over", "after": page["next"]})).json()
        assert [i["order_id"] for i in rest["items"]] == ["a"]
        waiting = (await api.get("/warehouses/LON/dock?action=wait")).json()["items"]
        assert [(i["order_id"], i["action"]) for i in waiting] == [("e", "wait")]
        assert (await api.get("/warehouses/LON/dock?action=put_back")).json()["items"] == []
        refused = await api.get("/warehouses/LON/dock?action=dance")
        assert refused.status_code == 422 and "hand_over" in refused.text
        first = (await api.get("/parcels?status=ready&tracking=none&limit=2")).json()
        assert [i["parcel_id"] for i in first["items"]] == ["a-P1", "b-P1"]
        rest = (await api.get(f"/parcels?status=ready&after={first['next']}")).json()
        assert [i["parcel_id"] for i in rest["items"]] == ["c-P1", "d-P1"]


async def test_a_parcel_that_changes_in_the_batch_that_brought_it_is_listed(engine: Any, given: Any) -> None:
    """E1, A8: its row is new although the order knew the parcel by then; what comes later replaces the row."""
    event = given.packed(order_id="a", parcel_id="a-P1")
    cancel = given.cancel().put(order_id="a", request_id="a-C1")
    await engine.deliver([sent(event), sent(cancel)])
    async with client(spec, engine) as api:
        (item,) = (await api.get("/warehouses/LON/dock")).json()["items"]
        assert (item["parcel_id"], item["status"]) == ("a-P1", "put_back")
        assert (await api.post("/parcels/a-P1/put-back", json={"by": "bob"})).status_code == 200
        assert (await api.get("/warehouses/LON/dock")).json()["items"] == []
        (item,) = (await api.get("/parcels")).json()["items"]
        assert (item["parcel_id"], item["status"]) == ("a-P1", "cancelled")


async def test_the_manifest_goes_on_where_it_ended(engine: Any, given: Any) -> None:
    """F2, F3: what a carrier has, in the order of the hand-overs; a parcel that arrived is no longer on it."""
    parcels = [await packed(engine, given, order, Tier.LOW, 1) for order in ("a", "b", "c")]
    async with client(spec, engine) as api:
        for parcel_id in (parcels[1], parcels[0], parcels[2]):
            await api.post(f"/parcels/{parcel_id}/hand-over", json={"by": "bob"})
        first = (await api.get("/carriers/swift-post/manifest?limit=2")).json()
        assert [i["tracking_number"] for i in first["items"]] == ["SP-b", "SP-a"]
        last = (await api.get("/carriers/swift-post/manifest", params={"after": first["next"]})).json()
        assert [i["parcel_id"] for i in last["items"]] == ["c-P1"] and last["next"] is None
        since = {"since": last["items"][0]["handed_at"]}
        assert (await api.get("/carriers/swift-post/manifest", params=since)).json()["items"] == last["items"]
        await api.post("/parcels/a-P1/returned", json={"by": "eve"})
        assert [i["parcel_id"] for i in (await api.get("/carriers/swift-post/manifest")).json()["items"]] == [
            "b-P1",
            "c-P1",
        ]
        assert (await api.get("/carriers/city-dash/manifest")).json()["items"] == []


async def test_a_truck_is_loaded_whatever_is_under_repair(engine: Any, given: Any) -> None:
    """F2, I4: a parked order keeps its own parcel back, not the others of the truck."""
    parcels = [await packed(engine, given, order, Tier.LOW, 1) for order in ("a", "b")]
    wrong = given.packed(order_id="b", parcel_id="b-P1", units=Units.of(1, 1, 2))
    await engine.deliver([sent(wrong)])
    async with client(spec, engine) as api:
        body = {"by": "bob", "parcel_ids": [*parcels, "c-P1"]}
        results = (await api.post("/warehouses/LON/hand-overs", json=body)).json()["results"]
        assert [(r["outcome"], r["code"]) for r in results] == [
            ("handed", None), ("refused", "parked"), ("refused", "unknown-parcel"),
        ]  # fmt: skip


async def test_a_webhook_is_kept_and_applied_once(engine: Any, given: Any) -> None:
    """F3: the same body twice in one group and once more later is one hand-over."""
    await packed(engine, given, "a", Tier.URGENT, 1)
    body = (
        b'{"id": "e1", "tracking_number": "SP-a", "status": "picked_up", "occurred_at": "2026-11-23T09:00:00Z",'
        b' "message": "caf\\u00e9 \\u0000"}'
    )
    incoming = webhooks.understand("swift-post", "native", body)

    async def work(tx: Any) -> Any:
        return await webhooks.settle(tx, [incoming, incoming])

    both = await engine.transact([], work)
    again = await engine.transact([], work)
    assert [v.duplicate for v in (*both, *again)] == [False, True, True, True]
    async with client(spec, engine) as api:
        parcel = (await api.get("/parcels/a-P1")).json()
        assert (parcel["status"], parcel["tracking_status"]) == ("handed", S.PICKED_UP)
        log = (await api.get("/tracking-deliveries?tracking_number=SP-a")).json()["items"]
        assert [d["state"] for d in log] == ["applied"]
        back = await api.post("/parcels/a-P1/returned", json={"by": "eve"})
        assert back.json()["status"] == "returned"


async def test_forged_and_unknown_webhooks_are_logged(engine: Any, given: Any) -> None:
    """F3: a number nobody knows is kept; the sweep finds it when its parcel appears."""
    body = b'{"id": "e2", "tracking_number": "SP-z", "status": "picked_up", "occurred_at": "2026-11-23T09:00:00Z"}'
    incoming = webhooks.understand("swift-post", "native", body)

    async def work(tx: Any) -> Any:
        return await webhooks.settle(tx, [incoming])

    (verdict,) = await engine.transact([], work)
    assert verdict.delivery.state == "unmatched"
    assert await webhooks.sweep(engine) == 0
    await packed(engine, given, "z", Tier.LOW, 1)
    assert await webhooks.sweep(engine) == 1
    async with client(spec, engine) as api:
        await api.post("/webhooks/native/swift-post", content=b"\xff\x00 nonsense")
        log = (await api.get("/tracking-deliveries?state=bad_signature")).json()["items"]
        assert len(log) == 1 and "nonsense" in log[0]["body"]
        assert (await api.get("/parcels/z-P1")).json()["status"] == "handed"


def test_the_migrations_make_what_the_store_declares() -> None:
    """I2: no drift between Alembic and the collections."""
    url = asyncio.run(create_database("shipping"))
    try:
        assert drift(url, "shipping") == []
    finally:
        asyncio.run(drop_database(url))
