"""What orjson does not know itself, as it is stored everywhere: in columns, documents, timers and effects."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from expedite_events import Units, Value, plain


def jsonable(value: Any) -> Any:
    """Values and units as plain data, sets in order, decimals as text: `orjson.dumps(…, default=jsonable)`. Raises TypeError
    for whatever would not come back."""
    if isinstance(value, Value | Units):
        return plain(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
