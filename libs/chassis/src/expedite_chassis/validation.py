"""From pydantic's error list to named fields, without a word of what the client sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request, params

_LIMIT = 50  # a body of a million wrong lines is answered with the first fifty
_SEGMENT = 64
_MESSAGE = 300
_PARAMETERS = {"query", "path", "header", "cookie"}
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_FIXED = {  # pydantic's own texts for these repeat parts of the input
    "uuid_parsing": "Input should be a valid UUID",
    "url_parsing": "Input should be a valid URL",
    "json_invalid": "Input should be valid JSON",
    "extra_forbidden": "This field is not known here; leave it out",
}


def field_problems(details: Sequence[Mapping[str, Any]], body: Any) -> list[dict[str, str]]:
    """One entry per wrong field: `pointer` or `parameter` and `location`, `code`, `message`."""
    found: list[dict[str, str]] = []
    for detail in details[:_LIMIT]:
        place, *path = detail["loc"] or ("body",)
        entry = {"code": str(detail["type"]).replace("_", "-"), "message": _message(detail)}
        if place in _PARAMETERS:
            entry |= {"parameter": str(path[0])[:_SEGMENT] if path else "", "location": str(place)}
        else:
            entry["pointer"] = pointer(path, body, missing=detail["type"] == "missing")
        if entry not in found:  # the branches of a union report the same field again
            found.append(entry)
    return found


def pointer(path: Sequence[str | int], body: Any, *, missing: bool) -> str:
    """The JSON pointer (RFC 6901) of a pydantic location. Names of union branches and validators, which pydantic mixes
    into locations, are left out by walking along the body itself."""
    parts: list[str] = []
    here = body
    for index, step in enumerate(path):
        if isinstance(here, dict):
            if step in here:
                here = here[step]
            elif not (missing and index == len(path) - 1):
                continue
        elif isinstance(here, list):
            if not (isinstance(step, int) and 0 <= step < len(here)):
                continue
            here = here[step]
        elif here is not None or not missing:
            continue
        parts.append(segment(step))
    return "".join(f"/{part}" for part in parts)


def segment(step: str | int) -> str:
    """A step of a JSON pointer, escaped and shortened."""
    return str(step)[:_SEGMENT].replace("~", "~0").replace("/", "~1")


def _message(detail: Mapping[str, Any]) -> str:
    kind = str(detail["type"])
    if kind in _FIXED:
        return _FIXED[kind]
    if kind == "union_tag_invalid":
        return f"The kind should be one of {detail.get('ctx', {}).get('expected_tags', 'those documented')}"
    text = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")[:_MESSAGE]
    sent = detail.get("input")
    # A validator may have put the value into its text; errors are logged and forwarded, values must not be.
    if isinstance(sent, str) and len(sent) >= 3 and sent in text:
        return "The value is not acceptable; see the documentation of this field"
    return text


def media_type_refused(request: Request, details: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a body error comes from a body that is not JSON where JSON is read."""
    if not any(d["loc"] and d["loc"][0] == "body" for d in details):
        return False
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    length = request.headers.get("content-length")
    if length == "0" or (length is None and "transfer-encoding" not in request.headers):
        return False  # no body at all: the missing field is the better answer
    field = getattr(request.scope.get("route"), "body_field", None)
    if field is not None and isinstance(field.field_info, params.Form):
        return media not in _FORMS
    return not (media == "application/json" or (media.startswith("application/") and media.endswith("+json")))
