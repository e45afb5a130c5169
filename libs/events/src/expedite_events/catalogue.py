"""The one table of events, as data.

Everything else — JSON Schemas, AsyncAPI, topics, routing, docs, the saga diagram, contract tests — is generated from
this table or checked against it. Wire names are written out: renaming a Python class must not change the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from typing import Any

from expedite_events import fulfillment as f
from expedite_events import intake as i
from expedite_events import inventory as v
from expedite_events import notification as n
from expedite_events import priority as p
from expedite_events import shipping as s
from expedite_events import tower as t
from expedite_events.base import Event, Stage
from expedite_events.value import reader

ORDER_INTAKE, PRIORITIZER, INVENTORY = "order-intake", "prioritizer", "inventory"
FULFILLMENT, SHIPPING, NOTIFIER, CONTROL_TOWER = "fulfillment", "shipping", "notifier", "control-tower"
SERVICES = (ORDER_INTAKE, PRIORITIZER, INVENTORY, FULFILLMENT, SHIPPING, NOTIFIER, CONTROL_TOWER)


class Lane(StrEnum):
    """Kafka has no priorities, so urgent work has topics of its own (design section 5)."""

    STANDARD = "standard"
    EXPRESS = "express"


class Routing(StrEnum):
    """Which topics an event has."""

    TWIN = "twin"  # a standard and an express topic, chosen per order
    EXPRESS = "express"  # express only: change requests and their answers overtake everything
    STANDARD = "standard"  # no twin: nobody waits for it


@dataclass(frozen=True)
class Hears:
    """What one consumer takes of an event, by an attribute of its headers: only these values, or all but these. The rest
    is dropped before anybody parses it."""

    service: str
    attribute: str
    only: tuple[str, ...] = ()
    but: tuple[str, ...] = ()

    @cached_property
    def header(self) -> str:
        return f"ce_{self.attribute}"

    def takes(self, value: str) -> bool:
        return value in self.only if self.only else value not in self.but

    def __str__(self) -> str:
        return f"{self.attribute} {'only ' + ', '.join(self.only) if self.only else 'not ' + ', '.join(self.but)}"


@dataclass(frozen=True, eq=False)
class Row:
    """One event of the catalogue. `owners` has several names only for the custodian's answers. `identity` names the
    fields that, with the key, make an emission of one cause unique. `custody` is "from -> to" when units change hands.
    `starts`/`stops` are the stage clocks this event moves. `attributes` are fields that also travel as CloudEvents
    extension attributes (name, path of the field), so that consumers can choose without parsing: `hears`."""

    event: type[Event]
    topic: str
    owners: tuple[str, ...]
    consumers: tuple[str, ...]  # besides the control tower, which hears all but its own
    meaning: str
    key: tuple[str, ...] = ("order_id",)
    identity: tuple[str, ...] = ()
    routing: Routing = Routing.TWIN
    compacted: bool = False
    custody: str | None = None
    compensation: str | None = None
    starts: tuple[Stage, ...] = ()
    stops: tuple[Stage, ...] = ()
    version: int = 1
    attributes: tuple[tuple[str, str], ...] = ()
    hears: tuple[Hears, ...] = ()

    def ce_type(self, service: str) -> str:
        """CloudEvents type, e.g. ``expedite.inventory.StockReserved.v1``."""
        return f"expedite.{service}.{self.topic}.v{self.version}"

    def topic_on(self, lane: Lane) -> str:
        """The topic's name on a lane; always-express and no-twin events ignore the asked lane."""
        return self._express if self.lane_on(lane) is Lane.EXPRESS else self.topic

    def lane_on(self, lane: Lane) -> Lane:
        """The lane it takes when another is asked for."""
        if self.routing is Routing.TWIN:
            return lane
        return Lane.EXPRESS if self.routing is Routing.EXPRESS else Lane.STANDARD

    @cached_property
    def _express(self) -> str:
        return f"{self.topic}.express"

    def hears_of(self, service: str) -> Hears | None:
        """The choice of a consumer that does not take every event of this kind."""
        return self._choices.get(service)

    @cached_property
    def _choices(self) -> dict[str, Hears]:
        return {choice.service: choice for choice in self.hears}

    def heard(self, service: str, headers: Mapping[str, bytes]) -> bool:
        """Whether a consumer takes the event with these headers. What does not say the attribute is taken."""
        choice = self.hears_of(service)
        value = headers.get(choice.header) if choice else None
        return choice is None or value is None or choice.takes(value.decode("utf-8", "replace"))

    @cached_property
    def topics(self) -> tuple[str, ...]:
        both = dict.fromkeys((self.topic_on(Lane.STANDARD), self.topic_on(Lane.EXPRESS)))
        return tuple(both)

    @cached_property
    def key_of(self) -> Callable[[Event], str]:
        """The Kafka key of an event: the order id, or the snapshot's whole identity."""
        found: Callable[[Event], Any] = attrgetter(*self.key)
        return found if len(self.key) == 1 else lambda event: "|".join(found(event))

    @cached_property
    def read(self) -> Callable[[bytes], Event]:
        """The event of its JSON; raises `Unreadable`."""
        return reader(self.event).decode

    @cached_property
    def identity_paths(self) -> tuple[tuple[str, ...], ...]:
        """The identity fields as chains of attribute names."""
        return tuple(tuple(path.split(".")) for path in self.identity)

    @cached_property
    def attribute_paths(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Header name and chain of attribute names of each extension attribute."""
        return tuple((f"ce_{name}", tuple(path.split("."))) for name, path in self.attributes)

    @cached_property
    def hearers(self) -> tuple[str, ...]:
        """Every service that consumes this event."""
        extra = () if CONTROL_TOWER in self.owners or CONTROL_TOWER in self.consumers else (CONTROL_TOWER,)
        return self.consumers + extra


_ALL_WORKERS = (PRIORITIZER, INVENTORY, FULFILLMENT, SHIPPING)
_CUSTODIANS = (INVENTORY, FULFILLMENT, SHIPPING)

CATALOGUE: tuple[Row, ...] = (
    Row(i.OrderReceived, "OrderReceived", (ORDER_INTAKE,), (PRIORITIZER, NOTIFIER),
        "A verified order enters the pool.", identity=("order_version",),
        custody="order-intake -> inventory (through the prioritizer, which never holds units)",
        compensation="CancelRequested", stops=(Stage.AUDIT,), starts=(Stage.STOCK_LOCK,)),
    Row(i.OrderHeld, "OrderHeld", (ORDER_INTAKE,), (*_ALL_WORKERS, NOTIFIER),
        "Work stops until every hold is released: needs-info, review, unpaid.", identity=("hold_id",),
        routing=Routing.EXPRESS, compensation="OrderHoldReleased", starts=(Stage.AUDIT,)),
    Row(i.OrderHoldReleased, "OrderHoldReleased", (ORDER_INTAKE,), (*_ALL_WORKERS, NOTIFIER),
        "One hold ended; work goes on when it was the last.", identity=("hold_id",), routing=Routing.EXPRESS),
    Row(i.CancelRequested, "CancelRequested", (ORDER_INTAKE,), _ALL_WORKERS,
        "Which units shall not be delivered, and why.", identity=("request_id",), routing=Routing.EXPRESS),
    Row(v.UnitsCancelled, "UnitsCancelled", _CUSTODIANS, (ORDER_INTAKE, INVENTORY, NOTIFIER),
        "The custodian's yes: these units will not be delivered.",
        identity=("request_id", "container_id", "units"), routing=Routing.EXPRESS, custody="custodian -> nobody"),
    Row(v.CancelRefused, "CancelRefused", _CUSTODIANS, (ORDER_INTAKE, PRIORITIZER, INVENTORY, NOTIFIER),
        "The custodian's no: too late for these units.",
        identity=("request_id", "container_id", "units"), routing=Routing.EXPRESS),
    Row(i.OrderCancelled, "OrderCancelled", (ORDER_INTAKE,), (*_ALL_WORKERS, NOTIFIER),
        "Terminal: every unit was cancelled.", stops=tuple(Stage)),
    Row(i.OrderClosed, "OrderClosed", (ORDER_INTAKE,), (*_ALL_WORKERS, NOTIFIER),
        "Terminal: every unit is accounted for and the customer or the clock confirmed.", stops=tuple(Stage)),
    Row(p.PriorityAssigned, "PriorityAssigned", (PRIORITIZER,), (INVENTORY, FULFILLMENT, SHIPPING, NOTIFIER),
        "Tier, score, reasons and stage deadlines; a higher revision overtakes.", identity=("urgency.revision",),
        # The first assignment travels on with the work itself: only a changed one is news to those who wait for work.
        attributes=(("revision", "urgency.revision"),),
        hears=tuple(Hears(service, "revision", but=("1",)) for service in (FULFILLMENT, SHIPPING, NOTIFIER))),
    Row(p.RaiseRequested, "RaiseRequested", (PRIORITIZER,), (ORDER_INTAKE,),
        "An order not seen yet was raised: intake announces it again on the express lane.", routing=Routing.EXPRESS),
    Row(p.SLABreached, "SLABreached", (PRIORITIZER,), (NOTIFIER, SHIPPING),
        "A stage is over its deadline; owner first, then the superior.", identity=("subject", "stage", "level")),
    Row(p.PersonChanged, "PersonChanged", (PRIORITIZER,), (NOTIFIER, FULFILLMENT),
        "A person, their roles and whom they report to.", key=("person_id",), routing=Routing.STANDARD, compacted=True),
    Row(v.StockReserved, "StockReserved", (INVENTORY,), (FULFILLMENT, PRIORITIZER, NOTIFIER),
        "A fulfilment order: pick these units in this warehouse now.", identity=("fulfilment_order_id",),
        custody="inventory -> fulfillment", compensation="UnitsCancelled or PickShort",
        stops=(Stage.STOCK_LOCK,), starts=(Stage.PREPARE,)),
    Row(v.StockShort, "StockShort", (INVENTORY,), (PRIORITIZER, NOTIFIER),
        "Units the best warehouse cannot serve, remedies weighed and chosen.", identity=("units", "chosen")),
    Row(v.TransferRequested, "TransferRequested", (INVENTORY,), (FULFILLMENT, PRIORITIZER),
        "Move pegged units from one warehouse to another.", identity=("transfer_id",),
        compensation="goods become available where they arrive when the order died"),
    Row(v.OrderBackordered, "OrderBackordered", (INVENTORY,), (NOTIFIER, PRIORITIZER),
        "No stock anywhere: units wait for receipts in priority order.", identity=("units",)),
    Row(v.StockLevelChanged, "StockLevelChanged", (INVENTORY,), (),
        "Level per SKU and warehouse, for BI.", key=("sku", "warehouse_id"), identity=("revision",),
        routing=Routing.STANDARD, compacted=True),
    Row(v.ProductChanged, "ProductChanged", (INVENTORY,), (ORDER_INTAKE, PRIORITIZER, FULFILLMENT, SHIPPING),
        "A product as every station needs to know it.", key=("sku",), identity=("revision",),
        routing=Routing.STANDARD, compacted=True),
    Row(v.WarehouseChanged, "WarehouseChanged", (INVENTORY,), (PRIORITIZER, FULFILLMENT, SHIPPING),
        "A warehouse: place, hours, cut-offs.", key=("warehouse_id",), identity=("revision",),
        routing=Routing.STANDARD, compacted=True),
    Row(f.GoodsReceived, "GoodsReceived", (FULFILLMENT,), (INVENTORY,),
        "Purchased goods were counted on the dock.", key=("receipt_id",), routing=Routing.STANDARD),
    Row(f.PickShort, "PickShort", (FULFILLMENT,), (INVENTORY, PRIORITIZER),
        "The shelf had less than the system said.", identity=("fulfilment_order_id", "units"),
        custody="fulfillment -> inventory", compensation="units are sourced again", stops=(Stage.PREPARE,), starts=(Stage.STOCK_LOCK,)),
    Row(f.Packed, "Packed", (FULFILLMENT,), (SHIPPING, INVENTORY, PRIORITIZER),
        "A parcel stands on the dock.", identity=("parcel_id",), custody="fulfillment -> shipping",
        compensation="UnitsCancelled after put-back", stops=(Stage.PREPARE,), starts=(Stage.SHIP,)),
    Row(f.TransferDispatched, "TransferDispatched", (FULFILLMENT,), (INVENTORY, PRIORITIZER),
        "Transferred units left the sending warehouse.", identity=("transfer_id",)),
    Row(f.TransferReceived, "TransferReceived", (FULFILLMENT,), (INVENTORY, PRIORITIZER),
        "Transferred units arrived.", identity=("transfer_id",)),
    Row(s.Shipped, "Shipped", (SHIPPING,), (NOTIFIER, PRIORITIZER, ORDER_INTAKE),
        "The carrier has the parcel.", identity=("parcel_id",), stops=(Stage.SHIP,), starts=(Stage.TRACK,)),
    Row(s.ShipmentTracked, "ShipmentTracked", (SHIPPING,), (PRIORITIZER,),
        "The parcel's normalised status moved forward.", identity=("parcel_id", "status", "occurred_at")),
    Row(s.DeliveryDelayed, "DeliveryDelayed", (SHIPPING,), (NOTIFIER, PRIORITIZER),
        "The parcel will be late: old and new date.", identity=("delay_id",)),
    Row(s.ShipmentLost, "ShipmentLost", (SHIPPING,), (INVENTORY, ORDER_INTAKE, NOTIFIER, PRIORITIZER),
        "The carrier lost the parcel.", identity=("parcel_id",), custody="shipping -> inventory",
        compensation="units are sourced again", stops=(Stage.TRACK,), starts=(Stage.STOCK_LOCK,)),
    Row(s.ParcelReturned, "ParcelReturned", (SHIPPING,), (INVENTORY, ORDER_INTAKE, NOTIFIER, PRIORITIZER),
        "The parcel came back to the warehouse.", identity=("parcel_id",), custody="shipping -> inventory",
        compensation="units are sourced again", stops=(Stage.TRACK,), starts=(Stage.STOCK_LOCK,)),
    Row(s.Delivered, "Delivered", (SHIPPING,), (ORDER_INTAKE, PRIORITIZER, NOTIFIER),
        "The units are with the customer.", identity=("parcel_id",), custody="shipping -> customer",
        stops=(Stage.TRACK,), starts=(Stage.CONFIRM,)),
    Row(s.CarrierChanged, "CarrierChanged", (SHIPPING,), (INVENTORY, PRIORITIZER),
        "A carrier, its services and reliability.", key=("carrier_id",), identity=("revision",),
        routing=Routing.STANDARD, compacted=True),
    Row(n.CustomerNotified, "CustomerNotified", (NOTIFIER,), (PRIORITIZER,),
        "A message left for its recipient.", identity=("message_id",), routing=Routing.STANDARD,
        attributes=(("kind", "kind"),),
        hears=(Hears(PRIORITIZER, "kind", only=("shipped",)),)),  # the one message that has a clock
    Row(t.OrderState, "OrderState", (CONTROL_TOWER,), (),
        "Where an order is now, for BI.", identity=("revision",), routing=Routing.STANDARD, compacted=True),
)  # fmt: skip

_BY_EVENT = {row.event: row for row in CATALOGUE}
_BY_TOPIC = {topic: row for row in CATALOGUE for topic in row.topics}


def row_of(event: Event | type[Event]) -> Row:
    """The catalogue row of an event or event class; KeyError when it has none."""
    return _BY_EVENT[event if isinstance(event, type) else type(event)]


def row_of_topic(topic: str) -> Row:
    """The row behind a topic name of either lane; KeyError when it is not ours."""
    return _BY_TOPIC[topic]


def owned_by(service: str) -> tuple[Row, ...]:
    return tuple(row for row in CATALOGUE if service in row.owners)


def heard_by(service: str) -> tuple[Row, ...]:
    """The rows a service must have a handler for."""
    return tuple(row for row in CATALOGUE if service in row.hearers)


def topics(rows: Iterable[Row] = CATALOGUE) -> tuple[str, ...]:
    return tuple(topic for row in rows for topic in row.topics)
