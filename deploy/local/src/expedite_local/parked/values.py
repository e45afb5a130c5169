"""Changing single fields of a JSON value: `units.0.first=2`."""

from __future__ import annotations

import copy
import json
from typing import Any

from expedite_local.errors import LocalError


def changed(value: Any, assignments: list[str]) -> Any:
    """A copy of the value with each `path=value` done. A path is names and positions with dots between, or a JSON pointer;
    a value is JSON, or a text where it is none. Raises LocalError naming what does not fit."""
    found = copy.deepcopy(value)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise LocalError(f"--set takes path=value, as in units.0.first=2, not {assignment!r}")
        _put(found, _steps(path), _read(text), path)
    return found


def _steps(path: str) -> list[str]:
    if path.startswith("/"):
        return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    return path.split(".")


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _put(value: Any, steps: list[str], new: Any, path: str) -> None:
    here = value
    for step in steps[:-1]:
        here = _into(here, step, path)
    last = steps[-1]
    if isinstance(here, dict):
        here[last] = new
    elif isinstance(here, list) and last.isdecimal() and int(last) < len(here):
        here[int(last)] = new
    else:
        raise LocalError(f"there is no {path} in the event's value")


def _into(value: Any, step: str, path: str) -> Any:
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    raise LocalError(f"there is no {path} in the event's value")
