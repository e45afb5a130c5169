"""Posting orders over HTTP: native, bulk, repeated, wrong."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import httpx
import pytest

from expedite_events import HoldKind, Lane, OrderHeld, OrderReceived
from expedite_messaging import Group
from order_intake.testing import CHANNEL_ROWS, World, native

KEY = {"Idempotency-Key": "0123456789abcdef"}


async def post(api: httpx.AsyncClient, order: Any = None, **more: Any) -> httpx.Response:
    return await api.post("/orders", json=native() if order is None else order, **more)


async def test_a_complete_order_is_received_at_once(world: World, api: httpx.AsyncClient) -> None:
    """A1, A2: 202 with number, status link and trace; the order is in the pool."""
    answer = await post(api)
    assert answer.status_code == 202
    body = answer.json()
    assert body["order_id"] == "20261123-EC-000001"
    assert body["state"] == "received"
    assert body["holds"] == []
    assert answer.headers["location"] == body["status_url"] == "http://testserver/orders/20261123-EC-000001"
    assert body["trace_id"] in answer.headers["traceparent"]
    (event,) = world.said(OrderReceived)
    assert (event.order_id, str(event.total), event.urgent_mark) == (body["order_id"], "31.50", False)
    assert [(x.line, x.sku, x.quantity, x.name) for x in event.lines] == [
        (1, "A", 3, "Product A"),
        (2, "B", 1, "Product B"),
    ]
    assert event.brief.partial_shipment
    assert event.brief.customer.phone == "+442079460018"
    assert world.envelopes(OrderReceived)[0].lane is Lane.STANDARD


async def test_serials_count_per_day_and_channel_code(world: World, api: httpx.AsyncClient) -> None:
    """A2: unique and without gaps, also when many come at once."""
    orders = [native(reference=f"r{n}", lines=[{"sku": "A", "quantity": n + 1}]) for n in range(20)]
    answers = await asyncio.gather(*(post(api, order) for order in orders))
    numbers = sorted(a.json()["order_id"] for a in answers)
    assert numbers == [f"20261123-EC-{n:06d}" for n in range(1, 21)]
    assert len(world.said(OrderReceived)) == 20


@pytest.mark.parametrize("changes", [{"tags": ["加急"]}, {"shipping_method": "NEXT_DAY"}])
async def test_urgent_orders_travel_express_from_the_first_event(
    world: World, api: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    """B1, A3: the customer's 24-hour mark."""
    await post(api, native(**changes))
    (envelope,) = world.envelopes(OrderReceived)
    assert envelope.lane is Lane.EXPRESS
    assert envelope.event.urgent_mark  # type: ignore[attr-defined]


async def test_each_problem_is_one_hold_with_owner_and_two_hours(world: World, api: httpx.AsyncClient) -> None:
    """A4: a broken order is accepted; nobody's order is lost."""
    order = native(customer={"name": "Ada"}, lines=[{"sku": "NOPE", "quantity": -1}])
    body = (await post(api, order)).json()
    assert body["state"] == "held"
    assert {h["problem"]["code"] for h in body["holds"]} == {
        "contact_missing", "address_missing", "sku_unknown", "quantity_not_positive",
    }  # fmt: skip
    held = world.said(OrderHeld)
    assert [h.hold_id for h in held] == [f"{body['order_id']}-H{n}" for n in range(1, 5)]
    assert all(h.owner == "anna" and (h.due_at - h.held_at).total_seconds() == 7200 for h in held)
    assert world.said(OrderReceived) == []


async def test_reviews_and_unpaid_orders_wait_too(world: World, api: httpx.AsyncClient) -> None:
    """A5"""
    order = native(tags=["custom"], payment_state="unpaid", lines=[{"sku": "A", "quantity": 500, "unit_price": "10"}])
    body = (await post(api, order)).json()
    assert [(h["kind"], h["problem"]["code"]) for h in body["holds"]] == [
        ("review", "custom_work"), ("review", "high_value"), ("unpaid", "payment_missing"),
    ]  # fmt: skip
    assert {h.kind for h in world.said(OrderHeld)} == {HoldKind.REVIEW, HoldKind.UNPAID}


async def test_the_same_key_and_body_is_the_same_order(world: World, api: httpx.AsyncClient) -> None:
    """A6: the first answer is repeated byte for byte; another body is refused."""
    first = await post(api, headers=KEY)
    again = await post(api, headers=KEY)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    other = await post(api, native(note="other"), headers=KEY)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert len(world.orders) == 1


async def test_simultaneous_posts_under_one_key_make_one_order(world: World, api: httpx.AsyncClient) -> None:
    """A6"""
    answers = await asyncio.gather(*(post(api, headers=KEY) for _ in range(5)))
    assert len({a.content for a in answers}) == 1
    assert len(world.orders) == 1


async def test_an_order_for_which_there_is_no_place_is_refused_and_may_come_again(
    world: World, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5, A6: 503 with Retry-After and nothing begun; the same order is taken in when it comes again."""
    monkeypatch.setattr("order_intake.api.orders.Group", partial(Group, depth=1))
    orders = [native(reference=f"R{n}", note=str(n)) for n in range(5)]
    answers = await asyncio.gather(*(post(api, order) for order in orders))
    refused = [(order, a) for order, a in zip(orders, answers, strict=True) if a.status_code != 202]
    assert refused
    for order, answer in refused:
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/crowded")
        assert answer.headers["retry-after"] == "1"
        again = await post(api, order)
        assert (again.status_code, again.headers.get("idempotency-replayed")) == (202, None)
    assert len(world.orders) == 5


async def test_keys_of_two_clients_do_not_meet(world: World) -> None:
    """A6, I5"""
    async with world.client(name="one") as one, world.client(name="two") as two:
        a, b = await post(one, native(reference="1"), headers=KEY), await post(two, native(reference="2"), headers=KEY)
    assert a.json()["order_id"] != b.json()["order_id"]


async def test_the_same_reference_is_the_same_order(world: World, api: httpx.AsyncClient) -> None:
    """A6: by the channel's own id; other content under it is refused by name."""
    first = await post(api, native(reference="R1"))
    again = await post(api, native(reference="R1"))
    assert again.json()["order_id"] == first.json()["order_id"]
    assert again.headers["idempotency-replayed"] == "true"
    other = await post(api, native(reference="R1", note="x"))
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (422, "/reference")
    assert len(world.orders) == 1


async def test_equal_content_under_another_id_is_reviewed_never_merged(world: World, api: httpx.AsyncClient) -> None:
    """A6: a suspected duplicate, for a day, unless the first was cancelled."""
    first = (await post(api, native(reference="R1"))).json()
    second = (await post(api, native(reference="R2"))).json()
    assert [h["problem"]["code"] for h in second["holds"]] == ["suspected_duplicate"]
    assert first["order_id"] in second["holds"][0]["problem"]["message"]
    world.clock.now = world.clock.now.replace(day=25)
    assert (await post(api, native(reference="R3"))).json()["state"] == "received"


async def test_a_cancelled_twin_is_no_twin(world: World, api: httpx.AsyncClient) -> None:
    """A6"""
    held = (await post(api, native(payment_state="unpaid"))).json()
    await api.post(f"/orders/{held['order_id']}/cancel", json={"reason": "wrong"})
    assert (await post(api)).json()["state"] == "received"


async def test_a_group_with_a_refused_order_takes_in_the_others(world: World, api: httpx.AsyncClient) -> None:
    """A1: one bad request fails alone."""
    orders = [native(reference="1"), native(channel="nowhere"), native(reference="2", note="n")]
    answers = await asyncio.gather(*(post(api, order) for order in orders))
    assert [a.status_code for a in answers] == [202, 422, 202]
    assert answers[1].json()["errors"][0]["pointer"] == "/channel"


async def test_before_any_product_is_loaded_nothing_can_be_verified() -> None:
    """A3: 503 with a time to come back; the api is not ready."""
    world = World(CHANNEL_ROWS, skus=())
    async with world.client() as api:
        answer = await post(api)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert (await api.get("/readyz")).status_code == 503
    assert world.orders == []


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"channel": 7}, "/channel"),
        ({"channel": "../x"}, "/channel"),
        ({"channel": None}, "/channel"),
        ({"reference": 5}, "/reference"),
        ({"reference": "x" * 201}, "/reference"),
        ({"reference": ""}, "/reference"),
        ({"reference": "a\x00b"}, "/reference"),
        ({"placed_at": "yesterday"}, "/placed_at"),
        ({"placed_at": "2026-11-23T10:00:00"}, "/placed_at"),
        ({"currency": 5}, "/currency"),
        ({"total": "much"}, "/total"),
        ({"total": "1.23456"}, "/total"),
        ({"total": "12345678901.1"}, "/total"),
        ({"payment_state": "maybe"}, "/payment_state"),
        ({"customer": "Ada"}, "/customer"),
        ({"customer": {"name": 5}}, "/customer/name"),
        ({"customer": {"name": "x" * 201}}, "/customer/name"),
        ({"customer": {"email": []}}, "/customer/email"),
        ({"customer": {"phone": 442079460018}}, "/customer/phone"),
        ({"customer": {"language": 1}}, "/customer/language"),
        ({"customer": {"company": {}}}, "/customer/company"),
        ({"customer": {"level": 1}}, "/customer/level"),
        ({"customer": {"nmae": "Ada"}}, "/customer/nmae"),
        ({"customer": {"ship_to": "here"}}, "/customer/ship_to"),
        ({"customer": {"ship_to": {"line1": 1}}}, "/customer/ship_to/line1"),
        ({"customer": {"ship_to": {"line2": 1}}}, "/customer/ship_to/line2"),
        ({"customer": {"ship_to": {"city": []}}}, "/customer/ship_to/city"),
        ({"customer": {"ship_to": {"region": 1}}}, "/customer/ship_to/region"),
        ({"customer": {"ship_to": {"postcode": 98121}}}, "/customer/ship_to/postcode"),
        ({"customer": {"ship_to": {"country": 1}}}, "/customer/ship_to/country"),
        ({"lines": "A"}, "/lines"),
        ({"lines": [3]}, "/lines/0"),
        ({"lines": [{"sku": 3, "quantity": 1}]}, "/lines/0/sku"),
        ({"lines": [{"sku": "A", "quantity": "3"}]}, "/lines/0/quantity"),
        ({"lines": [{"sku": "A", "quantity": 1.5}]}, "/lines/0/quantity"),
        ({"lines": [{"sku": "A", "quantity": True}]}, "/lines/0/quantity"),
        ({"lines": [{"sku": "A", "quantity": 10**12}]}, "/lines/0/quantity"),
        ({"lines": [{"sku": "A", "quantity": 1, "unit_price": "x"}]}, "/lines/0/unit_price"),
        ({"lines": [{"sku": "A", "quantity": 1, "custom": "yes"}]}, "/lines/0/custom"),
        ({"lines": [{"sku": "A", "quanitty": 1}]}, "/lines/0/quanitty"),
        ({"tags": "urgent"}, "/tags"),
        ({"tags": [1]}, "/tags/0"),
        ({"shipping_method": 1}, "/shipping_method"),
        ({"carrier_preference": 1}, "/carrier_preference"),
        ({"partial_shipment": "no"}, "/partial_shipment"),
        ({"promise_by": 3.5e20}, "/promise_by"),
        ({"promise_by": 1_800_000_000}, "/promise_by"),
        ({"promise_by": "9999-12-31T23:59:59-14:00"}, "/promise_by"),
        ({"promise_by": "2200-01-01T00:00:00Z"}, "/promise_by"),
        ({"placed_at": 1_700_000_000}, "/placed_at"),
        ({"total": "1e3"}, "/total"),
        ({"total": True}, "/total"),
        ({"note": "x" * 2001}, "/note"),
        ({"test": "yes"}, "/test"),
        ({"urgent": True}, "/urgent"),
    ],
)
async def test_wrong_types_are_refused_by_name(
    world: World, api: httpx.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    """A1: 422 with a JSON pointer for each native field; nothing is taken in."""
    answer = await post(api, native(**change))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert world.orders == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"channel": ', {}, 400, "malformed-json"),
        (b'{"channel":"web","total":NaN}', {}, 400, "malformed-json"),
        (b"", {}, 422, "invalid"),
        (b"[]", {}, 422, "invalid"),
        (b" " * (1024 * 1024 + 1), {}, 413, "body-too-large"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        (json.dumps(native()).encode(), {"Idempotency-Key": "short"}, 400, "idempotency-key-malformed"),
    ],
)
async def test_bodies_that_are_no_order(
    world: World, api: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """A1: 400, 413, 415, 422 as problems."""
    sent = {"Content-Type": "application/json", **headers}
    answer = await api.post("/orders", content=body, headers=sent)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{code}")
    assert world.orders == []


async def test_only_channels_may_post(world: World) -> None:
    """I5"""
    async with world.client(anonymous=True) as nobody, world.client(["orders:read"]) as reader:
        assert (await post(nobody)).status_code == 401
        assert (await post(reader)).status_code == 403
        assert (await nobody.post("/orders/bulk", content=b"{}")).status_code == 401
        assert (await nobody.get("/orders")).status_code == 401


async def test_extreme_but_valid_orders_are_held_not_broken(world: World, api: httpx.AsyncClient) -> None:
    """A4: what is typed rightly and makes no sense waits for a person."""
    huge = [{"sku": "A", "quantity": 100_000, "unit_price": "9999999999.9999"}]
    for changes in ({"lines": huge}, {"total": "-9999999999.9999"}, {"placed_at": "0001-01-01T00:00:00+14:00"}):
        answer = await post(api, native(**changes))
        assert (answer.status_code, answer.json()["state"]) == (202, "held")
    assert (await api.get("/orders")).status_code == 200


async def bulk(api: httpx.AsyncClient, *lines: Any) -> list[dict[str, Any]]:
    body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    answer = await api.post("/orders/bulk", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_bulk_answers_line_by_line(world: World, api: httpx.AsyncClient) -> None:
    """A1: one bad line never fails another; verdicts come in the order of the lines."""
    *verdicts, last = await bulk(
        api, native(reference="1"), b"{broken", native(reference="3", lines=[{"sku": "NOPE", "quantity": 1}]), b"",
        native(reference="5", lines="A"), native(), native(reference="7", channel="nowhere"), b"\xff",
        native(reference="9", lines=[{"sku": "A", "quantity": 1}]),
    )  # fmt: skip
    assert [(v["line"], v["status"]) for v in verdicts] == [
        (1, 202), (2, 400), (3, 202), (5, 422), (6, 422), (7, 422), (8, 400), (9, 202),
    ]  # fmt: skip
    assert verdicts[0]["order_id"] == "20261123-EC-000001"
    assert (verdicts[2]["state"], verdicts[2]["reference"]) == ("held", "3")
    assert verdicts[3]["problem"]["errors"][0]["pointer"] == "/lines"
    assert verdicts[4]["problem"]["errors"][0]["pointer"] == "/reference"
    assert last == {"summary": {"lines": 8, "accepted": 3, "held": 1, "replayed": 0, "refused": 5}}
    assert len(world.orders) == 3


async def test_bulk_may_be_sent_again(world: World, api: httpx.AsyncClient) -> None:
    """A6: each line has its own identity, also within one body."""
    lines = [native(reference=str(n % 3), lines=[{"sku": "A", "quantity": n % 3 + 1}]) for n in range(6)]
    first = await bulk(api, *lines)
    again = await bulk(api, *lines)
    assert first[-1]["summary"] | {"held": 0} == {"lines": 6, "accepted": 3, "held": 0, "replayed": 3, "refused": 0}
    assert again[-1]["summary"]["replayed"] == 6
    assert [v["order_id"] for v in first[:-1]] == [v["order_id"] for v in again[:-1]]
    assert len(world.orders) == 3


async def test_bulk_takes_more_than_one_chunk(world: World, api: httpx.AsyncClient) -> None:
    """A1"""
    lines = [native(reference=str(n), customer={**native()["customer"], "name": f"Ada {n}x"}) for n in range(1100)]
    *verdicts, last = await bulk(api, *lines)
    assert [v["line"] for v in verdicts] == list(range(1, 1101))
    assert last["summary"]["accepted"] == 1100
    assert len(world.said(OrderReceived)) == 1100


async def test_orders_are_listed_newest_first_by_pages(world: World, api: httpx.AsyncClient) -> None:
    """A7: by state and channel."""
    for n in range(3):
        await post(api, native(reference=str(n), lines=[{"sku": "A", "quantity": n + 1}]))
    await post(api, native(payment_state="unpaid"))
    page = (await api.get("/orders", params={"limit": 3})).json()
    assert [o["order_id"][-1] for o in page["items"]] == ["4", "3", "2"]
    rest = (await api.get("/orders", params={"limit": 3, "after": page["next"]})).json()
    assert ([o["order_id"][-1] for o in rest["items"]], rest["next"]) == (["1"], None)
    assert [o["order_id"][-1] for o in (await api.get("/orders?state=held&channel=web")).json()["items"]] == ["4"]
    assert (await api.get("/orders?channel=shop")).json()["items"] == []
    for wrong in ("state=odd", "limit=0", "limit=501", "after=%00", "channel=%00"):
        assert (await api.get(f"/orders?{wrong}")).status_code == 422


async def test_an_order_shows_its_classification_and_content(world: World, api: httpx.AsyncClient) -> None:
    """A7: by channel, by attribute, by status."""
    order_id = (await post(api, native(tags=["custom"], test=True))).json()["order_id"]
    order = (await api.get(f"/orders/{order_id}")).json()
    assert order["classification"] == {"channel": "web", "attribute": "custom", "status": "pending_review"}
    assert order["tags"] == ["custom", "test"]
    assert order["units"]["counts"] == {"ordered": 4, "delivered": 0, "cancelled": 0, "handed_over": 0, "open": 4}


@pytest.mark.parametrize("order_id", ["20261123-EC-999999", "%00", "..%2f..", "x" * 64])
async def test_numbers_nobody_got_are_404(api: httpx.AsyncClient, order_id: str) -> None:
    """A2"""
    answer = await api.get(f"/orders/{order_id}")
    assert answer.status_code == 404
