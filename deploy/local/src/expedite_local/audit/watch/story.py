"""What the events of one key say together, told event by event; what contradicts it is a violation of that event.

Topics have no common order: what an event needs from another topic is looked for when everything that was on the topics
by then has been read (`settled`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from msgspec import Struct, field

from expedite_events import (
    NO_UNITS,
    Delivered,
    Event,
    OrderCancelled,
    OrderClosed,
    OrderReceived,
    ShipmentLost,
    StockLevelChanged,
    Units,
    UnitsCancelled,
)
from expedite_events.catalogue import ORDER_INTAKE
from expedite_events.envelope import Envelope
from expedite_events.shipping import CarrierLoss
from expedite_local.audit.invariants import Invariant, ids_of, impossible, overtaken, unbalanced


@dataclass(frozen=True, slots=True)
class Violation:
    """The first event after which an invariant failed: where it lies, what it is, and what was expected instead. An event
    that should be on a topic and is not has the offset -1."""

    invariant: str
    topic: str
    partition: int
    offset: int
    event_id: str
    key: str
    expected: str

    @property
    def text(self) -> str:
        place = f"{self.topic}[{self.partition}]@{self.offset}" if self.offset >= 0 else f"{self.topic} (nowhere)"
        return f"{self.invariant}: {place}, key {self.key}, event {self.event_id}: {self.expected}"


class Seen(Struct):
    """Where an event was, and its number among the emissions of its service for its key."""

    topic: str
    partition: int
    offset: int
    event_id: str
    sequence: int = 0

    @property
    def place(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset} (event {self.event_id})"


class Need(Struct):
    """An event that must have another one before it: looked for after everything of `generation` was read."""

    by: Seen
    wanted: str
    generation: int


class Story(Struct, omit_defaults=True):
    """One key. `last` and `top` are emission numbers: per service and topic, and the highest of order-intake. `known`:
    the first occurrence of what others need or what may happen once."""

    ordered: Units | None = None
    delivered: dict[str, Units] = field(default_factory=dict)
    cancelled: Units = NO_UNITS
    last: dict[str, int] = field(default_factory=dict)
    top: Seen | None = None
    ended: Seen | None = None
    how: str | None = None
    claims: tuple[Units, Units] = (NO_UNITS, NO_UNITS)  # delivered and cancelled, as the end says
    known: dict[str, Seen] = field(default_factory=dict)
    needs: list[Need] = field(default_factory=list)
    revision: int = 0
    moved: int = 0  # of a shelf: the last movement row that its published levels went past
    buckets: dict[str, int] = field(default_factory=dict)

    @property
    def arrived(self) -> Units:
        return Units.union(self.delivered.values())


_ENDS = {"OrderClosed": "closed", "OrderCancelled": "cancelled"}
# What happens once, whatever causes it: topic -> fields that name it (with the key).
_ONCE = {"OrderClosed": (), "OrderCancelled": (), "CustomerNotified": ("message_id",), "GoodsReceived": ()}
# What must have been there before: topic -> (the other topic, the field that names it).
_NEEDS = {
    "PriorityAssigned": ("OrderReceived", ""),
    "StockReserved": ("PriorityAssigned", ""),
    "TransferDispatched": ("TransferRequested", "transfer_id"),
    "TransferReceived": ("TransferRequested", "transfer_id"),
    "Packed": ("StockReserved", "fulfilment_order_id"),
    "Shipped": ("Packed", "parcel_id"),
    "Delivered": ("Shipped", "parcel_id"),
    "ShipmentLost": ("Shipped", "parcel_id"),
    "ParcelReturned": ("Shipped", "parcel_id"),
    "UnitsCancelled": ("CancelRequested", "request_id"),
    "CancelRefused": ("CancelRequested", "request_id"),
}
_NAMED_BY: dict[str, str] = dict(_NEEDS.values())

Found = tuple[Invariant, str]


def tell(story: Story, envelope: Envelope, seen: Seen, generation: int) -> list[Found]:
    """The story with one more event (one that was not told yet); what it breaks at once."""
    topic, event = envelope.row.topic, envelope.event
    found: list[Found] = []
    name = f"{envelope.service}|{seen.topic}"
    before = story.last.get(name)
    if overtaken(before, seen.sequence):
        found.append((Invariant.ORDER, f"emission {seen.sequence} came after {before}; expected them to rise"))
    else:
        story.last[name] = seen.sequence
    if seen.event_id not in (ids := ids_of(envelope)):
        known = " or ".join(sorted(ids))
        found.append((Invariant.ONCE, f"said under a new id; its cause and content give the id {known}"))
    found += _once(story, topic, event, seen)
    found += _units(story, event)
    if envelope.service == ORDER_INTAKE:
        found += _steps(story, topic, seen)
    if isinstance(event, OrderClosed):
        story.claims = (event.delivered, event.cancelled)
    elif isinstance(event, OrderCancelled):
        story.claims = (NO_UNITS, event.units)
    if topic in _ENDS:
        story.needs.append(Need(seen, "", generation))
    if isinstance(event, StockLevelChanged):
        found += [(Invariant.STOCK, text) for text in impossible(event)]
    if topic in _NEEDS:
        other, field_name = _NEEDS[topic]
        story.needs.append(Need(seen, _named(other, field_name, event), generation))
    if topic in _NAMED_BY:
        story.known.setdefault(_named(topic, _NAMED_BY[topic], event), seen)
    if "revision" in envelope.row.identity:
        found += _revision(story, event)
    return found


def _named(topic: str, field_name: str, event: Event) -> str:
    return f"{topic} {getattr(event, field_name)}" if field_name else topic


def _once(story: Story, topic: str, event: Event, seen: Seen) -> Iterator[Found]:
    if topic not in _ONCE:
        return
    name = " ".join(("once", topic, *(str(getattr(event, part)) for part in _ONCE[topic])))
    first = story.known.setdefault(name, seen)
    if first.event_id != seen.event_id:
        yield Invariant.ONCE, f"it was said before at {first.place}; expected once"


def _units(story: Story, event: Event) -> Iterator[Found]:
    if isinstance(event, OrderReceived):
        story.ordered = Units.union(line.units for line in event.lines) | (story.ordered or NO_UNITS)
    elif isinstance(event, UnitsCancelled):
        story.cancelled |= event.units
    elif isinstance(event, Delivered):
        before = story.delivered.get(event.parcel_id)
        if before is not None and before != event.units:
            yield Invariant.ONCE, f"{event.parcel_id} was delivered with {before} before; expected the same facts again"
        others = Units.union(units for parcel, units in story.delivered.items() if parcel != event.parcel_id)
        if twice := others & event.units:
            yield Invariant.ONCE, f"{twice} were delivered in another parcel; expected each unit once"
        story.delivered[event.parcel_id] = event.units
    elif isinstance(event, CarrierLoss):
        if event.parcel_id in story.delivered:
            end = "lost" if isinstance(event, ShipmentLost) else "returned"
            yield Invariant.STATE, f"{event.parcel_id} was delivered before it was {end}; expected one end"
        return
    else:
        return
    for text in unbalanced(event.order_id, story.ordered, story.arrived, story.cancelled, None):
        yield Invariant.STATE, f"{text}; expected each unit in one place"


def _steps(story: Story, topic: str, seen: Seen) -> Iterator[Found]:
    """Nothing that order-intake says of an order comes after its end. Its emission numbers tell what came first,
    whichever topic was read first."""
    if topic in _ENDS:
        if story.ended is not None and story.how != _ENDS[topic]:
            yield Invariant.STATE, f"the order was {story.how} at {story.ended.place}; expected one end"
        elif story.ended is None:
            story.ended, story.how = seen, _ENDS[topic]
            if story.top is not None and story.top.sequence > seen.sequence:
                yield Invariant.STATE, f"{story.top.place} came after this end; expected nothing after it"
    elif story.ended is not None and seen.sequence > story.ended.sequence:
        yield Invariant.STATE, f"the order was {story.how} at {story.ended.place}; expected nothing after it"
    if story.top is None or seen.sequence > story.top.sequence:
        story.top = seen


def _revision(story: Story, event: Any) -> Iterator[Found]:
    # A snapshot of master data may be said again; a level is said only when it has changed.
    if event.revision < story.revision + isinstance(event, StockLevelChanged):
        yield Invariant.STATE, f"revision {event.revision} came after {story.revision}; expected them to rise"
    story.revision = max(story.revision, event.revision)


def settled(story: Story, name: str, generation: int, *, whole: bool) -> list[tuple[Seen, Invariant, str]]:
    """Look for what was needed up to a generation, and forget those needs. `whole`: the topics were read from their very
    beginning, so that what was not seen never was there."""
    found: list[tuple[Seen, Invariant, str]] = []
    for need in [need for need in story.needs if need.generation <= generation]:
        story.needs.remove(need)
        if not whole and story.ordered is None:
            continue  # its beginning left the topics before anybody watched
        if need.wanted:
            if need.wanted not in story.known:
                text = f"there is no {need.wanted} of {name} before it; expected one"
                found.append((need.by, Invariant.STATE, text))
        else:
            found += [(need.by, Invariant.CLOSURE, text) for text in _closure(story, name)]
    return found


def _closure(story: Story, name: str) -> Iterator[str]:
    """An end says what the events before it said: each unit delivered or cancelled, and nothing else."""
    delivered, cancelled = story.claims
    for text in unbalanced(name, story.ordered, delivered, cancelled, story.how):
        yield f"{text}; expected every unit accounted for"
    if story.ordered is None:
        return  # cancelled before it was announced: nobody else ever saw its units
    if delivered != story.arrived:
        yield f"it ends with {delivered} delivered; expected {story.arrived}, as the deliveries say"
    if extra := cancelled - story.cancelled:
        yield f"it ends with {extra} cancelled; expected an answer of their custodian for each"
