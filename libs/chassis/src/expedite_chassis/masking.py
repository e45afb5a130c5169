"""Personal data of events behind a mask: what operators see unless they may see it (I5)."""

from __future__ import annotations

from typing import Any

MASK = "•••"
_PERSONAL = frozenset({"customer", "signed_by", "email", "phone"})
# The words of people, and the names of those who work here.
_BY_TOPIC = {
    "PersonChanged": frozenset({"name"}),
    "CancelRequested": frozenset({"reason"}),
    "OrderCancelled": frozenset({"reason"}),
}


def masked(topic: str, value: Any) -> Any:
    """The JSON value of an event with every personal text replaced by `MASK`."""
    names = _PERSONAL | _BY_TOPIC.get(topic.removesuffix(".express"), frozenset())
    return _masked(value, names, hide=False)


def _masked(value: Any, names: frozenset[str], *, hide: bool) -> Any:
    if isinstance(value, dict):
        return {key: _masked(item, names, hide=hide or key in names) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, names, hide=hide) for item in value]
    return value if not hide or value is None or isinstance(value, bool) else MASK


def unmasked(value: Any, original: Any) -> Any:
    """The value with each mask replaced by what stands at the same place of the original. A mask that hides nothing stays."""
    if isinstance(value, dict):
        known = original if isinstance(original, dict) else {}
        return {key: unmasked(item, known.get(key)) for key, item in value.items()}
    if isinstance(value, list):
        listed = original if isinstance(original, list) else []
        return [unmasked(item, listed[n] if n < len(listed) else None) for n, item in enumerate(value)]
    if value == MASK and original is not None and not isinstance(original, dict | list):
        return original
    return value


def masks(value: Any, path: str = "") -> list[str]:
    """JSON pointers of the masks left in a value."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in masks(item, f"{path}/{_escaped(key)}")]
    if isinstance(value, list):
        return [found for n, item in enumerate(value) for found in masks(item, f"{path}/{n}")]
    return [path] if value == MASK else []


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
