"""What the timeline keeps of an event, and how it is shown whole again.

An entry is written for every event and read for the few orders somebody opens: it is kept without what stands at its
default, and whoever reads it fills that in.
"""

from __future__ import annotations

from functools import cache
from typing import Any, get_args, get_type_hints

from msgspec import NODEFAULT
from msgspec.structs import fields

from expedite_events import Event, OrderReceived, PriorityAssigned, Value, heard_by, plain

# What events carry along so that the next station need not ask. The timeline keeps it where it was said first.
_CARRIED = frozenset({"order_id", "customer", "brief", "lines", "goods", "urgency", "settled"})
_FIRST_SAID: dict[type[Value], frozenset[str]] = {
    OrderReceived: frozenset({"brief", "lines"}),
    PriorityAssigned: frozenset({"urgency"}),
}
_PERSONAL = frozenset({"customer"})
_NOTHING: frozenset[str] = frozenset()
_EVENTS: dict[str, type[Event]] = {row.topic: row.event for row in heard_by("control-tower")}


def kept(value: Value) -> dict[str, Any]:
    """What an event itself states, for `to_json` to write. Personal data stays in the services that need it."""
    data = {
        name: found
        for name, default, _ in _facts(type(value))
        if (found := getattr(value, name)) is not default and found is not None
    }
    if "brief" in data:
        data["brief"] = kept(data["brief"])
    return data


def shown(topic: str, data: dict[str, Any]) -> dict[str, Any]:
    """What was kept of an event, with everything that stood at its default; what is not known stays away."""
    whole: dict[str, Any] = _whole(_EVENTS.get(topic), data)
    return whole


def _whole(kind: type[Value] | None, data: Any) -> Any:
    if isinstance(data, list):
        return [_whole(kind, item) for item in data]
    if kind is None or not isinstance(data, dict):
        return data
    known = {
        name: _whole(inner, data[name]) if name in data else plain(default)
        for name, default, inner in _facts(kind)
        if name in data or (default is not None and default is not NODEFAULT)
    }
    return known | {name: value for name, value in data.items() if name not in known}


@cache
def _facts(kind: type[Value]) -> tuple[tuple[str, Any, type[Value] | None], ...]:
    """Name and default of each field the timeline keeps, and the kind of value inside it."""
    left = _CARRIED - _FIRST_SAID.get(kind, _NOTHING) if issubclass(kind, Event) else _PERSONAL
    hints = get_type_hints(kind)
    return tuple((f.name, f.default, _value_in(hints[f.name])) for f in fields(kind) if f.name not in left)


def _value_in(hint: Any) -> type[Value] | None:
    if isinstance(hint, type) and issubclass(hint, Value):
        return hint
    return next((found for inner in get_args(hint) if (found := _value_in(inner))), None)
