"""Posting orders, one or many, and reading them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.responses import Response

from expedite_chassis import (
    Caller,
    EngineDep,
    FieldProblem,
    KeyedRequest,
    Problem,
    RawBody,
    Runtime,
    RuntimeDep,
    require,
    tracing,
)
from expedite_chassis.idempotency import HEADER, checked_key, digest_of
from expedite_chassis.validation import field_problems
from expedite_messaging import Engine, Group, KeyParked, Transient, Tx
from order_intake.adapters.native import NativeOrder
from order_intake.api.access import Cursor, Limit, OrderPath, any_of, known_shape
from order_intake.domain.order import State
from order_intake.placing import Placed, PlaceRequest, place_all
from order_intake.settings import policy
from order_intake.store import ORDERS, PRODUCTS
from order_intake.views import order_view, summary_view

router = APIRouter(tags=["orders"])
Reader = Annotated[Caller, Depends(any_of("orders:read", "read"))]
Writer = Annotated[Caller, Depends(require("orders:write"))]
BULK_LIMIT = 64 * 1024 * 1024
_CHUNK = 500
_PRODUCTS_RETRY_S = 2

Intake = Group[PlaceRequest, Placed | Problem]


def intake_of(runtime: Runtime, engine: Engine) -> Intake:
    """The group commit of this process: concurrent orders share transactions."""

    async def work(tx: Tx, requests: Any) -> list[Placed | Problem]:
        return await place_all(tx, requests, policy())

    return runtime.shared("intake", lambda: Group(engine, lambda _: (), work))


async def products_loaded(runtime: Runtime, engine: Engine) -> bool:
    """Whether any product has arrived; asked until it is true, then remembered."""
    seen: set[str] = runtime.shared("products", set)
    if not seen:
        seen.update(product.sku for product in await engine.read(lambda tx: tx.find(PRODUCTS, limit=1)))
    return bool(seen)


async def _ready_for_orders(runtime: Runtime, engine: Engine) -> None:
    if not await products_loaded(runtime, engine):
        detail = "No product has been loaded yet, so no order can be verified."
        raise Problem(503, "products-not-loaded", detail=detail, headers={"Retry-After": str(_PRODUCTS_RETRY_S)})


@router.post("/orders", status_code=202, response_model=None)
async def post_order(
    order: NativeOrder, request: Request, raw: RawBody, engine: EngineDep, runtime: RuntimeDep, caller: Writer
) -> Response:
    """Take in one order (A1). It is accepted whatever is missing: `holds` says what it waits for. Send an
    `Idempotency-Key` to make retries safe."""
    await _ready_for_orders(runtime, engine)
    key = request.headers.get(HEADER)
    keyed = (
        KeyedRequest(caller, checked_key(key), digest_of("POST", request.url.path, raw)) if key is not None else None
    )
    placed = await intake_of(runtime, engine).submit(_place(order, caller, request, keyed))
    if isinstance(placed, Problem):
        raise placed
    tracing.name_order(placed.order_id)
    return placed.answer.response(replayed=not placed.fresh)


def _place(order: NativeOrder, caller: Caller, request: Request, keyed: KeyedRequest | None = None) -> PlaceRequest:
    trace = tracing.current()
    return PlaceRequest(
        said=order,
        channel=order.channel,
        client=caller.client,
        claims=((f"reference:{order.channel}", order.reference),) if order.reference else (),
        fingerprint=order.fingerprint,
        keyed=keyed,
        base_url=str(request.base_url).rstrip("/"),
        trace_id=trace.trace_id if trace else None,
        traceparent=trace.traceparent if trace else None,
    )


@router.post("/orders/bulk", response_model=None)
async def post_orders(
    request: Request, raw: RawBody, engine: EngineDep, runtime: RuntimeDep, caller: Writer
) -> StreamingResponse:
    """Take in many orders, one JSON object per line, each with a `reference` that makes repeating it safe. Answers one
    verdict per line, in order, as chunks are done, then a summary. One bad line never fails another; after a broken
    connection the same body may be sent again."""
    await _ready_for_orders(runtime, engine)
    lines = [(number, line) for number, line in enumerate(raw.split(b"\n"), 1) if line.strip()]
    intake = intake_of(runtime, engine)

    async def verdicts() -> AsyncIterator[bytes]:
        counts = {"lines": len(lines), "accepted": 0, "held": 0, "replayed": 0, "refused": 0}
        for start in range(0, len(lines), _CHUNK):
            chunk = lines[start : start + _CHUNK]
            found = await asyncio.gather(*(_verdict(intake, n, line, caller, request) for n, line in chunk))
            for verdict in found:
                counts[_count(verdict)] += 1
                counts["held"] += verdict.get("state") == State.HELD
            yield b"".join(json.dumps(v, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for v in found)
        yield json.dumps({"summary": counts}).encode() + b"\n"

    return StreamingResponse(verdicts(), media_type="application/x-ndjson")


def _count(verdict: dict[str, Any]) -> str:
    if "problem" in verdict:
        return "refused"
    return "replayed" if verdict.get("replayed") else "accepted"


async def _verdict(intake: Intake, number: int, line: bytes, caller: Caller, request: Request) -> dict[str, Any]:
    """What became of one line; never raises for what is wrong with it."""
    reference: str | None = None
    try:
        order = _parse(line)
        reference = order.reference
        placed = await intake.submit(_place(order, caller, request))
        if isinstance(placed, Problem):
            raise placed
    except Problem as problem:
        found: dict[str, Any] = {"line": number, "status": problem.status_code, "problem": problem.document()}
        return found | ({"reference": reference} if reference else {})
    except (KeyParked, Transient):
        away = Problem(503, "unavailable")
        return {"line": number, "reference": reference, "status": 503, "problem": away.document()}
    body = json.loads(placed.answer.body)
    return {"line": number, "reference": reference, "status": 202, "replayed": not placed.fresh, **body}


def _parse(line: bytes) -> NativeOrder:
    try:
        value = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Problem(400, "malformed-json", detail="The line is not one JSON object.") from None
    try:
        order = NativeOrder.model_validate(value)
    except ValidationError as error:
        details = [{**detail, "loc": ("body", *detail["loc"])} for detail in error.errors()]
        raise Problem(422, "invalid", errors=[FieldProblem(**f) for f in field_problems(details, value)]) from None
    if order.reference is None:
        message = "Give each line a reference of its own; it makes repeating the line safe."
        raise Problem(422, "invalid", errors=[FieldProblem(pointer="/reference", code="missing", message=message)])
    return order


def _refuse(word: str) -> None:
    raise ValueError(word)


@router.get("/orders")
async def list_orders(
    engine: EngineDep,
    _: Reader,
    state: Annotated[State | None, Query()] = None,
    channel: Annotated[str | None, Query(max_length=40, pattern=r"^[a-z0-9._-]+$")] = None,
    limit: Limit = 50,
    after: Cursor = None,
) -> dict[str, Any]:
    """Orders, newest number first."""
    where: dict[str, Any] = {}
    if state:
        where["state"] = state.value
    if channel:
        where["channel"] = channel
    if after:
        where["order_id__lt"] = after
    found = await engine.read(lambda tx: tx.find(ORDERS, where, order_by=("-order_id",), limit=limit + 1))
    page = found[:limit]
    return {"items": [summary_view(o) for o in page], "next": page[-1].order_id if len(found) > limit else None}


@router.get("/orders/{order_id}")
async def get_order(order_id: OrderPath, engine: EngineDep, _: Reader) -> dict[str, Any]:
    """All intake knows about an order: state, holds, units by outcome, cancel requests."""
    known_shape(order_id)
    order = (await engine.read(lambda tx: tx.load(ORDERS, [order_id]))).get(order_id)
    if order is None:
        raise Problem(404, "unknown-order", detail=f"There is no order {order_id}.")
    return order_view(order)
