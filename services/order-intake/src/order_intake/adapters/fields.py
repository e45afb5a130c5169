"""Reading foreign JSON: what is absent or oddly typed is None, unless an order cannot be understood without it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, NoReturn

from order_intake.domain.content import Content, money

Json = Mapping[str, Any]
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MAX_TEXT = 2000
_YES = {"yes", "true", "1", "on"}


class Unmappable(Exception):
    """The body is no order we can read. `pointer` names where."""

    def __init__(self, reason: str, pointer: str = "") -> None:
        super().__init__(f"{pointer or '/'}: {reason}")
        self.reason, self.pointer = reason, pointer


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a delivery asks for. `order_claim` is the order's identity at its shop; `delivery_claim` that of this very
    message, when it has one."""

    action: str  # order, cancel, ignore
    order_claim: tuple[str, str] | None = None
    delivery_claim: tuple[str, str] | None = None
    content: Content | None = None
    detail: str | None = None


def parse(body: bytes) -> Json:
    """The JSON object of a body, with text that no database can store taken out; raises `Unmappable`."""
    try:
        value = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Unmappable(f"no JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise Unmappable("not a JSON object")
    return clean(value)  # type: ignore[no-any-return]


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def clean(value: Any) -> Any:
    """The value without characters that PostgreSQL cannot store."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("", value)
    if isinstance(value, dict):
        return {_UNSTORABLE.sub("", key): clean(item) for key, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, list) else value


def text(source: Json, name: str) -> str | None:
    """Text or a number as text, trimmed; None when absent, blank or something else."""
    value = source.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip()[:_MAX_TEXT] or None


def first(source: Json, *names: str) -> str | None:
    """The first of these fields that holds text."""
    return next((found for name in names if (found := text(source, name))), None)


def part(source: Json, name: str) -> Json:
    """A sub-object; empty when absent, null or something else."""
    value = source.get(name)
    return value if isinstance(value, dict) else {}


def rows(source: Json, name: str) -> list[Json]:
    """A list of objects; empty when absent or null. Anything else cannot be understood."""
    value = source.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unmappable("not a list of objects", f"/{name}")
    return value


def order_id(source: Json) -> str:
    """The shop's own id of the order: without it nothing can be recognised again."""
    found = text(source, "id")
    if found is None or len(found) > 100:
        raise Unmappable("no order id", "/id")
    return found


def quantity(source: Json, pointer: str) -> int | None:
    """A whole number, also as text; None when absent."""
    value = source.get("quantity")
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value.strip()):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 10**9:
        raise Unmappable("not a quantity", f"{pointer}/quantity")
    return value


def amount(source: Json, name: str, pointer: str = "") -> Decimal | None:
    """An amount of money; None when absent or blank. Text that is no amount cannot be understood."""
    value = source.get(name)
    if value is None or value == "":
        return None
    try:
        return money(value)
    except ValueError:
        raise Unmappable("not an amount", f"{pointer}/{name}") from None


def moment(value: str | None, assumed: tzinfo | None = None) -> datetime | None:
    """An ISO 8601 time in UTC; None when it is none, or has no offset and none is assumed."""
    try:
        found = datetime.fromisoformat(value or "")
        found = found if found.tzinfo else found.replace(tzinfo=assumed)
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None


def end_of_day(value: str | None, zone: tzinfo) -> datetime | None:
    """The last second of a date in the buyer's time zone, in UTC; None when it is no date of our times."""
    try:
        day = datetime.fromisoformat((value or "").strip())
        # Sums with times near the ends of the calendar overflow in whoever plans with this date.
        known = 2000 <= day.year < 2200
        return datetime.combine(day.date(), time(23, 59, 59), tzinfo=zone).astimezone(UTC) if known else None
    except (ValueError, OverflowError):
        return None


def offset_of(value: str | None) -> tzinfo:
    """The UTC offset that a time was written with; UTC when it has none."""
    try:
        found = datetime.fromisoformat(value or "").utcoffset()
    except ValueError:
        found = None
    return timezone(found or timedelta(0))


def yes(value: Any) -> bool:
    return str(value).strip().casefold() in _YES
