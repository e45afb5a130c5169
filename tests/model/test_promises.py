"""Each promise of the protocol is checked by the model and, on the real handlers, by the simulation."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from custody.checks import REST, STEP
from expedite_saga import audit
from expedite_saga import promises as more
from expedite_saga.chance import Run
from promises import PROMISES, gaps

from expedite_events import CATALOGUE

MODELLED = set(STEP) | set(REST)
HARNESS = SimpleNamespace(audit=audit, promises=more)
EVENTS = {row.topic for row in CATALOGUE}


def test_every_promise_is_checked_twice() -> None:
    """A8 D10 (I1 I2 I9): by the model's own check and by a function of the simulation, or it names the event that the
    handlers do not have yet."""
    assert gaps(PROMISES, MODELLED, HARNESS, EVENTS) == []


def test_a_gap_is_named() -> None:
    """I2: seen red: a promise that one side does not check, a check that is gone, an event that was built meanwhile."""
    some = PROMISES["one custodian"]
    assert gaps({**PROMISES, "new": some}, MODELLED, HARNESS, EVENTS) == ["new: the model does not check it"]
    without = {name: promise for name, promise in PROMISES.items() if name != "one end"}
    assert gaps(without, MODELLED, HARNESS, EVENTS) == ["one end: the model checks it but it is not listed"]
    for changed, text in (
        (replace(some, simulation=()), "one custodian: the simulation does not check it"),
        (replace(some, simulation=("audit.gone",)), "one custodian: the simulation has no audit.gone"),
    ):
        assert gaps({**PROMISES, "one custodian": changed}, MODELLED, HARNESS, EVENTS) == [text]
    assert gaps(PROMISES, MODELLED, HARNESS, EVENTS | {"OrderAmended"}) == [
        f"{name}: the handlers have OrderAmended now, the simulation must check it there"
        for name, promise in PROMISES.items()
        if "OrderAmended" in promise.waits_for
    ]


async def test_the_simulation_really_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A8 D10 (I1 I2): one random saga on the real handlers calls every check that the list names."""
    called: Counter[str] = Counter()

    def counted(name: str, check: Any) -> Any:
        def count(*args: Any) -> Any:
            called[name] += 1
            return check(*args)

        return count

    names = {path for promise in PROMISES.values() for path in promise.simulation}
    for path in names:
        module, _, function = path.partition(".")
        if path != "audit.at_any_time":
            monkeypatch.setattr(
                getattr(HARNESS, module), function, counted(path, getattr(getattr(HARNESS, module), function))
            )
    monkeypatch.setattr(audit, "at_any_time", counted("audit.at_any_time", audit.at_any_time))
    await Run(1).go()
    assert names - set(called) == set()
