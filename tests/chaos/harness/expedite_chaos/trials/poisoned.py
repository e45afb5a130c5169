"""Row 28: records nobody understands, on the real topics, some about real orders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar
from urllib.parse import quote

from expedite_chaos.field import Broken, Field
from expedite_chaos.poison import KINDS, kept_under, poisoned
from expedite_chaos.replay import publish
from expedite_chaos.trial import Bite, Trial
from expedite_chaos.trials.grounds import DOUBLED
from expedite_events.catalogue import CONTROL_TOWER, FULFILLMENT, NOTIFIER, PRIORITIZER
from expedite_local.audit import run as audit_run
from expedite_local.audit.topics import KafkaTopics
from expedite_messaging.admin import read_topics
from expedite_messaging.cause import RawRecord

TOPIC, HEARERS = "StockReserved", (FULFILLMENT, PRIORITIZER, NOTIFIER, CONTROL_TOWER)
KEPT_S = 20.0
_PARKED = "SELECT key, event_id, reason FROM parked ORDER BY key, seq"

Place = tuple[str, int, int]


class _Ours(KafkaTopics):
    """The topics without what a trial itself put there: the audit rightly says that those records are nobody's."""

    strangers: ClassVar[dict[str, set[Place]]] = {}  # by broker

    def records(self) -> AsyncIterator[RawRecord]:
        return self._ours()

    async def _ours(self) -> AsyncIterator[RawRecord]:
        strangers = self.strangers.get(self.bootstrap, set())
        async for record in read_topics(self.bootstrap):
            if (record.topic, record.partition, record.offset) not in strangers:
                yield record


async def poison(on: Field) -> Bite:
    """One record of every kind of poison, and three more about orders on their way. Only their keys wait, in every service
    that hears the topic; everything else goes on at once. An operator sees them, drops them, and the orders behind them
    come to their end."""
    bootstrap = on.system.substrate.kafka_bootstrap
    good = await _good(on, bootstrap)
    calls = [on.driver.order(urgent=False, plain=True) for _ in range(3)]
    await asyncio.gather(*(on.driver.place(call) for call in calls))
    about = {call.order_id for call in calls}
    records = poisoned(good)
    for call in calls:
        records += poisoned(good, ["bad JSON"], lambda _, order_id=call.order_id: order_id)  # type: ignore[misc]
    expected = {kept_under(record)[0] for record in records} - {f"?{TOPIC}"}
    began = time.monotonic()
    places = await publish(bootstrap, records)
    recovery_s = await on.serves() - began
    _Ours.strangers.setdefault(bootstrap, set()).update(places)
    audit_run.KafkaTopics = _Ours  # type: ignore[misc]
    problems = []
    for service in HEARERS:
        kept = await _until_kept(on, service, len(records))
        strange = {row["key"] for row in kept if row["reason"]} ^ (expected | {f"?{TOPIC}"})
        problems += [f"{service}: {key!r} parked, or not, against expectation" for key in sorted(strange)]
        problems += await _repaired(on, service, {row["event_id"] for row in kept if row["reason"]}, about)
    return Bite(times=len(records), bit={"kinds": len(KINDS), "orders held up": len(about)}, recovery_s=recovery_s,
                problems=problems)  # fmt: skip


async def _good(on: Field, bootstrap: str) -> RawRecord:
    """A real event to make poison from."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        async for record in read_topics(bootstrap, [TOPIC]):
            return record
        await asyncio.sleep(0.5)
    raise Broken(f"nothing came on {TOPIC}")


async def _until_kept(on: Field, service: str, wanted: int) -> list[Any]:
    deadline = time.monotonic() + KEPT_S
    while True:
        kept = await on.rows(service, _PARKED)
        if sum(1 for row in kept if row["reason"]) >= wanted:
            return kept
        if time.monotonic() > deadline:
            raise Broken(f"{service} keeps {len(kept)} of {wanted} records nobody understands")
        await asyncio.sleep(0.2)


async def _repaired(on: Field, service: str, poison_ids: set[Any], about: set[str]) -> list[str]:
    """As an operator: see everything, try again in vain, drop what is poison, let the rest be decided."""
    problems, desk = [], on.operator
    wanted, waiting = {str(found) for found in poison_ids}, {}
    for item in await desk.items(service, "/admin/parked", limit=1000):
        place = f"/admin/parked/{quote(item['key'], safe='')}"
        for event in (await desk.get(service, f"{place}/events"))["events"]:
            waiting[event["event_id"]] = (place, event["tag"])
    if missing := wanted - set(waiting):
        problems.append(f"{service} does not show {len(missing)} parked events")
    for order_id in about:
        answer = (await desk.post(service, f"/admin/parked/{order_id}/retry", {})).json()
        if not answer.get("still_parked"):
            problems.append(f"{service} understood poison about {order_id}: {answer}")
    for event_id in wanted & set(waiting):
        place, tag = waiting[event_id]
        path, why = f"{place}/events/{event_id}/drop", {"why": "poison of a trial"}
        dropped = await desk.send("POST", service, path, json=why, headers={"If-Match": f'"{tag}"'})
        if dropped.status_code != 200:
            problems.append(f"{service} cannot drop {event_id}: {dropped.status_code} {dropped.text[:200]}")
    for order_id in about:
        response = await desk.post(service, f"/admin/parked/{order_id}/retry", {})
        if response.status_code not in (200, 404) or (response.status_code == 200 and response.json()["still_parked"]):
            problems.append(f"{service} cannot repair {order_id}: {response.status_code} {response.text[:200]}")
    return problems


TRIALS = (Trial("28", "poison on a topic four services hear", "I4, I10", poison, 1.0, short=True, ground=DOUBLED),)
