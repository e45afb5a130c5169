"""Operators repair parked events over HTTP (I4, I5)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter

from expedite_chassis import ServiceSpec, testing
from expedite_chassis.masking import MASK, masked, masks, unmasked
from expedite_events import NO_UNITS, Illegal, Lane, OrderClosed, Units, row_of
from expedite_events.base import Address, Customer
from expedite_events.envelope import Envelope
from expedite_messaging import Batch, Handlers, RawRecord, Received, Tx
from expedite_messaging.memory import MemoryClock, MemoryEngine

SPEC = ServiceSpec("inventory", Handlers("inventory"), sa.MetaData(), APIRouter(), "inventory")
MAYA = Customer(
    name="Maya Osei", email="maya@example.com", ship_to=Address(line1="1 High Street", city="London", country="GB")
)
WHY = {"why": "the carrier confirmed it by telephone", "person": "lena"}


def closed(number: int, order_id: str = "O-1") -> Envelope:
    event = OrderClosed(
        order_id=order_id, delivered=Units.quantity(1, 2), cancelled=NO_UNITS, confirmed_by="clock",
        closed_at=MemoryClock().now, customer=MAYA,
    )  # fmt: skip
    return Envelope(
        id=UUID(int=number), service="order-intake", row=row_of(OrderClosed), key=order_id, lane=Lane.STANDARD,
        event=event, time=MemoryClock().now, correlation_id=UUID(int=1), causation_id=UUID(int=1),
    )  # fmt: skip


@SPEC.handlers.on(OrderClosed)
async def _refuse_the_clock(batch: Batch[Received[OrderClosed]], tx: Tx) -> None:
    if any(received.event.confirmed_by == "clock" for received in batch):
        raise Illegal("closed before it was received")


@pytest.fixture
async def engine() -> MemoryEngine:
    """Two events of O-1 wait, and one of O-2."""
    made = MemoryEngine(SPEC.handlers, MemoryClock())
    for envelope in (closed(1), closed(2), closed(3, "O-2")):
        await made.deliver([envelope])
    return made


Client = Callable[..., httpx.AsyncClient]


@pytest.fixture
def client(engine: MemoryEngine) -> Client:
    return lambda *scopes: testing.client(SPEC, engine, scopes=scopes or ["ops"], name="operator")


async def shown(http: httpx.AsyncClient, key: str = "O-1") -> Any:
    return (await http.get(f"/admin/parked/{key}/events")).json()["events"]


def event_path(number: int, key: str = "O-1") -> str:
    return f"/admin/parked/{key}/events/{UUID(int=number)}"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/parked"), ("GET", "/admin/parked/O-1/events"), ("POST", "/admin/parked/O-1/retry"),
        ("POST", "/admin/parked/O-1/reveal"), ("PUT", event_path(1)),
        ("POST", f"{event_path(1)}/drop"), ("GET", "/admin/dropped"), ("GET", "/admin/repairs"),
        ("POST", f"/admin/dropped/{UUID(int=1)}/restore"),
    ],
)  # fmt: skip
async def test_repair_needs_its_scope(client: Client, method: str, path: str) -> None:
    """I5: nobody else sees or changes what is parked; who may repair may not look at personal data for that alone."""
    body = {**WHY, "value": {}} if method == "PUT" else WHY
    async with client("read", "orders:write", "priority:write") as http:
        refused = await http.request(method, path, json=body if method != "GET" else None)
    assert (refused.status_code, refused.json()["missing_scope"]) == (403, "ops")
    if path.endswith("reveal"):
        async with client("ops") as http:
            assert (await http.post(path, json=WHY)).json()["missing_scope"] == "ops:reveal"


async def test_what_waits_is_listed_by_key_and_by_page(client: Client) -> None:
    """I4: the first event of each key, why, and how many wait behind it."""
    async with client() as http:
        first = (await http.get("/admin/parked", params={"limit": 1})).json()
        rest = (await http.get("/admin/parked", params={"cursor": first["next"]})).json()
    [item] = first["items"]
    assert (item["key"], item["event_id"], item["topic"]) == ("O-1", str(UUID(int=1)), "OrderClosed")
    assert (item["reason"], item["behind"], item["attempts"]) == ("closed before it was received", 1, 0)
    assert item["next_try"] is None
    assert [one["key"] for one in rest["items"]] == ["O-2"]
    assert rest["next"] is None


async def test_a_retry_stops_at_the_first_that_fails_and_says_which(client: Client, engine: MemoryEngine) -> None:
    """I4, I5: nothing behind it is decided; an edited one goes on."""
    async with client() as http:
        assert (await http.post("/admin/parked/O-9/retry")).json()["type"] == "/problems/not-parked"
        again = (await http.post("/admin/parked/O-1/retry", json=WHY)).json()
        assert (again["decided"], again["left"], again["still_parked"]) == (0, 2, True)
        assert again["stopped_at"] == {
            "event_id": str(UUID(int=1)), "topic": "OrderClosed", "reason": "closed before it was received", "next_try": None,
        }  # fmt: skip
        head = (await shown(http))[0]
        value = {**head["value"], "confirmed_by": "customer"}
        assert (
            await http.put(event_path(1), json={**WHY, "value": value}, headers={"If-Match": head["tag"]})
        ).is_success
        after = (await http.post("/admin/parked/O-1/retry")).json()
        assert (after["decided"], after["left"], after["stopped_at"]["event_id"]) == (1, 1, str(UUID(int=2)))
    assert [p.event_id for p in await engine.parked()] == [UUID(int=2), UUID(int=3)]


async def test_an_edit_keeps_what_is_masked_and_marks_the_event(client: Client, engine: MemoryEngine) -> None:
    """I5: an operator repairs an event without seeing the customer."""
    async with client() as http:
        head = (await shown(http))[0]
        assert head["value"]["customer"]["name"] == MASK
        assert head["value"]["delivered"] == [{"line": 1, "first": 1, "last": 2}]
        assert "Maya" not in json.dumps(head)
        value = {**head["value"], "confirmed_by": "customer"}
        answer = await http.put(event_path(1), json={**WHY, "value": value}, headers={"If-Match": f'"{head["tag"]}"'})
        body = answer.json()
        assert (answer.headers["etag"], body["repaired"]) == (f'"{body["tag"]}"', 1)
        assert body["headers"]["ce_id"] == str(UUID(int=1))
        assert "Maya" not in answer.text
    async with client("ops", "ops:reveal") as http:
        assert (await http.post("/admin/parked/O-1/reveal", json={})).status_code == 422
        seen = (await http.post("/admin/parked/O-1/reveal", json=WHY)).json()["events"][0]
        assert (seen["value"]["customer"]["name"], seen["value"]["confirmed_by"]) == ("Maya Osei", "customer")
        assert json.loads(seen["original"]["text"])["confirmed_by"] == "clock"
        trail = (await http.get("/admin/repairs", params={"key": "O-1"})).json()["items"]
    assert [(one["action"], one["client"], one["person"], one["why"]) for one in trail] == [
        ("reveal", "operator", "lena", WHY["why"]), ("edit", "operator", "lena", WHY["why"]),
    ]  # fmt: skip
    assert trail[1]["before"] == head["sha256"]
    assert trail[1]["after"] == body["sha256"]


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"delivered": [{"line": 0, "first": 1, "last": 1}]}, "/value/delivered", None),
        ({"closed_at": "yesterday"}, "/value/closed_at", None),
        ({"confirmed_by": None}, "/value/confirmed_by", "string-type"),
        ({"order_id": "O-2"}, "/value/order_id", "other-key"),
        ({"confirmed_by": MASK}, "/value/confirmed_by", None),
        ({"customer": {"name": MASK, "nick": MASK}}, "/value/customer/nick", "masked"),
    ],
)  # fmt: skip
async def test_an_edit_is_checked_against_the_contract(
    client: Client, change: dict[str, Any], pointer: str, code: str | None
) -> None:
    """A4, I4: each wrong field is named and nothing is stored."""
    async with client() as http:
        head = (await shown(http))[0]
        value = {**head["value"], **change}
        answer = await http.put(event_path(1), json={**WHY, "value": value}, headers={"If-Match": head["tag"]})
        if change == {"confirmed_by": MASK}:
            assert answer.is_success, "what hides something keeps it"
            return
        assert answer.status_code == 422
        named = {(e["pointer"], e["code"]) for e in answer.json()["errors"]}
        assert any(at.startswith(pointer) and code in (None, kind) for at, kind in named), named
        assert (await shown(http))[0]["tag"] == head["tag"]
        assert (await http.get("/admin/repairs")).json()["items"] == []


async def test_two_operators_are_told_when_they_collide(client: Client) -> None:
    """I4: without the tag 428, with an old one 412, for what is gone 404."""
    async with client() as http:
        head = (await shown(http))[0]
        tag = {"If-Match": head["tag"]}
        edit = {**WHY, "value": {**head["value"], "confirmed_by": "customer"}}
        assert (await http.put(event_path(1), json=edit)).json()["type"] == "/problems/precondition-required"
        assert (await http.post(f"{event_path(1)}/drop", json=WHY)).status_code == 428
        assert (await http.put(event_path(1), json=edit, headers=tag)).status_code == 200
        for method, path, body in (("PUT", event_path(1), edit), ("POST", f"{event_path(1)}/drop", WHY)):
            refused = await http.request(method, path, json=body, headers=tag)
            assert (refused.status_code, refused.json()["type"]) == (412, "/problems/changed-meanwhile")
        assert (await http.post(f"{event_path(9)}/drop", json=WHY, headers=tag)).status_code == 404
        assert (await http.put(event_path(9), json=edit, headers=tag)).status_code == 404


async def test_a_dropped_event_is_listed_and_can_be_restored(client: Client) -> None:
    """I4: visible, with who and why; back at its place."""
    async with client() as http:
        head = (await shown(http))[0]
        gone = await http.post(f"{event_path(1)}/drop", json=WHY, headers={"If-Match": head["tag"]})
        assert gone.json() == {"key": "O-1", "event_id": str(UUID(int=1)), "left": 1}
        assert (await http.get("/admin/parked")).json()["items"][0]["reason"] is None
        [item] = (await http.get("/admin/dropped", params={"key": "O-1"})).json()["items"]
        assert (item["event_id"], item["dropped_by"], item["why"]) == (str(UUID(int=1)), "lena", WHY["why"])
        assert item["value"]["customer"]["name"] == MASK
        back = await http.post(f"/admin/dropped/{UUID(int=1)}/restore", json=WHY)
        assert back.json() == {"key": "O-1", "event_id": str(UUID(int=1))}
        assert [e["event_id"] for e in await shown(http)] == [str(UUID(int=1)), str(UUID(int=2))]
        twice = await http.post(f"/admin/dropped/{UUID(int=1)}/restore", json=WHY)
        assert (twice.status_code, twice.json()["type"]) == (404, "/problems/not-dropped")


async def test_keys_of_any_shape_and_bytes_of_any_kind_can_be_shown(client: Client, engine: MemoryEngine) -> None:
    """I4, I5: what is no JSON is shown by its size only; the bytes need the scope for it."""
    key = "MUG|L/O N?#%"
    await engine.park_raw(
        RawRecord("StockLevelChanged", key.encode(), b"\xff\x00{", (("ce_id", b"\x1b[31m"),)), "Undecodable"
    )
    path = f"/admin/parked/{quote(key, safe='')}"
    async with client("ops", "ops:reveal") as http:
        [event] = (await http.get(f"{path}/events")).json()["events"]
        assert (event["value"], event["bytes"], "raw" in event) == (None, 3, False)
        assert event["trouble"] is not None
        assert (await http.post(f"{path}/reveal", json=WHY)).json()["events"][0]["raw"] == {"hex": "ff007b"}
        assert (await http.get("/admin/parked/O-1%00/events")).status_code == 404
        assert (await http.get("/admin/repairs", params={"key": "\x00"})).status_code == 422
        for text in ("a\nb" * 3, "x" * 501, "no"):
            assert (await http.post(f"{path}/reveal", json={"why": text})).status_code == 422


def test_masks_cover_what_is_personal_and_nothing_else() -> None:
    """I5: texts and numbers below a customer, whoever signed, the words of people, staff's names."""
    value = {"customer": {"name": "Maya", "tags": ["vip", 7], "company": None}, "units": [1], "reason": "mine"}
    hidden = {"customer": {"name": MASK, "tags": [MASK, MASK], "company": None}, "units": [1]}
    assert masked("Shipped", value) == {**hidden, "reason": "mine"}
    assert masked("CancelRequested.express", value) == {**hidden, "reason": MASK}
    assert masked("PersonChanged", {"name": "Tom", "email": "t@x", "roles": ["picker"]})["roles"] == ["picker"]
    assert unmasked(masked("OrderCancelled", value), value) == value
    left = unmasked({"customer": {"name": MASK, "new": MASK}, "a/b": [MASK]}, value)
    assert masks(left) == ["/customer/new", "/a~1b/0"]
