"""What is done to shelves together with the commit, by functions of the database: a hot shelf is what everybody waits for,
urgent orders among them, so it is held for the database's time alone and never for a worker's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from expedite_events import to_json
from expedite_messaging import literals
from expedite_messaging.engine import Transient
from expedite_messaging.tx import Closing, Session
from inventory.domain.stock import Bucket, Shelf, StockBook
from inventory.store import MOVEMENTS, SHELVES

_BUCKETS = [bucket.value for bucket in Bucket]
_PLAIN = [bucket.value for bucket in (Bucket.FREE, Bucket.ALLOCATED, Bucket.OUT)]  # where plain decisions move goods
_PLAIN_ONES = frozenset(_PLAIN)
_OTHERS = [name for name in _BUCKETS if name not in _PLAIN]
_FLAGS = ("dirty", "fill_wanted")
_NUMBERS = (*_BUCKETS, "seq", "level_revision")


def _member(name: str, value: str) -> str:
    """SQL of one member of a JSON object with the comma before it; nothing for what stands at its default."""
    return f"CASE WHEN {value} = 0 THEN '' ELSE ',\"{name}\":' || {value} END"


# Joined by hand: what json_build_object and json_strip_nulls take for it is the larger part of a settling.
_DOCUMENT = " || ".join(
    [
        "'{\"sku\":' || to_json(sku) || ',\"warehouse_id\":' || to_json(warehouse_id)",
        *(_member(name, name) for name in _NUMBERS),
        *(f"CASE WHEN {name} THEN ',\"{name}\":' || {name} ELSE '' END" for name in _FLAGS),
        "'}'",
    ]
)
_BEFORE = " || ".join(_member(name, f"{name}_before" if name in _PLAIN else name) for name in _BUCKETS)

# Every statement of these functions sees what was committed while the one before it waited for locks.
_LOCK = """
  PERFORM FROM shelf AS s JOIN unnest(skus, places) AS w(sku, warehouse_id) USING (sku, warehouse_id)
  ORDER BY s.sku, s.warehouse_id FOR UPDATE OF s;
"""

SETTLE = f"""
CREATE OR REPLACE FUNCTION settle_shelves(
  skus text[], places text[], {", ".join(f"{name}_moved bigint[]" for name in _PLAIN)}, counts bigint[],
  order_ids text[], notes text, demanded text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
{_LOCK}
  IF EXISTS (SELECT FROM shelf WHERE sku = ANY (demanded) AND backordered > 0) THEN
    RAISE serialization_failure USING MESSAGE = 'somebody waits for these goods now';
  END IF;
  WITH wanted AS (
    SELECT * FROM unnest(skus, places, {", ".join(f"{name}_moved" for name in _PLAIN)}, counts, order_ids,
                         string_to_array(notes, chr(30)))
      AS w(sku, warehouse_id, {", ".join(f"{name}_" for name in _PLAIN)}, count, orders, note)),
  there AS MATERIALIZED (
    SELECT sku, warehouse_id, {", ".join(f"s.{name}" for name in _OTHERS)},
      {", ".join(f"s.{name} AS {name}_before, s.{name} + {name}_ AS {name}" for name in _PLAIN)},
      s.seq AS seq_before, s.seq + count AS seq, s.level_revision, true AS dirty,
      s.fill_wanted OR free_ > 0 AS fill_wanted, w.orders, w.note
    FROM wanted AS w JOIN shelf AS s USING (sku, warehouse_id)),
  moved AS (
    UPDATE shelf AS s SET {", ".join(f"{name} = t.{name}" for name in (*_PLAIN, "seq", *_FLAGS))}, doc = t.doc
    FROM (SELECT *, {_DOCUMENT} AS doc FROM there) AS t
    WHERE s.sku = t.sku AND s.warehouse_id = t.warehouse_id
      AND least({", ".join(f"t.{name}" for name in _PLAIN)}) >= 0
    RETURNING t.*)
  INSERT INTO movement (sku, warehouse_id, entry, orders, doc)
  SELECT sku, warehouse_id, lpad((seq_before + 1)::text, 12, '0'), orders,
    '{{"seq":' || seq_before + 1 || ',"before":{{' || ltrim({_BEFORE}, ',') || '}},' || substr(note, 2)
  FROM moved;
  DECLARE written bigint;
  BEGIN
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written < cardinality(skus) THEN
      RAISE serialization_failure USING MESSAGE = 'goods went to somebody else meanwhile';
    END IF;
  END;
END $$
"""

NOTE_PUBLISHED = f"""
CREATE OR REPLACE FUNCTION note_published(skus text[], places text[], seqs bigint[], revisions bigint[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
{_LOCK}
  WITH there AS (
    SELECT sku, warehouse_id, {", ".join(f"s.{name}" for name in _BUCKETS)}, s.fill_wanted, w.revision AS level_revision,
      s.seq, s.seq <> w.seq AS dirty
    FROM unnest(skus, places, seqs, revisions) AS w(sku, warehouse_id, seq, revision) JOIN shelf AS s USING (sku, warehouse_id))
  UPDATE shelf AS s SET dirty = t.dirty, level_revision = t.level_revision, doc = t.doc
  FROM (SELECT *, {_DOCUMENT} AS doc FROM there) AS t
  WHERE s.sku = t.sku AND s.warehouse_id = t.warehouse_id;
END $$
"""
FUNCTIONS = (SETTLE, NOTE_PUBLISHED)


def moving(stock: StockBook, sourced: Sequence[str]) -> Closing | None:
    """Move the goods of plain decisions on the shelves as they are then. Fails when one of them is not possible there, or
    when somebody waits for one of the SKUs `sourced`: whoever writes a backorder of a SKU holds all its shelves, so none
    can come while one of them is locked. None when nothing moves."""
    moved = stock.moved()
    if not moved:
        return None
    rows = [touched.row() for touched in moved]
    for row in rows:
        for change in row.changes:
            if not _PLAIN_ONES.issuperset(change.buckets):  # else goods would move that nobody is told of
                raise ValueError(
                    f"a plain decision moved {dict(change.buckets)} of {row.sku}: only {', '.join(_PLAIN)}"
                )
    arguments = (
        literals.texts([row.sku for row in rows]),
        literals.texts([row.warehouse_id for row in rows]),
        *(literals.numbers([touched.moved(name) for touched in moved]) for name in _PLAIN),
        literals.numbers([len(row.changes) for row in rows]),
        literals.texts([row.orders for row in rows]),
        literals.documents([to_json(row).decode() for row in rows]),
        literals.texts(sourced),
    )
    return Closing("settle_shelves", arguments, partial(_move, stock, sourced))


async def _move(stock: StockBook, sourced: Sequence[str], session: Session) -> None:
    there = await session.fetch(SHELVES, [SHELVES.key_of(moved.shelf) for moved in stock.moved()], True)
    demand = {"sku": list(sourced), "backordered__gt": 0}
    if not stock.rebase(there) or (sourced and await session.count(SHELVES, demand, 1)):
        raise Transient("goods went to somebody else meanwhile")
    await session.update(SHELVES, stock.changed())
    await session.add(MOVEMENTS, stock.movements())


def published(said: Sequence[Shelf]) -> Closing:
    """Note that the levels of these shelves were published as they were read; what changed meanwhile stays to be said.
    Only one replica publishes at a time, so nobody else counts revisions."""
    arguments = (
        literals.texts([shelf.sku for shelf in said]),
        literals.texts([shelf.warehouse_id for shelf in said]),
        literals.numbers([shelf.seq for shelf in said]),
        literals.numbers([shelf.level_revision + 1 for shelf in said]),
    )
    return Closing("note_published", arguments, partial(_note_published, said))


async def _note_published(said: Sequence[Shelf], session: Session) -> None:
    there = await session.fetch(SHELVES, [SHELVES.key_of(shelf) for shelf in said], True)
    noted = []
    for shelf in said:
        now = there[SHELVES.key_of(shelf)]
        noted.append(now.put(dirty=now.seq != shelf.seq, level_revision=shelf.level_revision + 1))
    await session.update(SHELVES, noted)
