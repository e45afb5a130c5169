"""What may come in: text that can be stored, and types for the models of requests that say in the schema what they check.

Requests are checked strictly: a number is not text, a flag is not a word. What a schema calls wrong must be refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Request
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StrictBool, WithJsonSchema

from expedite_chassis.problems import FieldProblem, Problem
from expedite_chassis.validation import segment

# PostgreSQL refuses NUL in text, and lone halves of surrogate pairs have no bytes at all. In a body they can only come as
# escapes, or as the three bytes of a half, which Python's JSON parser lets pass.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SUSPECT = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")
_MANY = 50  # wrong texts that an answer names
_FIRST_YEAR, _LAST_YEAR = 1970, 2199


def storable(value: str) -> str:
    """Text without characters that cannot be stored (NUL, lone surrogates); ValueError names the remedy."""
    if (not value.isascii() or "\x00" in value) and _UNSTORABLE.search(value):
        raise ValueError(_MESSAGE)
    return value


_MESSAGE = "Leave out characters that are not text (NUL, lone surrogates)"


def suspect(body: bytes) -> bool:
    """Whether a JSON body may hold text that cannot be stored."""
    return _SUSPECT.search(body) is not None


def refuse_unstorable(value: Any) -> None:
    """Raise the 422 problem that names the first texts of a JSON value that cannot be stored, names of fields included."""
    errors = [
        FieldProblem(pointer=pointer, code="not-text", message=_MESSAGE)
        for pointer, _ in zip(dict.fromkeys(_unstorable(value)), range(_MANY), strict=False)
    ]
    if errors:
        raise Problem(422, "invalid", errors=errors)


def _unstorable(value: Any) -> Iterator[str]:
    waiting = [("", value)]
    while waiting:
        pointer, here = waiting.pop()
        if isinstance(here, str):
            if _UNSTORABLE.search(here):
                yield pointer
        elif isinstance(here, list):
            waiting += [(f"{pointer}/{index}", item) for index, item in enumerate(here)]
        elif isinstance(here, dict):
            for name, item in here.items():
                if _UNSTORABLE.search(name):
                    yield pointer
                else:
                    waiting.append((f"{pointer}/{segment(name)}", item))


def refuse_unstorable_parameters(request: Request) -> None:
    """Refuse NUL in an address: nothing has such a name (404), and a query that holds it is named (422)."""
    if "\x00" in request.scope["path"]:
        raise Problem(404, "not-found")
    if b"%00" not in request.scope["query_string"]:
        return
    found = [name for name, value in request.query_params.multi_items() if "\x00" in name + value]
    errors = [
        FieldProblem(parameter=segment(name), location="query", code="not-text", message=_MESSAGE)
        for name in found[:_MANY]
    ]
    if errors:
        raise Problem(422, "invalid", errors=errors)


def _written_out(value: Any) -> Any:
    # The validator behind takes numbers too, and reads them as seconds since 1970.
    if isinstance(value, str) and not _INSTANT.match(value):
        raise ValueError("Give a date and a time with an offset, like 2026-11-22T10:00:00Z")
    if isinstance(value, int | float):
        raise ValueError("Give a date and a time with an offset as text, like 2026-11-22T10:00:00Z")
    return value


def _plausible(value: Any) -> Any:
    # Sums with times near the ends of the calendar overflow, here or in a service that hears of them.
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(f"Give a time between {_FIRST_YEAR} and {_LAST_YEAR}")
    return value


def _spelt(value: Any) -> Any:
    # Only as the schema spells it, not yes, on, t or 1.
    if isinstance(value, str) and value not in ("true", "false"):
        raise ValueError("Give true or false")
    return value


Written = Annotated[AwareDatetime, BeforeValidator(_written_out)]
"""A moment with its offset, written out."""

Instant = Annotated[Written, AfterValidator(_plausible)]
"""A moment as `Written`, in years that can be reckoned with."""

Flag = StrictBool
"""true or false in a body."""

QueryFlag = Annotated[bool, BeforeValidator(_spelt)]
"""true or false in a query."""

AMOUNT = r"^-?[0-9]{1,10}(\.[0-9]{1,4})?$"
_AMOUNT = re.compile(AMOUNT, re.ASCII)


def _digits(value: Any) -> Any:
    # Decimal itself reads exponents, spaces, underscores, foreign digits and the words for what is no number.
    if isinstance(value, bool) or (isinstance(value, str) and not _AMOUNT.fullmatch(value)):
        raise ValueError("Give an amount in digits with at most four decimals, like 12.50")
    return value


def amount_schema(*, least: str = r"-?") -> WithJsonSchema:
    """How an amount is described; `least`: the pattern of its sign."""
    text = {"type": "string", "pattern": AMOUNT.replace("-?", least)}
    number = {"type": "number", "minimum": -(10**10) if least else 0, "maximum": 10**10}
    return WithJsonSchema({"anyOf": [text, number]}, mode="validation")


Amount = Annotated[Decimal, BeforeValidator(_digits), Field(max_digits=14, decimal_places=4), amount_schema()]
"""An amount of money in a request: a number, or text in digits."""

Price = Annotated[
    Decimal, BeforeValidator(_digits), Field(ge=0, max_digits=14, decimal_places=4), amount_schema(least="")
]
"""An amount that is not negative."""

Names = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=35)], Annotated[str, Field(max_length=300)]],
    Field(max_length=50),
]
"""A name in several languages, by language tag."""
