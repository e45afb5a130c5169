"""The catalogue is complete and consistent (I1)."""

import re

import pytest
from jsonschema import Draft202012Validator

import expedite_events
from expedite_events import CATALOGUE, SERVICES, Event, Lane, OrderEvent, Routing, heard_by, owned_by, row_of_topic
from expedite_events.documents import asyncapi, events_page, schema


def concrete_events() -> set[type[Event]]:
    return {
        value
        for value in vars(expedite_events).values()
        if isinstance(value, type) and issubclass(value, Event) and value not in (Event, OrderEvent)
    }


def test_every_event_model_has_exactly_one_row() -> None:
    """I1: an event without owner is not an event."""
    assert {row.event for row in CATALOGUE} == concrete_events()
    assert len({row.topic for row in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.topic)
def test_a_row_is_complete(row: expedite_events.Row) -> None:
    assert re.fullmatch(r"([A-Z]+[a-z]+)+", row.topic) or row.topic == "SLABreached"
    assert row.owners
    assert row.hearers or row.compacted, "an event nobody hears is an orphan; only compacted topics are for BI alone"
    assert set(row.owners) | set(row.consumers) <= set(SERVICES)
    assert row.meaning
    fields = row.event.__struct_fields__
    for name in (*row.key, *(path.split(".")[0] for path in row.identity)):
        assert name in fields, f"{name} is not a field"
    assert row.compacted <= (row.routing is Routing.STANDARD), "a compacted topic has no twin"


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.topic)
def test_schema_is_valid_json_schema(row: expedite_events.Row) -> None:
    Draft202012Validator.check_schema(schema(row))


def test_topics_and_lanes() -> None:
    assert row_of_topic("StockReserved.express") is row_of_topic("StockReserved")
    assert row_of_topic("CancelRequested.express").topic_on(Lane.STANDARD) == "CancelRequested.express"
    assert row_of_topic("ProductChanged").topic_on(Lane.EXPRESS) == "ProductChanged"


def test_every_service_owns_and_hears_something() -> None:
    for service in SERVICES:
        assert owned_by(service)
        assert heard_by(service)


def test_the_tower_hears_every_event_but_its_own() -> None:
    """H3: "where is order X?" has an answer because nothing escapes the control tower."""
    silent = {row.topic for row in CATALOGUE} - {row.topic for row in heard_by("control-tower")}
    assert silent == {"OrderState"}


def test_asyncapi_names_every_topic_and_refers_only_to_what_exists() -> None:
    document = asyncapi()
    assert set(document["channels"]) == {topic for row in CATALOGUE for topic in row.topics}
    for operation in document["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]


def test_the_page_names_every_event() -> None:
    page = events_page()
    assert all(f"[{row.topic}]" in page for row in CATALOGUE)
