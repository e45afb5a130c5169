"""The control tower's API: board, needs-action, order page, live stream, login."""

from __future__ import annotations

import hmac
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field

from control_tower.domain.card import Card
from control_tower.feed import Feed
from control_tower.lists import ENDED, ORDERS, SORTS, list_of, search
from control_tower.store import CARDS, LEVELS, PAGES, PEOPLE, TALLIES
from control_tower.views import OrderPage, Owners, RowList, page_of, row_of
from expedite_chassis import Caller, EngineDep, Problem, Runtime, RuntimeDep, require
from expedite_chassis.auth import TOKEN_TTL_S, issue_token
from expedite_chassis.openapi import also_answers
from expedite_events import PersonChanged, Stage, plain, to_json
from expedite_messaging import Engine, Key, Tx

router = APIRouter(prefix="/api")
Reader = Annotated[Caller, Depends(require("read"))]
OrderPath = Annotated[str, Path(min_length=1, max_length=64)]
Filter = Annotated[str | None, Query(max_length=64)]
DEEPEST = 10_000  # orders a list goes: whoever looks further should filter
After = Annotated[int, Query(ge=0, le=DEEPEST, description="`next` of the page before")]
STAGES = tuple(s.value for s in Stage)

ROLE_SCOPES: dict[str, frozenset[str]] = {
    "picker": frozenset({"read", "floor:work"}),
    "dispatcher": frozenset({"read", "floor:work"}),
    "planner": frozenset({"read", "stock:write", "master:write"}),
    "buyer": frozenset({"read", "stock:write"}),
    "customer_care": frozenset({"read", "orders:read", "orders:write"}),
    "operator": frozenset({"read", "orders:read", "orders:write", "orders:review", "priority:write"}),
    "supervisor": frozenset({"read", "orders:read", "orders:write", "orders:review", "priority:write", "floor:work"}),
    "director": frozenset({"read", "orders:read", "orders:write", "orders:review", "priority:write"}),
    "sre": frozenset({"read", "ops"}),
}
BUILT_IN = "operator"  # the person that exists before any people were loaded


class Login(BaseModel):
    """Who wants in."""

    model_config = ConfigDict(extra="forbid")

    person_id: Annotated[str, Field(min_length=1, max_length=64, description="id of a person, or `operator`")] = (
        BUILT_IN
    )
    password: Annotated[str, Field(min_length=1, max_length=256)]


class Token(BaseModel):
    token: str
    expires_in_s: int
    person_id: str
    name: str
    scopes: list[str]


@router.post("/login", openapi_extra=also_answers(401))
async def login(body: Login, engine: EngineDep, runtime: RuntimeDep) -> Token:
    """A short-lived token with the person's scopes, which every service verifies by public key."""
    expected = str(runtime.secrets.get("operator_password", ""))
    token = await _token_for(body.person_id, engine, runtime)
    if not (expected and hmac.compare_digest(body.password.encode(), expected.encode()) and token):
        raise Problem(
            401, "wrong-login", "Person or password is wrong", detail="`expedite status` prints the password."
        )
    return token


@router.post("/token")
async def renew(engine: EngineDep, runtime: RuntimeDep, caller: Reader) -> Token:
    """A fresh token for somebody who still holds a valid one, so that a board on the wall stays logged in. It has the
    scopes of now; who has left gets none."""
    if caller.person_id is None:
        raise Problem(403, "not-a-person", "Only people's tokens are renewed", detail="API keys do not expire.")
    token = await _token_for(caller.person_id, engine, runtime)
    if token is None:
        raise Problem(401, "unauthenticated", detail="This person does not work here any more.")
    return token


async def _token_for(person_id: str, engine: Engine, runtime: Runtime) -> Token | None:
    """A token with what the person's roles allow now; None for somebody unknown or inactive."""
    person = (await engine.read(lambda tx: tx.load(PEOPLE, [person_id]))).get(person_id)
    if person is not None and not person.active:
        return None
    if person is not None:
        name, scopes = person.name, {"read"}.union(*(ROLE_SCOPES.get(role, ()) for role in person.roles))
    elif person_id == BUILT_IN:
        name, scopes = "Operator", set[str]().union(*ROLE_SCOPES.values())
    else:
        return None
    token = issue_token(runtime.secrets["jwt_private_pem"], person_id=person_id, name=name, scopes=scopes)
    return Token(token=token, expires_in_s=TOKEN_TTL_S, person_id=person_id, name=name, scopes=sorted(scopes))


@router.get("/config")
async def config(runtime: RuntimeDep, caller: Reader) -> dict[str, Any]:
    """Where the owners' APIs are: the board's buttons call them from the browser."""
    return {"services": runtime.urls, "stages": STAGES, "you": {"name": caller.name, "scopes": sorted(caller.scopes)}}


class Kpi(BaseModel):
    """The header's figures. Lateness counts the present stage's deadline and the promise, up to 10,000 orders."""

    open: int
    red: int
    late: int
    at_risk: int  # promise within the next 60 minutes of business time
    closed: int
    cancelled: int


class StageCount(BaseModel):
    stage: str
    green: int
    yellow: int
    red: int


class Summary(BaseModel):
    now: str
    kpi: Kpi
    stages: list[StageCount]


async def _summary(engine: Engine) -> Summary:
    async def load(tx: Tx) -> Summary:
        at: Counter[str] = Counter()
        for tally in await tx.find(TALLIES):
            at.update(tally.orders)
        lights = ("green", "yellow", "red")
        stages = [StageCount(stage=s, **{light: at[f"{s}|{light}"] for light in lights}) for s in STAGES]
        soon = {"promise_by__gte": tx.now, "promise_by__lte": tx.now + timedelta(minutes=60)}
        kpi = Kpi(
            open=sum(s.green + s.yellow + s.red for s in stages),
            red=sum(s.red for s in stages),
            late=await tx.count(CARDS, {"ended": None, "deadline__lt": tx.now}, limit=DEEPEST),
            at_risk=await tx.count(CARDS, {"ended": None} | soon, limit=DEEPEST),
            closed=sum(at[f"closed|{light}"] for light in lights),
            cancelled=sum(at[f"cancelled|{light}"] for light in lights),
        )
        return Summary(now=tx.now.isoformat(), kpi=kpi, stages=stages)

    return await engine.read(load)


class _Cached:
    """The summary is the same for everyone: counted at most once a second, however many boards look."""

    def __init__(self) -> None:
        self.at, self.value = 0.0, None

    async def get(self, engine: Engine) -> Summary:
        if self.value is None or time.monotonic() - self.at > 1.0:
            self.value, self.at = await _summary(engine), time.monotonic()  # type: ignore[assignment]
        return self.value  # type: ignore[return-value]


@router.get("/summary")
async def summary(engine: EngineDep, runtime: RuntimeDep, caller: Reader) -> Summary:
    """Counts by stage and light, and the header's figures."""
    return await runtime.shared("summary", _Cached).get(engine)


def _rows(
    now: datetime, cards: Sequence[Card], people: Mapping[Key, PersonChanged], limit: int, after: int
) -> Response:
    """A page of a list, as JSON: `cards` holds one more than the page when there are more."""
    owners = Owners(people)
    items = [row_of(card, owners) for card in cards[:limit]]
    more = len(cards) > limit and after + limit <= DEEPEST
    rows = RowList(now=now.isoformat(), items=items, next=after + limit if more else None)
    return Response(to_json(rows), media_type="application/json")


@router.get("/board", response_model=RowList)
async def board(
    engine: EngineDep,
    caller: Reader,
    stage: Annotated[str | None, Query(pattern=f"^({'|'.join((*STAGES, *ENDED))})$")] = None,
    light: Annotated[str | None, Query(pattern="^(green|yellow|red)$")] = None,
    channel: Filter = None,
    tier: Annotated[str | None, Query(pattern="^(urgent|high|regular|low)$")] = None,
    q: Annotated[
        str | None,
        Query(max_length=80, description="the beginning of an order number, a name, a tag or a tracking number"),
    ] = None,
    sort: Annotated[str, Query(pattern="^(urgency|promise|newest)$")] = "urgency",
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
    after: After = 0,
) -> Response:
    """Open orders, the most urgent first; ended ones, the last to end first, when their stage is asked for; both when
    something is searched (H1)."""
    chosen = {n: v for n, v in (("stage", stage), ("light", light), ("channel", channel), ("tier", tier)) if v}

    async def load(tx: Tx) -> Response:
        if q and q.strip():
            found = await search(tx, q, chosen)
            cards = sorted(found, key=ORDERS[sort])[after : after + limit + 1]
        else:
            where, order_by = list_of(chosen, SORTS[sort])
            cards = await tx.find(CARDS, where, order_by=order_by, limit=limit + 1, offset=after)
        return _rows(tx.now, cards, await tx.masters(PEOPLE), limit, after)

    return await engine.read(load)


@router.get("/needs-action", response_model=RowList)
async def needs_action(
    engine: EngineDep,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: After = 0,
) -> Response:
    """Exceptions, the least slack first, each with its suggested action (H2)."""

    async def load(tx: Tx) -> Response:
        cards = await tx.find(
            CARDS,
            {"ended": None, "light": "red"},
            order_by=("deadline", "tier_rank", "order_id"),
            limit=limit + 1,
            offset=after,
        )
        return _rows(tx.now, cards, await tx.masters(PEOPLE), limit, after)

    return await engine.read(load)


@router.get("/orders/{order_id}")
async def order_page(order_id: OrderPath, engine: EngineDep, caller: Reader) -> OrderPage:
    """One order: its facts and every event in one timeline, across services (H3)."""

    async def load(tx: Tx) -> OrderPage | None:
        card = (await tx.load(CARDS, [order_id])).get(order_id)
        pages = await tx.find(PAGES, {"order_id": order_id}, order_by=("event_id",), limit=2000)
        if card is None and not pages:
            return None
        return page_of(card or CARDS.blank(order_id), pages, Owners(await tx.masters(PEOPLE)))

    found = await engine.read(load)
    if found is None:
        raise Problem(
            404, "unknown-order", "No event named this order yet", detail="Check the number, or wait a moment."
        )
    return found


@router.get("/stock")
async def stock(
    engine: EngineDep, caller: Reader, sku: Filter = None, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> dict[str, Any]:
    """Newest stock levels as inventory published them."""
    found = await engine.read(
        lambda tx: tx.find(LEVELS, {"sku": sku} if sku else {}, order_by=("sku", "warehouse_id"), limit=limit)
    )
    return {"items": plain(found), "next": None}


@router.get("/stream", response_class=EventSourceResponse)
async def stream(
    engine: EngineDep,
    runtime: RuntimeDep,
    caller: Reader,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Changed rows as they change. Resume with Last-Event-ID; `reset` asks to load the board again."""
    feed = runtime.shared("feed", lambda: Feed(engine))
    async for frame in feed.listen(last_event_id):
        if frame is None:
            yield ServerSentEvent(comment="still here")
        else:
            yield ServerSentEvent(
                event="reset" if frame.reset else "rows", id=frame.cursor, data={"now": frame.now, "rows": frame.rows}
            )
