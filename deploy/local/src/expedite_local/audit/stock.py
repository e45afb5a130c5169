"""Stock is conserved per SKU (I1, D10): shelves, movements, bookings, orders and parcels say the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from expedite_events.catalogue import FULFILLMENT, INVENTORY
from expedite_local.audit.custody import in_parcel
from expedite_local.audit.databases import Snapshot
from expedite_local.audit.files import Files
from expedite_local.audit.finding import NAMED, Look
from fulfillment.store import RECEIPTS
from inventory.domain.conservation import PEGGED, held_by_orders, verdict
from inventory.domain.stock import GOODS, Bucket
from inventory.store import BOOKINGS, MOVEMENTS, SHELVES
from shipping.domain.state import OrderLeg

_BUCKETS = tuple(bucket.value for bucket in Bucket)
_DIFFER = " OR ".join(f"{b} IS DISTINCT FROM coalesce((doc::jsonb ->> '{b}')::bigint, 0)" for b in _BUCKETS)
_SHELVES = f"""
SELECT sku, warehouse_id, {", ".join(_BUCKETS)}, coalesce((doc::jsonb ->> 'seq')::bigint, 0) AS seq, {_DIFFER} AS differ FROM shelf
ORDER BY sku, warehouse_id
"""
_SUMS = """
SELECT m.sku, m.warehouse_id, b.key AS bucket, sum(b.value::text::bigint)::bigint AS n
FROM movement m, jsonb_array_elements(m.doc::jsonb -> 'changes') AS c, jsonb_each(c -> 'buckets') AS b GROUP BY 1, 2, 3
"""
_COUNTS = """
SELECT sku, warehouse_id, sum(jsonb_array_length(doc::jsonb -> 'changes'))::bigint AS n FROM movement GROUP BY 1, 2
"""

Shelf = tuple[str, str]  # SKU, warehouse


@dataclass(slots=True)
class Held:
    """What orders and parcels say lies where, gathered order by order."""

    by_orders: Counter[tuple[str, str, Bucket]] = field(default_factory=Counter)
    in_parcels: Counter[Shelf] = field(default_factory=Counter)

    def add(self, file: Files) -> None:
        if file.stock:
            self.by_orders.update(held_by_orders((file.stock,)))
        if file.leg:
            self._parcels(file.leg)

    def _parcels(self, leg: OrderLeg) -> None:
        for parcel in leg.parcels:
            units = in_parcel(parcel)
            skus = {goods.line: goods.sku for goods in parcel.goods}
            for line in units.lines:
                self.in_parcels[skus[line], parcel.warehouse_id] += len(units.on_line(line))


async def stock(shots: Mapping[str, Snapshot], held: Held) -> Look:
    """Compare the five books; `held` was gathered over all orders."""
    look, shot = Look("stock", "SKUs"), shots[INVENTORY]
    sums: dict[Shelf, Counter[str]] = defaultdict(Counter)
    for row in await shot.rows(_SUMS):
        sums[row["sku"], row["warehouse_id"]][row["bucket"]] = row["n"]
    written = {(row["sku"], row["warehouse_id"]): row["n"] for row in await shot.rows(_COUNTS)}
    booked = await _booked(shot)
    wrong: dict[str, list[str]] = defaultdict(list)
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    shelves: set[Shelf] = set()
    pieces = 0
    async for row in shot.stream(_SHELVES):
        shelf = (row["sku"], row["warehouse_id"])
        shelves.add(shelf)
        level = {bucket: row[bucket] for bucket in _BUCKETS}
        totals[row["sku"]].update(level)
        pieces += level["booked"]
        place = f"{row['sku']} in {row['warehouse_id']}"
        if row["differ"]:
            wrong[row["sku"]].append(f"{place}: columns and document differ")
        if row["seq"] != written.get(shelf, 0):
            wrong[row["sku"]].append(f"{place}: {written.get(shelf, 0)} of {row['seq']} movements are there")
        for bucket, n in level.items():
            if n != sums[shelf][bucket]:
                wrong[row["sku"]].append(f"{place}: {n} {bucket}, its movements say {sums[shelf][bucket]}")
        for pegged in PEGGED:
            if level[pegged.value] != held.by_orders[*shelf, pegged]:
                said = held.by_orders[*shelf, pegged]
                wrong[row["sku"]].append(f"{place}: {level[pegged.value]} {pegged}, the orders say {said}")
        if level["booked"] != booked[shelf]:
            wrong[row["sku"]].append(f"{place}: {level['booked']} booked, the bookings say {booked[shelf]}")
        if level["out"] != held.in_parcels[shelf]:
            wrong[row["sku"]].append(
                f"{place}: {level['out']} out, shipping holds or delivered {held.in_parcels[shelf]}"
            )
    _strays(wrong, shelves, {**sums, **booked, **held.in_parcels})
    for sku, total in totals.items():
        goods = sum(total[bucket.value] for bucket in GOODS)
        if goods != total["booked"]:
            wrong[sku].insert(0, f"{sku}: {total['booked']} came in, {goods} are accounted for")
    look.count = len(totals)
    look.note(f"{pieces:,} pieces")
    await _tell(look, shot, wrong, held)
    await _receipts(look, shots)
    return look


async def _booked(shot: Snapshot) -> Counter[Shelf]:
    """What was ever booked in, per shelf; counts book only their difference."""
    found: Counter[Shelf] = Counter()
    for booking in await shot.find(BOOKINGS):
        for line in booking.lines:
            found[line.sku, line.warehouse_id] += line.corrected if booking.kind == "count" else line.quantity
    return found


def _strays(wrong: dict[str, list[str]], shelves: set[Shelf], said: Mapping[Shelf, object]) -> None:
    for sku, warehouse in sorted(said.keys() - shelves):
        if said[sku, warehouse]:
            wrong[sku].append(f"{sku} in {warehouse}: goods are spoken of, but there is no such shelf")


async def _tell(look: Look, shot: Snapshot, wrong: Mapping[str, list[str]], held: Held) -> None:
    """Of the SKUs that are told by name, inventory's own replay names the first movement that does not add up."""
    for n, (sku, texts) in enumerate(wrong.items()):
        cause = ""
        if n < NAMED:
            movements = [one for row in await shot.find(MOVEMENTS, {"sku": sku}) for one in row.each()]
            replayed = verdict(sku, await shot.find(SHELVES, {"sku": sku}), movements, held.by_orders)
            broken = next((leak.movement for leak in replayed.leaks if leak.movement), None)
            last = max(movements, key=lambda m: (m.at, m.seq), default=None)
            if named := broken or last:
                cause = f" ({'first wrong' if broken else 'last'} movement: {named.cause}, event {named.cause_id})"
        for text in texts:
            look.wrong(text + cause)


async def _receipts(look: Look, shots: Mapping[str, Snapshot]) -> None:
    """What fulfillment counted on the dock is booked, once and alike."""
    made = {b.reference: b for b in await shots[INVENTORY].find(BOOKINGS) if b.kind == "receipt"}
    for receipt in await shots[FULFILLMENT].find(RECEIPTS):
        booking = made.pop(receipt.receipt_id, None)
        if booking is None:
            look.wrong(f"receipt {receipt.receipt_id} was counted but never booked")
        elif Counter({line.sku: line.quantity for line in booking.lines}) != Counter(dict(receipt.lines)):
            look.wrong(f"receipt {receipt.receipt_id} was booked otherwise than it was counted")
    for reference in made:
        look.wrong(f"receipt {reference} was booked but never counted")
