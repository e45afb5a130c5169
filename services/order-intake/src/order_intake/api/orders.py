"""Posting single orders and reading them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from expedite_chassis import (
    Caller,
    EngineDep,
    KeyedRequest,
    Problem,
    Runtime,
    require,
    tracing,
)
from expedite_chassis.idempotency import HEADER, checked_key, digest_of
from expedite_chassis.openapi import IDEMPOTENCY_KEY
from expedite_events import NO_UNITS
from expedite_messaging import Engine, Group, Tx
from order_intake.adapters.native import NativeOrder
from order_intake.adapters.plain import PlainOrder
from order_intake.api.access import Cursor, Limit, OrderPath, any_of, known_shape, of_caller
from order_intake.api.shown import LOCATION, OF_AN_ORDER, Accepted, OrderRows, OrderShown, hold_links, shown
from order_intake.domain.order import State
from order_intake.parcels import handed_of
from order_intake.placing import Placed, PlaceRequest, place_all, prepared, unknown_channel
from order_intake.settings import policy
from order_intake.store import ORDERS, PRODUCTS
from order_intake.views import order_view, summary_view

router = APIRouter(tags=["orders"])
Reader = Annotated[Caller, Depends(any_of("orders:read", "read"))]
Writer = Annotated[Caller, Depends(require("orders:write", by_channel=True))]
_PRODUCTS_RETRY_S = 2

Intake = Group[PlaceRequest, Placed | Problem]


def intake_of(runtime: Runtime, engine: Engine) -> Intake:
    """The group commit of this process: concurrent orders share transactions."""

    async def work(tx: Tx, requests: Any) -> list[Placed | Problem]:
        return await place_all(tx, requests, policy())

    return runtime.shared("intake", lambda: Group(engine, lambda request: request.locks, work))


async def products_loaded(runtime: Runtime, engine: Engine) -> bool:
    """Whether any product has arrived; asked until it is true, then remembered."""
    seen: set[str] = runtime.shared("products", set)
    if not seen:
        seen.update(product.sku for product in await engine.read(lambda tx: tx.find(PRODUCTS, limit=1)))
    return bool(seen)


async def ready_intake(request: Request) -> Intake:
    """The group commit. Raises the 503 problem while no product is loaded."""
    runtime, engine = request.app.state.runtime, request.app.state.engine
    if not await products_loaded(runtime, engine):
        detail = "No product has been loaded yet, so no order can be verified."
        raise Problem(503, "products-not-loaded", detail=detail, headers={"Retry-After": str(_PRODUCTS_RETRY_S)})
    return intake_of(runtime, engine)


@router.post(
    "/orders",
    status_code=202,
    response_model=None,
    responses=shown(Accepted, 202, headers=LOCATION, links=OF_AN_ORDER | hold_links("approve", "reject")),
    openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
)
async def post_order(order: NativeOrder, request: Request, caller: Writer) -> Response:
    """Take in one order (A1). It is accepted whatever is missing: `holds` says what it waits for. An `Idempotency-Key` or a
    `reference` makes a retry safe; one of them is needed."""
    intake = await ready_intake(request)
    keyed, key = None, request.headers.get(HEADER)
    if key is not None or order.reference is None:
        keyed = KeyedRequest(caller, checked_key(key), digest_of("POST", request.scope["path"], await request.body()))
    wanted = asked(order, caller, base_url_of(request), keyed)
    placed = await intake.submit(wanted, urgent=wanted.content.urgent_tag)
    if isinstance(placed, Problem):
        raise placed
    tracing.name_order(placed.order_id)
    return placed.answer.response(replayed=not placed.fresh)


def asked(
    order: NativeOrder | PlainOrder, caller: Caller, base_url: str, keyed: KeyedRequest | None = None
) -> PlaceRequest:
    """What a caller asks for with this order. Raises `Problem` for a channel that the caller does not act for, as for
    one that does not exist."""
    if not caller.serves(order.channel):
        raise unknown_channel(order.channel)
    trace = tracing.current()
    return prepared(
        order.content(),
        channel=order.channel,
        client=caller.client,
        claims=((f"reference:{order.channel}", order.reference),) if order.reference else (),
        placed_now=order.placed_at is None,
        fingerprint=order.fingerprint if order.reference else None,
        keyed=keyed,
        base_url=base_url,
        trace_id=trace.trace_id if trace else None,
        traceparent=trace.traceparent if trace else None,
    )


def base_url_of(request: Request) -> str:
    """Where this request reached us: the beginning of every link in its answers."""
    return str(request.base_url).rstrip("/")


@router.get("/orders", response_model=None, responses=shown(OrderRows))
async def list_orders(
    engine: EngineDep,
    caller: Reader,
    state: Annotated[State | None, Query()] = None,
    channel: Annotated[str | None, Query(max_length=40, pattern=r"^[a-z0-9._-]+$")] = None,
    limit: Limit = 50,
    after: Cursor = None,
) -> dict[str, Any]:
    """Orders, newest number first; a channel's client sees those of its channels."""
    where: dict[str, Any] = {} if caller.channels is None else {"channel": sorted(caller.channels)}
    if state:
        where["state"] = state.value
    if channel:
        where["channel"] = channel if caller.serves(channel) else []
    if after:
        where["order_id__lt"] = after
    found = await engine.read(lambda tx: tx.find(ORDERS, where, order_by=("-order_id",), limit=limit + 1))
    page = found[:limit]
    return {"items": [summary_view(o) for o in page], "next": page[-1].order_id if len(found) > limit else None}


@router.get("/orders/{order_id}", response_model=None, responses=shown(OrderShown))
async def get_order(order_id: OrderPath, engine: EngineDep, caller: Reader) -> dict[str, Any]:
    """All intake knows about an order: state, holds, units by outcome, cancel requests."""
    known_shape(order_id)

    async def look(tx: Tx) -> dict[str, Any]:
        order = of_caller((await tx.load(ORDERS, [order_id])).get(order_id), order_id, caller)
        return order_view(order, (await handed_of(tx, [order])).get(order_id, NO_UNITS))

    return await engine.read(look)
