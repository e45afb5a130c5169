"""Master data of other services, as the floor needs it, and the next carrier cut-off of a warehouse."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from expedite_events import PersonChanged, ProductChanged, Stage, Value, WarehouseChanged


class Barcode(Value):
    """Which product a barcode stands for; None when the product gave it up."""

    code: str
    sku: str | None


class Receipt(Value):
    """Purchased goods as they were counted: the second count under the same id must say the same."""

    receipt_id: str
    warehouse_id: str
    lines: tuple[tuple[str, int], ...]
    received_by: str
    at: datetime


def newer(known: ProductChanged | WarehouseChanged | None, heard: ProductChanged | WarehouseChanged) -> bool:
    """Whether a snapshot replaces the copy; the same revision again is welcome, it changes nothing."""
    return known is None or heard.revision >= known.revision


def next_cut_off(warehouse: WarehouseChanged | None, carrier_id: str | None, now: datetime) -> datetime | None:
    """The next moment at which the preferred carrier (else the first of all) takes the last parcels, on a working day of
    the warehouse. None when the warehouse is unknown or names no cut-off."""
    if warehouse is None or not warehouse.cut_offs:
        return None
    try:
        zone = ZoneInfo(warehouse.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return None
    times = [c.local_time for c in warehouse.cut_offs if c.carrier_id == carrier_id]
    times = sorted(times or [c.local_time for c in warehouse.cut_offs])
    today = now.astimezone(zone).date()
    for offset in range(15):  # no warehouse closes longer than two weeks
        day = today + timedelta(days=offset)
        if day.weekday() not in warehouse.working_days or day.isoformat() in warehouse.holidays:
            continue
        for text in times:
            moment = _at(day, text, zone)
            if moment is not None and moment >= now:
                return moment
    return None


def _at(day: date, text: str, zone: ZoneInfo) -> datetime | None:
    hour, minute = (int(part) for part in text.split(":"))
    return datetime.combine(day, time(hour, minute), zone) if hour < 24 else None


def owner_of_prepare(people: list[PersonChanged], warehouse_id: str) -> PersonChanged | None:
    """The person who answers for picking and packing in a warehouse (E6): named for the stage, here rather than
    everywhere, then by id."""
    fit = [
        p
        for p in people
        if p.active and Stage.PREPARE in p.stages and (not p.warehouses or warehouse_id in p.warehouses)
    ]
    return min(fit, key=lambda p: (not p.warehouses, p.person_id), default=None)
