"""A repeated request does its work once (A6, I5)."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Depends, Response
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from expedite_chassis import (
    Answer,
    EngineDep,
    KeyedRequest,
    Problem,
    ServiceSpec,
    idempotency_collection,
    keyed,
    open_idempotency,
    testing,
)
from expedite_chassis.idempotency import digest_of
from expedite_events import Value
from expedite_messaging import Collection, Group, Handlers, Tx
from expedite_messaging.memory import CrashAfterCommit, MemoryClock, MemoryEngine

KEY = "a-key-of-16-chars"
ENGINE_METADATA = sa.MetaData()
RECORDS = idempotency_collection(ENGINE_METADATA)


class Order(Value):
    order_id: str
    note: str


class Body(BaseModel):
    note: str


ORDERS = Collection("orders", Order, metadata=ENGINE_METADATA)


async def place(tx: Tx, request: KeyedRequest, note: str) -> tuple[Answer, bool]:
    book = await open_idempotency(tx, RECORDS, [request])
    if earlier := book.earlier(request):
        return earlier, True
    if note == "refuse":
        raise Problem(409, "conflict")
    orders = await tx.load(ORDERS, ())
    number = await tx.count(ORDERS) + 1
    orders.put(Order(order_id=f"O-{number}", note=note))
    answer = Answer.of(202, {"order_id": f"O-{number}"}, {"Location": f"/orders/O-{number}"})
    return book.remember(request, answer), False


def a_spec() -> ServiceSpec:
    router = APIRouter()

    @router.post("/orders")
    async def post(
        body: Body, engine: EngineDep, request: Annotated[KeyedRequest, Depends(keyed("orders:write"))]
    ) -> Response:
        answer, replayed = await engine.transact([], lambda tx: place(tx, request, body.note))
        return answer.response(replayed=replayed)

    @router.post("/orders/{order_id}/cancel")
    async def cancel(
        order_id: str, engine: EngineDep, request: Annotated[KeyedRequest, Depends(keyed("orders:write"))]
    ) -> Response:
        answer, replayed = await engine.transact([], lambda tx: place(tx, request, ""))
        return answer.response(replayed=replayed)

    return ServiceSpec("order-intake", Handlers("order-intake"), ENGINE_METADATA, router, "order_intake")


def an_engine() -> MemoryEngine:
    return MemoryEngine(a_spec().handlers, MemoryClock())


def a_client(engine: MemoryEngine, **options: Any) -> httpx.AsyncClient:
    return testing.client(a_spec(), engine, **options)


def orders_in(engine: MemoryEngine) -> int:
    return len(engine.db.rows["orders"])


async def test_the_same_request_gets_its_first_answer_again() -> None:
    """A6: same key and body: one order, the same bytes, and a header that says so."""
    engine = an_engine()
    async with a_client(engine) as http:
        answers = [await http.post("/orders", json={"note": "x"}, headers={"Idempotency-Key": KEY}) for _ in range(3)]
    assert {(a.status_code, a.content, a.headers["location"], a.headers["content-type"]) for a in answers} == {
        (202, b'{"order_id":"O-1"}', "/orders/O-1", "application/json")
    }
    assert [a.headers.get("idempotency-replayed") for a in answers] == [None, "true", "true"]
    assert orders_in(engine) == 1


@pytest.mark.parametrize(
    ("path", "content"),
    [("/orders", b'{"note":"y"}'), ("/orders", b'{ "note":"x"}'), ("/orders/1/cancel", b'{"note":"x"}')],
)
async def test_a_key_belongs_to_one_request(path: str, content: bytes) -> None:
    """A6: another body, other bytes or another address under the same key is refused and changes nothing."""
    engine = an_engine()
    headers = {"Idempotency-Key": KEY, "Content-Type": "application/json"}
    async with a_client(engine) as http:
        assert (await http.post("/orders", content=b'{"note":"x"}', headers=headers)).status_code == 202
        refused = await http.post(path, content=content, headers=headers)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert orders_in(engine) == 1


async def test_keys_of_different_clients_are_different_keys() -> None:
    """I5: one client can neither read nor block another's requests by guessing a key."""
    engine = an_engine()
    for name in ("shop", "other"):
        async with a_client(engine, name=name) as http:
            answer = await http.post("/orders", json={"note": name}, headers={"Idempotency-Key": KEY})
            assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (202, None)
    assert orders_in(engine) == 2


@pytest.mark.parametrize("key", [None, "", "   "])
async def test_a_missing_key_is_400(key: str | None) -> None:
    """A6: without a key a retry could order twice, so none is accepted without."""
    engine = an_engine()
    async with a_client(engine) as http:
        answer = await http.post(
            "/orders", json={"note": "x"}, headers={"Idempotency-Key": key} if key is not None else {}
        )
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/idempotency-key-missing")
    assert orders_in(engine) == 0


@pytest.mark.parametrize(
    "key", ["short", "x" * 15, "x" * 256, b"x" * 16 + b"\xe4", b"x" * 16 + b"\t" + b"y", '"short"']
)
async def test_a_malformed_key_is_400_and_not_repeated(key: Any) -> None:
    """I5: 16 to 255 printable characters."""
    async with a_client(an_engine()) as http:
        answer = await http.post("/orders", json={"note": "x"}, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/idempotency-key-malformed")
    assert "xxxx" not in answer.text


@pytest.mark.parametrize("key", ["x" * 16, "x" * 255, "with spaces and ~!", "8e03978e-40d5-43e8-bc93-6894a57f9324"])
async def test_keys_of_every_allowed_shape_work(key: str) -> None:
    """A6: limits are inclusive; quotes around a key (draft standard) do not make another key."""
    async with a_client(an_engine()) as http:
        first = await http.post("/orders", json={"note": "x"}, headers={"Idempotency-Key": key})
        again = await http.post("/orders", json={"note": "x"}, headers={"Idempotency-Key": f'"{key}"'})
    assert (first.status_code, again.headers["idempotency-replayed"]) == (202, "true")


async def test_no_key_is_looked_at_before_the_caller_is_known() -> None:
    """I5: a stranger learns nothing about keys."""
    async with a_client(an_engine(), anonymous=True) as http:
        assert (await http.post("/orders", json={"note": "x"})).status_code == 401
    async with a_client(an_engine(), scopes=["read"]) as http:
        assert (await http.post("/orders", json={"note": "x"})).status_code == 403


async def test_work_that_failed_is_decided_anew() -> None:
    """A6: a refusal or a crash before the commit leaves no record; a crash after it does, and the retry reads it."""
    engine = an_engine()
    headers = {"Idempotency-Key": KEY}
    async with a_client(engine) as http:
        assert (await http.post("/orders", json={"note": "refuse"}, headers=headers)).status_code == 409

        def crash() -> None:
            raise CrashAfterCommit

        engine.before_commit = crash
        assert (await http.post("/orders", json={"note": "x"}, headers=headers)).status_code == 500
        engine.before_commit = lambda: None
        answer = await http.post("/orders", json={"note": "x"}, headers=headers)
    assert (answer.status_code, answer.headers.get("idempotency-replayed")) == (202, None)
    assert orders_in(engine) == 1


async def test_equal_requests_of_one_group_collapse() -> None:
    """A6: requests with one key that share a transaction get one answer; another body among them is refused alone."""
    engine = an_engine()
    runtime = testing.runtime_for(a_spec())
    caller = runtime.keyring.by_key(testing.key_of("test"))
    assert caller is not None
    same = KeyedRequest(caller, KEY, digest_of("POST", "/orders", b"1"))
    other = KeyedRequest(caller, KEY, digest_of("POST", "/orders", b"2"))

    async def work(tx: Tx, requests: Any) -> list[Answer | Problem]:
        await open_idempotency(tx, RECORDS, requests)
        answers: list[Answer | Problem] = []
        for request in requests:
            try:
                answers.append((await place(tx, request, "x"))[0])
            except Problem as problem:
                answers.append(problem)
        return answers

    first, again, refused = await engine.transact([], lambda tx: work(tx, [same, same, other]))
    assert first is again
    assert isinstance(refused, Problem) and refused.code == "idempotency-key-reused"
    group: Group[KeyedRequest, Answer | Problem] = Group(engine, lambda _: [], work)
    assert await group.submit(same) == first
    assert orders_in(engine) == 1
    await runtime.http.aclose()


@given(a=st.binary(max_size=20), b=st.binary(max_size=20), path=st.sampled_from(["/a", "/a/b", '/a"]']))
def test_digests_keep_their_parts_apart(a: bytes, b: bytes, path: str) -> None:
    """I5: no shift between method, path and body makes two requests look the same."""
    assert (digest_of("POST", path, a) == digest_of("POST", path, b)) is (a == b)
    assert digest_of("POST", path, a) != digest_of("POST", path + "x", a)
    assert digest_of("POST", path, a) != digest_of("PUT", path, a)
