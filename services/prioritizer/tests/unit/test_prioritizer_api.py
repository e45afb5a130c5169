"""The HTTP interface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from expedite_chassis.testing import client
from expedite_events import Lane, PersonChanged, PriorityAssigned, RaiseRequested
from expedite_messaging.memory import MemoryClock, MemoryEngine
from prioritizer.handlers import handlers
from prioritizer.main import spec


@pytest.fixture
def engine(story: Any) -> MemoryEngine:
    return MemoryEngine(handlers, MemoryClock(story.at(0)))


@pytest.fixture
async def http(engine: MemoryEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with client(spec, engine, scopes=["read", "priority:write"]) as opened:
        yield opened


def sent(engine: MemoryEngine, kind: type[Any]) -> list[Any]:
    return [e for e in engine.db.outbox if isinstance(e.event, kind)]


async def test_a_raise_overtakes_and_can_be_undone(engine: MemoryEngine, http: httpx.AsyncClient, story: Any) -> None:
    """B2, B4: revision n+1 on the express lane; lowering is revision n+2; history answers for any moment."""
    path = f"/orders/{story.order_id}"
    await engine.deliver([story.envelope(story.received())])
    engine.clock.advance(timedelta(minutes=10))
    raised = await http.post(f"{path}/raise", json={"reason": "VIP called"})
    assert raised.status_code == 200
    assert raised.json() == {"order_id": story.order_id, "outcome": "raised", "tier": "urgent", "revision": 2}
    again = await http.post(f"{path}/raise", json={"reason": "VIP called again"})
    assert again.json()["outcome"] == "already-done"
    engine.clock.advance(timedelta(minutes=10))
    lowered = await http.post(f"{path}/lower")
    assert (lowered.json()["outcome"], lowered.json()["tier"], lowered.json()["revision"]) == ("lowered", "regular", 3)
    assert [(e.lane, e.event.urgency.revision) for e in sent(engine, PriorityAssigned)] == [
        (Lane.STANDARD, 1), (Lane.EXPRESS, 2), (Lane.STANDARD, 3)
    ]  # fmt: skip
    shown = (await http.get(f"{path}/priority", params={"at": story.at(0.2).isoformat()})).json()
    assert shown["current"]["revision"] == 2
    assert [r["tier"] for r in shown["revisions"]] == ["regular", "urgent", "regular"]
    assert "VIP called" in shown["revisions"][1]["reasons"][0]["text"]
    assert [(c["subject"], c["stage"]) for c in shown["clocks"]] == [(story.order_id, "stock_lock")]


@pytest.mark.parametrize(
    "moment",
    ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", 4_000_000_000, "4000000000", "2200-01-01T00:00:00Z"],
)
async def test_a_raise_ends_at_a_moment_that_can_be_reckoned_with(
    http: httpx.AsyncClient, story: Any, moment: Any
) -> None:
    """B4, I5: a timer at the end of the calendar, or a time that is a number, is refused before anything is kept."""
    answer = await http.post(f"/orders/{story.order_id}/raise", json={"reason": "VIP", "expires_at": moment})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/expires_at"
    assert (await http.get(f"/orders/{story.order_id}/priority", params={"at": moment})).status_code == 422


@pytest.mark.parametrize(
    "query", ["order_id=" + "a" * 201, "owner=%00", "open=yes", "open=1", "cursor=%D9%A1", "limit=0"]
)
async def test_filters_are_bounded(http: httpx.AsyncClient, query: str) -> None:
    """I5: a filter that cannot match is refused, not handed to the database."""
    assert (await http.get(f"/breaches?{query}")).status_code == 422


async def test_an_order_not_seen_yet_is_asked_for_and_comes_raised(
    engine: MemoryEngine, http: httpx.AsyncClient, story: Any
) -> None:
    """B3, B4: RaiseRequested once; when the order comes its first revision is raised, on the express lane."""
    path = f"/orders/{story.order_id}/raise"
    for _ in range(2):
        answer = await http.post(path, json={"tier": "high", "reason": "VIP"})
    (asking,) = sent(engine, RaiseRequested)
    assert asking.lane is Lane.EXPRESS
    assert answer.json()["outcome"] == "already-done"
    await engine.deliver([story.envelope(story.received(), lane=Lane.EXPRESS)])
    await engine.deliver([story.envelope(story.received())])
    (assigned,) = sent(engine, PriorityAssigned)
    assert (assigned.lane, assigned.event.urgency.tier, assigned.event.urgency.revision) == (Lane.EXPRESS, "high", 1)


async def test_a_raise_expires(engine: MemoryEngine, http: httpx.AsyncClient, story: Any) -> None:
    """B4: every override has an end when it was given one."""
    path = f"/orders/{story.order_id}/raise"
    await engine.deliver([story.envelope(story.received())])
    refused = await http.post(path, json={"reason": "VIP", "expires_at": story.at(-1).isoformat()})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/expires_at"
    await http.post(path, json={"reason": "VIP", "expires_at": story.at(0.1).isoformat()})
    engine.clock.advance(timedelta(hours=0.1))
    for fired in engine.due():
        await engine.fire([fired])
    assert [e.event.urgency.tier for e in sent(engine, PriorityAssigned)] == ["regular", "urgent", "regular"]


async def test_ended_and_unknown_orders_say_so(engine: MemoryEngine, http: httpx.AsyncClient, story: Any) -> None:
    """B4: named outcomes instead of silence."""
    assert (await http.post("/orders/20261123-EC-000009/lower")).status_code == 404
    assert (await http.get("/orders/20261123-EC-000009/priority")).status_code == 404
    await engine.deliver([story.envelope(story.received())])
    await engine.deliver([story.envelope(story.closed(1))])
    late = await http.post(f"/orders/{story.order_id}/raise", json={"reason": "VIP"})
    assert (late.status_code, late.json()["type"]) == (409, "/problems/too-late")
    missing = await http.post(f"/orders/{story.order_id}/raise", json={})
    assert missing.status_code == 422
    assert missing.json()["errors"][0]["pointer"] == "/reason"


async def test_a_breach_is_closed_by_its_cause(engine: MemoryEngine, http: httpx.AsyncClient, story: Any) -> None:
    """C3: the cause must be recorded to close it; the same cause again is fine, another is not."""
    await engine.deliver([story.envelope(story.received())])
    engine.clock.advance(timedelta(hours=2))
    for fired in engine.due():
        await engine.fire([fired])
    (breach,) = (await http.get("/breaches", params={"open": "true"})).json()["items"]
    assert (breach["owner"], breach["stage"], breach["level"]) == ("unassigned", "stock_lock", 0)
    path = f"/breaches/{breach['breach_id']}/cause"
    for _ in range(2):
        closed = await http.post(path, json={"cause": "No stock anywhere"})
        assert (closed.status_code, closed.json()["recorded_by"]) == (200, "test")
    assert (await http.post(path, json={"cause": "Something else"})).status_code == 409
    assert (await http.get("/breaches", params={"open": "true"})).json() == {"items": [], "next": None}
    assert len((await http.get("/breaches", params={"order_id": story.order_id})).json()["items"]) == 1
    assert (await http.post("/breaches/none/cause", json={"cause": "x"})).status_code == 404


async def test_people_are_kept_and_announced_when_they_change(engine: MemoryEngine, http: httpx.AsyncClient) -> None:
    """C3: owners and superiors; nobody reports to themselves."""
    olga = {
        "name": "Olga",
        "email": "olga@example.com",
        "superior": "lead",
        "stages": ["prepare"],
        "warehouses": ["W1"],
    }
    for _ in range(2):
        assert (await http.put("/people/olga", json=olga)).status_code == 200
    (changed,) = sent(engine, PersonChanged)
    assert (changed.key, changed.event.stages) == ("olga", ("prepare",))
    circle = await http.put("/people/lead", json={"name": "Lead", "email": "lead@example.com", "superior": "olga"})
    assert (circle.status_code, circle.json()["errors"][0]["pointer"]) == (422, "/superior")
    assert (await http.put("/people/lead", json={"name": "Lead", "email": "lead"})).status_code == 422
    assert [p["person_id"] for p in (await http.get("/people")).json()["items"]] == ["olga"]
    assert (await http.get("/people/olga")).json()["superior"] == "lead"
    assert (await http.get("/people/nobody")).status_code == 404


async def test_scopes(engine: MemoryEngine) -> None:
    """I5: reading, deciding and keeping people are different rights."""
    person = {"name": "Olga", "email": "olga@example.com"}
    async with client(spec, engine, scopes=["read"]) as reader:
        assert (await reader.post("/orders/x/raise", json={"reason": "r"})).status_code == 403
        assert (await reader.put("/people/olga", json=person)).status_code == 403
        rules = (await reader.get("/rules")).json()
        assert rules["version"] == 1 and rules["rules"][0]["rule"] == "urgent-mark"
        assert (await reader.get("/budgets")).json()["levels"] == 3
    async with client(spec, engine, scopes=["master:write"]) as planner:
        assert (await planner.put("/people/olga", json=person)).status_code == 200
        assert (await planner.get("/people")).status_code == 403
