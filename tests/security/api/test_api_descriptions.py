"""The OpenAPI documents of all services, read as a fuzzer and a client read them: every input is bounded, every operation
says who may call it and what it may answer, every link leads somewhere."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from expedite_chassis import testing
from expedite_messaging.memory import MemoryClock, MemoryEngine

SERVICES = ("order_intake", "prioritizer", "inventory", "fulfillment", "shipping", "notifier", "control_tower")
# Read as bytes and kept whatever they are: the limits of body and headers bound them, the signature decides.
RAW = ("/webhooks/", "/orders/bulk")
# An event of whatever topic: its own contract judges it, and its size is limited.
EVENT = "put /admin/parked/{key}/events/{event_id} body/value: anything"
PUBLIC = {
    ("order_intake", "/webhooks/shopify/{channel_id}"), ("order_intake", "/webhooks/woocommerce/{channel_id}"),
    ("shipping", "/webhooks/easypost/{carrier_id}"), ("shipping", "/webhooks/native/{carrier_id}"),
    ("control_tower", "/api/login"),
}  # fmt: skip


@cache
def described(service: str) -> dict[str, Any]:
    spec = importlib.import_module(f"{service}.main").spec
    return testing.app(spec, MemoryEngine(spec.handlers, MemoryClock())).openapi()


def operations(service: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described(service)["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def unbounded(schema: dict[str, Any], schemas: dict[str, Any], where: str) -> Iterator[str]:
    """Places of a schema at which anything of any size is allowed."""
    if "$ref" in schema:
        yield from unbounded(schemas[schema["$ref"].rpartition("/")[2]], schemas, where)
        return
    # Beside a type of its own they only say how its parts go together.
    parts = [part for key in ("anyOf", "oneOf", "allOf") for part in schema.get(key, ()) if "type" not in schema]
    for part in parts:
        yield from unbounded(part, schemas, where)
    match schema.get("type"):
        case "string":
            if not schema.keys() & {"maxLength", "enum", "const"} and schema.get("format") not in (
                "date",
                "date-time",
                "uuid",
            ):
                pattern = schema.get("pattern", "+")
                if "+" in pattern or "*" in pattern or not pattern.startswith("^") or not pattern.endswith("$"):
                    yield f"{where}: text of any length"
        case "integer" | "number":
            if not (
                schema.keys() & {"minimum", "exclusiveMinimum"} and schema.keys() & {"maximum", "exclusiveMaximum"}
            ):
                yield f"{where}: a number of any size"
        case "array":
            if "maxItems" not in schema:
                yield f"{where}: a list of any length"
            yield from unbounded(schema["items"], schemas, f"{where}/*")
        case "object":
            others = schema.get("additionalProperties", True)
            if others is True or (others and "maxProperties" not in schema):
                yield f"{where}: fields of any name"
            for name, part in schema.get("properties", {}).items():
                yield from unbounded(part, schemas, f"{where}/{name}")
        case None if not parts and not schema.keys() & {"enum", "const"}:
            yield f"{where}: anything"


@pytest.mark.parametrize("service", SERVICES)
def test_every_input_is_bounded(service: str) -> None:
    """A3, I5: each text, number, list and name of a request has a limit, so that nothing too large for a column, an index
    or a computation gets past the door; unknown fields are refused."""
    schemas = described(service)["components"]["schemas"]
    found = []
    for method, path, operation in operations(service):
        if path.startswith(RAW):
            continue
        for parameter in operation.get("parameters", ()):
            found += unbounded(parameter["schema"], schemas, f"{method} {path} {parameter['in']} {parameter['name']}")
        for content in operation.get("requestBody", {}).get("content", {}).values():
            found += unbounded(content["schema"], schemas, f"{method} {path} body")
    assert [place for place in found if place != EVENT] == []


def test_what_is_not_bounded_is_seen() -> None:
    """The check above sees each kind of open input."""
    schemas = {"Open": {"type": "object", "properties": {}}}
    for schema in (
        {"type": "string"}, {"type": "string", "pattern": "^a+$"}, {"type": "integer", "minimum": 1}, {},
        {"type": "array", "maxItems": 3, "items": {"type": "string"}}, {"$ref": "#/components/schemas/Open"},
        {"anyOf": [{"type": "null"}, {"type": "number"}]},
        {"type": "object", "additionalProperties": {"type": "string", "maxLength": 3}},
    ):  # fmt: skip
        assert list(unbounded(schema, schemas, "x")), schema
    assert list(unbounded({"type": "string", "maxLength": 3}, {}, "x")) == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_says_who_may_call_it(service: str) -> None:
    """I5: an identity for all but the login and the signed webhooks, and the scopes it needs."""
    for method, path, operation in operations(service):
        public = (service, path) in PUBLIC
        assert bool(operation["security"]) is not public, f"{method} {path}"
        assert "401" in operation["responses"], f"{method} {path}"
        if not public:
            keys = [way["bearer"] for way in operation["security"] if "bearer" in way]
            assert keys and all(keys), f"{method} {path} names no scope"


@pytest.mark.parametrize("service", SERVICES)
def test_every_answer_is_listed_under_its_status(service: str) -> None:
    """A4: no `default` that would make any answer a described one; refusals are problems."""
    for method, path, operation in operations(service):
        answers = operation["responses"]
        assert "default" not in answers
        assert {"400", "413", "431", "500", "503"} <= answers.keys(), f"{method} {path}"
        assert any(status.startswith("2") for status in answers), f"{method} {path}"
        for status, answer in answers.items():
            problem = answer.get("$ref", "").startswith("#/components/responses/")
            assert problem is (status >= "4"), f"{method} {path} {status}"


@pytest.mark.parametrize("service", SERVICES)
def test_links_lead_to_operations(service: str) -> None:
    """A4: operations have names of their own, and links name those and their parameters."""
    known = {operation["operationId"]: operation for _, _, operation in operations(service)}
    assert len(known) == len(list(operations(service)))
    for _, path, operation in operations(service):
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                wanted = {p["name"] for p in known[link["operationId"]].get("parameters", ())}
                assert {name.rpartition(".")[2] for name in link["parameters"]} <= wanted, path


def test_the_services_that_start_something_have_links() -> None:
    """A4: what can be done next is part of the description."""
    found = {
        service: sum(len(a.get("links", ())) for _, _, o in operations(service) for a in o["responses"].values())
        for service in SERVICES
    }
    assert all(
        found[service] > 0 for service in ("order_intake", "prioritizer", "inventory", "fulfillment", "shipping")
    )
