"""Values: what events carry and services keep. Small frozen structs that JSON goes into and comes out of directly.

Every event and every stored document is one, so their cost is the cost of an order. They are checked where JSON enters
(`from_json`, `checked`); what our own code puts into one is checked by the type checker only. For APIs and contracts each
value has a pydantic model of the same shape (`contract.model_of`), which names every wrong field.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Self, TypeVar, dataclass_transform

import msgspec
from msgspec import Struct, StructMeta
from pydantic_core import core_schema

from expedite_events.units import Units

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

T = TypeVar("T")
Unreadable = msgspec.MsgspecError
"""What `from_json` and `checked` raise: the text says what is wrong and where."""


class _ValueType(StructMeta):
    """Fields are given by name, in every subclass."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> Any:
        return super().__new__(mcls, name, bases, namespace, **{"kw_only": True, **config})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Value(Struct, metaclass=_ValueType, frozen=True, omit_defaults=True):
    """A frozen value. Fields at their default are not written, so a default never changes its meaning; unknown fields are
    ignored, so that producers may add some."""

    if TYPE_CHECKING:

        def put(self, **changes: Any) -> Self:
            """A copy with these fields changed."""

    else:
        put = Struct.__replace__  # in C: a third of what a method of Python's takes

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        from expedite_events.contract import model_of

        def read(value: Any, check: core_schema.ValidatorFunctionWrapHandler) -> Any:
            return value if isinstance(value, cls) else checked(cls, check(value).model_dump())

        return core_schema.no_info_wrap_validator_function(
            read, handler.generate_schema(model_of(cls)),
            serialization=core_schema.plain_serializer_function_ser_schema(plain),
        )  # fmt: skip


def _read(kind: type, value: Any) -> Any:
    if kind is Units:
        return Units.read(value)
    raise NotImplementedError(f"{kind.__name__} has no form in JSON")


def _written(value: Any) -> Any:
    if type(value) is Units:
        return value.to_json()
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def _in_text(value: Any) -> Any:
    return msgspec.Raw(value.json) if type(value) is Units else _written(value)


_encoder = msgspec.json.Encoder(enc_hook=_in_text)
to_json = _encoder.encode
"""The JSON of a value, as bytes; what stands at its default is left out."""


_readers: dict[Any, msgspec.json.Decoder[Any]] = {}


def reader(kind: type[T]) -> msgspec.json.Decoder[T]:
    """The decoder of a type, built once."""
    known = _readers.get(kind)
    if known is None:
        known = _readers[kind] = msgspec.json.Decoder(kind, dec_hook=_read)
    return known


def from_json(kind: type[T], text: bytes | str) -> T:
    """The value of a JSON text. Raises `Unreadable`."""
    return reader(kind).decode(text)


def checked(kind: type[T], value: Any) -> T:
    """The value of plain data (dicts, lists, texts, numbers), as its JSON would give it. Raises `Unreadable`."""
    return msgspec.convert(value, kind, strict=False, dec_hook=_read)


_PLAIN = frozenset({str, int, float, bool})


def plain(value: Any) -> Any:
    """A value as JSON-ready data with every field, those at their default too: what an API shows."""
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {_name(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return msgspec.to_builtins(value, enc_hook=_written)


def _name(key: Any) -> str:
    return str(key.value if isinstance(key, Enum) else key)
