"""Row 33: the next version comes, process by process, under load."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace

import orjson
from expedite_altered import FIELD, SAID

from expedite_chaos.field import Field
from expedite_chaos.ground import altered
from expedite_chaos.trial import Bite, Trial
from expedite_chaos.trials.grounds import DOUBLED
from expedite_events import CATALOGUE
from expedite_local.child import ProcessSpec
from expedite_messaging.admin import read_topics

SERVICES = ("order-intake", "prioritizer", "inventory", "fulfillment", "shipping")
SIDE_BY_SIDE_S, SHORT_SIDE_BY_SIDE_S = 2.0, 0.2


async def rolling(on: Field) -> Bite:
    """The processes of five services are stopped in order and started as the next version, one after the other; old and new
    decide on the same orders for as long as that takes. The next version says one thing more of every order: the new read it
    and carry it on, the old leave it behind."""
    names = [s.spec.name for s in on.statuses if s.spec.service in SERVICES]
    # Who reads comes before who writes, as with any additive change; the last replica of each service long after its first.
    names.sort(key=lambda name: (name.endswith("-1"), -SERVICES.index(_service(on, name)), name))
    for name in names:
        await _replace(on, name)
        await asyncio.sleep(SHORT_SIDE_BY_SIDE_S if on.short else SIDE_BY_SIDE_S)
    over_at = time.monotonic()

    async def said() -> dict[str, float]:
        first, carried = 0, 0
        topics = [t for row in CATALOGUE if row.owners[0] in SERVICES for t in row.topics]
        async for record in read_topics(on.system.substrate.kafka_bootstrap, topics):
            if _said(record.value):
                first += record.topic.startswith("OrderReceived")
                carried += record.topic.startswith("Packed")
        return {"events with the new field": first, "carried on to the packed parcel": carried}

    return Bite(times=len(names), bit={"processes replaced": len(names)}, over_at=over_at, later=said)


def _said(value: bytes | None) -> bool:
    """Whether the next version wrote this. Poison of another trial may lie on the same topics."""
    try:
        return bool(orjson.loads(value or b"{}")["brief"][FIELD] == SAID)
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return False


def _service(on: Field, name: str) -> str:
    return on.process(name).service


async def _replace(on: Field, name: str) -> None:
    """Stop a process as an operator does; the supervisor starts it again, now as the next version."""
    supervisor = on.system.supervisor
    assert supervisor is not None
    child = supervisor.child(name)
    child.spec = next_version_of(child.spec)
    before, pid = on.restarts(name), on.process(name).pid
    os.kill(pid, signal.SIGTERM)
    await on.until(
        lambda: on.restarts(name) > before and on.process(name).state == "ready", f"{name} is ready again", 120.0
    )


def next_version_of(spec: ProcessSpec) -> ProcessSpec:
    """It is executed: what is born in the nursery has libraries of the present version."""
    argv = altered(spec.argv, ["next-version"])
    return replace(spec, argv=(argv[0], "-P", *argv[1:]))


TRIALS = (
    Trial("33", "rolling restart into the next version, old and new side by side", "I4", rolling, 8.0, ground=DOUBLED),
)
