"""The description of an API: what FastAPI says of it, and what all services have in common. Every answer an operation can
give is listed under its own status, so that a tool can tell a documented answer from a surprise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from expedite_chassis.idempotency import HEADER
from expedite_chassis.problems import MEDIA_TYPE

Security = list[dict[str, list[str]]]
_WRITES = {"post", "put", "patch", "delete"}
_ALWAYS = ("400", "413", "431", "500", "503")
_SCHEMA = "ProblemDetails"  # services have problems of their own: with orders, with parcels
_ALSO = "x-also-answers"
LINK = "link"


def security_of(*alternatives: tuple[str, ...], link: bool = False) -> Security:
    """The security of an operation for callers who hold all scopes of one of the alternatives; `link`: or a signed link.
    For operations that decide about their caller in their own code."""
    ways: Security = [{way: list(scopes)} for scopes in alternatives for way in ("bearer", "apiKey")]
    return [*ways, {LINK: []}] if link else ways


def also_answers(*statuses: int) -> dict[str, Any]:
    """`openapi_extra` of an operation that may answer these problems besides those of its kind."""
    return {_ALSO: [str(status) for status in statuses]}


def followed_by(operation_id: str, parameter: str, pointer: str) -> dict[str, Any]:
    """A link of a response: what stands in its body at the pointer is a parameter of that operation."""
    return {"operationId": operation_id, "parameters": {parameter: f"$response.body#{pointer}"}}


def operation_id(route: APIRoute) -> str:
    """Operations are called as their functions: links and generated clients name them."""
    return route.name


def methods_of(app: FastAPI, path: str) -> list[str]:
    """The methods an address answers, whatever route of it each belongs to. A route of exactly this address hides those
    that have a parameter in its place."""
    found: dict[str, set[str]] = {}
    for context in iter_route_contexts(app.routes):
        form = getattr(context, "path_regex", None)
        if form is not None and form.match(path):
            found.setdefault(context.path_format or "", set()).update(getattr(context, "methods", None) or ())
    return sorted(found.get(path) or set().union(*found.values()))


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an app."""
    schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas[_SCHEMA] = _PROBLEM
    components["responses"] = _RESPONSES
    components["securitySchemes"] = _SCHEMES
    for context in iter_route_contexts(app.routes):
        path = schema["paths"].get(getattr(context, "path_format", None), {})
        for method in getattr(context, "methods", None) or ():
            operation = path.get(method.lower())
            if operation is not None:
                _complete(operation, method.lower(), context.dependant)
    return schema


def _complete(operation: dict[str, Any], method: str, dependant: Dependant) -> None:
    """Who may call it, and the problems it may answer: those of every operation, and those of its kind."""
    operation.setdefault("security", security_of(*_scopes(dependant)))
    responses = operation.setdefault("responses", {})
    possible = {*_ALWAYS, *operation.pop(_ALSO, ())}
    if operation["security"]:
        possible |= {"401", "403", "429"}
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        possible |= {"404"}
    if "requestBody" in operation or operation.get("parameters"):
        possible |= {"422"}
    if "requestBody" in operation:
        possible |= {"415"}
    if method in _WRITES and operation["security"]:
        possible |= {"409"}
    for status in possible:
        if status == "422" or status not in responses:  # FastAPI describes a 422 that is never answered
            responses[status] = {"$ref": f"#/components/responses/{_NAMES.get(status, 'Problem')}"}
    operation["responses"] = dict(sorted(responses.items()))


def _scopes(dependant: Dependant) -> tuple[tuple[str, ...], ...]:
    """The alternatives of scopes an operation asks for: those of the dependency that asks for most."""
    return max(_asked(dependant), key=lambda found: max(map(len, found), default=0), default=())


def _asked(dependant: Dependant) -> Iterator[tuple[tuple[str, ...], ...]]:
    alternatives = getattr(dependant.call, "scopes", None)
    if alternatives is not None:
        yield alternatives
    for part in dependant.dependencies:
        yield from _asked(part)


def _problem(description: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{_SCHEMA}"}}},
    }
    if headers:
        found["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    return found


IDEMPOTENCY_KEY = {
    "in": "header",
    "name": HEADER,
    "description": "Makes a repeated request the same request: 16 to 255 printable ASCII characters",
    "schema": {"type": "string", "minLength": 16, "maxLength": 255, "pattern": "^[ -~]+$"},
}
"""The header, for operations that read it by hand."""

_NAMES = {"401": "Unauthenticated", "503": "Unavailable"}
_RESPONSES = {
    "Problem": _problem("Problem (RFC 9457)"),
    "Unauthenticated": _problem("No identity, or one that is not valid", {"WWW-Authenticate": "How to authenticate"}),
    "Unavailable": _problem("Not possible at the moment", {"Retry-After": "Seconds to wait before another try"}),
}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a person's token"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    LINK: {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "The signed link of a message to a customer",
    },
}
_PROBLEM = {
    "title": _SCHEMA,
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "trace_id": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body"},
                    "parameter": {"type": "string"},
                    "location": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
