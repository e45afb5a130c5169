"""Where a service keeps its state: named collections of frozen values.

A collection is one table: the key columns, the columns SQL may filter and sort by, and the whole model as JSON in
`doc`, without fields at their default: a default of a stored value therefore never changes its meaning. Loading and saving are one statement each, whatever the number of rows; the same collection lives in memory for
saga tests. Columns beside the document are derived from it and exist for indexes and CHECK constraints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from expedite_events import Value

S = TypeVar("S", bound=Value)
Key = str | tuple[str, ...]

metadata_naming = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
}

# Documents are rewritten several times within minutes: room for the next version on the same page, and no compression
# of what fits a page.
_STORAGE = {"fillfactor": "80", "toast_tuple_target": "8160"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column derived from the model's field (or property) of the same name."""

    name: str
    type: sa.types.TypeEngine[Any]
    index: bool = False


class Collection(Generic[S]):
    """A table of `model` documents keyed by the text fields `key`.

    `new` builds the state of a key that has no row yet; without it a missing key stays missing. `lock=True` is for rows
    that several orders share (shelves, counters): loading locks them, in key order. Rows that belong to one order need
    no lock of their own, because the order is locked before anything of it is read. `remembered=True` is for documents
    that the process that wrote them reads again soon: the last ones are kept parsed, and taken while their text is the same.
    """

    def __init__(
        self,
        name: str,
        model: type[S],
        *,
        metadata: sa.MetaData,
        key: Sequence[str] = ("order_id",),
        columns: Sequence[Column] = (),
        new: Callable[..., S] | None = None,
        lock: bool = False,
        remembered: bool = False,
        constraints: Sequence[sa.Constraint | sa.Index] = (),
    ) -> None:
        self.name, self.model, self.key, self.columns = name, model, tuple(key), tuple(columns)
        self.new, self.lock, self.remembered = new, lock, remembered
        self._key = attrgetter(*self.key)
        self.table = sa.Table(
            name,
            metadata,
            *(sa.Column(k, sa.Text, primary_key=True) for k in self.key),
            *(sa.Column(c.name, c.type, nullable=True, index=c.index) for c in self.columns),
            sa.Column("doc", sa.Text, nullable=False),
            *constraints,
            postgresql_with=_STORAGE,
        )

    def key_of(self, state: S) -> Key:
        """The key of a document: text when the key is one field, else a tuple of texts."""
        found = self._key(state)
        return str(found) if len(self.key) == 1 else tuple(map(str, found))

    def column_values(self, state: S) -> dict[str, Any]:
        """Key and derived columns of a document, as plain values (enums as their text)."""
        names = (*self.key, *(c.name for c in self.columns))
        return {name: _plain(getattr(state, name)) for name in names}

    def blank(self, key: Key) -> S:
        """The state of a key without a row."""
        if self.new is None:
            raise KeyError(f"{self.name} has no row {key!r} and cannot make one")
        return self.new(*(key if isinstance(key, tuple) else (key,)))


def in_order(keys: Iterable[Key]) -> list[Key]:
    """Keys of one collection, sorted: all of them are texts, or tuples of as many."""
    found: list[Any] = list(keys)
    found.sort()
    return found


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


class Book(Generic[S]):
    """The documents of one collection that a transaction holds. `book[key]` is the present state (a blank one for a new
    key when the collection can make it), `put` replaces it; what was put is saved when the transaction ends."""

    def __init__(self, collection: Collection[S], rows: dict[Key, S]) -> None:
        self.collection, self._rows = collection, rows
        self._found: set[Key] = set()
        self._missing: set[Key] = set()
        self.changed: dict[Key, S] = {}

    def stored(self, wanted: Iterable[Key], rows: dict[Key, S]) -> None:
        """What the database has of the rows that were wanted."""
        self._rows.update(rows)
        self._found.update(rows)
        self._missing.update(set(wanted).difference(rows))

    def exist(self, keys: Iterable[Key]) -> None:
        """These have rows: what is put for them is an update, without anybody having loaded them. The first word counts: what
        this transaction makes has no row before its end."""
        self._found.update(key for key in keys if key not in self._missing)

    def puts(self) -> tuple[list[S], list[S], list[S]]:
        """What was put, in key order: for rows that exist, for rows that were looked for and not found, for keys nobody
        looked for."""
        replaced, missing, written = list[S](), list[S](), list[S]()
        for key in in_order(self.changed):
            kind = replaced if key in self._found else missing if key in self._missing else written
            kind.append(self.changed[key])
        return replaced, missing, written

    def __getitem__(self, key: Key) -> S:
        found = self._rows.get(key)
        if found is None:
            found = self._rows[key] = self.collection.blank(key)
        return found

    def get(self, key: Key) -> S | None:
        return self._rows.get(key)

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[S]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, state: S) -> None:
        """Replace the state under its own key; unchanged objects cost nothing."""
        key = self.collection.key_of(state)
        if self._rows.get(key) is not state or key in self.changed:
            self._rows[key] = self.changed[key] = state
