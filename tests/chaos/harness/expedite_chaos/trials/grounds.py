"""Kinds of systems that several trials share."""

from __future__ import annotations

from expedite_chaos.ground import Ground, armed, together
from expedite_chaos.shims import Steered

WORKERS = ("order-intake", "prioritizer", "inventory", "fulfillment", "shipping", "notifier")
POINTED = tuple(f"{service}-standard" for service in WORKERS)
FSYNC = Steered("slow_fsync")
CLOCKS = Steered("wall_clock", "inventory", "fulfillment", "prioritizer")

DOUBLED = Ground(
    "two workers each, failpoints, a slow disk and wrong clocks at will",
    scale=(("order-intake", 2), ("inventory", 2), ("prioritizer", 2)),
    fit=together(
        armed(*POINTED, "order-intake-api", "inventory-express", "fulfillment-express"), FSYNC.fit, CLOCKS.fit
    ),
)
