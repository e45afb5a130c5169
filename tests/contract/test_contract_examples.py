"""Golden examples: produced by the real producer path, valid by the schema, understood by every real consumer.

`UPDATE_EXAMPLES=1 pytest tests/contract` writes `contracts/examples` anew.
"""

from __future__ import annotations

import asyncio
import json
import os
from functools import cache
from pathlib import Path

import pytest
from expedite_saga import golden
from expedite_saga.world import SPECS, START

from expedite_events import CATALOGUE, Row
from expedite_events.catalogue import Hears
from expedite_events.documents import schema
from expedite_events.envelope import Envelope, Undecodable
from expedite_messaging.memory import Database, MemoryClock, MemoryEngine

PAIRS = [(row.topic, service) for row in CATALOGUE for service in row.hearers]
CHOICES = [(row, choice) for row in CATALOGUE for choice in row.hears]

# Consumers that can only hear an event after they themselves did something for the order, so that an empty state is no
# late arrival but a contradiction: intake accepted the order, inventory announced the units or asked for the transfer.
KNOWS_ALREADY = {
    ("CancelRefused", "order-intake"),
    ("Delivered", "order-intake"),
    ("ParcelReturned", "inventory"),
    ("ParcelReturned", "order-intake"),
    ("PickShort", "inventory"),
    ("ShipmentLost", "inventory"),
    ("ShipmentLost", "order-intake"),
    ("Shipped", "order-intake"),
    ("TransferDispatched", "inventory"),
    ("TransferReceived", "inventory"),
    ("UnitsCancelled", "inventory"),
    ("UnitsCancelled", "order-intake"),
}


@cache
def recording() -> golden.Recording:
    return asyncio.run(golden.record())


@cache
def examples() -> dict[str, str]:
    """The examples as producers make them now; written when asked to."""
    fresh = golden.examples(recording())
    if os.environ.get("UPDATE_EXAMPLES"):
        golden.write(golden.EXAMPLES, fresh)
    return fresh


def example_for(topic: str, service: str) -> Envelope:
    """The example in `contracts/examples`; where a consumer does not take it, the first of the scenario that it takes."""
    envelope = golden.envelope_of((golden.EXAMPLES / f"{topic}.json").read_text(encoding="utf-8"))
    if service in envelope.hearers:
        return envelope
    return golden.envelope_of(golden.example_of(recording().heard_by(topic, service)))


async def heard(topic: str, service: str, db: Database | None = None) -> list[str]:
    """Feed an example to a consumer; why it parked, if it did. An event that waits for master data is fine."""
    envelope = example_for(topic, service)
    engine = MemoryEngine(SPECS[service].handlers, MemoryClock(START), db)
    await engine.deliver([envelope])
    assert envelope.id in engine.db.inbox
    return [
        p.reason or "" for waiting in engine.db.parked.values() for p in waiting if p.retry_after_s is None
    ]  # fmt: skip


def test_examples_are_what_producers_say_now() -> None:
    """I1: topics are a public contract; the examples in `contracts/examples` are fresh."""
    assert golden.stale(golden.EXAMPLES, examples()) == []


def test_the_scenario_says_the_same_every_time() -> None:
    """I1: ids, times and chance are fixed, so a changed example is a changed contract or decision."""
    assert golden.examples(asyncio.run(golden.record())) == examples()


def test_every_event_is_driven_end_to_end() -> None:
    """I1: an event of the catalogue that no scenario drives is an orphan."""
    assert golden.undriven(recording().log) == []


def test_owners_only_say_what_they_own() -> None:
    """I1: each event comes from one of its owners."""
    assert golden.foreign(recording().log) == []


@pytest.mark.parametrize(
    ("row", "choice"), CHOICES, ids=[f"{row.topic}-{choice.service}" for row, choice in CHOICES]
)  # fmt: skip
def test_what_a_consumer_chooses_by_travels_in_the_headers(row: Row, choice: Hears) -> None:
    """I1: the scenario has both, events that a consumer takes and others that it leaves, told apart by their headers."""
    said = [e for e in recording().log if e.row is row]
    values = [golden.headers_of(e)[f"ce_{choice.attribute}"] for e in said]
    assert [choice.takes(value) for value in values] == [choice.service in e.hearers for e in said]
    assert {choice.takes(value) for value in values} == {True, False}


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.topic)
def test_an_example_is_valid_and_reads_back(row: Row) -> None:
    """I1: the JSON Schema that is published accepts what is sent, and decoding gives the event back."""
    text = examples()[f"{row.topic}.json"]
    assert golden.invalid(text) == []
    envelope = golden.envelope_of(text)
    assert type(envelope.event) is row.event and envelope.key == row.key_of(envelope.event)
    assert golden.example_of(envelope) == text
    assert set(json.loads(text)["headers"]) >= {"ce_id", "ce_source", "ce_type", "ce_causationid", "ce_correlationid"}


@pytest.mark.parametrize(("topic", "service"), PAIRS, ids=[f"{t}-{s}" for t, s in PAIRS])
async def test_every_consumer_understands_the_example(topic: str, service: str) -> None:
    """I1 I4: heard as the very first event of an order, where that can happen; and in the state it was heard in."""
    reasons = await heard(topic, service)
    if reasons:
        assert (topic, service) in KNOWS_ALREADY, reasons
    before = recording().before[topic, service]
    assert await heard(topic, service, golden.copied(before)) == []


def test_whoever_must_know_already_led_to_the_event() -> None:
    """I4: the exceptions above are caused by their own consumer: it cannot hear them too early."""
    for topic, service in KNOWS_ALREADY:
        chain = list(recording().ancestors(recording().first[topic]))
        said_before = {e.service for e in recording().log if e.key == recording().first[topic].key}
        assert service in {e.service for e in chain} | said_before, (topic, service)


# -- each check has been seen red


def test_a_removed_or_changed_example_is_noticed(tmp_path: Path) -> None:
    """I1: seen red: missing, changed, left over."""
    golden.write(tmp_path, examples())
    assert golden.stale(tmp_path, examples()) == []
    (tmp_path / "Packed.json").unlink()
    changed = (tmp_path / "Shipped.json").read_text().replace("swift-post", "slow-post")
    (tmp_path / "Shipped.json").write_text(changed)
    (tmp_path / "Unheard.json").write_text("{}")
    told = [text.split(":")[0] for text in golden.stale(tmp_path, examples())]
    assert told == ["Packed.json is missing", "Unheard.json has no event", "Shipped.json is stale"]


def test_an_event_nobody_drives_is_noticed() -> None:
    """I1: seen red: the scenario without a short pick."""
    log = [e for e in recording().log if e.row.topic != "PickShort"]
    assert golden.undriven(log) == ["PickShort is driven by no scenario"]


def test_an_altered_schema_is_noticed() -> None:
    """I1: seen red: a field changes its type, a new one becomes required."""
    packed = next(row for row in CATALOGUE if row.topic == "Packed")
    altered = schema(packed)
    altered["properties"]["weight_g"] = {"type": "string"}
    altered["required"] = [*altered["required"], "seal"]
    told = golden.invalid(examples()["Packed.json"], altered)
    assert len(told) == 2 and any("weight_g" in text for text in told) and any("seal" in text for text in told)


def test_an_event_of_somebody_else_is_refused() -> None:
    """I1: seen red: fulfillment cannot say that an order was cancelled."""
    record = json.loads(examples()["OrderCancelled.json"])
    record["headers"]["ce_source"] = "/expedite/fulfillment"
    record["headers"]["ce_type"] = "expedite.fulfillment.OrderCancelled.v1"
    with pytest.raises(Undecodable, match="does not own"):
        golden.envelope_of(json.dumps(record))


async def test_a_consumer_that_cannot_cope_is_noticed() -> None:
    """I4: seen red: an example that contradicts the state parks, and the check above would say so."""
    assert await heard("TransferReceived", "inventory") != []
