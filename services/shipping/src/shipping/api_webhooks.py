"""Tracking webhooks of carriers. Each address has one signature scheme; the body is checked as raw bytes, kept in any case,
and answered with 2xx only after it is durable (F3)."""

from __future__ import annotations

import time
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Header, Query, Response
from prometheus_client import Counter

from expedite_chassis import Caller, EngineDep, Problem, RawBody, Runtime, RuntimeDep, require
from expedite_chassis.webhooks import secrets_of, verify_easypost, verify_standard
from expedite_messaging import Engine, Group, Tx
from shipping.store import DELIVERIES, DeliveryState
from shipping.views import DeliveryList, Id, IdQuery, Receipt
from shipping.webhooks import Incoming, Verdict, forgery, settle, understand

router = APIRouter()
UNMAPPED = Counter("tracking_status_unmapped", "Carrier statuses we have no word for", ["provider", "value"])
_KNOWN_UNMAPPED: set[tuple[str, str]] = set()
_LABELS_AT_MOST = 200  # a carrier that invents statuses must not fill the metrics
GATHER_S = 0.02
KEPT = (DeliveryState.UNMATCHED, DeliveryState.WAITING, DeliveryState.UNREADABLE)


@router.post("/webhooks/easypost/{carrier_id}", response_model=Receipt)
async def easypost_webhook(
    carrier_id: Id,
    body: RawBody,
    engine: EngineDep,
    runtime: RuntimeDep,
    x_hmac_signature: Annotated[str | None, Header()] = None,
) -> Response:
    """EasyPost's `tracker.updated`, unchanged: `X-Hmac-Signature` over the raw body."""
    valid = verify_easypost(body, x_hmac_signature, _secrets(runtime, carrier_id))
    return await _receive(engine, runtime, carrier_id, "easypost", body, valid)


@router.post("/webhooks/native/{carrier_id}", response_model=Receipt)
async def native_webhook(
    carrier_id: Id,
    body: RawBody,
    engine: EngineDep,
    runtime: RuntimeDep,
    webhook_id: Annotated[str | None, Header()] = None,
    webhook_timestamp: Annotated[str | None, Header()] = None,
    webhook_signature: Annotated[str | None, Header()] = None,
) -> Response:
    """Our own tracking webhook, signed by Standard Webhooks: {id, tracking_number, status, occurred_at, location, message,
    expected_at, signed_by}."""
    secrets = _secrets(runtime, carrier_id)
    valid = verify_standard(body, webhook_id, webhook_timestamp, webhook_signature, secrets, time.time())
    return await _receive(engine, runtime, carrier_id, "native", body, valid)


def _secrets(runtime: Runtime, carrier_id: str) -> tuple[str, ...]:
    return secrets_of(runtime.secrets.get("webhooks", {}).get(carrier_id))


async def _receive(
    engine: Engine, runtime: Runtime, carrier_id: str, format_: str, body: bytes, valid: bool
) -> Response:
    if not valid:
        await _log_forgery(engine, carrier_id, format_, body)
        raise Problem(401, "bad-signature")
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
    # No carrier waits for its answer: a longer window makes larger transactions.
    return Group(engine, keys=lambda item: (), work=settle, window_s=GATHER_S)


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
