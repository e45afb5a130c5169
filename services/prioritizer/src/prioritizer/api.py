"""The prioritizer over HTTP: why an order is as urgent as it is, expediting by hand, breaches, people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from expedite_chassis import (
    Caller,
    EngineDep,
    FieldProblem,
    Flag,
    Instant,
    Problem,
    QueryFlag,
    followed_by,
    require,
    root,
)
from expedite_chassis.auth import offering
from expedite_events import Decision, Lane, Outcome, Stage, Tier
from expedite_messaging import Tx
from prioritizer.domain.assign import lower, raise_by_hand
from prioritizer.domain.budgets import BUDGETS, BUDGETS_VERSION, MAX_LEVELS, Budget
from prioritizer.domain.clocks import clocks
from prioritizer.domain.order import Order, Raise
from prioritizer.domain.priority import Assignment, Priority
from prioritizer.domain.rules import RULES, RULES_VERSION, Rule
from prioritizer.domain.world import Person, circle
from prioritizer.handlers import record
from prioritizer.masterdata import places, world_for
from prioritizer.store import BREACHES, ORDERS, PEOPLE, PRIORITIES, Breach

router = APIRouter()
OrderPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
PersonPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Filter = Annotated[str | None, Query(max_length=200)]
Reader = Annotated[Caller, Depends(require("read"))]
Operator = Annotated[Caller, Depends(require("priority:write"))]


_identify = require()


async def _keeps_people(request: Request) -> Caller:
    """Planners and operators both keep the list of people."""
    caller = await _identify(request)
    if not (caller.may("master:write") or caller.may("priority:write")):
        raise Problem(403, "missing-scope", detail="This needs the scope master:write or priority:write.")
    return caller


offering(_keeps_people, ("master:write",), ("priority:write",))


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RaiseBody(Body):
    """Expedite an order: to which tier, why, and until when (business time; omitted: until lowered)."""

    tier: Literal["urgent", "high"] = "urgent"
    reason: Sentence
    expires_at: Instant | None = None


class CauseBody(Body):
    """Why a stage ran over; closes the breach."""

    cause: Sentence


class PersonBody(Body):
    """A person: whom they report to, which stages they own and where (`warehouses` empty: everywhere)."""

    name: Name
    email: Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)]
    roles: Annotated[tuple[Name, ...], Field(max_length=50)] = ()
    superior: Name | None = None
    stages: Annotated[tuple[Stage, ...], Field(max_length=50)] = ()
    warehouses: Annotated[tuple[Name, ...], Field(max_length=500)] = ()
    language: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)] = "en"
    active: Flag = True


class ClockView(BaseModel):
    """A running clock; a paused one has no moving deadline."""

    subject: str
    stage: Stage
    started_at: datetime
    due_at: datetime
    paused: bool
    told: tuple[str, ...]


class PriorityView(BaseModel):
    """How urgent an order is (`current`: at the moment asked for), every revision and why, and its running clocks."""

    order_id: str
    current: Assignment | None
    revisions: tuple[Assignment, ...]
    raised: Raise | None
    held: bool
    ended_at: datetime | None
    clocks: list[ClockView]


class RaiseResult(StrEnum):
    """What came of raising or lowering an order."""

    RAISED = "raised"
    LOWERED = "lowered"
    REQUESTED = "requested"  # not seen yet: it is asked for, and will be raised when it comes
    ALREADY = "already-done"


class RaiseView(BaseModel):
    order_id: str
    outcome: RaiseResult
    tier: Tier | None
    revision: int | None


class BreachPage(BaseModel):
    items: list[Breach]
    next: str | None


class PeoplePage(BaseModel):
    items: list[Person]
    next: str | None = None


class RulesView(BaseModel):
    version: int
    rules: tuple[Rule, ...]


class BudgetsView(BaseModel):
    """The table of budgets; `levels` is how many people a breach climbs through."""

    version: int
    levels: int
    budgets: tuple[Budget, ...]


_OF_ORDER = {name: followed_by(name, "order_id", "/order_id") for name in ("show_priority", "lower_order")}
_OF_BREACH = {"record_cause": followed_by("record_cause", "breach_id", "/items/0/breach_id")}
_OF_PERSON = {"show_person": followed_by("show_person", "person_id", "/person_id")}


@router.get("/orders/{order_id}/priority")
async def show_priority(
    order_id: OrderPath, engine: EngineDep, caller: Reader, at: Annotated[Instant | None, Query()] = None
) -> PriorityView:
    """Tier, score, deadlines and reasons: all revisions, and the one that was in force at `at` (default: now) (B2)."""

    async def work(tx: Tx) -> PriorityView | None:
        order = (await tx.load(ORDERS, [order_id])).get(order_id)
        if order is None:
            return None
        revisions = (await tx.load(PRIORITIES, [order_id]))[order_id].revisions
        in_force = [r for r in revisions if at is None or r.assigned_at <= at]
        running = clocks(order, await places(tx))
        return PriorityView(
            order_id=order_id,
            current=in_force[-1] if in_force else None,
            revisions=revisions,
            raised=order.raised,
            held=order.held,
            ended_at=order.ended_at,
            clocks=[
                ClockView(
                    subject=c.subject, stage=c.stage, started_at=c.started_at, due_at=c.due_at, paused=c.paused,
                    told=order.told[c.id].people if c.id in order.told else (),
                )
                for c in sorted(running, key=lambda c: c.due_at)
            ],
        )  # fmt: skip

    view = await engine.read(work)
    if view is None:
        raise _unknown(order_id)
    return view


@router.post(
    "/orders/{order_id}/raise",
    responses={
        200: {"links": _OF_ORDER},
        202: {"model": RaiseView, "description": "Not seen yet: it was asked for", "links": _OF_ORDER},
    },
)
async def raise_order(
    order_id: OrderPath, body: RaiseBody, engine: EngineDep, caller: Operator, response: Response
) -> RaiseView:
    """Expedite an order by hand: it overtakes what is queued in every service (B4). 202 for an order not seen yet."""

    async def decide(order: Order, priority: Priority, tx: Tx) -> Decision[Order]:
        if body.expires_at and body.expires_at <= tx.now:
            raise Problem(
                422, "invalid",
                errors=[FieldProblem(pointer="/expires_at", code="not-in-the-future",
                                     message=f"Give a moment after now ({tx.now.isoformat()}), or leave it out.")],
            )  # fmt: skip
        world = await world_for(tx, [priority.content])
        return raise_by_hand(order, priority, Tier(body.tier), body.reason, caller.name, body.expires_at, world, tx.now)

    view = await _change(engine, order_id, decide, RaiseResult.RAISED, missing_is_unknown=False)
    if view.outcome is RaiseResult.REQUESTED:
        response.status_code = 202
    return view


@router.post("/orders/{order_id}/lower")
async def lower_order(order_id: OrderPath, engine: EngineDep, caller: Operator) -> RaiseView:
    """Undo a raise: the rules alone decide again (B4)."""

    async def decide(order: Order, priority: Priority, tx: Tx) -> Decision[Order]:
        return lower(order, priority, await world_for(tx, [priority.content]), tx.now)

    return await _change(engine, order_id, decide, RaiseResult.LOWERED, missing_is_unknown=True)


async def _change(
    engine: EngineDep,
    order_id: str,
    decide: Callable[[Order, Priority, Tx], Awaitable[Decision[Order]]],
    done: RaiseResult,
    *,
    missing_is_unknown: bool,
) -> RaiseView:
    cause = root(order_id, Lane.EXPRESS)

    async def work(tx: Tx) -> RaiseView:
        orders = await tx.load(ORDERS, [order_id])
        if missing_is_unknown and order_id not in orders:
            raise _unknown(order_id)
        priorities = await tx.load(PRIORITIES, [order_id])
        priority = priorities[order_id]
        decision = await decide(orders[order_id], priority, tx)
        if decision.outcome is Outcome.TOO_LATE:
            raise Problem(
                409, "too-late", "The order has ended", detail="It is closed or cancelled; nothing is left to hurry."
            )
        tx.apply(cause, orders, decision)
        record(priorities, decision, priority.content)
        order = decision.state
        outcome = done
        if decision.outcome is Outcome.ALREADY_DONE:
            outcome = RaiseResult.ALREADY
        elif done is RaiseResult.RAISED and not order.revision:
            outcome = RaiseResult.REQUESTED
        return RaiseView(
            order_id=order_id,
            outcome=outcome,
            tier=order.tier if order.revision else None,
            revision=order.revision or None,
        )

    return await engine.transact([order_id], work)


@router.get("/breaches", responses={200: {"links": _OF_BREACH}})
async def list_breaches(
    engine: EngineDep,
    caller: Reader,
    is_open: Annotated[QueryFlag | None, Query(alias="open", description="Only open ones, or only closed ones")] = None,
    order_id: Filter = None,
    owner: Filter = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,9}$")] = None,
) -> BreachPage:
    """Breaches, newest first (C3)."""
    where: dict[str, object] = {}
    if is_open is not None:
        where["open"] = is_open
    if order_id is not None:
        where["order_id"] = order_id
    if owner is not None:
        where["owner"] = owner
    offset = int(cursor or 0)
    found = await engine.read(
        lambda tx: tx.find(BREACHES, where, order_by=("-breached_at", "breach_id"), limit=limit + 1, offset=offset)
    )
    return BreachPage(items=found[:limit], next=str(offset + limit) if len(found) > limit else None)


@router.post("/breaches/{breach_id}/cause")
async def record_cause(
    breach_id: Annotated[str, Path(max_length=200)], body: CauseBody, engine: EngineDep, caller: Operator
) -> Breach:
    """Record why a stage ran over: this closes the breach (C3). The climb to superiors goes on while the stage is over."""

    async def find(tx: Tx) -> Breach | None:
        return (await tx.load(BREACHES, [breach_id])).get(breach_id)

    known = await engine.read(find)
    if known is None:
        raise Problem(404, "unknown-breach", "No such breach", detail="GET /breaches lists them with their ids.")

    async def work(tx: Tx) -> Breach:
        book = await tx.load(BREACHES, [breach_id])
        breach = book[breach_id]
        if breach.open:
            breach = breach.put(cause=body.cause, recorded_by=caller.name, recorded_at=tx.now)
            book.put(breach)
        elif breach.cause != body.cause:
            raise Problem(
                409,
                "conflict",
                "The cause is recorded already",
                detail=f"{breach.recorded_by} recorded: {breach.cause}",
            )
        return breach

    return await engine.transact([known.order_id], work)


@router.get("/people")
async def list_people(engine: EngineDep, caller: Reader) -> PeoplePage:
    """Everybody, by id."""
    return PeoplePage(items=await engine.read(lambda tx: tx.find(PEOPLE, order_by=("person_id",))))


@router.get("/people/{person_id}")
async def show_person(person_id: PersonPath, engine: EngineDep, caller: Reader) -> Person:
    """One person."""

    async def work(tx: Tx) -> Person | None:
        return (await tx.load(PEOPLE, [person_id])).get(person_id)

    person = await engine.read(work)
    if person is None:
        raise Problem(404, "unknown-person", "No such person", detail="PUT /people/{id} makes one.")
    return person


@router.put("/people/{person_id}", responses={200: {"links": _OF_PERSON}})
async def put_person(
    person_id: PersonPath, body: PersonBody, engine: EngineDep, caller: Annotated[Caller, Depends(_keeps_people)]
) -> Person:
    """Make or change a person. The superior may come later; nobody may report to themselves, over any number of steps."""
    person = Person(person_id=person_id, **body.model_dump())
    cause = root(person_id)

    async def work(tx: Tx) -> Person:
        people = {p.person_id: p for p in await tx.find(PEOPLE)}
        if circle(people, person):
            raise Problem(
                422, "invalid",
                errors=[FieldProblem(pointer="/superior", code="circle",
                                     message=f"{person.superior} reports to {person_id}; name somebody above both.")],
            )  # fmt: skip
        book = await tx.load(PEOPLE, [person_id])
        if book.get(person_id) != person:
            tx.apply(cause, book, Decision(state=person, events=(person.changed(),)))
        return person

    return await engine.transact([person_id], work)


@router.get("/rules")
async def show_rules(caller: Reader) -> RulesView:
    """The table of priority rules in force."""
    return RulesView(version=RULES_VERSION, rules=RULES)


@router.get("/budgets")
async def show_budgets(caller: Reader) -> BudgetsView:
    """The table of time budgets in force."""
    return BudgetsView(version=BUDGETS_VERSION, levels=MAX_LEVELS, budgets=BUDGETS)


def _unknown(order_id: str) -> Problem:
    return Problem(404, "unknown-order", detail=f"No order {order_id} has come to the prioritizer. Check the number.")
