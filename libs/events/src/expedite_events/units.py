"""Numbered units of an order and the algebra over them.

Every ordered unit has one identity for ever: (line, number), both counted from 1. Events carry *ranges* of units, so an
order of 10,000 pieces is as small on the wire as an order of one. `Units` is an immutable, normalised set of such
ranges: equal sets are equal objects, whatever path led to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_LARGEST = 1_000_000
Positive = Annotated[int, Field(ge=1, le=_LARGEST)]


class UnitRange(BaseModel):
    """Units `first` to `last`, both included, of order line `line`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    line: Positive
    first: Positive
    last: Positive


_Span = tuple[int, int, int]  # line, first, last
_FIELDS = itemgetter("line", "first", "last")
_REMEMBERED, _SHORT = 4_096, 8  # sets, and of so many ranges at most


def _normalise(spans: Iterable[_Span]) -> tuple[_Span, ...]:
    spans = tuple(spans)
    line_before = last_before = -1
    for line, first, last in spans:
        if last < first or line < line_before or (line == line_before and first <= last_before + 1):
            break
        line_before, last_before = line, last
    else:
        return spans  # as nearly all are
    merged: list[_Span] = []
    for line, first, last in sorted(spans):
        if last < first:
            raise ValueError(f"unit range {line}:{first}-{last} ends before it starts")
        if merged and merged[-1][0] == line and first <= merged[-1][2] + 1:
            merged[-1] = (line, merged[-1][1], max(last, merged[-1][2]))
        else:
            merged.append((line, first, last))
    return tuple(merged)


class Units:
    """An immutable set of numbered units. Supports ``| & - in len bool ==`` and hashing.

    >>> Units.of(1, 1, 4) - Units.of(1, 2, 3)
    Units(1:1, 1:4)
    """

    __slots__ = ("_json", "_spans")
    _spans: tuple[_Span, ...]
    _json: bytes  # once it was asked for

    def __init__(self, spans: Iterable[_Span] = ()) -> None:
        self._spans = _normalise(spans)

    @classmethod
    def _trusted(cls, spans: tuple[_Span, ...]) -> Units:
        new = cls.__new__(cls)
        new._spans = spans
        return new

    @classmethod
    def of(cls, line: int, first: int, last: int) -> Units:
        """Units `first`..`last` of one line."""
        return cls(((line, first, last),))

    @classmethod
    def quantity(cls, line: int, quantity: int) -> Units:
        """The first `quantity` units of a line; none when `quantity` is 0."""
        return cls(((line, 1, quantity),)) if quantity > 0 else NO_UNITS

    @classmethod
    def union(cls, many: Iterable[Units]) -> Units:
        """All units of all sets."""
        return cls([span for units in many for span in units._spans])

    @property
    def ranges(self) -> tuple[UnitRange, ...]:
        return tuple(UnitRange(line=line, first=first, last=last) for line, first, last in self._spans)

    @property
    def lines(self) -> tuple[int, ...]:
        """The distinct line numbers, ascending."""
        return tuple(dict.fromkeys(line for line, _, _ in self._spans))

    def on_line(self, line: int) -> Units:
        """The part of this set that belongs to `line`."""
        return Units._trusted(tuple(s for s in self._spans if s[0] == line))

    def first_n(self, n: int) -> Units:
        """The `n` lowest units in (line, number) order, or all when there are fewer."""
        taken: list[_Span] = []
        for line, first, last in self._spans:
            if n <= 0:
                break
            take = min(n, last - first + 1)
            taken.append((line, first, first + take - 1))
            n -= take
        return Units._trusted(tuple(taken))

    def last_n(self, n: int) -> Units:
        """The `n` highest units in (line, number) order, or all when there are fewer."""
        taken: list[_Span] = []
        for line, first, last in reversed(self._spans):
            if n <= 0:
                break
            take = min(n, last - first + 1)
            taken.append((line, last - take + 1, last))
            n -= take
        return Units._trusted(tuple(reversed(taken)))

    def each(self) -> Iterator[tuple[int, int]]:
        """Every single unit as (line, number). For tests and small sets: cost grows with quantity."""
        for line, first, last in self._spans:
            for number in range(first, last + 1):
                yield line, number

    def __or__(self, other: Units) -> Units:
        if not other._spans or self._spans == other._spans:
            return self
        if not self._spans:
            return other
        return Units(self._spans + other._spans)

    def __and__(self, other: Units) -> Units:
        if self._spans == other._spans:
            return self
        out: list[_Span] = []
        mine, theirs, i, j = self._spans, other._spans, 0, 0
        while i < len(mine) and j < len(theirs):
            (la, fa, ea), (lb, fb, eb) = mine[i], theirs[j]
            if la == lb and (low := max(fa, fb)) <= (high := min(ea, eb)):
                out.append((la, low, high))
            if (la, ea) < (lb, eb):
                i += 1
            else:
                j += 1
        return Units._trusted(tuple(out))

    def __sub__(self, other: Units) -> Units:
        if not self._spans or not other._spans:
            return self
        if self._spans == other._spans:
            return NO_UNITS
        out: list[_Span] = []
        for line, start, last in self._spans:
            first = start
            for other_line, cut_first, cut_last in other._spans:
                if other_line != line or cut_last < first or cut_first > last:
                    continue
                if cut_first > first:
                    out.append((line, first, cut_first - 1))
                first = cut_last + 1
            if first <= last:
                out.append((line, first, last))
        return Units._trusted(tuple(out))

    def __contains__(self, unit: tuple[int, int]) -> bool:
        return any(line == unit[0] and first <= unit[1] <= last for line, first, last in self._spans)

    def __le__(self, other: Units) -> bool:
        return not (self - other)

    def __len__(self) -> int:
        n = 0  # a loop: half the cost of a sum over a generator
        for _, first, last in self._spans:
            n += last - first + 1
        return n

    def __bool__(self) -> bool:
        return bool(self._spans)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Units) and self._spans == other._spans

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, Units) or self._spans != other._spans

    def __hash__(self) -> int:
        return hash(self._spans)

    def __repr__(self) -> str:
        parts = (f"{line}:{first}" if first == last else f"{line}:{first}-{last}" for line, first, last in self._spans)
        return f"Units({', '.join(parts)})"

    def to_json(self) -> list[dict[str, int]]:
        return [{"line": line, "first": first, "last": last} for line, first, last in self._spans]

    @property
    def json(self) -> bytes:
        """`to_json` as text. One set stands in an event and in several documents, and is written again with each."""
        try:
            return self._json
        except AttributeError:
            spans = [b'{"line":%d,"first":%d,"last":%d}' % span for span in self._spans]
            self._json = b"[%b]" % b",".join(spans)
            return self._json

    @classmethod
    def read(cls, value: Any) -> Units:
        """The set of a list of {line, first, last}. Raises ValueError."""
        if isinstance(value, Units):
            return value
        if isinstance(value, list | tuple):
            try:
                known = _KNOWN.get(tuple(map(_FIELDS, value)))
            except (KeyError, TypeError):  # said below
                known = None
            if known is not None:
                return known
            spans: list[_Span] = []
            for item in value:
                # The plain case is checked by hand: events and documents hold units everywhere.
                try:
                    line, first, last = item["line"], item["first"], item["last"]
                    plain = type(line) is int and type(first) is int and type(last) is int
                except (TypeError, KeyError):
                    plain = False
                if plain and 1 <= line <= _LARGEST and 1 <= first <= _LARGEST and 1 <= last <= _LARGEST:
                    spans.append((line, first, last))
                else:
                    exact = UnitRange.model_validate(item)
                    spans.append((exact.line, exact.first, exact.last))
            found = cls(spans)
            if len(spans) <= _SHORT:
                if len(_KNOWN) >= _REMEMBERED:
                    _KNOWN.clear()
                _KNOWN[found._spans] = found
            return found
        raise ValueError("units must be a list of {line, first, last}")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.read, serialization=core_schema.plain_serializer_function_ser_schema(cls.to_json)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        number = {"type": "integer", "minimum": 1, "maximum": _LARGEST}
        return {
            "type": "array",
            "description": "Ranges of numbered units: line, first and last, both included.",
            "items": {
                "type": "object",
                "properties": {"line": number, "first": number, "last": number},
                "required": ["line", "first", "last"],
            },
        }


_KNOWN: dict[tuple[_Span, ...], Units] = {}
"""Sets that were read: most orders want one to three pieces of one or two lines, so few different ones go by."""

NO_UNITS = Units()
