"""Is a schema change additive? Events are replayed, so old readers must read new events and new readers old ones.

Within one version a change may only add optional fields. Anything else needs a new type beside the old one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "pattern", "format", "const", "minItems", "maxItems")


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Every change that is not additive, as "path: what". Empty when the new schema may replace the old one."""
    return list(_compare("", old, new, old, new))


def _resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def _compare(path: str, old: Schema, new: Schema, old_root: Schema, new_root: Schema) -> Iterator[str]:
    if "$ref" in old and old.get("$ref") == new.get("$ref") and path.count("/") > 24:
        return  # a recursive model: the first rounds have compared it
    old, new = _resolve(old, old_root), _resolve(new, new_root)
    where = path or "/"
    if old.get("type") != new.get("type"):
        yield f"{where}: type changes from {old.get('type')} to {new.get('type')}"
        return
    for bound in _BOUNDS:
        if old.get(bound) != new.get(bound):
            yield f"{where}: {bound} changes from {old.get(bound)} to {new.get(bound)}"
    if set(old.get("enum", ())) != set(new.get("enum", ())):
        yield f"{where}: allowed values change from {old.get('enum')} to {new.get('enum')}"
    old_properties, new_properties = old.get("properties", {}), new.get("properties", {})
    old_required, new_required = set(old.get("required", ())), set(new.get("required", ()))
    for name, schema in old_properties.items():
        if name not in new_properties:
            yield f"{path}/{name}: removed"
        else:
            yield from _compare(f"{path}/{name}", schema, new_properties[name], old_root, new_root)
    for name in sorted(new_required - old_required):
        yield f"{path}/{name}: becomes required"
    for name in sorted(old_required - new_required):
        yield f"{path}/{name}: is no longer guaranteed"
    for part in ("items", "additionalProperties"):
        a, b = old.get(part), new.get(part)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _compare(f"{path}/{part}", a, b, old_root, new_root)
        elif a != b:
            yield f"{path}/{part}: changes"
    for part in ("anyOf", "prefixItems"):
        olds, news = old.get(part, []), new.get(part, [])
        if len(olds) != len(news):
            yield f"{where}: the choice of shapes changes"
        else:
            for index, (a, b) in enumerate(zip(olds, news, strict=True)):
                yield from _compare(f"{path}/{part}/{index}", a, b, old_root, new_root)
