"""A client of some channels sees and changes the orders of these alone (I5)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from expedite_chassis.testing import app, key_of, secrets_for
from order_intake.main import spec
from order_intake.testing import World, native

CLIENTS = {"web-shop": ["orders:read", "orders:write"], "rich": ["*"], "staff": ["*"]}
BOUND = {"web-shop": ["web"], "rich": ["dealer"]}
CHANGES: Mapping[str, dict[str, Any]] = {
    "/orders/{id}/completion": {"customer": {"name": "Mallory"}},
    "/orders/{id}/cancel": {"reason": "not mine"},
    "/orders/{id}/payment": {"state": "paid"},
    "/orders/{id}/confirm": {},
}


@pytest.fixture
async def apis() -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    world = World()
    transport = httpx.ASGITransport(app(spec, world.engine, secrets=secrets_for(CLIENTS, BOUND)))
    found = {
        name: httpx.AsyncClient(
            transport=transport, base_url="http://intake", headers={"Authorization": f"Bearer {key_of(name)}"}
        )
        for name in CLIENTS
    }
    yield found
    for api in found.values():
        await api.aclose()


def told(answer: httpx.Response) -> dict[str, Any]:
    """A problem without what differs between any two answers."""
    return {k: v for k, v in answer.json().items() if k not in ("instance", "trace_id", "request_id")}


async def test_an_order_of_another_channel_is_no_order(apis: dict[str, httpx.AsyncClient]) -> None:
    """I5, A8, A10 (order ids of another channel): read, cancelled, completed, paid, confirmed, followed: each is answered
    exactly as for a number that nobody ever got, and nothing changes."""
    order_id = (await apis["web-shop"].post("/orders", json=native(reference="r-0"))).json()["order_id"]
    cancelled = await apis["web-shop"].post(
        f"/orders/{order_id}/cancel", json={"reason": "mine", "lines": [{"line": 1, "quantity": 1}]}
    )
    assert cancelled.status_code == 202
    before = (await apis["staff"].get(f"/orders/{order_id}")).json()
    stranger = apis["rich"]
    never = order_id[:-6] + "999999"
    paths = [("GET", "/orders/{id}", None), ("GET", f"/orders/{{id}}/cancels/{cancelled.json()['request_id']}", None)]
    paths += [("POST", path, body) for path, body in CHANGES.items()]
    for method, path, body in paths:
        answers = [await stranger.request(method, path.format(id=i), json=body) for i in (order_id, never)]
        assert [answer.status_code for answer in answers] == [404, 404], path
        mine, nobodys = [
            json.dumps(told(answer)).replace(i, "ID") for answer, i in zip(answers, (order_id, never), strict=True)
        ]
        assert mine == nobodys
    assert (await apis["staff"].get(f"/orders/{order_id}")).json() == before


async def test_lists_show_the_channels_of_the_caller(apis: dict[str, httpx.AsyncClient]) -> None:
    """I5: of orders and of channels; naming another channel finds nothing."""
    order_id = (await apis["web-shop"].post("/orders", json=native(reference="r-0"))).json()["order_id"]
    assert [o["order_id"] for o in (await apis["web-shop"].get("/orders")).json()["items"]] == [order_id]
    for query in ("", "?channel=web", "?channel=dealer"):
        assert (await apis["rich"].get(f"/orders{query}")).json()["items"] == []
    assert [c["id"] for c in (await apis["web-shop"].get("/channels")).json()["items"]] == ["web"]
    assert (await apis["rich"].get("/channels")).json()["items"] == []
    assert len((await apis["staff"].get("/channels")).json()["items"]) == 3


async def test_nobody_orders_in_the_name_of_another_channel(apis: dict[str, httpx.AsyncClient]) -> None:
    """I5, A1: neither by a single order nor in a bulk; the answer is that of a channel that does not exist."""
    alone = await apis["rich"].post("/orders", json=native(reference="r-0"))
    none = await apis["rich"].post("/orders", json=native(channel="nowhere", reference="r-0"))
    assert (alone.status_code, told(alone)["type"]) == (422, "/problems/unknown-channel")
    assert json.dumps(told(alone)).replace("channel web", "") == json.dumps(told(none)).replace("channel nowhere", "")
    line = json.dumps(native(reference="r-1"))
    verdict = json.loads((await apis["rich"].post("/orders/bulk", content=line)).text.splitlines()[0])
    assert (verdict["status"], verdict["problem"]["type"]) == (422, "/problems/unknown-channel")
    assert (await apis["staff"].get("/orders")).json()["items"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/deliveries"), ("GET", "/admin/parked"), ("PUT", "/channels/web"),
     ("POST", "/orders/20261122-EC-000001/holds/h/approve")],
)  # fmt: skip
async def test_what_belongs_to_all_is_not_for_one_channel(
    apis: dict[str, httpx.AsyncClient], method: str, path: str
) -> None:
    """I5 (scope escalation): every scope together does not open what belongs to all channels."""
    answer = await apis["rich"].request(method, path, json={"code": "EC", "reason": "x"})
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-for-channels")


async def test_an_order_nobody_could_recognise_again_is_refused(apis: dict[str, httpx.AsyncClient]) -> None:
    """A6, I5 (Idempotency-Key required: 400 when missing): without a key and without a reference a retry would order twice."""
    answer = await apis["staff"].post("/orders", json=native())
    assert (answer.status_code, told(answer)["type"]) == (400, "/problems/idempotency-key-missing")
    for more in (
        {"json": native(reference="r-1")},
        {"json": native(), "headers": {"Idempotency-Key": "a-key-of-sixteen"}},
    ):
        assert (await apis["staff"].post("/orders", **more)).status_code == 202
