"""The master data the prioritizer works with: places, carriers, products, people (copies, and the people it owns)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from msgspec.structs import asdict

from expedite_events import (
    CarrierChanged,
    CarrierService,
    PersonChanged,
    ProductChanged,
    Reason,
    Stage,
    Tier,
    Value,
    WarehouseChanged,
)
from prioritizer.domain.worktime import WorkCalendar

NOBODY = "unassigned"  # the owner of a breach when no active person owns the stage


class Warehouse(Value):
    """A place with working hours."""

    warehouse_id: str
    revision: int
    active: bool
    country: str
    serves: tuple[str, ...]
    calendar: WorkCalendar

    @classmethod
    def of(cls, event: WarehouseChanged) -> Warehouse:
        """ValueError when the calendar is not one."""
        return cls(
            warehouse_id=event.warehouse_id, revision=event.revision, active=event.active,
            country=event.address.country, serves=event.serves, calendar=WorkCalendar.of(event),
        )  # fmt: skip


class Carrier(Value):
    """What carriers can do, as far as a promise depends on it."""

    carrier_id: str
    revision: int
    active: bool
    services: tuple[CarrierService, ...]

    @classmethod
    def of(cls, event: CarrierChanged) -> Carrier:
        return cls(
            carrier_id=event.carrier_id, revision=event.revision, active=event.active, services=event.services
        )  # fmt: skip


class Product(Value):
    """A product's class: perishable, valuable, …"""

    sku: str
    revision: int
    product_class: str

    @classmethod
    def of(cls, event: ProductChanged) -> Product:
        return cls(sku=event.sku, revision=event.revision, product_class=event.product_class)


Plan = tuple[dict[Stage, datetime], datetime, Reason]
"""By when each stage must be done, the promise, and where the promise comes from."""


@dataclass(frozen=True, slots=True)
class World:
    """Active places and carriers, and the class of products by SKU. A new one is made when any of them changes, so
    answers are kept."""

    warehouses: Sequence[Warehouse] = ()
    carriers: Sequence[Carrier] = ()
    classes: Mapping[str, str] = field(default_factory=dict)
    plans: dict[tuple[Tier, datetime, str], Plan] = field(default_factory=dict, repr=False, compare=False)
    _nearest: dict[str, Warehouse | None] = field(default_factory=dict, repr=False, compare=False)
    _transit: dict[str, timedelta] = field(default_factory=dict, repr=False, compare=False)
    _calendars: dict[str | None, WorkCalendar | None] = field(default_factory=dict, repr=False, compare=False)

    def nearest(self, country: str) -> Warehouse | None:
        """The warehouse that says it serves the country, else one in it, else the first by id; None without any."""
        if country not in self._nearest:
            self._nearest[country] = self._find_nearest(country)
        return self._nearest[country]

    def _find_nearest(self, country: str) -> Warehouse | None:
        ordered = sorted(self.warehouses, key=lambda w: w.warehouse_id)
        for near in (lambda w: country in w.serves, lambda w: country == w.country, lambda w: True):
            for warehouse in ordered:
                if near(warehouse):
                    return warehouse
        return None

    def calendar_of(self, warehouse_id: str | None) -> WorkCalendar | None:
        """The working hours of a place; None (every hour counts) when it is not known."""
        if warehouse_id not in self._calendars:
            found = next((w.calendar for w in self.warehouses if w.warehouse_id == warehouse_id), None)
            self._calendars[warehouse_id] = found
        return self._calendars[warehouse_id]

    def transit(self, country: str) -> timedelta:
        """Door to door with the fastest service that goes there; zero when no carrier is known."""
        if country not in self._transit:
            hours = [
                service.transit_hours
                for carrier in self.carriers
                for service in carrier.services
                if not service.countries or country in service.countries
            ]
            self._transit[country] = timedelta(hours=min(hours, default=0))
        return self._transit[country]

    def knowing(self, classes: Mapping[str, str]) -> World:
        """The same world with these products' classes."""
        return replace(self, classes=classes)


class Person(Value):
    """Someone who owns stages, or whom others report to."""

    person_id: str
    name: str
    email: str
    roles: tuple[str, ...] = ()
    superior: str | None = None
    stages: tuple[Stage, ...] = ()
    warehouses: tuple[str, ...] = ()  # empty: all
    language: str = "en"
    active: bool = True

    def changed(self) -> PersonChanged:
        return PersonChanged(**asdict(self))


People = Mapping[str, Person]


def owner_of(people: People, stage: Stage, warehouse_id: str | None, named: str | None = None) -> str:
    """Who answers for a stage: the person the event named, if we know them; else an active person who owns the stage,
    one of that very warehouse before one of all; else the team the event named; else nobody."""
    known = people.get(named) if named else None
    if known and known.active:
        return known.person_id
    fitting = [
        person
        for person in people.values()
        if person.active and stage in person.stages and (not person.warehouses or warehouse_id in person.warehouses)
    ]
    best = min(fitting, key=lambda p: (not p.warehouses, p.person_id), default=None)
    return best.person_id if best else named or NOBODY


def next_above(people: People, told: Sequence[str]) -> str | None:
    """The next person up from the last one told: their superior, or the superior's if that one is away. Nobody is told
    twice, so a circle of superiors ends."""
    at = people.get(told[-1])
    seen = set(told)
    while at and at.superior and at.superior not in seen:
        seen.add(at.superior)
        at = people.get(at.superior)
        if at and at.active:
            return at.person_id
    return None


def circle(people: People, person: Person) -> bool:
    """Whether `person`, as given, would report to themselves over any number of superiors."""
    at, seen = person.superior, {person.person_id}
    while at:
        if at in seen:
            return True
        seen.add(at)
        above = people.get(at)
        at = above.superior if above else None
    return False
