"""Kinds of systems that several trials share."""

from __future__ import annotations

from expedite_chaos.ground import Ground, armed, together
from expedite_chaos.routes import routed
from expedite_chaos.shims import Steered

WORKERS = ("order-intake", "prioritizer", "inventory", "fulfillment", "shipping", "control-tower", "notifier")
POINTED = tuple(f"{service}-standard" for service in WORKERS)
FSYNC = Steered("slow_fsync")
CLOCKS = Steered("wall_clock", "order-intake", "inventory", "fulfillment", "prioritizer")

STOCK, INTAKE, ENTRANCE = "inventory-*", "order-intake-*", "order-intake-api"
"""Processes that reach a server through a link of their own."""
_TWICE = ("twice", "shuffled")

DOUBLED = Ground(
    "two workers each, failpoints, a slow disk and a bad link of the intake API at will",
    scale=(("order-intake", 2), ("inventory", 2), ("prioritizer", 2)),
    fit=together(
        armed(*POINTED, "order-intake-api", "inventory-express", "fulfillment-express"),
        FSYNC.fit,
        routed(postgres=(ENTRANCE,)),
    ),
)
LINKED = Ground(
    "inventory and order intake behind links that can go bad",
    fit=routed(postgres=(STOCK, ENTRANCE), kafka=(STOCK, INTAKE)),
)
STAMMER = Ground(
    "relays that say everything twice, keys interleaved at random, and wrong clocks at will",
    # A preloaded library keeps processes out of the nursery: they start slower, which is no matter here.
    fit=together(routed(altered={"*-standard": _TWICE, "*-express": _TWICE}), CLOCKS.fit),
)
