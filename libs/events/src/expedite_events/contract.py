"""The pydantic model of a value: the same fields, types, limits and defaults, for JSON Schemas and for APIs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model

from expedite_events.value import Value

_LIMITS = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern", "title", "description")
_models: dict[type[Value], type[BaseModel]] = {}


def model_of(value: type[Value]) -> type[BaseModel]:
    """The model, built once; values inside become models too."""
    known = _models.get(value)
    if known is None:
        known = _models[value] = _built(value)
    return known


def _built(value: type[Value]) -> type[BaseModel]:
    hints = get_type_hints(value, include_extras=True)
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(value):
        if field.default_factory is not msgspec.NODEFAULT:
            default = Field(default_factory=field.default_factory)
        else:
            default = ... if field.default is msgspec.NODEFAULT else field.default
        fields[field.name] = (_typed(hints[field.name]), default)
    config = ConfigDict(frozen=True, extra="ignore")
    return create_model(value.__name__, __config__=config, __doc__=value.__doc__, __module__=value.__module__, **fields)


def _typed(hint: Any) -> Any:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *notes = get_args(hint)
        return reduce(lambda kind, note: Annotated[kind, note], _notes(notes), _typed(inner))
    if isinstance(hint, type) and issubclass(hint, Value):
        return model_of(hint)
    if origin is None or origin is Literal:
        return hint
    arguments = [argument if argument is ... else _typed(argument) for argument in get_args(hint)]
    if origin in (UnionType, Union):
        return reduce(or_, arguments[1:], arguments[0])
    return origin[tuple(arguments)]


def _notes(notes: list[Any]) -> Iterator[Any]:
    for note in notes:
        if isinstance(note, msgspec.Meta):
            limits = {name: getattr(note, name) for name in _LIMITS}
            limits = {name: limit for name, limit in limits.items() if limit is not None}
            if limits:
                yield Field(**limits)
        else:
            yield note
