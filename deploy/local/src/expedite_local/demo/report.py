"""What a run of the demo came to: counts from the topics, which are the system's own word."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from expedite_events import (
    CustomerNotified,
    OrderBackordered,
    OrderCancelled,
    OrderClosed,
    OrderHeld,
    PickShort,
    SLABreached,
    TransferRequested,
)
from expedite_events.envelope import Envelope
from expedite_local.audit import every_event, parked_events
from expedite_local.state import State


async def counts(state: State, done: Counter[str], seconds: float) -> dict[str, Any]:
    """Counts of a finished run. Events are counted once per id, business facts once per business id, however often they
    were announced."""
    topics: Counter[str] = Counter()
    seen: set[Any] = set()
    facts: dict[str, set[Any]] = defaultdict(set)
    async for envelope in every_event(state):
        if envelope.id in seen:
            continue
        seen.add(envelope.id)
        topics[envelope.topic] += 1
        for name, identity in _facts(envelope):
            facts[name].add(identity)
    accepted = sum(n for name, n in done.items() if name.startswith("accepted"))
    names = ("held", "completed", "cancelled", "transfers", "backorders", "pick_shorts", "lost_parcels", "returned_parcels",
             "refused_cancels", "breaches", "messages")  # fmt: skip
    return {
        "accepted": accepted,
        **{name: len(facts[name]) for name in names},
        "parked": await parked_events(state),
        "seconds": round(seconds, 1),
        "orders_per_second": round(accepted / seconds, 2) if seconds else 0.0,
        "world": dict(sorted(done.items())),
        "events": dict(sorted(topics.items())),
    }


def _facts(envelope: Envelope) -> list[tuple[str, Any]]:
    event = envelope.event
    if isinstance(event, OrderHeld):
        return [("held", event.order_id)]
    if isinstance(event, OrderClosed):
        return [("completed", event.order_id)]
    if isinstance(event, OrderCancelled):
        return [("cancelled", event.order_id)]
    if isinstance(event, TransferRequested):
        return [("transfers", event.transfer_id)]
    if isinstance(event, OrderBackordered):
        return [("backorders", (event.order_id, event.units))]
    if isinstance(event, PickShort):
        return [("pick_shorts", (event.fulfilment_order_id, event.units))]
    if isinstance(event, SLABreached):
        return [("breaches", (event.subject, event.stage, event.level))]
    if isinstance(event, CustomerNotified):
        return [("messages", event.message_id)]
    if envelope.row.topic == "ShipmentLost":
        return [("lost_parcels", event.parcel_id)]  # type: ignore[attr-defined]
    if envelope.row.topic == "ParcelReturned":
        return [("returned_parcels", event.parcel_id)]  # type: ignore[attr-defined]
    if envelope.row.topic == "CancelRefused":
        return [("refused_cancels", (event.request_id, event.units))]  # type: ignore[attr-defined]
    return []


def report(outcome: dict[str, Any]) -> str:
    """The counts as people read them."""
    rows = [(name.replace("_", " "), value) for name, value in outcome.items() if isinstance(value, int | float)]
    width = max(len(name) for name, _ in rows)
    text = "\n".join(f"  {name:<{width}}  {value:>10,}" for name, value in rows)
    events = sum(outcome["events"].values())
    return f"{text}\n  {'events':<{width}}  {events:>10,} on {len(outcome['events'])} topics"
