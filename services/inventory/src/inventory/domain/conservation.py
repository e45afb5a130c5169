"""Is every piece accounted for, and if not, which event lost it (I1, D10)?

Three independent books are compared: the shelves' counts, the movements, and the orders' segments and transfers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from expedite_events import Units, Value
from inventory.domain.order import Order, Status
from inventory.domain.stock import GOODS, Bucket, Movement, Shelf, ShelfKey

PEGGED = (Bucket.ALLOCATED, Bucket.LEAVING, Bucket.IN_TRANSIT, Bucket.OUT, Bucket.BACKORDERED)


class Leak(Value):
    """Something that does not add up. `movement` names the first row that is wrong, when one is."""

    sku: str
    warehouse_id: str | None = None
    bucket: str | None = None
    expected: int
    found: int
    text: str
    movement: Movement | None = None


class Verdict(Value):
    """One SKU: what was ever booked in, where it is now, what may be promised, and what does not add up."""

    sku: str
    booked: int
    sums: dict[str, int]
    backordered: int
    available: int
    conserved: bool
    leaks: tuple[Leak, ...] = ()


def held_by_orders(orders: Iterable[Order]) -> Counter[tuple[str, str, Bucket]]:
    """(SKU, warehouse, bucket) -> pieces, as the orders remember them."""
    out: Counter[tuple[str, str, Bucket]] = Counter()
    where = {
        Status.ALLOCATED: Bucket.ALLOCATED,
        Status.ANNOUNCED: Bucket.ALLOCATED,
        Status.PACKED: Bucket.OUT,
        Status.BACKORDERED: Bucket.BACKORDERED,
    }

    def add(order: Order, units: Units, warehouse_id: str, bucket: Bucket) -> None:
        for sku, part in order.by_sku(units).items():
            out[sku, warehouse_id, bucket] += len(part)

    for order in orders:
        for segment in order.segments:
            if segment.status in where and segment.warehouse_id is not None:
                add(order, segment.units, segment.warehouse_id, where[segment.status])
        for transfer in order.transfers:
            add(order, transfer.leaving, transfer.from_warehouse_id, Bucket.LEAVING)
            add(order, transfer.in_transit, transfer.to_warehouse_id, Bucket.IN_TRANSIT)
    return out


def replay(shelf: Shelf, movements: Sequence[Movement]) -> Leak | None:
    """Play a shelf's movements from nothing; the first one that is missing or does not add up, or the shelf itself."""
    level: Counter[str] = Counter()
    for number, movement in enumerate(sorted(movements, key=lambda m: m.seq), start=1):
        key = {"sku": shelf.sku, "warehouse_id": shelf.warehouse_id}
        if movement.seq != number:
            return Leak(
                **key, expected=number, found=movement.seq, text=f"movement {number} is missing", movement=movement
            )
        level.update(movement.changes)
        for bucket, after in movement.after.items():
            if level[bucket] != after:
                text = f"{movement.cause} {movement.cause_id} left {after}, the movements say {level[bucket]}"
                return Leak(**key, bucket=bucket, expected=level[bucket], found=after, text=text, movement=movement)
    for bucket_ in Bucket:
        found = getattr(shelf, bucket_.value)
        if level[bucket_.value] != found:
            text = f"the shelf says {found}, its movements say {level[bucket_.value]}"
            return Leak(
                sku=shelf.sku,
                warehouse_id=shelf.warehouse_id,
                bucket=bucket_.value,
                expected=level[bucket_.value],
                found=found,
                text=text,
            )
    return None


def verdict(
    sku: str, shelves: Sequence[Shelf], movements: Sequence[Movement], held: Counter[tuple[str, str, Bucket]]
) -> Verdict:
    """The state of one SKU over all its shelves. `held` is what all orders together remember."""
    sums = {bucket.value: sum(getattr(s, bucket.value) for s in shelves) for bucket in GOODS}
    booked, backordered = sum(s.booked for s in shelves), sum(s.backordered for s in shelves)
    leaks: list[Leak] = []
    if sum(sums.values()) != booked:
        text = f"{booked} pieces were booked in, {sum(sums.values())} are accounted for"
        leaks.append(Leak(sku=sku, expected=booked, found=sum(sums.values()), text=text))
    of: dict[ShelfKey, list[Movement]] = {}
    for movement in movements:
        of.setdefault((movement.sku, movement.warehouse_id), []).append(movement)
    for shelf in shelves:
        broken = replay(shelf, of.get((sku, shelf.warehouse_id), ()))
        if broken:
            leaks.append(broken)
        for bucket in PEGGED:
            expected, found = held[sku, shelf.warehouse_id, bucket], getattr(shelf, bucket.value)
            if expected != found:
                text = f"orders hold {expected}, the shelf says {found}"
                leaks.append(
                    Leak(sku=sku, warehouse_id=shelf.warehouse_id, bucket=bucket.value, expected=expected, found=found,
                         text=text)
                )  # fmt: skip
    return Verdict(
        sku=sku,
        booked=booked,
        sums=sums,
        backordered=backordered,
        available=sums["free"] - backordered,
        conserved=not leaks,
        leaks=tuple(leaks),
    )
