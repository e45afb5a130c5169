"""Which warehouse serves which units: ship from one, split over two, transfer, or wait (D3, D4).

Every way to serve an order is a `Plan` with a price in *points*; the cheapest wins and says why. Points are an ordering,
not money. Distance: the nearest warehouse in the destination's country 0, another one there 3, one abroad that serves the
country 2, any other 10 (a border, a longer leg). Each further parcel costs 6, or 100 when all units must leave together.
A transfer leg costs 2 inside a country, 5 across a border, 12 when the promise leaves no time for it, and 2 more when
nothing of the order lies where it goes. Nothing is backordered while another active warehouse has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from expedite_events import Address, CarrierChanged, ConsideredRemedy, Remedy, WarehouseChanged

NEAREST, DOMESTIC, SERVES, FAR = 0.0, 3.0, 2.0, 10.0
PARCEL, PARCEL_TOGETHER = 6.0, 100.0
LEG_DOMESTIC, LEG_ABROAD, LEG_TIGHT, MOVE_ALL = 2.0, 5.0, 12.0, 2.0
_NO_OTHER = "no other warehouse has the missing units"

Need = Mapping[str, int]  # pieces by SKU
Take = dict[str, int]
Free = Callable[[str, str], int]  # (SKU, warehouse) -> pieces this order may take


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be configured. `backorder_days`: the estimate told to the customer, in working days, at most 3 (D4).
    `transfer_hours`: how long a transfer leg takes, door to door."""

    backorder_days: int = 2
    transfer_hours: float = 24.0

    MAX_DAYS = 3


@dataclass(frozen=True, slots=True)
class Site:
    """A warehouse as one destination sees it."""

    warehouse_id: str
    distance: float  # points
    country: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to serve a need. `direct` ships from where it lies; `transfers` move goods to `home` first; `short` is in
    no warehouse."""

    home: str
    direct: dict[str, Take] = field(default_factory=dict)  # by warehouse, home first
    transfers: dict[str, Take] = field(default_factory=dict)  # by sending warehouse
    short: Take = field(default_factory=dict)
    points: float = 0.0

    @property
    def kind(self) -> Remedy | None:
        """The remedy this plan applies to what one warehouse cannot serve; None when one serves all it can."""
        if self.transfers:
            return Remedy.TRANSFER
        if len(self.direct) > 1:
            return Remedy.SPLIT
        return Remedy.BACKORDER if self.short else None

    def explain(self) -> str:
        """The plan in one sentence."""
        parts = [f"{_total(take)} from {warehouse_id}" for warehouse_id, take in self.direct.items()]
        parts += [f"{_total(take)} moved from {sender} to {self.home}" for sender, take in self.transfers.items()]
        if self.short:
            parts.append(f"{_total(self.short)} in no warehouse")
        return f"{', '.join(parts)}: {self.points:g} points"


def sites(warehouses: Sequence[WarehouseChanged], to: Address) -> tuple[Site, ...]:
    """The active warehouses, nearest to the destination first."""
    country = to.country.upper()

    def distance(warehouse: WarehouseChanged) -> float:
        if warehouse.address.country.upper() == country:
            return NEAREST
        return SERVES if country in {c.upper() for c in warehouse.serves} else FAR

    def order(warehouse: WarehouseChanged) -> tuple[float, bool, str]:
        elsewhere = to.region is None or warehouse.address.region != to.region
        return distance(warehouse), elsewhere, warehouse.warehouse_id

    ranked = sorted((w for w in warehouses if w.active), key=order)
    out = []
    for i, warehouse in enumerate(ranked):
        points = distance(warehouse)
        further = i > 0 and points == NEAREST
        out.append(Site(warehouse.warehouse_id, DOMESTIC if further else points, warehouse.address.country.upper()))
    return tuple(sorted(out, key=lambda site: site.distance))


def plan(need: Need, free: Free, ranked: Sequence[Site], *, together: bool, tight: bool, held: frozenset[str]) -> Plan:
    """The cheapest plan. `together`: all units leave only when all are there; `tight`: the promise leaves no time for a
    transfer; `held`: warehouses where other units of the order already wait."""
    nearest = ranked[0]
    if all(free(sku, nearest.warehouse_id) >= n for sku, n in need.items()) and not (held - {nearest.warehouse_id}):
        return Plan(nearest.warehouse_id, {nearest.warehouse_id: dict(need)}, points=nearest.distance)
    if not held and not any(free(sku, site.warehouse_id) > 0 for sku in need for site in ranked):
        return Plan(nearest.warehouse_id, short=dict(need))
    return min(_plans(need, free, ranked, together, tight, held), key=lambda p: p[:3])[3]


def weigh(
    need: Need, free: Free, ranked: Sequence[Site], chosen: Plan, *, together: bool, tight: bool, held: frozenset[str]
) -> tuple[ConsideredRemedy, ...]:
    """Each remedy's best plan beside the chosen one, with the reason (D3)."""
    if not chosen.direct and not chosen.transfers:
        return _nothing_anywhere(chosen.home, _total(chosen.short))
    best: dict[Remedy, tuple[float, Plan]] = {}
    for points, _, _, candidate in _plans(need, free, ranked, together, tight, held):
        kind = candidate.kind
        if kind in (Remedy.TRANSFER, Remedy.SPLIT) and (kind not in best or points < best[kind][0]):
            best[kind] = (points, candidate)
    out: list[ConsideredRemedy] = []
    for kind in (Remedy.TRANSFER, Remedy.SPLIT):
        if kind not in best:
            out.append(ConsideredRemedy(remedy=kind, chosen=False, reason=_NO_OTHER))
            continue
        other = best[kind][1]
        taken = bool(chosen.transfers) if kind is Remedy.TRANSFER else len(chosen.direct) > 1
        shown = chosen if taken else other
        source = next(iter(shown.transfers)) if kind is Remedy.TRANSFER else list(shown.direct)[-1]
        amount = sum(map(_total, shown.transfers.values())) if kind is Remedy.TRANSFER else _total(shown.direct[source])
        reason = shown.explain() if taken else f"{other.explain()}, more than {chosen.points:g}"
        out.append(
            ConsideredRemedy(remedy=kind, warehouse_id=source, quantity=amount, chosen=taken, reason=reason)
        )  # fmt: skip
    return (*out, _waiting(chosen.home, _total(chosen.short)))


def _waiting(home: str, missing: int) -> ConsideredRemedy:
    return ConsideredRemedy(
        remedy=Remedy.BACKORDER,
        warehouse_id=home if missing else None,
        quantity=missing,
        chosen=bool(missing),
        reason="no warehouse has them" if missing else "not while a warehouse has the goods",
    )


@lru_cache(maxsize=1024)
def _nothing_anywhere(home: str, missing: int) -> tuple[ConsideredRemedy, ...]:
    """What is weighed where no warehouse has anything: the same for everybody who comes after the last piece."""
    others = (Remedy.TRANSFER, Remedy.SPLIT)
    return (
        *(ConsideredRemedy(remedy=kind, chosen=False, reason=_NO_OTHER) for kind in others),
        _waiting(home, missing),
    )


def _plans(
    need: Need, free: Free, ranked: Sequence[Site], together: bool, tight: bool, held: frozenset[str]
) -> list[tuple[float, int, int, Plan]]:
    out: list[tuple[float, int, int, Plan]] = []
    for i, home in enumerate(ranked):
        at_home, rest = _take(need, free, home.warehouse_id)
        if at_home or i == 0:
            # Moving everything to a warehouse that has nothing makes sense only for the nearest one.
            out.append((*_priced(home, None, at_home, {}, rest, free, ranked, together, tight, held, i, -1),))
        if not at_home or not rest:
            continue
        for j, second in enumerate(ranked):
            if j != i:
                there, left = _take(rest, free, second.warehouse_id)
                if there:
                    out.append(
                        (*_priced(home, second, at_home, there, left, free, ranked, together, tight, held, i, j),)
                    )
    return out


def _priced(
    home: Site, second: Site | None, at_home: Take, there: Take, rest: Take, free: Free, ranked: Sequence[Site],
    together: bool, tight: bool, held: frozenset[str], i: int, j: int,
) -> tuple[float, int, int, Plan]:  # fmt: skip
    direct = {home.warehouse_id: at_home} if at_home else {}
    if second is not None:
        direct[second.warehouse_id] = there
    skip = {home.warehouse_id, second.warehouse_id if second else ""}
    transfers: dict[str, Take] = {}
    left = rest
    while left:
        offers = [(w.warehouse_id, *_take(left, free, w.warehouse_id)) for w in ranked if w.warehouse_id not in skip]
        sender, taken, after = max(offers, key=lambda o: _total(o[1]), default=("", {}, left))
        if not taken:
            break
        transfers[sender], left = taken, after
        skip.add(sender)
    leaves_from = set(direct) | ({home.warehouse_id} if transfers else set()) | held
    parcels = len(leaves_from) - 1
    if transfers and at_home and not together:
        parcels += 1  # what is there leaves at once, what is moved follows alone
    distance = (home.distance if at_home or transfers else 0.0) + (second.distance if second else 0.0)
    countries = {site.warehouse_id: site.country for site in ranked}
    points = (
        distance
        + max(parcels, 0) * (PARCEL_TOGETHER if together else PARCEL)
        + sum(_leg(countries[sender], home.country, tight) for sender in transfers)
        + (MOVE_ALL if transfers and not at_home else 0.0)
    )
    return points, i, j, Plan(home.warehouse_id, direct, transfers, left, points)


def _leg(sender: str, receiver: str, tight: bool) -> float:
    if tight:
        return LEG_TIGHT
    return LEG_DOMESTIC if sender == receiver else LEG_ABROAD


def _take(need: Need, free: Free, warehouse_id: str) -> tuple[Take, Take]:
    """What the warehouse can give of a need, and what remains."""
    taken: Take = {}
    rest: Take = {}
    for sku, n in need.items():
        can = min(n, free(sku, warehouse_id))
        if can > 0:
            taken[sku] = can
        if n > can:
            rest[sku] = n - max(can, 0)
    return taken, rest


def _total(take: Mapping[str, int]) -> int:
    return sum(take.values())


def fastest_transit(carriers: Sequence[CarrierChanged], country: str) -> timedelta:
    """The quickest carrier leg to a country; zero when no carrier is known yet."""
    hours = [
        service.transit_hours
        for carrier in carriers
        if carrier.active
        for service in carrier.services
        if not service.countries or country in service.countries
    ]
    return timedelta(hours=min(hours, default=0))


def zone_of(name: str) -> ZoneInfo | None:
    """The time zone of an IANA name; None when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def estimate(now: datetime, days: int, warehouse: WarehouseChanged) -> datetime:
    """When backordered units may be expected: `days` working days of the warehouse from now, at most three (D4)."""
    zone = zone_of(warehouse.time_zone) or UTC
    working = set(warehouse.working_days) or set(range(7))
    moment, left = now.astimezone(zone), max(1, min(days, Policy.MAX_DAYS))
    for _ in range(366):
        moment += timedelta(days=1)
        if moment.weekday() in working and moment.date().isoformat() not in warehouse.holidays:
            left -= 1
            if left == 0:
                break
    return moment.astimezone(now.tzinfo)
