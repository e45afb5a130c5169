"""What the timeline keeps of an event, and how it is shown whole again.

An entry is written for every event and read for the few orders somebody opens: it is kept without what stands at its
default and without its sentence, and whoever reads it adds both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, get_args, get_type_hints

from msgspec import NODEFAULT, Struct, defstruct
from msgspec.structs import fields, replace

from control_tower.domain.say import say
from expedite_events import Event, OrderBrief, OrderReceived, PriorityAssigned, Value, checked, heard_by, plain

# What events carry along so that the next station need not ask. The timeline keeps it where it was said first.
_CARRIED = frozenset({"order_id", "customer", "brief", "lines", "goods", "urgency", "settled"})
_FIRST_SAID: dict[type[Value], frozenset[str]] = {
    OrderReceived: frozenset({"brief", "lines"}),
    PriorityAssigned: frozenset({"urgency"}),
}
_PERSONAL = frozenset({"customer"})
_NOTHING: frozenset[str] = frozenset()
_EVENTS: dict[str, type[Event]] = {row.topic: row.event for row in heard_by("control-tower")}


def kept(value: Value) -> Struct:
    """What an event itself states, for `to_json` to write. Personal data stays in the services that need it."""
    kind, facts_of = _kept(type(value))
    found = kind(*facts_of(value))
    return replace(found, brief=kept(value.brief)) if type(value) is OrderReceived else found


@cache
def _kept(kind: type[Value]) -> tuple[type[Struct], Callable[[Value], tuple[Any, ...]]]:
    """A kind of struct with just the facts that the timeline keeps of a value, and what reads these in its order."""
    hints = get_type_hints(kind, include_extras=True)
    if kind is OrderReceived:
        hints["brief"] = _kept(OrderBrief)[0]
    facts = sorted(_facts(kind), key=lambda fact: fact[1] is not NODEFAULT)  # those without a default come first
    known = [(name, hints[name], *(() if default is NODEFAULT else (default,))) for name, default, _ in facts]
    return defstruct(kind.__name__, known, omit_defaults=True), attrgetter(*(name for name, *_ in known))


def said(topic: str, data: dict[str, Any]) -> str:
    """The sentence of an event, from what was kept of it."""
    kind = _EVENTS[topic]
    return say.dispatch(kind)(checked(_kept(kind)[0], data))


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
