"""SQL of collections: one statement per primitive, whatever the number of rows; texts are built once per collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from expedite_events import Value, to_json
from expedite_events.value import reader
from expedite_messaging import literals
from expedite_messaging.collection import Collection, Key
from expedite_messaging.jsonable import jsonable

S = TypeVar("S", bound=Value)
_TYPES = postgresql.dialect()  # type: ignore[no-untyped-call]
_ASYNCPG = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
_REMEMBERED = 4_096
_TEXTS = frozenset({str, type(None)})
_OPERATORS = ("lte", "gte", "lt", "gt", "ne", "contains")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class CollectionSql:
    """The statements of one collection and the conversion of documents to their parameters."""

    def __init__(self, collection: Collection[Any]) -> None:
        self.collection = collection
        self._documents: dict[Key, tuple[str, Any]] = {}
        self._read = reader(collection.model).decode
        table, keys = _quoted(collection.table.name), [_quoted(k) for k in collection.key]
        columns = [collection.table.c[c.name] for c in collection.columns]
        self._columns = [(attrgetter(c.name), _form(c.type)) for c in columns]
        self._keys = [attrgetter(name) for name in collection.key]
        names = [*keys, *(_quoted(c.name) for c in columns), "doc"]
        casts = ["text[]"] * len(keys) + [_array_cast(c.type) for c in columns]
        forms = ["text"] * len(keys) + [_form(c.type) for c in columns]
        arrays = ", ".join(
            [
                *(
                    f"${n}::text::{cast}" if form not in ("json", "plain") else f"${n}::{cast}"
                    for n, (cast, form) in enumerate(zip(casts, forms, strict=True), 1)
                ),
                literals.JOINED_BYTES.format(len(names)),
            ]
        )
        aliases = [f"c{n}" for n in range(len(names))]
        values = [
            *aliases[: len(keys)],
            *(_from_array(c.type, alias) for c, alias in zip(columns, aliases[len(keys) :], strict=False)),
            aliases[-1],
        ]
        rows = f"SELECT {', '.join(values)} FROM unnest({arrays}) AS u({', '.join(aliases)})"
        self.insert = f"INSERT INTO {table} ({', '.join(names)}) {rows}"
        conflict = f"ON CONFLICT ({', '.join(keys)})"
        updates = ", ".join(f"{name} = excluded.{name}" for name in names[len(keys) :])
        self.save = f"{self.insert} {conflict} DO UPDATE SET {updates}"
        self.add = f"{self.insert} {conflict} DO NOTHING"
        matching = " AND ".join(f"t.{key} = v.{key}" for key in keys)
        replaced = ", ".join(f"{name} = v.{name}" for name in names[len(keys) :])
        self.update = f"UPDATE {table} t SET {replaced} FROM ({rows}) AS v({', '.join(names)}) WHERE {matching}"
        key_arrays = ", ".join(f"${n}::text::text[]" for n in range(1, len(keys) + 1))
        wanted = f"unnest({key_arrays}) AS w({', '.join(f'k{n}' for n in range(len(keys)))})"
        matched = " AND ".join(f"t.{key} = w.k{n}" for n, key in enumerate(keys))
        mine = ", ".join(f"t.{key}" for key in keys)
        self.fetch = f"SELECT {mine}, t.doc FROM {wanted} JOIN {table} t ON {matched}"
        self.lock = f"{self.fetch} ORDER BY {mine} FOR UPDATE OF t"

    def key_arrays(self, keys: Sequence[Key]) -> list[str]:
        """One array per key column."""
        if len(self.collection.key) == 1:
            return [literals.texts(keys)]  # type: ignore[arg-type]
        return [literals.texts([key[place] for key in keys]) for place in range(len(self.collection.key))]

    def arrays(self, states: Sequence[Value], *, once: bool = False) -> list[Any]:
        """Parameters of `insert`, `save`, `update` and `add`: one array per column. `once`: written once, hardly ever loaded."""
        keys = [list(map(str, map(get, states))) for get in self._keys]
        found: list[Any] = [literals.texts(column) for column in keys]
        for get, kind in self._columns:
            values = list(map(get, states))
            if kind == "number":
                found.append(literals.numbers(values))
                continue
            if kind == "moment":
                found.append(literals.moments(values))
                continue
            if kind == "json" or (kind == "text" and not _TEXTS.issuperset(map(type, values))):
                values = [_in_form(value, kind) for value in values]
            found.append(literals.texts(values) if kind == "text" else values)
        documents = list(map(to_json, states))
        if self.collection.remembered and not once:
            known: Iterable[Key] = keys[0] if len(keys) == 1 else zip(*keys, strict=True)
            texts = [document.decode() for document in documents]
            self._documents.update(zip(known, zip(texts, states, strict=True), strict=True))
            self._forget()
        found.append(literals.JOINT_BYTES.join(documents))
        return found

    def states(self, rows: Sequence[Any]) -> dict[Key, Any]:
        """Documents by key, of rows that hold the key and then the text: of `fetch`, `lock` and `find_statement`. A text that
        is still that of the frozen document this process wrote or read last is not parsed again; to compare the two costs less
        than to hash one of them."""
        width = len(self.collection.key)
        documents, read, found = self._documents, self._read, {}
        if not self.collection.remembered:
            return {row[0] if width == 1 else tuple(row[:width]): read(row[width]) for row in rows}
        for row in rows:
            key, text = row[0] if width == 1 else tuple(row[:width]), row[width]
            known = documents.get(key)
            if known is None or known[0] != text:
                known = documents[key] = text, read(text)
            found[key] = known[1]
        self._forget()
        return found

    def _forget(self) -> None:
        if len(self._documents) > _REMEMBERED:  # the older half goes: a dict keeps the order of insertion
            self._documents = dict(list(self._documents.items())[-_REMEMBERED // 2 :])


@lru_cache(maxsize=1024)
def sql_of(collection: Collection[Any]) -> CollectionSql:
    """The statements of a collection, built on first use."""
    return CollectionSql(collection)


def _array_cast(kind: sa.types.TypeEngine[Any]) -> str:
    if isinstance(kind, ARRAY | sa.ARRAY | JSONB | JSON | sa.JSON):
        return "text[]"  # as JSON text: arrays of arrays would be flattened by unnest
    if isinstance(kind, sa.String):
        return "text[]"  # whatever its collation, which is the column's matter
    return f"{kind.compile(dialect=_TYPES)}[]"


def _from_array(kind: sa.types.TypeEngine[Any], alias: str) -> str:
    if isinstance(kind, ARRAY | sa.ARRAY):
        item = kind.item_type.compile(dialect=_TYPES)
        listed = f"ARRAY(SELECT jsonb_array_elements_text({alias}::jsonb))::{item}[]"
        return f"CASE WHEN {alias} IS NULL THEN NULL ELSE {listed} END"
    return f"{alias}::jsonb" if _form(kind) == "json" else alias


def _form(kind: sa.types.TypeEngine[Any]) -> str:
    """How values of a column are handed over: as JSON, as text, as a literal, or as they are."""
    if isinstance(kind, ARRAY | sa.ARRAY | JSONB | JSON | sa.JSON):
        return "json"
    if isinstance(kind, sa.Integer | sa.Boolean | sa.Float):
        return "number"
    if isinstance(kind, sa.DateTime):
        return "moment"
    return "text" if isinstance(kind, sa.String) else "plain"


def _in_form(value: Any, form: str) -> Any:
    if isinstance(value, Enum):
        value = value._value_
    if value is None or form in ("plain", "number", "moment"):
        return value
    if form == "text":
        return value if isinstance(value, str) else str(value)
    return orjson.dumps(value, default=jsonable).decode()


# --- finding -----------------------------------------------------------------------------------------------------


def find_statement(
    collection: Collection[Any],
    where: Mapping[str, Any],
    order_by: Sequence[str],
    limit: int | None,
    offset: int,
    *,
    count: bool = False,
) -> tuple[str, list[Any]]:
    """SQL and parameters of `Session.find` (or `count`, of `limit` rows at most). KeyError for a column the collection does not have."""
    shape = tuple((name, _kind(value)) for name, value in where.items())
    text, order = _compiled(collection, shape, tuple(order_by), limit is not None, bool(offset), count)
    values: dict[str, Any] = {"n_limit": limit, "n_offset": offset}
    for number, (name, value) in enumerate(where.items()):
        column = collection.table.c[name.partition("__")[0]]
        if _kind(value) == "any":
            values[f"p{number}"] = [_in_form(item, _form(column.type)) for item in value]
        elif not isinstance(value, bool):
            values[f"p{number}"] = _in_form(value, _form(column.type))
    return text, [values[name] for name in order]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"  # written out, so that a partial index on it can serve
    return "any" if isinstance(value, list | tuple | set | frozenset) else "one"


@lru_cache(maxsize=4096)
def _compiled(
    collection: Collection[Any],
    shape: tuple[tuple[str, str], ...],
    order_by: tuple[str, ...],
    limited: bool,
    offset: bool,
    count: bool,
) -> tuple[str, list[str]]:
    table = collection.table
    told: list[Any] = [sa.literal_column("1")] if count else [*(table.c[name] for name in collection.key), table.c.doc]
    statement: sa.Select[Any] = sa.select(*told).select_from(table)
    for number, (name, kind) in enumerate(shape):
        column_name, _, operator = name.partition("__")
        statement = statement.where(_condition(table.c[column_name], operator, kind, f"p{number}"))
    for name in order_by:
        column = table.c[name.removeprefix("-")]
        statement = statement.order_by(column.desc() if name.startswith("-") else column.asc())
    if limited:
        statement = statement.limit(sa.bindparam("n_limit", type_=sa.Integer))
    if offset:
        statement = statement.offset(sa.bindparam("n_offset", type_=sa.Integer))
    if count:
        statement = sa.select(sa.func.count()).select_from(statement.subquery("some"))
    compiled = statement.compile(dialect=_ASYNCPG)
    return str(compiled), list(compiled.positiontup or ())


def _condition(column: sa.Column[Any], operator: str, kind: str, parameter: str) -> sa.ColumnElement[bool]:
    if operator:
        if operator not in _OPERATORS:
            raise ValueError(f"unknown operator {operator!r}: one of {', '.join(_OPERATORS)}")
        bound = sa.bindparam(parameter, type_=column.type)
        return {
            "lte": column <= bound,
            "gte": column >= bound,
            "lt": column < bound,
            "gt": column > bound,
            "ne": column != bound,
            "contains": sa.func.strpos(column, bound) > sa.literal_column("0"),
        }[operator]
    if kind == "null":
        return column.is_(None)
    if kind in ("true", "false"):
        return column if kind == "true" else sa.not_(column)
    if kind == "any":
        item = sa.Text() if isinstance(column.type, sa.String) else column.type
        return column == sa.any_(sa.bindparam(parameter, type_=ARRAY(item)))
    return column == sa.bindparam(parameter, type_=column.type)
