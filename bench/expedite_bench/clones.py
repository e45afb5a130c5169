"""Many orders from a few: the rows of really processed orders, copied under new numbers in every table of a service.

Nothing is known here of any table: columns and unique keys are read from the catalogue of the database. In a copy every
text that names the order (or its reference) names the new one, every UUID is a new one of a version that no real one has
(its time kept), and a unique key that would still be the same gets the new number appended. By these marks the copies are
found and taken out again before the audit: it starts at that cut.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import asyncpg

from expedite_bench.ground import Ground, Invalid, told
from expedite_local.databases import plain_url

MARK = "-ZZ-"
"""The channel code of copied orders; no real channel has it."""
CHUNK = 50_000
BYTES_PER_ORDER = 64_000
"""What a finished order takes in all databases together, write-ahead log included."""
_LEFT_OUT = ("alembic_version", "outbox", "outbox_express", "job", "clock_anchor")

_TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> ALL($1::text[])
ORDER BY 1
"""
_COLUMNS = """
SELECT attname AS name, format_type(atttypid, NULL) AS type FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = '' AND attgenerated = '' ORDER BY attnum
"""
_UNIQUE = """
SELECT i.indisprimary AS first, array_agg(a.attname ORDER BY a.attnum) AS columns
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = $1::regclass AND i.indisunique GROUP BY i.indexrelid, i.indisprimary ORDER BY 1 DESC
"""
_EVENTS = "SELECT event_id FROM ledger WHERE key = $1"
_LARGEST = """
SELECT coalesce(p.relname, c.relname) AS name, pg_size_pretty(sum(pg_total_relation_size(c.oid)))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE n.nspname = 'public' AND c.relkind = 'r' GROUP BY 1 ORDER BY sum(pg_total_relation_size(c.oid)) DESC LIMIT 4
"""
_TEXTS = ("text", "character varying")


@dataclass(frozen=True)
class Template:
    """A really processed order: its number, its reference, and every event about it."""

    order_id: str
    reference: str
    events: tuple[str, ...]

    @classmethod
    async def of(cls, ground: Ground, order_id: str, reference: str) -> Template:
        events: list[str] = []
        for service in ground.snapshot.databases:
            events += [str(row[0]) for row in await ground.books.rows(service, _EVENTS, order_id)]
        return cls(order_id, reference, tuple(events))

    def new_text(self, expression: str, shifts: Mapping[str, str]) -> str:
        """SQL of a text with the new number `g` in it."""
        day = self.order_id[:8]
        found = f"replace({expression}, '{self.order_id}', '{day}{MARK}' || lpad(g::text, 7, '0'))"
        found = f"replace({found}, '{self.reference}', '{self.reference}{MARK}' || g)"
        for old, new in shifts.items():
            found = f"replace({found}, '{old}', '{new}')"
        return found


@dataclass
class Table:
    """One table as the catalogue describes it, with the rows of the template beside it (a temporary table)."""

    name: str
    columns: dict[str, str]
    unique: list[list[str]]
    numbered: set[str] = field(default_factory=set)
    """Text columns that name neither order nor reference although a unique key needs them to differ."""

    @property
    def marker(self) -> str:
        """SQL that is true of copies."""
        kinds = {column: self.columns[column] for column in self.unique[0] if column in self.columns}
        texts = [f"\"{c}\" LIKE '%{MARK}%'" for c, kind in kinds.items() if kind in _TEXTS]
        ids = [f"substr(\"{c}\"::text, 15, 1) = 'f'" for c, kind in kinds.items() if kind == "uuid"]
        return " OR ".join(texts + ids)

    def copied(self, template: Template, shifts: Mapping[str, str]) -> str:
        """SQL of the columns of a copy, from row `s` of the template and the number `g`."""
        return ", ".join(self._copied(column, kind, template, shifts) for column, kind in self.columns.items())

    def _copied(self, column: str, kind: str, template: Template, shifts: Mapping[str, str]) -> str:
        here = f's."{column}"'
        if column == "doc":
            return template.new_text(here, shifts)
        if kind in _TEXTS:
            return template.new_text(here, {}) + (f" || '{MARK}' || g" if column in self.numbered else "")
        if kind in ("json", "jsonb"):
            return f"{template.new_text(f'{here}::text', shifts)}::{kind}"
        if kind == "uuid":
            hashed = f"md5({here}::text)"
            return (
                f"(left({here}::text, 14) || 'f' || substr({hashed}, 1, 3) || '-a' || substr({hashed}, 4, 3) || '-'"
                f" || lpad(to_hex(g), 8, '0') || substr({hashed}, 7, 4))::uuid"
            )
        return here


@dataclass(frozen=True)
class Batch:
    """`count` copies, shared out among the templates."""

    templates: Sequence[Template]
    count: int


async def copy(
    ground: Ground, batches: Sequence[Batch], *, services: Sequence[str] = (), shifts: Mapping[str, str] | None = None
) -> None:
    """Copies, numbered from 1 on over all batches, in the databases of `services` (all, when none is named). `shifts`:
    texts to replace in documents, for dates. The copies are gone before the audit."""
    gate = asyncio.Semaphore(os.cpu_count() or 1)

    wanted = sum(batch.count for batch in batches) * BYTES_PER_ORDER
    if not services and shutil.disk_usage(ground.folder).free < wanted:
        raise Invalid(f"copying them takes about {wanted / 2**30:.0f} GB, and {ground.folder} has less free")

    async def into(service: str) -> None:
        async with gate:
            ground.restore[service] = partial(remove, ground, service)
            await _copy_into(ground, service, batches, shifts or {})

    async with asyncio.TaskGroup() as group:
        for service in services or list(ground.snapshot.databases):
            group.create_task(into(service))


async def _copy_into(ground: Ground, service: str, batches: Sequence[Batch], shifts: Mapping[str, str]) -> None:
    connection = await asyncpg.connect(
        plain_url(ground.snapshot.databases[service]),
        # Nothing real is written here: a copy lost in a crash is no loss.
        server_settings={"synchronous_commit": "off", "jit": "off", "application_name": "bench"},
    )
    try:
        tables, rows, first = await _tables(connection), 0, 1
        # All are read before the first is copied: afterwards every table would be looked through among a million copies.
        sources = [await _sources(connection, tables, batch.templates) for batch in batches]
        for batch, found in zip(batches, sources, strict=True):
            for number, (template, rows_of) in enumerate(zip(batch.templates, found, strict=True)):
                numbers = (first + number, first + batch.count - 1, len(batch.templates))
                for table, source, table.numbered in rows_of:
                    rows += await _insert(connection, table, template, source, numbers, shifts)
            first += batch.count
        # As after a night of autovacuum.
        await connection.execute("VACUUM (ANALYZE)", timeout=3600)
        largest = ", ".join(f"{name} {size}" for name, size in await connection.fetch(_LARGEST))
        told(f"{service}: {first - 1:,} orders, {rows:,} rows; largest tables now: {largest}")
    finally:
        await connection.close()


async def _tables(connection: asyncpg.Connection) -> list[Table]:
    found = []
    for (name,) in await connection.fetch(_TABLES, list(_LEFT_OUT)):
        quoted = f'"{name}"'
        columns = {row["name"]: row["type"] for row in await connection.fetch(_COLUMNS, quoted)}
        unique = [list(row["columns"]) for row in await connection.fetch(_UNIQUE, quoted)]
        found.append(Table(name, columns, unique))
    return found


Told = tuple[Table, list[dict[str, Any]], set[str]]
"""A table, its rows about an order, and the columns that must get the copy's number."""


async def _sources(
    connection: asyncpg.Connection, tables: Sequence[Table], templates: Sequence[Template]
) -> list[list[Told]]:
    """For each template the tables that tell of it. A row that tells of several is the first one's."""
    found: list[list[Told]] = []
    others: list[str] = []
    for template in templates:
        rows: list[Told] = []
        for table in tables:
            about = "t::text LIKE '%' || $1 || '%'"
            ids = [column for column in table.unique[0] if table.columns.get(column) == "uuid"] if table.unique else []
            about += "".join(f' OR t."{column}" = ANY($2::uuid[])' for column in ids)
            arguments = [template.order_id, *([list(template.events)] if ids else [])]
            select = f'SELECT * FROM "{table.name}" t WHERE {about}'
            source = [dict(row) for row in await connection.fetch(select, *arguments)]
            source = [row for row in source if not any(word in str(row) for word in (MARK, *others))]
            if source:
                rows.append((table, source, _to_number(table, source, template)))
        found.append(rows)
        others.append(template.order_id)
    return found


def _to_number(table: Table, source: Sequence[Mapping[str, object]], template: Template) -> set[str]:
    """Which text columns must get the number, so that every unique key of a copy differs."""
    found: set[str] = set()
    for key in table.unique:
        known = [column for column in key if column in table.columns]
        texts = [column for column in known if table.columns[column] in _TEXTS]

        anyhow = len(known) < len(key) or any(table.columns[column] == "uuid" for column in known)
        if not anyhow and not all(_named(row, texts, template) for row in source):
            if not texts:
                raise Invalid(f"cannot copy {table.name}: nothing in its key {key} can differ")
            found.add(texts[-1])
    return found


def _named(row: Mapping[str, object], columns: Sequence[str], template: Template) -> bool:
    """Whether one of the columns names the order."""
    return any(word in str(row[column]) for column in columns for word in (template.order_id, template.reference))


async def _insert(
    connection: asyncpg.Connection,
    table: Table,
    template: Template,
    source: Sequence[Mapping[str, object]],
    numbers: tuple[int, int, int],
    shifts: Mapping[str, str],
) -> int:
    first, last, step = numbers
    names = ", ".join(f'"{column}"' for column in table.columns)
    await connection.execute("DROP TABLE IF EXISTS pg_temp.source")
    await connection.execute(f'CREATE TEMP TABLE source AS SELECT {names} FROM "{table.name}" LIMIT 0')
    await connection.copy_records_to_table(
        "source", records=[[row[column] for column in table.columns] for row in source], columns=list(table.columns)
    )
    insert = f"""
        INSERT INTO "{table.name}" ({names})
        SELECT {table.copied(template, shifts)} FROM generate_series($1::int, $2::int, $3::int) g CROSS JOIN source s
    """
    for start in range(first, last + 1, CHUNK * step):
        await connection.execute(insert, start, min(start + CHUNK * step - 1, last), step, timeout=3600)
    return len(source) * len(range(first, last + 1, step))


async def remove(ground: Ground, service: str) -> None:
    """Take all copies out of a service's database. What is not a copy is put aside meanwhile: it is little."""
    connection = await asyncpg.connect(plain_url(ground.snapshot.databases[service]), command_timeout=3600)
    try:
        for table in await _tables(connection):
            if not table.unique or not table.marker:
                continue
            async with connection.transaction():
                await connection.execute(f'LOCK TABLE "{table.name}" IN ACCESS EXCLUSIVE MODE')
                if not await connection.fetchval(f'SELECT EXISTS (SELECT FROM "{table.name}" WHERE {table.marker})'):
                    continue
                await connection.execute(
                    f'CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM "{table.name}" WHERE NOT ({table.marker})'
                )
                await connection.execute(f'TRUNCATE "{table.name}"')
                await connection.execute(f'INSERT INTO "{table.name}" OVERRIDING SYSTEM VALUE SELECT * FROM kept')
    finally:
        await connection.close()
    told(f"{service}: the copies are gone again")
