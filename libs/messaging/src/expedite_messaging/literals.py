"""Arrays handed to PostgreSQL as one value each.

The driver looks at every element of an array to see whether it is an array itself, and makes room for one after the other.
Short values (keys, ids, numbers, times) travel as an array literal instead: `unnest($1::text::uuid[])`. JSON texts are joined by a
character that JSON never holds as it is (`JOINED`), bytes are joined and cut apart by their places: 0.4 us for a document of
0.9 KB instead of 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from uuid import UUID

JOINED = "string_to_array(${}::text, chr(30))"
"""SQL of the array of texts that `documents` joined, with the number of the parameter to fill in."""
JOINT_BYTES = b"\x1e"
"""Joins JSON as it was written, in bytes: not to be made text for a driver that makes it bytes again."""
JOINED_BYTES = "string_to_array(convert_from(${}::bytea, 'UTF8'), chr(30))"
"""SQL of the array of texts of what `JOINT_BYTES` joined."""


def documents(texts: Iterable[str]) -> str:
    """JSON texts: whoever writes JSON escapes control characters."""
    return "\x1e".join(texts)


def numbers(values: Iterable[object]) -> str:
    """Numbers and booleans; None is NULL."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def moments(values: Iterable[datetime | None]) -> str:
    """Times with their zone; None is NULL."""
    return "{" + ",".join(["NULL" if value is None else _moment(value) for value in values]) + "}"


@lru_cache(maxsize=4_096)
def _moment(value: datetime) -> str:
    """What is decided together has its moments together."""
    return value.isoformat()


def ids(values: Iterable[UUID]) -> str:
    """UUIDs."""
    return "{" + ",".join(map(str, values)) + "}"


def quoted(text: str) -> str:
    """A text as an SQL literal, for the few statements that go without parameters."""
    return "'" + text.replace("'", "''") + "'"


def texts(values: Sequence[str | None]) -> str:
    """Short texts; None is NULL."""
    if not values:
        return "{}"
    try:
        joined = '","'.join(values)  # type: ignore[arg-type]
    except TypeError:  # a None among them
        return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}"
    if "\\" in joined or joined.count('"') != 2 * (len(values) - 1):
        return "{" + ",".join([_quoted(value) for value in values if value is not None]) + "}"
    return f'{{"{joined}"}}'


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
