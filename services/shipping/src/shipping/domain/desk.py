"""What the carrier desk knows besides the orders: carriers, warehouses with their cut-offs, products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec

from expedite_events import CarrierChanged, CarrierService, Decision, ProductChanged, Value, WarehouseChanged
from expedite_events.base import Address, LineGoods
from expedite_events.units import Units
from shipping.domain.quotes import Quote, Quotes
from shipping.domain.selection import Offer

OFFERS_REMEMBERED = 2_000
CUT_OFF_HORIZON_DAYS = 21  # longer than any row of holidays


class Carrier(Value):
    """A carrier as its planner describes it. `base_url` is where its API is: rates, labels and voids are below it.
    `batch=False`: it takes one request at a time."""

    carrier_id: str
    name: str
    base_url: str
    webhook_format: str = "native"
    services: tuple[CarrierService, ...] = ()
    reliability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    names: dict[str, str] = msgspec.field(default_factory=dict)
    revision: int = 0
    active: bool = True
    batch: bool = True

    def serves(self, country: str) -> bool:
        """Some service of it goes there. A carrier that lists no services answers that with its rates."""
        return not self.services or any(not s.countries or country in s.countries for s in self.services)


def change(known: Carrier | None, wanted: Carrier) -> Decision[Carrier]:
    """A planner's word about a carrier: announced when it says something new."""
    revision = known.revision if known else 0
    if known is not None and known == wanted.put(revision=revision):
        return Decision(known)
    carrier = wanted.put(revision=revision + 1)
    event = CarrierChanged(
        carrier_id=carrier.carrier_id, name=carrier.name, services=carrier.services, reliability=carrier.reliability,
        webhook_format=carrier.webhook_format, names=carrier.names, revision=carrier.revision, active=carrier.active,
    )  # fmt: skip
    return Decision(carrier, (event,))


@dataclass(frozen=True)
class Desk:
    """Master data for decisions about labels; a missing warehouse or product is no obstacle. What was once looked up is
    remembered: thousands of parcels wait for the same few trucks. `quotes` are rates that still hold."""

    carriers: tuple[Carrier, ...] = ()
    sites: Mapping[str, WarehouseChanged] = field(default_factory=dict)
    products: Mapping[str, ProductChanged] = field(default_factory=dict)
    quotes: Quotes = field(default_factory=dict)
    _trucks: dict[tuple[str, str], tuple[datetime, datetime]] = field(default_factory=dict, repr=False, compare=False)

    _asked: dict[tuple[str, tuple[str, ...]], tuple[dict[str, Any], ...]] = field(
        default_factory=dict, repr=False, compare=False
    )
    _senders: dict[str, dict[str, str]] = field(default_factory=dict, repr=False, compare=False)
    _offers: dict[tuple[Quote, str], tuple[datetime, datetime, tuple[Offer, ...]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def asked(self, country: str, excluded: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
        """Carriers worth asking for a price: how a performer finds each, and which of our records of it that is."""
        known = self._asked.get((country, excluded))
        if known is None:
            known = self._asked[country, excluded] = tuple(
                reached(c) for c in self.carriers if c.active and c.carrier_id not in excluded and c.serves(country)
            )
        return known

    @cached_property
    def reliability(self) -> Mapping[str, float]:
        """The share of its parcels that a carrier brings on time."""
        return {carrier.carrier_id: carrier.reliability for carrier in self.carriers}

    def leaves_at(self, warehouse_id: str, carrier_id: str, now: datetime) -> datetime:
        """When the carrier takes the parcel: its next cut-off at this warehouse, or now when it has none there."""
        looked, leaves = self._trucks.get((warehouse_id, carrier_id), (None, now))
        if looked is not None and looked <= now <= leaves:
            return leaves
        site = self.sites.get(warehouse_id)
        found = next_cut_off(site, carrier_id, now) if site else None
        if found is None:
            return now
        self._trucks[warehouse_id, carrier_id] = (now, found)
        return found

    def sender(self, warehouse_id: str) -> dict[str, str]:
        """The address of a warehouse as carriers are told it."""
        known = self._senders.get(warehouse_id)
        if known is None:
            site = self.sites.get(warehouse_id)
            known = self._senders[warehouse_id] = told(site.address) if site else {"line1": warehouse_id}
        return known

    def offers_on(
        self, quote: Quote, warehouse_id: str, now: datetime, offer: Callable[..., Offer]
    ) -> tuple[Offer, ...]:
        """A quote's offers from a warehouse: the same until the next truck leaves. `offer` makes one of a rate."""
        looked, leaves, offers = self._offers.get((quote, warehouse_id), (None, now, ()))
        if looked is not None and looked <= now <= leaves:
            return offers
        if len(self._offers) >= OFFERS_REMEMBERED:
            self._offers.clear()
        offers = tuple(offer(rate, warehouse_id, self, now) for rate in quote.rates)
        leaves = min((o.leaves_at for o in offers), default=now)
        self._offers[quote, warehouse_id] = (now, leaves, offers)
        return offers

    def handling(self, goods: tuple[LineGoods, ...]) -> tuple[str, ...]:
        """The product classes in a box that need care: valuable, fragile, perishable …"""
        found = {product.product_class for g in goods if (product := self.products.get(g.sku)) is not None}
        found.discard("standard")
        return tuple(sorted(found)) if found else ()

    def weight_of(self, goods: tuple[LineGoods, ...], units: Units) -> int:
        """Grams of these units, as far as their products are known."""
        if not units:
            return 0
        sku_of = {g.line: g.sku for g in goods}
        known = {line: self.products[sku].weight_g for line, sku in sku_of.items() if sku in self.products}
        return sum(known.get(line, 0) * len(units.on_line(line)) for line in units.lines)


def reached(carrier: Carrier) -> dict[str, Any]:
    """How a performer finds a carrier, and which of our records of it that is."""
    told = {"carrier_id": carrier.carrier_id, "base_url": carrier.base_url, "revision": carrier.revision}
    return told if carrier.batch else told | {"batch": False}


def told(address: Address) -> dict[str, str]:
    """An address as carriers are told it: without what is not there."""
    return {name: value for name, value in msgspec.structs.asdict(address).items() if value}


def next_cut_off(site: WarehouseChanged, carrier_id: str, now: datetime) -> datetime | None:
    """The first moment from now on at which the carrier's truck leaves this warehouse, in its local working days; None
    when the warehouse names no cut-off for the carrier."""
    times = [c.local_time for c in site.cut_offs if c.carrier_id == carrier_id]
    if not times or not site.working_days:
        return None
    zone = ZoneInfo(site.time_zone)
    today = now.astimezone(zone).date()
    for ahead in range(CUT_OFF_HORIZON_DAYS):
        day = today + timedelta(days=ahead)
        if day.weekday() not in site.working_days or day.isoformat() in site.holidays:
            continue
        for text in sorted(times):
            hour, minute = (int(part) for part in text.split(":"))
            leaves = datetime(day.year, day.month, day.day, hour % 24, minute, tzinfo=zone)
            if leaves >= now:
                return leaves.astimezone(now.tzinfo)
    return None
