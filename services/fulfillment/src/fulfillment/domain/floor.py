"""What people and conveyors do with a fulfilment order: claim, scan, report short, pack.

Each function answers a person: a repeated request changes nothing (`ALREADY_DONE`), an impossible one raises `Refused`
with what to do instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from expedite_events import NO_UNITS, Decision, Outcome, Units, Value, already_done
from fulfillment.domain import changes
from fulfillment.domain.model import FulfilmentOrder, Note, Order, Parcel, Refused, ShortReport, pieces


class Scan(NamedTuple):
    """One scan: what was read, the SKU it stands for (None: nobody knows the code) and how many pieces it counts."""

    code: str
    sku: str | None
    quantity: int = 1
    scan_id: str | None = None  # the same id is the same scan, however often it is sent


class Missing(Value):
    """Pieces of a line that are not on the shelf."""

    line: int
    quantity: int


def work_on(order: Order, fulfilment_order_id: str) -> FulfilmentOrder:
    """The fulfilment order; raises `Refused` `unknown-fulfilment-order`."""
    work = order.fulfilment_order(fulfilment_order_id)
    if work is None:
        raise Refused("unknown-fulfilment-order", f"There is no fulfilment order {fulfilment_order_id}.")
    return work


def refuse_held(order: Order) -> None:
    """Raises `Refused` `held`, naming each open hold and who can end it."""
    if order.held:
        names = ", ".join(f"{h.hold_id} ({h.kind}, with {h.owner})" for h in order.holds)
        raise Refused("held", f"Order {order.order_id} is held: {names}. Leave it; it comes back when it is released.")


def refuse_cancelled(work: FulfilmentOrder) -> None:
    """Raises `Refused` `cancelled` when nothing of the fulfilment order is wanted any more."""
    if work.units <= (work.cancelled | work.to_put_back):
        what = (
            "put the picked goods back and confirm the put-back" if work.to_put_back else "leave the goods on the shelf"
        )
        raise Refused("cancelled", f"{work.fulfilment_order_id} was cancelled: {what}.")


def claim(order: Order, work_id: str, by: str, *, take_over: bool, now: datetime) -> Decision[Order]:
    """A person takes the work, so that nobody else walks the same way. Taking over from somebody must be said."""
    work = work_on(order, work_id)
    if work.claimed_by == by:
        return already_done(order)
    refuse_held(order)
    refuse_cancelled(work)
    if not (work.open or work.picked):
        raise Refused("too-late", f"{work_id} is finished: nothing is left to pick or pack.")
    if work.claimed_by is not None and not take_over:
        raise Refused("claimed", f"{work.claimed_by} works on {work_id}. Take other work, or send take_over: true.")
    detail = f"taken over from {work.claimed_by}" if work.claimed_by else ""
    state = order.replaced(work.put(claimed_by=by))
    return Decision(state.note(work_id, now, by, "claimed", detail=detail))


def scan(order: Order, work_id: str, scans: Sequence[Scan], by: str, now: datetime) -> Decision[Order]:
    """Confirm picked pieces by barcode, all or none (E2). Picking claims the work for whoever does it."""
    before = work = work_on(order, work_id)
    notes: list[Note] = []
    for index, one in enumerate(scans):
        if one.scan_id is not None and one.scan_id in work.seen:
            continue
        taken = _take(work, one, index)
        if not taken:
            continue
        # Checked where something would change, so that a repeated scan of work done is not an error.
        refuse_held(order)
        work = work.put(
            picked=work.picked | taken,
            claimed_by=work.claimed_by or by,
            seen=(*work.seen, one.scan_id) if one.scan_id else work.seen,
        )
        what = one.sku or one.code
        notes.append(Note(work_id, now, by, "picked", len(taken), what))
    if work is before:
        return already_done(order)
    return Decision(order.replaced(work, *notes))


def _take(work: FulfilmentOrder, one: Scan, index: int) -> Units:
    """The units a scan confirms; none when they are confirmed already. Raises `Refused` with what was expected."""
    mine = NO_UNITS
    for goods in work.goods:
        if goods.sku == one.sku:
            mine |= work.units.on_line(goods.line)
    if not mine:
        raise _misread(work, one, index)
    left = mine - work.picked - work.packed - work.short - work.cancelled - work.to_put_back
    if one.quantity <= len(left):
        return left.first_n(one.quantity)
    done, gone = mine & (work.picked | work.packed), mine & (work.cancelled | work.to_put_back)
    if not left:
        if gone:
            raise Refused(
                "cancelled", f"{len(gone)} of {one.sku} were cancelled: leave them on the shelf, or put them back.",
                index=index, expected="0",
            )  # fmt: skip
        if one.quantity <= len(done):
            return left
        if not done:
            raise Refused("too-late", f"{one.sku} was reported short: other stock is being found.", index=index)
    raise Refused(
        "wrong-quantity", f"{one.quantity} of {one.sku} are too many: {len(left)} are left to pick.",
        index=index, expected=str(len(left)),
    )  # fmt: skip


def _misread(work: FulfilmentOrder, one: Scan, index: int) -> Refused:
    """What was scanned is none of the goods that are wanted."""
    left = work.open
    expected = ", ".join(sorted({f"{g.sku} ({g.name})" for g in work.goods if left.on_line(g.line)})) or "nothing more"
    if one.sku is None:
        detail = f"No product has the code {one.code}. Expected: {expected}."
        return Refused("unknown-code", detail, index=index, expected=expected)
    detail = f"{one.sku} does not belong to {work.fulfilment_order_id}. Expected: {expected}."
    return Refused("wrong-item", detail, index=index, expected=expected)


def report_short(
    order: Order, work_id: str, lines: Sequence[Missing], reason: str, report_id: str | None, by: str, now: datetime
) -> Decision[Order]:
    """The shelf had less than the system said: custody of the missing units goes back to inventory, the rest is picked
    on (E4). Only units nobody has picked can be missing."""
    work = work_on(order, work_id)
    if report_id is not None and report_id in work.seen:
        return already_done(order)
    missing = Units()
    for index, line in enumerate(lines):
        mine = work.units.on_line(line.line)
        if not mine:
            known = ", ".join(str(n) for n in work.units.lines)
            raise Refused("unknown-line", f"{work_id} has no line {line.line}. Its lines: {known}.", index=index)
        left = (mine & work.open) - missing
        if line.quantity > len(left):
            if not left and line.quantity <= len(mine & work.short):
                continue
            raise Refused(
                "wrong-quantity",
                f"{line.quantity} of line {line.line} cannot be short: {len(left)} are left to pick.",
                index=index, expected=str(len(left)),
            )  # fmt: skip
        missing |= left.last_n(line.quantity)
    if not missing:
        return already_done(order)
    refuse_held(order)
    report = ShortReport(units=missing, reason=reason, by=by, at=now)
    work = work.put(
        short=work.short | missing,
        shorts=(*work.shorts, report),
        seen=(*work.seen, report_id) if report_id else work.seen,
    )
    state = order.replaced(work).note(work_id, now, by, "short", quantity=len(missing), detail=reason)
    return Decision(state, (changes.short(state, work, report),), express=order.express)


class Wrapping(NamedTuple):
    """How the units of a parcel are packed: chosen or overridden by the packer."""

    box: str
    weight_g: int
    valuable: bool


def units_to_pack(order: Order, work_id: str, asked: Units | None) -> Units:
    """The units a pack request is about: what is picked unless it names some. Empty when they are packed already.
    Raises `Refused` when they cannot be packed."""
    work = work_on(order, work_id)
    wanted = work.picked if asked is None else asked
    if asked is not None and (foreign := asked - work.units):
        raise Refused("unknown-line", f"{foreign} do not belong to {work_id}.")
    if wanted and wanted <= work.packed:
        return Units()
    if asked is None and not wanted and work.packed and not work.open:
        return Units()
    refuse_cancelled(work)
    if dead := wanted & (work.cancelled | work.to_put_back):
        raise Refused("cancelled", f"{len(dead)} of these pieces were cancelled: put them back, pack the others.")
    if not wanted or not wanted <= work.picked:
        raise Refused("not-picked", f"Scan before you pack: {len(wanted - work.picked) or len(work.open)} to pick.")
    refuse_held(order)
    return wanted


def pack(
    order: Order,
    work_id: str,
    asked: Units | None,
    wrapping: Wrapping,
    by: str,
    now: datetime,
) -> Decision[Order]:
    """A parcel stands on the dock: custody of its units passes to shipping. Several parcels per fulfilment order are
    fine."""
    units = units_to_pack(order, work_id, asked)
    if not units:
        return already_done(order)
    return _packed(order, work_on(order, work_id), units, wrapping, by, now)


def _packed(
    order: Order,
    work: FulfilmentOrder,
    units: Units,
    wrapping: Wrapping,
    by: str,
    now: datetime,
    scan_id: str | None = None,
) -> Decision[Order]:
    work = work.put(picked=work.picked - units, packed=work.packed | units)
    return _on_the_dock(order, work, units, wrapping, by, now, scan_id, ())


def _on_the_dock(
    order: Order,
    work: FulfilmentOrder,
    units: Units,
    wrapping: Wrapping,
    by: str,
    now: datetime,
    scan_id: str | None,
    notes: Sequence[Note],
) -> Decision[Order]:
    """The order with the next parcel, which holds these units. `work` knows already that they are packed; `notes`: what
    there is to note before."""
    parcel = Parcel(
        parcel_id=f"{order.order_id}-P{len(order.parcels) + 1}",
        fulfilment_order_id=work.fulfilment_order_id,
        units=units,
        box=wrapping.box,
        weight_g=wrapping.weight_g,
        valuable=wrapping.valuable,
        packed_by=by,
        packed_at=now,
        scan_id=scan_id,
    )
    detail = f"{parcel.parcel_id} in {parcel.box}"
    note = Note(work.fulfilment_order_id, now, by, "packed", len(units), detail)
    state = order.replaced(work, *notes, note, parcel=parcel)
    return Decision(state, (changes.packed(state, work, parcel),), express=order.express)


def confirm(
    order: Order,
    work_id: str,
    scans: Sequence[Scan],
    wrap: Callable[[FulfilmentOrder, Units], Wrapping] | None,
    by: str,
    now: datetime,
) -> tuple[Decision[Order], Parcel | None]:
    """What a conveyor did with a fulfilment order, whole or not at all: its scans and, when `wrap` is given, the parcel
    that what is picked becomes (E2). Said again, with the same scan ids, it answers the same parcel and packs nothing
    that was picked since. Raises `Refused`."""
    work = work_on(order, work_id)
    if wrap is not None and _is_all(order, work, scans):
        packed = _pick_and_pack(order, work, scans, wrap(work, work.units), by, now)
        return packed, packed.state.parcels[-1]
    picked = scan(order, work_id, scans, by, now)
    if wrap is None:
        return picked, None
    work = work_on(picked.state, work_id)
    mine = [p for p in order.parcels if p.fulfilment_order_id == work_id]
    if picked.outcome is Outcome.ALREADY_DONE and scans:
        for parcel in mine:
            if parcel.scan_id is not None and parcel.scan_id == scans[0].scan_id:
                return picked, parcel
    units = units_to_pack(picked.state, work_id, None)
    if not units:
        return picked, mine[-1] if mine else None
    first = scans[0].scan_id if scans else None
    packed = _packed(picked.state, work, units, wrap(work, units), by, now, first)
    return packed, packed.state.parcels[-1]


def _is_all(order: Order, work: FulfilmentOrder, scans: Sequence[Scan]) -> bool:
    """The plain case of a confirmation: work nobody has begun, and scans of all its goods, none of them twice."""
    if order.held or work.seen or not work.untouched:
        return False
    found: dict[str | None, int] = {}
    ids = set()
    for one in scans:
        found[one.sku] = found.get(one.sku, 0) + one.quantity
        ids.add(one.scan_id)
    wanted: dict[str | None, int] = {}
    counted = pieces(work.units)
    for goods in work.goods:
        wanted[goods.sku] = wanted.get(goods.sku, 0) + counted.get(goods.line, 0)
    return found == wanted and len(ids) == len(scans) and None not in ids


def _pick_and_pack(
    order: Order, work: FulfilmentOrder, scans: Sequence[Scan], wrapping: Wrapping, by: str, now: datetime
) -> Decision[Order]:
    """What `scan` and `pack` come to in the plain case, in one step."""
    work_id = work.fulfilment_order_id
    notes = [Note(work_id, now, by, "picked", one.quantity, one.sku or one.code) for one in scans]
    seen = tuple([one.scan_id for one in scans])
    done = work.put(packed=work.units, claimed_by=work.claimed_by or by, seen=seen)
    return _on_the_dock(order, done, work.units, wrapping, by, now, scans[0].scan_id, notes)
