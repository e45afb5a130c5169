"""Rates that hold for other parcels too: who sends many parcels down a lane does not ask for each of them (F1).

A carrier says with its rates for which parcels they hold: a bracket of weights and the beginning of the postcodes. All
else that a carrier is asked with must be the same: sender, country, box, handling, day, and the carriers themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Lane = tuple[Any, ...]
Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Quote:
    """What all carriers that were asked answered, and for which parcels of the lane."""

    lane: Lane
    weight_from_g: int
    weight_to_g: int
    postcodes: str
    rates: tuple[Data, ...]
    quoted_at: datetime

    def age(self, now: datetime) -> str:
        """How long ago the carriers said so, in words."""
        seconds = max(0, round((now - self.quoted_at).total_seconds()))
        return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


Quotes = Mapping[Lane, tuple[Quote, ...]]


def lane_of(request: Data) -> Lane:
    """What a price depends on besides weight and postcode: whom we asked, and what else they were told."""
    asked = tuple([(c["carrier_id"], c["base_url"], c.get("revision", 0)) for c in request["carriers"]])
    shipment = request["shipment"]
    return (
        asked, tuple(shipment["from"].values()), shipment["to"].get("country"), shipment["box"],
        tuple(shipment["handling"]), shipment["deliver_by"][:10],
    )  # fmt: skip


def quote_of(request: Data, answer: Data, now: datetime) -> Quote | None:
    """The quote in an answer; None when it holds for its own parcel only, or not even for that."""
    holds, rates = answer.get("holds_for"), answer["rates"]
    if not holds or not rates:
        return None
    quote = Quote(
        lane_of(request), holds["weight_from_g"], holds["weight_to_g"], _bare(holds["postcodes"]), tuple(rates), now
    )
    return quote if _covers(quote, request["shipment"]) else None


def find(quotes: Quotes, request: Data) -> Quote | None:
    """The quote that answers a request, when there is one."""
    if not quotes:
        return None
    shipment = request["shipment"]
    weight_g = shipment["weight_g"]
    for quote in quotes.get(lane_of(request), ()):  # a lane has many brackets of weight: that is looked at first
        if quote.weight_from_g <= weight_g <= quote.weight_to_g and _reaches(quote, shipment):
            return quote
    return None


def _covers(quote: Quote, shipment: Data) -> bool:
    return quote.weight_from_g <= shipment["weight_g"] <= quote.weight_to_g and _reaches(quote, shipment)


def _reaches(quote: Quote, shipment: Data) -> bool:
    return not quote.postcodes or _bare(shipment["to"].get("postcode", "")).startswith(quote.postcodes)


def _bare(postcode: str) -> str:
    """A postcode however it is written."""
    return "".join(postcode.split()).upper()
