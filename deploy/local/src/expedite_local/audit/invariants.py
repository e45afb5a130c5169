"""What must hold, said once: for the audit, which compares databases, and for the watch, which follows the topics.

The names are those of the reliability reference (I1 to I10).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from expedite_events import Lane, StockLevelChanged, Units
from expedite_events.envelope import Envelope, event_id_for


class Invariant(StrEnum):
    """What was broken."""

    STOCK = "I1 stock is conserved"
    STATE = "I2 one state, legal steps"
    ONCE = "I3 effects once"
    NOTHING_LOST = "I4 nothing lost, nothing invented"
    ORDER = "I5 order per key"
    CLOSURE = "I9 orders end balanced"


def overtaken(before: int | None, sequence: int) -> bool:
    """I5: per service, key and topic the first occurrences are in the order of their commits. `before`: the emission
    that came before this one."""
    return before is not None and sequence < before


def unbalanced(name: str, ordered: Units | None, delivered: Units, cancelled: Units, how: str | None) -> Iterator[str]:
    """I2, I9: what is wrong with where an order's units are. `ordered`: None when that is not known; `how`: the word for
    its end, None while it is open."""
    if both := delivered & cancelled:
        yield f"{name}: {both} are delivered and cancelled"
    if ordered is not None:
        if beyond := (delivered | cancelled) - ordered:
            yield f"{name}: {beyond} ended but were never ordered"
        if how and (left := ordered - delivered - cancelled):
            yield f"{name} is {how} but {left} are neither delivered nor cancelled"
    if how == "cancelled" and delivered:
        yield f"{name} is cancelled but {delivered} were delivered"
    if how == "closed" and not delivered:
        yield f"{name} is closed but nothing was delivered"


def ids_of(envelope: Envelope) -> set[str]:
    """I3: the ids this event can have. They follow from its cause and content, so that the same decision taken again is
    the same event."""
    return {str(event_id_for(envelope.causation_id, envelope.service, envelope.event, lane)) for lane in Lane}


def impossible(level: StockLevelChanged) -> Iterator[str]:
    """I1: what no shelf can be, whatever moved."""
    counts = {
        "on_hand": level.on_hand, "free": level.free, "allocated": level.allocated, "in_count": level.in_count,
        "quality_check": level.quality_check, "backordered": level.backordered,
    }  # fmt: skip
    for what, count in counts.items():
        if count < 0:
            yield f"{level.key} has {count} {what}; expected none below 0"
    if level.on_hand < level.free + level.allocated:
        held = level.free + level.allocated
        yield f"{level.key} has {level.on_hand} on hand; expected at least the {held} that are free or allocated"


def level_of(buckets: Mapping[str, int]) -> dict[str, int]:
    """What a published level says of a shelf with these buckets."""
    free, allocated = buckets.get("free", 0), buckets.get("allocated", 0)
    return {
        "on_hand": free + allocated + buckets.get("leaving", 0), "free": free, "allocated": allocated,
        "in_count": buckets.get("in_count", 0), "quality_check": buckets.get("quality_check", 0),
    }  # fmt: skip
