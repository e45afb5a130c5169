"""The scenario that drives every event of the catalogue, and the golden examples it leaves in `contracts/examples`.

The examples are what real producers really said: real routes and handlers, with fixed time and fixed chance, so that the
same code always says the same. They change only when a contract or a decision changes, which is then seen in a diff.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from expedite_events import CATALOGUE, CancelRequested, OrderReceived, Row, Shipped
from expedite_events.catalogue import CONTROL_TOWER
from expedite_events.documents import schema
from expedite_events.envelope import Envelope, decode, encode
from expedite_messaging import Handlers
from expedite_messaging.memory import Database
from expedite_saga.ids import fixed_chance
from expedite_saga.masters import LON, MAN, MUG, PRODUCTS, RING, customer
from expedite_saga.people import House
from expedite_saga.world import World, copied

EXAMPLES = Path(__file__).resolve().parents[4] / "contracts" / "examples"
UPDATE = "write it anew with UPDATE_EXAMPLES=1 pytest tests/contract"


@dataclass
class Recording:
    """What the scenario said, and in which state each consumer was when it heard the first event of each kind."""

    log: list[Envelope] = field(default_factory=list)
    before: dict[tuple[str, str], Database] = field(default_factory=dict)  # (event, consumer)

    @property
    def first(self) -> dict[str, Envelope]:
        """The first emission of each event, by event name."""
        found: dict[str, Envelope] = {}
        for envelope in self.log:
            found.setdefault(envelope.row.topic, envelope)
        return found

    def heard_by(self, topic: str, service: str) -> Envelope:
        """The first emission of an event that a consumer takes: some choose by an attribute of the headers."""
        return next(e for e in self.log if e.row.topic == topic and service in e.hearers)

    def ancestors(self, envelope: Envelope) -> Iterator[Envelope]:
        """The events that led to this one, nearest first."""
        by_id = {e.id: e for e in self.log}
        while (parent := by_id.get(envelope.causation_id)) is not None:
            yield parent
            envelope = parent


class Listening(World):
    """A world that remembers the state of every consumer before it hears something new."""

    def __init__(self) -> None:
        super().__init__()
        self.recording = Recording()
        for engine in self.engines.values():
            self._listen(engine)

    def _listen(self, engine: Any) -> None:
        deliver = engine.deliver

        async def listening(envelopes: Any) -> None:
            name = envelopes[0].row.topic
            if (name, engine.service) not in self.recording.before:
                self.recording.before[name, engine.service] = copied(engine.db)
            await deliver(envelopes)

        engine.deliver = listening


async def record() -> Recording:
    """Play the scenario once."""
    async with Listening() as world:
        with fixed_chance(lambda: world.clock.now):
            await _play(House(world))
            await world.settle()
        assert not world.parked, world.parked
        world.recording.log = list(world.bus.log)
        return world.recording


async def _play(house: House) -> None:
    world = house.world
    await house.planner.opens({(MUG, LON): 3, (MUG, MAN): 1, (RING, LON): 3}, products=PRODUCTS)
    await _held_delayed_and_closed(house)
    await _transferred_short_lost_and_returned(house)
    await _raised_and_refused(house)
    dropped = await house.channel.places((RING, 1))
    await world.settle()
    await house.channel.cancels(dropped)
    await world.settle()


async def _held_delayed_and_closed(house: House) -> None:
    who = customer(1, company="Byron & Co", level="gold")
    who["ship_to"]["postcode"] = None
    order = await house.channel.places((RING, 1), (MUG, 1), customer=who, carrier_preference="swift-post")
    await house.world.settle()
    await house.channel.completes(order, customer={"ship_to": {"postcode": "SW1Y 4LB"}})
    await house.world.settle()
    parcel = await house.london.ships(order)
    later = house.world.clock.now + timedelta(days=9)
    await house.carriers.says(parcel, "in_transit", location="Leeds")
    await house.carriers.says(parcel, "delivery_delayed", expected_at=later.isoformat(), message="snow on the M1")
    await house.delivers(order, parcel)


async def _transferred_short_lost_and_returned(house: House) -> None:
    order = await house.channel.places((MUG, 3), partial_shipment=False)
    await house.world.settle()
    await house.manchester.dispatches(order)
    await house.world.settle()
    await house.london.receives(order)
    await house.world.settle()
    await house.london.finds_too_little(order, line=1, quantity=1)
    await house.world.settle()
    first = await house.london.ships(order)
    await house.london.receives_goods(house.planner, MUG=4)
    await house.world.settle()
    second = await house.london.ships(order)
    await house.carriers.says(first, "lost", message="van stolen")
    await house.carriers.says(second, "returned", message="nobody at home")
    # Goods lie in quality check and on the road: the rest of the order is sent again, and a breach is told meanwhile.
    await house.world.wait(hours=30)
    while await house.london.queue("pick"):
        task = (await house.london.queue("pick"))[0]
        await house.london.says(f"/fulfilment-orders/{task['task_id']}/scans",
                                scans=[{"sku": x["sku"], "quantity": x["quantity"]} for x in task["lines"]])  # fmt: skip
        parcel = await house.london.packs(task["task_id"])
        await house.world.settle()
        await house.london.hands_over(parcel)
        await house.world.settle()
        await house.delivers(order, parcel)


async def _raised_and_refused(house: House) -> None:
    with house.world.late((OrderReceived, "prioritizer")):
        order = await house.channel.places((RING, 1))
        await house.planner.raises(order, tier="high")
        await house.world.settle()
    await house.world.settle()
    await house.planner.raises(order)
    await house.world.settle()
    with house.world.late((Shipped, "order-intake"), (CancelRequested, "prioritizer")):
        parcel = await house.london.ships(order)
        await house.channel.cancels(order)
        await house.world.settle()
    await house.world.settle()
    await house.delivers(order, parcel)


# -- examples


def example_of(envelope: Envelope) -> str:
    """An event as it stands in `contracts/examples`: the record on the wire, readable."""
    topic, key, value, _ = encode(envelope)
    record = {
        "topic": topic,
        "key": key.decode(),
        "headers": headers_of(envelope),
        "value": json.loads(value),
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def headers_of(envelope: Envelope) -> dict[str, str]:
    """The headers of an event on the wire."""
    return {name: text.decode() for name, text in encode(envelope)[3]}


def envelope_of(text: str) -> Envelope:
    """The record of an example, read as a consumer reads it."""
    record = json.loads(text)
    headers = [(name, value.encode()) for name, value in record["headers"].items()]
    value = json.dumps(record["value"], ensure_ascii=False).encode()
    return decode(record["topic"], record["key"].encode(), value, headers)


def examples(recording: Recording) -> dict[str, str]:
    """File name → text, one per event."""
    return {f"{name}.json": example_of(envelope) for name, envelope in sorted(recording.first.items())}


def write(folder: Path, wanted: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in set(folder.glob("*.json")) - {folder / name for name in wanted}:
        left_over.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")


# -- checks: each says what is wrong in words; an empty list is good


def stale(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """Examples that producers would not say like this any more."""
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    found = [f"{name} is missing: {UPDATE}" for name in sorted(set(wanted) - set(there))]
    found += [f"{name} has no event: {UPDATE}" for name in sorted(set(there) - set(wanted))]
    return found + [f"{n} is stale: {UPDATE}" for n in sorted(wanted) if n in there and there[n] != wanted[n]]


def undriven(log: Iterable[Envelope], catalogue: Iterable[Row] = CATALOGUE) -> list[str]:
    """Events of the catalogue that the scenario never met."""
    said = {envelope.row.topic for envelope in log}
    return [f"{row.topic} is driven by no scenario" for row in catalogue if row.topic not in said]


def foreign(log: Iterable[Envelope]) -> list[str]:
    """Events that somebody said who does not own them."""
    return [f"{e.service} says {e.row.topic}" for e in log if e.service not in e.row.owners]


def invalid(text: str, of: Mapping[str, Any] | None = None) -> list[str]:
    """What the JSON Schema says against an example's value."""
    record = json.loads(text)
    row = next(row for row in CATALOGUE if record["topic"] in row.topics)
    validator = Draft202012Validator(of or schema(row), format_checker=FormatChecker())
    return [f"{row.topic}{error.json_path}: {error.message}" for error in validator.iter_errors(record["value"])]


def unheard(handlers: Handlers) -> list[str]:
    """Declared consumers without a handler, and handlers nobody declared."""
    declared = {row.event for row in CATALOGUE if handlers.service in row.hearers}
    found = [f"{handlers.service} has no handler of {topic}" for topic in handlers.missing()]
    return found + [f"{handlers.service} handles {e.__name__}, undeclared" for e in set(handlers.events) - declared]


def orphans(catalogue: Iterable[Row] = CATALOGUE) -> list[str]:
    """Events nobody owns or nobody hears. The tower's own state is for BI, which reads topics."""
    found = [f"{row.topic} has no owner" for row in catalogue if not row.owners]
    return found + [
        f"{r.topic} has no consumer" for r in catalogue if not r.hearers and r.owners != (CONTROL_TOWER,)
    ]  # fmt: skip
