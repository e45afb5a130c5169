"""Tracking webhooks after they were verified: kept always, applied once, found again when their parcel appears (F3, P47)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from expedite_chassis import root
from expedite_events import Lane, Outcome
from expedite_messaging import Book, Cause, Engine, KeyParked, Tx
from shipping.domain import journey
from shipping.formats import easypost, native
from shipping.formats.common import Message, Unreadable
from shipping.store import DELIVERIES, PARCELS, DeliveryState, Desktop, ParcelRow, TrackingDelivery

READERS: Mapping[str, Callable[[str, bytes], Message | None]] = {"easypost": easypost.read, "native": native.read}
SWEEP = 500  # deliveries a sweep looks at
KEPT_OF_FORGERY = 2_000  # characters kept of a body whose signature is wrong


@dataclass(frozen=True, slots=True)
class Incoming:
    """A verified webhook."""

    carrier_id: str
    format: str
    body: bytes
    message: Message | None
    error: str | None = None

    @property
    def delivery_id(self) -> str:
        """The provider's event id, else a hash of the body: the same webhook again has the same."""
        own = self.message.event_id if self.message else None
        return f"{self.carrier_id}:{own or hashlib.sha256(self.body).hexdigest()}"

    @property
    def number(self) -> tuple[str, str] | None:
        """What it is about, as carriers name it."""
        return (self.carrier_id, self.message.tracking_number) if self.message else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a webhook: its log entry, and whether it changed nothing."""

    delivery: TrackingDelivery
    duplicate: bool


def understand(carrier_id: str, format_: str, body: bytes) -> Incoming:
    """Read a body in its format; what cannot be read is kept with the reason."""
    try:
        return Incoming(carrier_id, format_, body, READERS[format_](carrier_id, body))
    except Unreadable as error:
        return Incoming(carrier_id, format_, body, None, str(error))


async def match(tx: Tx, numbers: set[tuple[str, str]]) -> dict[tuple[str, str], ParcelRow]:
    """Parcels by (carrier, number); the newest when a carrier used the number again."""
    if not numbers:
        return {}
    rows = await tx.find(PARCELS, {"tracking_number": sorted({n for _, n in numbers})})
    rows.sort(key=lambda row: row.deadline)
    found = {(row.carrier_id or "", row.tracking_number or ""): row for row in rows}
    return {number: found[number] for number in numbers if number in found}


async def settle(tx: Tx, incoming: Sequence[Incoming]) -> list[Verdict]:
    """Keep and apply webhooks in one transaction: the work of a `Group`. Their orders are known by their numbers only, so
    they are locked here. What waits for the repair of its order is kept too, and applied when it has been replayed."""
    parcels = await match(tx, {item.number for item in incoming if item.number})
    parked = await tx.lock({row.order_id for row in parcels.values()})
    # Read under the locks: the same webhook in two groups at once is recognised by the second.
    known = await tx.load(DELIVERIES, {item.delivery_id for item in incoming})
    desktop = await Desktop.load(tx, {row.order_id for row in parcels.values() if row.order_id not in parked})
    verdicts = []
    for item in incoming:
        before = known.get(item.delivery_id)
        if before is not None and before.state is not DeliveryState.UNMATCHED:
            verdicts.append(Verdict(before, duplicate=True))
            continue
        parcel = parcels.get(item.number) if item.number else None
        waits = parcel is not None and parcel.order_id in parked
        delivery = _entry(item, parcel, waits, tx.now)
        duplicate = before is not None
        if item.message and parcel and not waits:
            duplicate = not _apply(desktop, item.message, parcel)
        if before is None or delivery.state is not before.state:
            known.put(delivery)
        verdicts.append(Verdict(delivery, duplicate))
    return verdicts


def _entry(item: Incoming, parcel: ParcelRow | None, waits: bool, now: datetime) -> TrackingDelivery:
    message = item.message
    if message is None:
        state = DeliveryState.UNREADABLE if item.error else DeliveryState.IGNORED
    elif parcel is None:
        state = DeliveryState.UNMATCHED
    else:
        state = DeliveryState.WAITING if waits else DeliveryState.APPLIED
    return TrackingDelivery(
        delivery_id=item.delivery_id, carrier_id=item.carrier_id, format=item.format,
        event_id=message.event_id if message else None, tracking_number=message.tracking_number if message else None,
        state=state, received_at=now, parcel_id=parcel.parcel_id if parcel else None,
        unmapped=message.unmapped if message else (), error=item.error, body=_text(item.body),
    )  # fmt: skip


def _text(body: bytes) -> str:
    # PostgreSQL's JSON cannot hold NUL; anything else that is not UTF-8 is made visible.
    return body.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


def _apply(desktop: Desktop, message: Message, parcel: ParcelRow) -> bool:
    """Track the parcel; False when everything was known."""
    leg = desktop.orders[parcel.order_id]
    decision = journey.track(leg, parcel.parcel_id, message.updates, desktop.desk, desktop.now)
    cause: Cause = root(leg.order_id, Lane.EXPRESS if leg.express else Lane.STANDARD)
    desktop.save(cause, decision)
    return decision.outcome is not Outcome.ALREADY_DONE


def forgery(carrier_id: str, format_: str, body: bytes, now: datetime) -> TrackingDelivery:
    """The log entry of a webhook with a wrong signature. Its id can never be that of a true event."""
    return TrackingDelivery(
        delivery_id=f"forged:{carrier_id}:{hashlib.sha256(body).hexdigest()}", carrier_id=carrier_id[:64],
        format=format_, state=DeliveryState.BAD_SIGNATURE, received_at=now, error="the signature is not valid",
        body=_text(body)[:KEPT_OF_FORGERY],
    )  # fmt: skip


async def apply_unmatched(desktop: Desktop, parcels: Mapping[tuple[str, str], ParcelRow]) -> None:
    """Numbers that have just become known: apply what their carrier said before it answered us. The orders of these
    parcels must be loaded."""
    if not parcels:
        return
    numbers = sorted({number for _, number in parcels})
    wanted = {"tracking_number": numbers, "open_state": DeliveryState.UNMATCHED.value}
    waiting = await desktop.tx.find(DELIVERIES, wanted, order_by=("received_at",), limit=SWEEP)
    if not waiting:
        return
    await desktop.open()
    book = await desktop.tx.load(DELIVERIES, [w.delivery_id for w in waiting])
    for delivery in waiting:
        parcel = parcels.get((delivery.carrier_id, delivery.tracking_number or ""))
        if parcel is not None:
            _apply_again(desktop, book, delivery.delivery_id, parcel)


def _apply_again(desktop: Desktop, book: Book[TrackingDelivery], delivery_id: str, parcel: ParcelRow) -> None:
    delivery = book[delivery_id]
    if delivery.state not in (DeliveryState.UNMATCHED, DeliveryState.WAITING):
        return
    message = READERS[delivery.format](delivery.carrier_id, delivery.body.encode())
    if message is not None:
        _apply(desktop, message, parcel)
    book.put(delivery.put(state=DeliveryState.APPLIED, parcel_id=parcel.parcel_id))


async def sweep(engine: Engine) -> int:
    """Apply webhooks that waited: for their parcel's number, or for the repair of its order. The number applied."""

    async def look(tx: Tx) -> list[tuple[str, ParcelRow]]:
        waiting: list[TrackingDelivery] = []
        for state in (DeliveryState.WAITING, DeliveryState.UNMATCHED):
            found = await tx.find(DELIVERIES, {"open_state": state.value}, order_by=("-received_at",), limit=SWEEP)
            waiting = found + waiting
        rows = await match(tx, {(w.carrier_id, w.tracking_number or "") for w in waiting})
        pairs = [(w, rows.get((w.carrier_id, w.tracking_number or ""))) for w in reversed(waiting)]
        return [(w.delivery_id, row) for w, row in pairs if row is not None]

    applied = 0
    for delivery_id, row in await engine.read(look):

        async def work(tx: Tx, delivery_id: str = delivery_id, row: ParcelRow = row) -> None:
            desktop = await Desktop.load(tx, [row.order_id])
            book = await tx.load(DELIVERIES, [delivery_id])
            _apply_again(desktop, book, delivery_id, row)

        try:
            await engine.transact([row.order_id], work)
            applied += 1
        except KeyParked:
            continue  # still under repair
    return applied
