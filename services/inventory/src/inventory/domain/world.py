"""What a decision may look at besides its order: the locked shelves, the warehouses, the carriers, the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from expedite_events import Address, CarrierChanged, NotYet, WarehouseChanged
from inventory.domain.order import Content
from inventory.domain.sourcing import Policy, Site, estimate, fastest_transit, sites
from inventory.domain.stock import StockBook

Rank = tuple[int, float, datetime]  # Urgency.sort_key


@dataclass(frozen=True, slots=True)
class Waiting:
    """A backordered quantity of another order, for the question who comes first."""

    order_id: str
    rank: Rank
    quantity: int


@dataclass
class World:
    """One transaction's surroundings. `ahead` holds, for SKUs whose free stock is contested (free and backordered at once,
    until the next fill), who waits for them."""

    stock: StockBook
    warehouses: tuple[WarehouseChanged, ...]
    now: datetime
    policy: Policy = field(default_factory=Policy)
    carriers: tuple[CarrierChanged, ...] = ()
    ahead: Mapping[str, Sequence[Waiting]] = field(default_factory=dict)
    _sites: dict[tuple[str, str | None], tuple[Site, ...]] = field(default_factory=dict)
    _regions: frozenset[str | None] | None = None  # where a warehouse is: others make no difference
    _transit: dict[str, timedelta] = field(default_factory=dict)
    _expected: dict[str, datetime] = field(default_factory=dict)

    def sites(self, to: Address) -> tuple[Site, ...]:
        """Active warehouses, nearest first. Raises `NotYet` while none is loaded: the order waits for master data."""
        if self._regions is None:
            self._regions = frozenset(w.address.region for w in self.warehouses)
        key = (to.country, to.region if to.region in self._regions else None)
        found = self._sites.get(key)
        if found is None:
            found = self._sites[key] = sites(self.warehouses, to)
        if not found:
            raise NotYet("no active warehouse is known yet: load warehouses with PUT /warehouses/{id}")
        return found

    def warehouse(self, warehouse_id: str) -> WarehouseChanged | None:
        return next((w for w in self.warehouses if w.warehouse_id == warehouse_id), None)

    def expected(self, home: WarehouseChanged) -> datetime:
        """When what is backordered now may be expected in a warehouse (D4)."""
        found = self._expected.get(home.warehouse_id)
        if found is None:
            found = self._expected[home.warehouse_id] = estimate(self.now, self.policy.backorder_days, home)
        return found

    def tight(self, content: Content) -> bool:
        """Whether the promise leaves no time to move goods between warehouses first."""
        country = content.brief.customer.ship_to.country
        transit = self._transit.get(country)
        if transit is None:
            transit = self._transit[country] = fastest_transit(self.carriers, country)
        return content.urgency.promise_by - self.now - transit < timedelta(hours=self.policy.transfer_hours)

    def contested(self, skus: Sequence[str]) -> list[str]:
        """The SKUs that have free stock and a backorder at once: a newcomer must not overtake who waits (D5)."""
        names = [w.warehouse_id for w in self.warehouses]
        stock = self.stock
        return [s for s in skus if stock.backordered(s, names) and any(stock.free(s, w) for w in names)]

    def free_for(
        self, order_id: str, rank: Rank, skus: Sequence[str], ranked: Sequence[Site]
    ) -> dict[tuple[str, str], int]:
        """What this order may take, by (SKU, warehouse): free stock less what backorders that come first wait for. Their
        share is kept back in the warehouses farthest from this order."""
        out: dict[tuple[str, str], int] = {}
        for sku in skus:
            behind = sum(w.quantity for w in self.ahead.get(sku, ()) if w.order_id != order_id and w.rank <= rank)
            for site in reversed(ranked):
                free = self.stock.free(sku, site.warehouse_id)
                kept = min(free, behind)
                behind -= kept
                out[sku, site.warehouse_id] = free - kept
        return out
