"""What all webhook formats share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from expedite_events import TrackingStatus
from shipping.domain.tracking import Update

WORDS = 500  # characters kept of a carrier's free text


class Unreadable(Exception):
    """A body that cannot be understood: it is kept, and the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One webhook, understood. `unmapped` lists raw statuses we have no word for: they count as `unknown`, are counted
    and shown, never dropped."""

    event_id: str | None  # the provider's own id of the event
    tracking_number: str
    updates: tuple[Update, ...]
    unmapped: tuple[str, ...] = ()


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. UTF-8 only: what is kept as text must read the same again."""
    try:
        value = orjson.loads(body)
    except ValueError:
        value = _tolerated(body)
    if not isinstance(value, dict):
        raise Unreadable("the body is not a JSON object")
    return value


def _tolerated(body: bytes) -> Any:
    """JSON that only a lenient reader takes: numbers of any size, halves of surrogate pairs."""
    try:
        return json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Unreadable("the body is not JSON in UTF-8") from None


def moment(value: object, field: str) -> datetime:
    """An ISO 8601 time; without an offset it counts as UTC."""
    if not isinstance(value, str):
        raise Unreadable(f"{field} must be an ISO 8601 time")
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise Unreadable(f"{field} is not an ISO 8601 time: {value[:40]!r}") from None
    if not 2000 <= parsed.year < 2200:  # sums with times near the ends of the calendar overflow
        raise Unreadable(f"{field} is not a plausible time: {value[:40]!r}")
    offset = parsed.utcoffset()
    if offset is None:
        return parsed.replace(tzinfo=UTC)
    # JSON has offsets of whole minutes only.
    return parsed.astimezone(UTC) if offset.seconds % 60 or offset.microseconds else parsed


def text(value: object) -> str | None:
    """Free text, shortened; None for anything empty or not a text. NUL and lone surrogates cannot be stored."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode().replace("\x00", "")[:WORDS] or None


def required(value: object, field: str) -> str:
    """A text that must be there."""
    found = text(value)
    if found is None:
        raise Unreadable(f"{field} is missing")
    return found


OUR_STATUS = {status.value: status for status in TrackingStatus}
