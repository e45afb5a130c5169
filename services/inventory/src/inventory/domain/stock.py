"""Shelves and the movements between their buckets.

A *shelf* is one SKU in one warehouse. Every piece of goods of the shelf is in exactly one *bucket*; `booked` counts what
ever came in (opening, receipts, count corrections), so that per SKU, over all warehouses, ``booked == sum of buckets``
(I1, D10). A *movement* is one signed change of a shelf; it records the cause, and its row the levels before it, so that the first one
that does not add up names the event that leaked. The movements of one shelf in one transaction are one append-only row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from msgspec.structs import asdict

from expedite_events import NO_UNITS, Illegal, Units, Value
from expedite_events.base import Moment

ShelfKey = tuple[str, str]  # SKU, warehouse


class Bucket(StrEnum):
    """Where a piece of goods is. The last two are not goods: what was booked in, and demand nobody can serve."""

    FREE = "free"  # on the shelf, nobody's
    ALLOCATED = "allocated"  # on the shelf, promised to an order
    LEAVING = "leaving"  # on the sender's shelf, pegged to a transfer
    IN_TRANSIT = "in_transit"  # on its way to this warehouse
    IN_COUNT = "in_count"  # the system said it was there, the picker did not find it
    QUALITY_CHECK = "quality_check"  # came back, to be inspected
    OUT = "out"  # packed for a customer, or with one
    LOST = "lost"  # lost on the way
    BOOKED = "booked"
    BACKORDERED = "backordered"


GOODS = (
    Bucket.FREE,
    Bucket.ALLOCATED,
    Bucket.LEAVING,
    Bucket.IN_TRANSIT,
    Bucket.IN_COUNT,
    Bucket.QUALITY_CHECK,
    Bucket.OUT,
    Bucket.LOST,
)


class Shelf(Value):
    """One SKU in one warehouse. All counts are pieces. `backordered` is the demand, without goods, of orders whose
    nearest warehouse this is (D5). `seq` numbers the movements without gaps; `level_revision` the published levels."""

    sku: str
    warehouse_id: str
    free: int = 0
    allocated: int = 0
    leaving: int = 0
    in_transit: int = 0
    in_count: int = 0
    quality_check: int = 0
    out: int = 0
    lost: int = 0
    booked: int = 0
    backordered: int = 0
    seq: int = 0
    level_revision: int = 0
    dirty: bool = False  # the published level is stale
    fill_wanted: bool = False  # free stock rose since the last fill

    @property
    def on_hand(self) -> int:
        """Pieces that physically lie on the shelf and are sound: free, promised or about to be transferred."""
        return self.free + self.allocated + self.leaving

    @property
    def available(self) -> int:
        """What may be promised; negative by the backordered amount (D5)."""
        return self.free - self.backordered

    @property
    def goods(self) -> int:
        """Pieces in all buckets."""
        return (
            self.free + self.allocated + self.leaving + self.in_transit
            + self.in_count + self.quality_check + self.out + self.lost
        )  # fmt: skip


def new_shelf(sku: str, warehouse_id: str) -> Shelf:
    """A shelf nothing was ever booked on."""
    return Shelf(sku=sku, warehouse_id=warehouse_id)


class Change(Value):
    """One signed change of one shelf, by bucket, as it is stored. `cause_id` is the id of the event, request or job that
    caused it."""

    cause: str
    cause_id: str
    buckets: dict[str, int]
    order_id: str | None = None
    units: Units = NO_UNITS


class Movement(Value):
    """One signed change of one shelf, as it is shown and checked: `changes` and `after` are by bucket, `cause` is the
    name of the event, or what a person did."""

    sku: str
    warehouse_id: str
    seq: int
    changes: dict[str, int]
    after: dict[str, int]
    cause: str
    cause_id: str
    order_id: str | None = None
    units: Units = NO_UNITS
    at: Moment


class Movements(Value):
    """The changes of one shelf in one transaction, in their order: one row, written once, never updated. `seq` numbers
    the first of them; the others follow without gaps. `before`: the shelf's buckets that were not empty then. Both are 0
    and nothing until the shelf is locked."""

    sku: str
    warehouse_id: str
    seq: int = 0
    at: Moment
    before: dict[str, int] = {}  # noqa: RUF012 - a struct copies it
    changes: tuple[Change, ...]

    @property
    def entry(self) -> str:
        """The sequence number as text that sorts."""
        return f"{self.seq:012d}"

    @property
    def orders(self) -> str:
        """The orders it is about, for finding the rows of one."""
        return " ".join(dict.fromkeys([c.order_id for c in self.changes if c.order_id is not None]))

    def each(self) -> Iterator[Movement]:
        """Its movements one by one."""
        level = dict(self.before)
        for seq, change in enumerate(self.changes, start=self.seq):
            for bucket, delta in change.buckets.items():
                level[bucket] = level.get(bucket, 0) + delta
            yield Movement(
                sku=self.sku,
                warehouse_id=self.warehouse_id,
                seq=seq,
                changes=dict(change.buckets),
                after={bucket: level[bucket] for bucket in change.buckets},
                cause=change.cause,
                cause_id=change.cause_id,
                order_id=change.order_id,
                units=change.units,
                at=self.at,
            )


@dataclass(slots=True)
class Because:
    """Why shelves change: what goes on every movement of one decision. Nobody changes one (see `Envelope`)."""

    cause: str
    cause_id: str
    at: Moment
    order_id: str | None = None


@dataclass(slots=True)
class Touched:
    """A shelf that decisions look at or change: as it was, its fields as they are by now, its changes in their order."""

    shelf: Shelf
    level: dict[str, Any]
    changes: list[Change] = field(default_factory=list)
    at: Moment | None = None  # of the first change

    def moved(self, bucket: str) -> int:
        """By how much a bucket differs from what it was."""
        return self.level[bucket] - getattr(self.shelf, bucket)  # type: ignore[no-any-return]

    def after(self) -> Shelf:
        """The shelf as it is by now."""
        if self.changes:
            self.level.update(seq=self.shelf.seq + len(self.changes), dirty=True)
        return Shelf(**self.level)

    def row(self) -> Movements:
        """Its movements without what only the locked shelf knows."""
        shelf = self.shelf
        assert self.at is not None, "it has changes"
        return Movements(sku=shelf.sku, warehouse_id=shelf.warehouse_id, at=self.at, changes=tuple(self.changes))


class StockBook:
    """The shelves of one transaction, locked or as they were read (`rebase`). Decisions change them one after another in memory; `changed` and
    `movements` are what has to be saved. A bucket never goes below zero: that would be an oversell or a leak, so it
    raises `Illegal` and the event parks (D2)."""

    def __init__(self, shelves: Mapping[ShelfKey, Shelf]) -> None:
        self._before: dict[ShelfKey, Shelf] = dict(shelves)
        self._touched: dict[ShelfKey, Touched] = {}

    def _touch(self, key: ShelfKey) -> Touched:
        """A shelf that is about to change."""
        touched = self._touched.get(key)
        if touched is None:
            shelf = self._before.get(key)
            if shelf is None:
                raise Illegal(f"shelf {key} was not loaded for this decision")
            touched = self._touched[key] = Touched(shelf, asdict(shelf))
        return touched

    def free(self, sku: str, warehouse_id: str) -> int:
        """Free pieces now; 0 for a shelf that does not exist."""
        key = (sku, warehouse_id)
        touched = self._touched.get(key)
        if touched is not None:
            return touched.level["free"]  # type: ignore[no-any-return]
        shelf = self._before.get(key)
        return shelf.free if shelf else 0

    def count(self, sku: str, warehouse_id: str, bucket: Bucket) -> int:
        """Pieces in a bucket now."""
        return self._touch((sku, warehouse_id)).level[bucket]  # type: ignore[no-any-return]

    def backordered(self, sku: str, warehouses: Iterable[str]) -> int:
        """Backordered pieces of a SKU over these warehouses."""
        total = 0
        for warehouse_id in warehouses:
            key = (sku, warehouse_id)
            if key in self._touched:
                total += self._touched[key].level["backordered"]
            elif key in self._before:
                total += self._before[key].backordered
        return total

    def shift(
        self, because: Because, sku: str, warehouse_id: str, changes: Mapping[Bucket, int], units: Units = NO_UNITS
    ) -> None:
        """Apply signed changes to one shelf and write its movement. Raises `Illegal` when a bucket would go negative."""
        touched = self._touch((sku, warehouse_id))
        level = touched.level
        for bucket, delta in changes.items():
            value = level[bucket] + delta
            # A shelf may write off more than was booked on it: transferred goods were booked where they came in.
            if value < 0 and bucket is not Bucket.BOOKED:
                raise Illegal(f"{bucket} of {sku} in {warehouse_id} would be {value}: {because.cause}")
            level[bucket] = value
            if bucket is Bucket.FREE and delta > 0:
                level["fill_wanted"] = True
        self._note(touched, because, {bucket.value: delta for bucket, delta in changes.items()}, units)

    def _note(self, touched: Touched, because: Because, buckets: dict[str, int], units: Units) -> None:
        if not touched.changes:
            touched.at = because.at
        touched.changes.append(
            Change(
                cause=because.cause, cause_id=because.cause_id, buckets=buckets, order_id=because.order_id, units=units
            )
        )

    def move(self, because: Because, sku: str, warehouse_id: str, source: Bucket, target: Bucket, units: Units) -> None:
        """Move the goods of these units between two buckets of one shelf."""
        touched, n = self._touch((sku, warehouse_id)), len(units)
        level, from_, to = touched.level, source._value_, target._value_  # plain texts: quicker than members as keys
        left = level[from_] - n
        if left < 0:
            raise Illegal(f"{source} of {sku} in {warehouse_id} would be {left}: {because.cause}")
        level[from_] = left
        level[to] += n
        if target is Bucket.FREE:
            level["fill_wanted"] = True
        self._note(touched, because, {from_: -n, to: n}, units)

    def want_fill(self, sku: str, warehouse_id: str) -> None:
        """Ask for a fill of this SKU although no stock came free here."""
        self._touch((sku, warehouse_id)).level["fill_wanted"] = True

    def clear_fill(self, sku: str, warehouse_id: str) -> None:
        """The fill of this SKU is done: nothing waits that could be served."""
        self._touch((sku, warehouse_id)).level["fill_wanted"] = False

    def moved(self) -> list[Touched]:
        """The shelves with movements, in key order."""
        return [touched for _, touched in sorted(self._touched.items(), key=_first) if touched.changes]

    def rebase(self, shelves: Mapping[ShelfKey, Shelf]) -> bool:
        """Make the movements start from these shelves instead of those they were decided on. False when one of them is not
        possible there: then what was decided does not hold, and nothing of this book may be saved."""
        for moved in self.moved():
            key = (moved.shelf.sku, moved.shelf.warehouse_id)
            shelf = shelves.get(key)
            if shelf is None:
                return False
            if shelf == moved.shelf:
                continue
            self._before[key] = shelf
            del self._touched[key]
            assert moved.at is not None, "it has changes"
            try:
                for change in moved.changes:
                    because = Because(change.cause, change.cause_id, moved.at, change.order_id)
                    deltas = {Bucket(name): delta for name, delta in change.buckets.items()}
                    self.shift(because, *key, deltas, change.units)
            except Illegal:
                return False
        return True

    def changed(self) -> list[Shelf]:
        """The shelves that differ from what was loaded."""
        return [after for touched in self._touched.values() if (after := touched.after()) != touched.shelf]

    def movements(self) -> list[Movements]:
        """What moved, one row per shelf."""
        rows = []
        for moved in self.moved():
            shelf = moved.shelf
            levels = {bucket.value: n for bucket in Bucket if (n := getattr(shelf, bucket.value))}
            rows.append(moved.row().put(seq=shelf.seq + 1, before=levels))
        return rows


def _first(item: tuple[ShelfKey, Touched]) -> ShelfKey:
    return item[0]
