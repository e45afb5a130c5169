"""Every error is a problem document that names the field and the remedy and repeats nothing (I3, I5)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator

from expedite_chassis import FieldProblem, Problem, ProblemType, ServiceSpec, register_problem, testing
from expedite_chassis.problem_types import problem_type, problem_types
from expedite_messaging import Handlers, KeyParked, Transient
from expedite_messaging.memory import MemoryClock, MemoryEngine

JSON = {"Content-Type": "application/json"}
SECRET = "s3cr3t-input-of-a-customer"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Card(Strict):
    kind: Literal["card"]
    number: int


class Cash(Strict):
    kind: Literal["cash"]


class Line(Strict):
    sku: str
    quantity: Annotated[int, Field(ge=1)]
    note: str | int | None = None

    @field_validator("sku")
    @classmethod
    def known(cls, value: str) -> str:
        if value.startswith("s3cr3t"):
            raise ValueError(f"no product {value}")
        return value


class Order(Strict):
    lines: list[Line] = []
    pay: Annotated[Card | Cash, Field(discriminator="kind")] | None = None
    weight: float = 0
    either: Line | list[Line] | None = None
    names: dict[str, int] = {}


def a_spec() -> ServiceSpec:
    router = APIRouter()

    @router.post("/orders")
    async def post(order: Order) -> dict[str, int]:
        return {"lines": len(order.lines)}

    @router.post("/any")
    async def anything(body: dict[str, Any]) -> int:
        return len(body)

    @router.get("/orders/{order_id}")
    async def get(order_id: str, limit: Annotated[int, Query(le=10)] = 1) -> None:
        raise Problem(404, "unknown-order", detail=f"There is no order {order_id}.")

    @router.put("/orders/{order_id}")
    async def put(order_id: str) -> str:
        return order_id

    @router.get("/raise/{what}")
    async def fail(what: str) -> None:
        match what:
            case "parked":
                raise KeyParked(["20261122-EC-000001"])
            case "transient":
                raise Transient("connection to 10.0.0.5:5432 lost")
            case "rare":
                raise Problem(409, "rare-case", "A rare case")
            case "late":
                raise Problem(409, "too-late", "Parcel is with the carrier", detail="It left at 10:00.",
                              errors=[FieldProblem(pointer="/lines/0/quantity", code="shipped", message="2 left")],
                              extra={"order_id": "1", "status": 200})  # fmt: skip
        raise RuntimeError(f"SELECT failed for {SECRET} at db.internal")

    return ServiceSpec("inventory", Handlers("inventory"), sa.MetaData(), router, "inventory")


def a_client(**options: Any) -> httpx.AsyncClient:
    spec = a_spec()
    return testing.client(spec, MemoryEngine(spec.handlers, MemoryClock()), **options)


def checked(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The document of a problem after looking at what all problems share."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["type"], body["status"]) == (f"/problems/{code}", status)
    assert body["title"]
    assert body["instance"] == f"urn:trace:{body['trace_id']}"
    assert body["trace_id"] in answer.headers["traceparent"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert SECRET not in answer.text and "Traceback" not in answer.text
    return body


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"lines": [{"sku": "A", "quantity": 0}]}, ["/lines/0/quantity"]),
        ({"lines": [{"sku": "A", "quantity": SECRET}]}, ["/lines/0/quantity"]),
        ({"lines": [{"sku": "A"}, {"quantity": 2}]}, ["/lines/0/quantity", "/lines/1/sku"]),
        ({"lines": SECRET}, ["/lines"]),
        ({"lines": [{"sku": SECRET, "quantity": 1}]}, ["/lines/0/sku"]),
        ({"lines": [{"sku": "A", "quantity": 1, "note": [SECRET]}]}, ["/lines/0/note"]),
        ({"pay": {"kind": SECRET}}, ["/pay"]),
        ({"pay": {"kind": "card", "number": SECRET}}, ["/pay/number"]),
        ({"unknown": SECRET}, ["/unknown"]),
        ({"names": {"a/b~c": SECRET}}, ["/names/a~1b~0c"]),
        ([SECRET], [""]),
        (SECRET, [""]),
        (None, [""]),
    ],
    ids=str,
)
async def test_wrong_fields_are_named_by_pointers(body: Any, pointers: list[str]) -> None:
    """I5, A4: 422 names each field by JSON pointer with a code and a message, and repeats no input."""
    async with a_client() as http:
        answer = await http.post("/orders", json=body)
    errors = checked(answer, 422, "invalid")["errors"]
    assert list(dict.fromkeys(error["pointer"] for error in errors)) == pointers
    assert all(error["code"] and error["message"] for error in errors)
    assert all(set(error) == {"pointer", "code", "message"} for error in errors)


async def test_pointers_hold_no_names_of_union_branches() -> None:
    """A4: a field inside a union is named as the client wrote it."""
    async with a_client() as http:
        answer = await http.post("/orders", json={"either": {"sku": "A", "quantity": 0}})
    pointers = {error["pointer"] for error in checked(answer, 422, "invalid")["errors"]}
    assert pointers == {"/either/quantity", "/either"}


async def test_wrong_parameters_are_named() -> None:
    """A4: query and path values are named by parameter, not by pointer."""
    async with a_client() as http:
        answer = await http.get("/orders/1", params={"limit": SECRET})
    assert checked(answer, 422, "invalid")["errors"][0] == {
        "code": "int-parsing", "parameter": "limit", "location": "query",
        "message": "Input should be a valid integer, unable to parse string as an integer",
    }  # fmt: skip


async def test_many_errors_are_cut() -> None:
    """I5: a body of thousands of wrong lines does not get a longer answer than its request."""
    async with a_client() as http:
        answer = await http.post("/orders", json={"lines": [{}] * 5000})
    assert len(checked(answer, 422, "invalid")["errors"]) == 50


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed-json"),
        (b"{'a': 1}", 400, "malformed-json"),
        (b'{"weight": 1} x', 400, "malformed-json"),
        (b'{"weight": NaN}', 400, "malformed-json"),
        (b'{"weight": -Infinity}', 400, "malformed-json"),
        (b"\xff\xfe", 400, "malformed-json"),
        (b'{"weight": "\xff"}', 400, "bad-request"),
        (b"[" * 100_000, 400, "bad-request"),
        (b'{"weight": ' + b"9" * 5000 + b"}", 400, "bad-request"),
        (b'{"weight": 1e999}', 400, "malformed-json"),
        (b'{"weight": -1E+0400}', 400, "malformed-json"),
        (b'{"weight": ' + b"9" * 250 + b"e99}", 400, "malformed-json"),
        (b'{"weight": ' + b"9" * 400 + b".5}", 400, "malformed-json"),
        (b"", 422, "invalid"),
    ],
    ids=lambda value: repr(value)[:18],
)
async def test_what_is_not_json_is_400(body: bytes, status: int, code: str) -> None:
    """I5: broken, over-nested, over-long or non-standard JSON is refused as such and breaks nothing."""
    async with a_client() as http:
        answer = await http.post("/orders", content=body, headers=JSON)
    checked(answer, status, code)


async def test_the_place_where_json_breaks_is_named() -> None:
    """A4: the sender is told at which character the body stops being JSON."""
    async with a_client() as http:
        answer = await http.post("/orders", content=b'{"weight": }', headers=JSON)
    assert checked(answer, 400, "malformed-json")["detail"] == "The body stops being JSON at character 11."


@pytest.mark.parametrize(("depth", "status"), [(63, 200), (64, 200), (65, 400), (500, 400)])
async def test_deep_bodies_are_refused(depth: int, status: int) -> None:
    """I5: 64 levels of nesting are plenty; many shallow values are fine."""
    async with a_client() as http:
        answer = await http.post("/any", content=b'{"a":' * depth + b"1" + b"}" * depth, headers=JSON)
        assert answer.status_code == status
        assert (await http.post("/any", json={"a": [[1]] * 1000})).status_code == 200


async def test_a_problem_nobody_registered_still_leads_somewhere() -> None:
    """A4: once answered, its `type` URI has a page."""
    async with a_client() as http:
        assert (await http.get("/problems/rare-case")).status_code == 404
        body = checked(await http.get("/raise/rare"), 409, "rare-case")
        assert (await http.get(body["type"])).json()["title"] == "A rare case"


async def test_the_words_nan_and_infinity_are_fine_inside_texts() -> None:
    """A2: only numbers are refused, not product names."""
    async with a_client() as http:
        answer = await http.post("/orders", json={"lines": [{"sku": "NaN to Infinity 1e999", "quantity": 1}]})
        assert answer.status_code == 200
        assert (await http.post("/orders", content=b'{"weight": 1e308}', headers=JSON)).status_code == 200


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "json", None])
async def test_other_media_types_are_415(media: str | None) -> None:
    """I5: a body must say that it is JSON (which also keeps simple cross-site forms out)."""
    async with a_client() as http:
        answer = await http.post("/orders", content=b"{}", headers={"Content-Type": media} if media else {})
        checked(answer, 415, "unsupported-media-type")
        for fine in ("application/json", "application/json; charset=utf-8", "application/merge-patch+json"):
            assert (await http.post("/orders", content=b"{}", headers={"Content-Type": fine})).status_code == 200


async def test_unknown_addresses_and_methods() -> None:
    """I5: 404 and 405 are problems too."""
    async with a_client() as http:
        body = checked(await http.get(f"/nowhere/{SECRET}"), 404, "not-found")
        assert "detail" not in body
        refused = await http.delete("/orders/1")
        checked(refused, 405, "method-not-allowed")
        assert refused.headers["allow"] == "GET, PUT"  # of all routes of the address, not of the first
        checked(await http.get("/docs"), 404, "not-found")
        checked(await http.get("/orders/"), 404, "not-found")


async def test_named_outcomes_keep_their_code_and_their_members() -> None:
    """A5: a refusal says why; extra members never replace the standard ones."""
    async with a_client() as http:
        body = checked(await http.get("/raise/late"), 409, "too-late")
        unknown = checked(await http.get("/orders/7"), 404, "unknown-order")
    assert (body["title"], body["detail"], body["order_id"]) == ("Parcel is with the carrier", "It left at 10:00.", "1")
    assert body["errors"] == [{"pointer": "/lines/0/quantity", "code": "shipped", "message": "2 left"}]
    assert unknown["detail"] == "There is no order 7."


async def test_parked_keys_answer_409() -> None:
    """I4: a person's write to a parked order is told to wait for the repair."""
    async with a_client() as http:
        body = checked(await http.get("/raise/parked"), 409, "parked")
    assert body["keys"] == ["20261122-EC-000001"]


async def test_what_passes_answers_503_with_retry_after() -> None:
    """I5: the database being away is not the client's fault, and its address is not told."""
    async with a_client() as http:
        answer = await http.get("/raise/transient")
    checked(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert "10.0.0.5" not in answer.text


async def test_our_own_errors_tell_nothing() -> None:
    """I5: 500 holds no message, statement, host name or trace of the code."""
    async with a_client() as http:
        answer = await http.get("/raise/other")
    body = checked(answer, 500, "internal")
    assert set(body) == {"type", "title", "status", "instance", "trace_id", "request_id"}


async def test_every_problem_has_its_page() -> None:
    """A4: the `type` of a problem leads to what it means and what to do, as JSON or as a page."""
    async with a_client(anonymous=True) as http:
        listed = (await http.get("/problems")).json()["items"]
        assert [item["code"] for item in listed] == [known.code for known in problem_types()]
        for item in listed:
            shown = await http.get(item["type"])
            assert shown.json() == item and item["meaning"] and item["remedy"]
        page = await http.get("/problems/too-late", headers={"Accept": "text/html,*/*"})
        assert page.headers["content-type"].startswith("text/html") and "<h2>" in page.text
        checked(await http.get("/problems/never-heard-of"), 404, "not-found")


def test_a_code_has_one_status() -> None:
    """A4: codes are stable. Services loaded into one process may explain a code in their own words; the first stands,
    and another status or a bad name is refused."""
    known = ProblemType("test-only", 409, "A", "B", "C")
    assert register_problem(known) == register_problem(known)
    register_problem(ProblemType("test-only", 409, "Other", "B", "C"))
    assert problem_type("test-only") == known
    with pytest.raises(ValueError, match="already has the status 409"):
        register_problem(ProblemType("test-only", 404, "A", "B", "C"))
    with pytest.raises(ValueError, match="hyphens"):
        register_problem(ProblemType("Bad Code", 409, "A", "B", "C"))
