"""Tracking webhooks of carriers. Each address has one signature scheme; the body is checked as raw bytes, kept in any case,
and answered with 2xx only after it is durable (F3)."""

from __future__ import annotations

import time
from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from prometheus_client import Counter

from expedite_chassis import Caller, EngineDep, Problem, Runtime, keep_pace, require
from expedite_chassis.openapi import also_answers
from expedite_chassis.ration import FORGERIES_PER_MINUTE, Ration
from expedite_chassis.webhooks import secrets_of, verify_easypost, verify_standard
from expedite_messaging import Engine, Group, Tx
from shipping.store import DELIVERIES, DeliveryState
from shipping.views import DeliveryList, Id, IdQuery, Receipt
from shipping.webhooks import Incoming, Verdict, forgery, settle, understand

log = structlog.get_logger("expedite.shipping")
router = APIRouter()
UNMAPPED = Counter("tracking_status_unmapped", "Carrier statuses we have no word for", ["provider", "value"])
_KNOWN_UNMAPPED: set[tuple[str, str]] = set()
_LABELS_AT_MOST = 200  # a carrier that invents statuses must not fill the metrics
KEPT = (DeliveryState.UNMATCHED, DeliveryState.WAITING, DeliveryState.UNREADABLE)


KEPT_ANSWER: dict[int | str, dict[str, Any]] = {202: {"model": Receipt, "description": "Kept, and not applied yet"}}


def _headers(*names: str) -> dict[str, Any]:
    """Headers of a webhook for the API's description. They are read by hand, as the body is: carriers send many webhooks,
    and checking each part on its own costs more than the signature."""
    named = [{"in": "header", "name": n, "required": True, "schema": {"type": "string"}} for n in names]
    body = {"content": {"application/json": {"schema": {}}}}
    return {"parameters": named, "requestBody": body, **also_answers(401, 429)}


@router.post(
    "/webhooks/easypost/{carrier_id}",
    response_model=Receipt,
    responses=KEPT_ANSWER,
    openapi_extra=_headers("X-Hmac-Signature"),
)
async def easypost_webhook(carrier_id: Id, request: Request) -> Response:
    """EasyPost's `tracker.updated`, unchanged: `X-Hmac-Signature` over the raw body."""
    body = await request.body()
    valid = verify_easypost(body, request.headers.get("x-hmac-signature"), _secrets(request, carrier_id))
    return await _receive(request, carrier_id, "easypost", body, valid)


@router.post(
    "/webhooks/native/{carrier_id}",
    response_model=Receipt,
    responses=KEPT_ANSWER,
    openapi_extra=_headers("webhook-id", "webhook-timestamp", "webhook-signature"),
)
async def native_webhook(carrier_id: Id, request: Request) -> Response:
    """Our own tracking webhook, signed by Standard Webhooks: {id, tracking_number, status, occurred_at, location, message,
    expected_at, signed_by}."""
    body, told = await request.body(), request.headers.get
    message_id, stamp, signature = told("webhook-id"), told("webhook-timestamp"), told("webhook-signature")
    try:
        valid = verify_standard(body, message_id, stamp, signature, _secrets(request, carrier_id), time.time())
    except ValueError as error:  # the carrier signs otherwise, or its secret was written down wrongly
        log.warning("a webhook cannot be verified", carrier=carrier_id, reason=str(error))
        valid = False
    return await _receive(request, carrier_id, "native", body, valid)


def _secrets(request: Request, carrier_id: str) -> tuple[str, ...]:
    runtime: Runtime = request.app.state.runtime
    return secrets_of(runtime.secrets.get("webhooks", {}).get(carrier_id))


async def _receive(request: Request, carrier_id: str, format_: str, body: bytes, valid: bool) -> Response:
    engine: Engine = request.app.state.engine
    runtime: Runtime = request.app.state.runtime
    if not valid:
        if runtime.shared("shipping.forgeries", lambda: Ration(FORGERIES_PER_MINUTE)).take():
            await _log_forgery(engine, carrier_id, format_, body)
        raise Problem(401, "bad-signature")
    keep_pace(runtime, f"webhook:{carrier_id}")
    incoming = understand(carrier_id, format_, body)
    if incoming.message:
        for value in incoming.message.unmapped:
            _count_unmapped(carrier_id, value)
    group = runtime.shared("shipping.webhooks", lambda: _group(engine))
    verdict = await group.submit(incoming)
    receipt = {
        "delivery_id": verdict.delivery.delivery_id,
        "state": verdict.delivery.state.value,
        "duplicate": verdict.duplicate,
    }
    kept = verdict.delivery.state in KEPT
    return Response(orjson.dumps(receipt), 202 if kept else 200, media_type="application/json")


def _group(engine: Engine) -> Group[Incoming, Verdict]:
    return Group(engine, keys=lambda item: (), work=settle)


def _count_unmapped(provider: str, value: str) -> None:
    pair = (provider, value[:60])
    if pair not in _KNOWN_UNMAPPED and len(_KNOWN_UNMAPPED) >= _LABELS_AT_MOST:
        pair = (provider, "other")
    _KNOWN_UNMAPPED.add(pair)
    UNMAPPED.labels(*pair).inc()


async def _log_forgery(engine: Engine, carrier_id: str, format_: str, body: bytes) -> None:
    async def work(tx: Tx) -> None:
        tx.add(DELIVERIES, forgery(carrier_id, format_, body, tx.now))

    await engine.transact([], work)


@router.get("/tracking-deliveries")
async def list_deliveries(
    engine: EngineDep,
    caller: Annotated[Caller, Depends(require("read"))],
    state: DeliveryState | None = None,
    carrier_id: IdQuery = None,
    tracking_number: IdQuery = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> DeliveryList:
    """The webhook log, newest first: what came, what came of it, and the body."""
    named = {"state": state and state.value, "carrier_id": carrier_id, "tracking_number": tracking_number}
    where = {name: value for name, value in named.items() if value is not None}

    async def work(tx: Tx) -> DeliveryList:
        return DeliveryList(
            items=await tx.find(DELIVERIES, where, order_by=("-received_at", "delivery_id"), limit=limit)
        )

    return await engine.read(work)
