"""Webhooks of shops, and the log of all deliveries."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request

from expedite_chassis import (
    Caller,
    EngineDep,
    Problem,
    RawBody,
    Runtime,
    RuntimeDep,
    keep_pace,
    require,
    tracing,
    webhooks,
)
from expedite_chassis.openapi import also_answers
from expedite_chassis.ration import FORGERIES_PER_MINUTE, Ration
from expedite_messaging import Engine, Tx
from order_intake.adapters import woocommerce
from order_intake.api.access import Cursor, Limit
from order_intake.api.shown import DeliveryRow, DeliveryRows, DeliveryShown, Received, shown
from order_intake.domain.channel import CHANNEL_ID, Format
from order_intake.inbound import Inbound, accept, refuse, replay, signed
from order_intake.settings import policy
from order_intake.store import CHANNELS, DELIVERIES, Delivery, Verdict
from order_intake.views import delivery_view

router = APIRouter(tags=["webhooks"])
ChannelPath = Annotated[str, Path(pattern=CHANNEL_ID)]
DeliveryPath = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]
Reviewer = Annotated[Caller, Depends(require("orders:review"))]


def _signed(header: str, topic: str) -> dict[str, Any]:
    """What a webhook brings, for the API's description: bodies are read by hand, whatever they are, and kept."""
    named = {"in": "header", "name": header, "required": True, "schema": {"type": "string"}}
    about = {"in": "header", "name": topic, "schema": {"type": "string"}}
    body = {"content": {"application/json": {"schema": {}}}}
    return {"parameters": [named, about], "requestBody": body, **also_answers(401, 429)}


@router.post(
    "/webhooks/shopify/{channel_id}",
    response_model=None,
    responses=shown(Received),
    openapi_extra=_signed("X-Shopify-Hmac-Sha256", "X-Shopify-Topic"),
)
async def shopify_webhook(
    channel_id: ChannelPath, request: Request, raw: RawBody, engine: EngineDep, runtime: RuntimeDep
) -> dict[str, Any]:
    """A Shopify webhook as Shopify sends it: orders/create, orders/paid, orders/cancelled."""
    return await _webhook(channel_id, Format.SHOPIFY, request, raw, engine, runtime)


@router.post(
    "/webhooks/woocommerce/{channel_id}",
    response_model=None,
    responses=shown(Received),
    openapi_extra=_signed("X-WC-Webhook-Signature", "X-WC-Webhook-Topic"),
)
async def woocommerce_webhook(
    channel_id: ChannelPath, request: Request, raw: RawBody, engine: EngineDep, runtime: RuntimeDep
) -> dict[str, Any]:
    """A WooCommerce webhook as WooCommerce sends it: order.created, order.updated, and the unsigned ping."""
    unsigned = woocommerce.SIGNATURE not in request.headers
    if unsigned and woocommerce.is_ping(request.headers.get("content-type", ""), raw):
        return {"verdict": "ping"}
    return await _webhook(channel_id, Format.WOOCOMMERCE, request, raw, engine, runtime)


async def _webhook(
    channel_id: str, format_: Format, request: Request, raw: bytes, engine: Engine, runtime: Runtime
) -> dict[str, Any]:
    channel = (await engine.read(lambda tx: tx.load(CHANNELS, [channel_id]))).get(channel_id)
    if channel is None or channel.format is not format_:
        raise Problem(404, "not-found")
    known = runtime.secrets.get("webhooks", {})
    secrets = webhooks.secrets_of(known.get(channel.id, known.get(format_.value)))
    trace = tracing.current()
    inbound = Inbound(channel, dict(request.headers), raw, trace.traceparent if trace else None)
    if not signed(format_, inbound.headers, raw, secrets):
        if runtime.shared("intake.forgeries", lambda: Ration(FORGERIES_PER_MINUTE)).take():
            await refuse(engine, inbound)
        raise Problem(401, "bad-signature")
    keep_pace(runtime, f"webhook:{channel.id}")
    delivery = await accept(engine, inbound, policy())
    return _answer(delivery)


def _answer(delivery: Delivery) -> dict[str, Any]:
    return {"delivery_id": delivery.delivery_id, "verdict": delivery.verdict, "order_id": delivery.order_id}


@router.get("/deliveries", response_model=None, responses=shown(DeliveryRows))
async def list_deliveries(
    engine: EngineDep,
    _: Reviewer,
    verdict: Annotated[Verdict | None, Query()] = None,
    channel: Annotated[str | None, Query(max_length=40, pattern=r"^[a-z0-9._-]+$")] = None,
    limit: Limit = 50,
    after: Cursor = None,
) -> dict[str, Any]:
    """The delivery log, newest first, without bodies."""
    where: dict[str, Any] = {}
    if verdict:
        where["verdict"] = verdict
    if channel:
        where["channel"] = channel
    if after:
        where["delivery_id__lt"] = after
    found = await engine.read(lambda tx: tx.find(DELIVERIES, where, order_by=("-delivery_id",), limit=limit + 1))
    page = found[:limit]
    return {"items": [delivery_view(d) for d in page], "next": page[-1].delivery_id if len(found) > limit else None}


@router.get("/deliveries/{delivery_id}", response_model=None, responses=shown(DeliveryShown))
async def get_delivery(delivery_id: DeliveryPath, engine: EngineDep, _: Reviewer) -> dict[str, Any]:
    """One delivery with its raw body."""

    async def load(tx: Tx) -> Delivery | None:
        return (await tx.load(DELIVERIES, [delivery_id])).get(delivery_id)

    delivery = await engine.read(load)
    if delivery is None:
        raise Problem(404, "unknown-delivery", detail=f"There is no delivery {delivery_id}.")
    return delivery_view(delivery, body=True)


@router.post("/deliveries/{delivery_id}/replay", response_model=None, responses=shown(DeliveryRow))
async def post_replay(delivery_id: DeliveryPath, engine: EngineDep, _: Reviewer) -> dict[str, Any]:
    """Do again what a kept delivery asks for, with the mapping of now; an order that exists is not made twice."""
    return delivery_view(await replay(engine, delivery_id, policy()))
