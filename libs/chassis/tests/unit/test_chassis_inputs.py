"""What no service should ever see: text that cannot be stored, numbers and times that are something else, broken hosts."""

from __future__ import annotations

import json
from typing import Annotated, Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from expedite_chassis import Flag, Instant, Names, QueryFlag, ServiceSpec, Written, testing
from expedite_chassis.inputs import Amount
from expedite_messaging import Handlers
from expedite_messaging.memory import MemoryClock, MemoryEngine

JSON = {"Content-Type": "application/json"}


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = ""
    names: Names = Field(default_factory=dict)
    lines: list[dict[str, str]] = []
    sure: Flag = False
    at: Instant | None = None
    said_at: Written | None = None
    price: Amount | None = None
    many: Annotated[int, Field(strict=True, ge=0, le=9)] = 0


def a_client() -> httpx.AsyncClient:
    router = APIRouter()

    @router.post("/things")
    async def post(body: Body) -> dict[str, Any]:
        return {"price": str(body.price), "name": body.name}

    @router.get("/things/{thing_id}")
    async def get(thing_id: str, q: str = "", flag: QueryFlag = False) -> dict[str, Any]:
        return {"id": thing_id, "q": q, "flag": flag}

    @router.get("/since")
    async def since(at: Annotated[Instant, Query()]) -> str:
        return at.isoformat()

    spec = ServiceSpec("inventory", Handlers("inventory"), sa.MetaData(), router, "inventory")
    return testing.client(spec, MemoryEngine(spec.handlers, MemoryClock()))


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"name": "a\\u0000b"}', "/name"),
        (b'{"name": "\\ud800"}', "/name"),
        (b'{"name": "\\uDfFf"}', "/name"),
        (b'{"name": "\xed\xa0\x80"}', "/name"),
        (b'{"lines": [{"sku": "A"}, {"sku": "\\u0000"}]}', "/lines/1/sku"),
        (b'{"names": {"\\ud800": "x"}}', "/names"),
        (b'{"\\u0000": 1}', ""),
        (b'{"a/b": "\\u0000"}', "/a~1b"),
        (b'"\\u0000"', ""),
    ],
)
async def test_text_that_cannot_be_stored_is_refused_everywhere(body: bytes, pointer: str) -> None:
    """I3, I5: NUL and halves of surrogate pairs, in values and in names of fields, escaped or as bytes: 422 that says where,
    whatever the operation does with its body."""
    async with a_client() as http:
        answer = await http.post("/things", content=body, headers=JSON)
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, "not-text")


@pytest.mark.parametrize("text", ["\U0001f4e6", "\\", "\\u0000", "\u6025", "\x7f", "\ufffd", "\ud83d\udce6".encode("utf-16", "surrogatepass").decode("utf-16")])  # fmt: skip
async def test_all_other_text_is_kept_as_it_is(text: str) -> None:
    """A2: what looks like an escape is text, and so is a pair of halves."""
    async with a_client() as http:
        for escaped in (True, False):
            sent = json.dumps({"name": text}, ensure_ascii=escaped).encode()
            answer = await http.post("/things", content=sent, headers=JSON)
            assert answer.json()["name"] == text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-32-be"])
async def test_json_is_utf_8(encoding: str) -> None:
    """I5: in any other encoding what is looked for in the bytes could hide."""
    async with a_client() as http:
        answer = await http.post("/things", content='{"name": "\\u0000"}'.encode(encoding), headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/malformed-json")


@pytest.mark.parametrize(
    ("url", "parameter"), [("/things/1?q=%00", "q"), ("/things/1?x%00=1", "x\x00"), ("/things/1?q=a&q=%00b", "q")]
)
async def test_parameters_hold_no_nul(url: str, parameter: str) -> None:
    """I3: nothing has such a name, and PostgreSQL would not even look."""
    async with a_client() as http:
        answer = await http.get(url)
        assert (await http.get("/things/a%00b")).status_code == 404
        assert (await http.get("/things/a%2500b")).json()["id"] == "a%00b"
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["parameter"], error["location"], error["code"]) == (parameter, "query", "not-text")


async def test_a_problem_about_a_name_that_is_no_text_is_still_a_problem() -> None:
    """I5: a pointer repeats names of fields; halves of pairs among them do not break the answer."""
    from expedite_chassis import FieldProblem, Problem

    answer = Problem(422, "invalid", errors=[FieldProblem(pointer="/\ud800", code="x", message="x")]).response()
    assert json.loads(bytes(answer.body))["errors"][0]["pointer"] == "/?"


@pytest.mark.parametrize(
    "body",
    [
        {"sure": "yes"}, {"sure": 1}, {"sure": "true"},
        {"at": 1_700_000_000}, {"at": "1700000000"}, {"at": "0"}, {"at": "2026-11-22"}, {"at": "2026-11-22T10:00:00"},
        {"at": "0001-01-01T00:00:00+14:00"}, {"at": "9999-12-31T23:59:59-14:00"}, {"at": True},
        {"said_at": 0}, {"said_at": "-5"}, {"said_at": 1e300},
        {"price": "NaN"}, {"price": "Infinity"}, {"price": "1e3"}, {"price": " 1"}, {"price": "1_0"}, {"price": "1.23456"},
        {"price": "\u0661"}, {"price": 10**14}, {"price": True}, {"price": "+1"}, {"price": ""},
        {"many": True}, {"many": "1"}, {"many": 10}, {"many": 10**30}, {"many": 1.5},
        {"names": {"": "x"}}, {"names": {"en": "x" * 301}}, {"names": {str(n): "x" for n in range(51)}},
    ],
    ids=str,
)  # fmt: skip
async def test_a_value_of_another_kind_is_refused(body: dict[str, Any]) -> None:
    """A3, I5: a flag is no word and no number, a time is written out and near enough to be reckoned with, an amount is
    written in digits."""
    async with a_client() as http:
        answer = await http.post("/things", json=body)
    assert answer.status_code == 422, answer.text
    assert all(error["pointer"].startswith(f"/{next(iter(body))}") for error in answer.json()["errors"])


@pytest.mark.parametrize(
    ("body", "price"),
    [({"price": "12.5"}, "12.5"), ({"price": 12.5}, "12.5"), ({"price": -3}, "-3"), ({"price": "0.0001"}, "0.0001"),
     ({"at": "2026-11-22T10:00:00+08:00", "said_at": "0001-01-01T00:00:00Z", "sure": True, "many": 9}, "None")],
)  # fmt: skip
async def test_what_the_schema_says_is_taken(body: dict[str, Any], price: str) -> None:
    """A2: times far away may be said where they are judged later."""
    async with a_client() as http:
        answer = await http.post("/things", json=body)
    assert (answer.status_code, answer.json()["price"]) == (200, price)


@pytest.mark.parametrize(("query", "status"), [("flag=true", 200), ("flag=false", 200), ("flag=1", 422), ("flag=on", 422),
                                               ("flag=True", 422), ("flag=", 422)])  # fmt: skip
async def test_flags_of_a_query_are_spelt(query: str, status: int) -> None:
    """A3: as the schema spells them."""
    async with a_client() as http:
        assert (await http.get(f"/things/1?{query}")).status_code == status
        assert (await http.get("/since?at=0")).status_code == 422
        assert (await http.get("/since", params={"at": "2026-11-22T10:00:00+00:00"})).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("shop.example", 200), ("shop.example:8001", 200), ("[::1]:8001", 200), ("my_host", 200), ("[", 400), ("[::1", 400),
     ("a b", 400), ("a/b", 400), ("a@b", 400), ("evil.example\\", 400), ("h:port", 400), ("\xe9", 400), ("", 400)],
)  # fmt: skip
async def test_a_host_that_is_none_is_refused(host: str, status: int) -> None:
    """I5: links in answers begin with the host, and a broken one cannot be taken apart."""
    async with a_client() as http:
        answer = await http.get("/things/1", headers={"Host": host.encode("latin-1")})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["type"] == "/problems/bad-request"
