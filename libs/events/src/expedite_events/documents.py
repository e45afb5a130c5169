"""What is generated from the catalogue: JSON Schemas, the AsyncAPI 3 document and the page of events."""

from __future__ import annotations

from typing import Any

from expedite_events.catalogue import CATALOGUE, SERVICES, Routing, Row
from expedite_events.contract import model_of
from expedite_events.envelope import CONTENT_TYPE

_HEADERS = {
    "ce_specversion": "CloudEvents version, 1.0",
    "ce_id": "UUID of the event: version 7 for a root event, version 8 for a caused one. The identity for every inbox",
    "ce_source": "/expedite/<service>",
    "ce_type": "expedite.<service>.<Event>.v<version>",
    "ce_time": "Business time of the decision",
    "ce_subject": "The key: the order id, or the snapshot's whole identity",
    "ce_dataschema": "Path of the JSON Schema of the data",
    "ce_correlationid": "Id of the root cause",
    "ce_causationid": "Id of the direct cause",
    "ce_sequence": "Rises with the emissions of one service for one key",
    "content-type": CONTENT_TYPE,
    "traceparent": "W3C trace context, when there is one",
}


def schema_name(row: Row) -> str:
    return f"{row.topic}.v{row.version}.json"


def schema(row: Row) -> dict[str, Any]:
    """JSON Schema 2020-12 of the event's data, as written on the wire."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"/schemas/{schema_name(row)}",
        **model_of(row.event).model_json_schema(mode="serialization"),
    }


def asyncapi() -> dict[str, Any]:
    """The topics as a public contract: AsyncAPI 3.0, one channel per topic, send and receive operations per service."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for row in CATALOGUE:
        messages[row.topic] = {
            "name": row.topic,
            "summary": row.meaning,
            "contentType": CONTENT_TYPE,
            "headers": _headers(row),
            "payload": {
                "schemaFormat": "application/schema+json;version=draft-2020-12",
                "schema": {"$ref": f"./schemas/{schema_name(row)}"},
            },
            "bindings": {"kafka": {"key": {"type": "string", "description": " | ".join(row.key)}}},
        }
        for topic in row.topics:
            channels[topic] = {
                "address": topic,
                "title": row.topic,
                "description": row.meaning,
                "messages": {row.topic: {"$ref": f"#/components/messages/{row.topic}"}},
                "bindings": {
                    "kafka": {"topicConfiguration": {"cleanup.policy": ["compact" if row.compacted else "delete"]}}
                },
            }
            for action, services in (("send", row.owners), ("receive", row.hearers)):
                for service in services:
                    operations[f"{service}.{action}.{topic}"] = {
                        "action": action,
                        "channel": {"$ref": f"#/channels/{topic.replace('/', '~1')}"},
                        "tags": [{"name": service}],
                    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Expedite events",
            "version": "1.0.0",
            "description": "Everything the services of Expedite say to each other. Changes within a version are additive.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": {
                "CloudEventHeaders": {
                    "type": "object",
                    "description": "CloudEvents 1.0, Kafka binary mode",
                    "properties": {
                        name: {"type": "string", "description": meaning} for name, meaning in _HEADERS.items()
                    },
                    "required": [n for n in _HEADERS if n != "traceparent"],
                }
            },
        },
    }


def _headers(row: Row) -> dict[str, Any]:
    """The common headers, and the fields of this event that travel as headers too."""
    common = {"$ref": "#/components/schemas/CloudEventHeaders"}
    if not row.attributes:
        return common
    extra = {
        f"ce_{name}": {"type": "string", "description": f"{path} of the data, for choosing without parsing"}
        for name, path in row.attributes
    }
    return {"allOf": [common, {"type": "object", "properties": extra, "required": sorted(extra)}]}


def _hearer(row: Row, service: str) -> str:
    choice = row.hears_of(service)
    return f"{service} ({choice})" if choice else service


def events_page() -> str:
    """docs/events.md: the catalogue for people, and the saga as a diagram."""
    out = [
        "# Events",
        "",
        "Generated from `libs/events/src/expedite_events/catalogue.py` by `make contracts`; do not edit.",
        "",
        "The control tower hears every event but its own. *Lanes*: **twin** has a standard and an express topic, chosen",
        "per order; **express** always overtakes; **standard** has no twin. Compacted topics keep the newest per key.",
        "",
        "| event | owner | heard by | key | lane | says | custody | undone by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in CATALOGUE:
        lane = row.routing.value + (", compacted" if row.compacted else "")
        cells = (
            f"[{row.topic}](../contracts/schemas/{schema_name(row)})",
            ", ".join(row.owners),
            ", ".join(_hearer(row, service) for service in row.consumers) or "BI",
            " + ".join(row.key),
            lane,
            row.meaning,
            row.custody or "",
            row.compensation or "",
        )
        out.append("| " + " | ".join(cells) + " |")
    out += ["", "## Stage clocks", "", "| stage | starts with | stops with |", "|---|---|---|"]
    stages = {stage: None for row in CATALOGUE for stage in (*row.starts, *row.stops)}
    for stage in stages:
        starts = ", ".join(row.topic for row in CATALOGUE if stage in row.starts)
        stops = ", ".join(row.topic for row in CATALOGUE if stage in row.stops)
        out.append(f"| {stage.value} | {starts} | {stops} |")
    out += ["", "## Who speaks to whom", "", "```mermaid", "flowchart LR"]
    out += [f"  {s.replace('-', '_')}[{s}]" for s in SERVICES]
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in CATALOGUE:
        if row.routing is Routing.STANDARD and row.compacted:
            continue
        for owner in row.owners:
            for consumer in row.consumers:
                if owner != consumer:
                    arrows.setdefault((owner, consumer), []).append(row.topic)
    for (owner, consumer), names in arrows.items():
        out.append(f"  {owner.replace('-', '_')} -->|{'<br>'.join(names)}| {consumer.replace('-', '_')}")
    out += ["```", ""]
    return "\n".join(out)
