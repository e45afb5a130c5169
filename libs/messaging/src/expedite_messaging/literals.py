"""Arrays handed to PostgreSQL as one text each: `unnest($1::text::uuid[])`.

The driver looks at every element of an array to see whether it is an array itself, which costs more than all the rest it
does for short values: keys, ids, numbers. Long texts (documents, events) stay arrays, because quoting them would cost more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID


def numbers(values: Iterable[object]) -> str:
    """Numbers and booleans; None is NULL."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def ids(values: Iterable[UUID]) -> str:
    """UUIDs."""
    return "{" + ",".join([f"{value.int:032x}" for value in values]) + "}"


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
