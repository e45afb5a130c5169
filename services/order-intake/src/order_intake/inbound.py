"""Webhooks of shops: every signed body is kept and answered; what it asks for is done once."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from expedite_chassis import Problem, webhooks
from expedite_events import Decision
from expedite_events.ids import uuid7
from expedite_messaging import Book, Engine, KeyParked, Root, Transient, Tx
from order_intake.adapters import shopify, woocommerce
from order_intake.adapters.fields import Mapped, Unmappable
from order_intake.changes import Desk, change_in
from order_intake.domain.cancelling import CancelAsk, cancel
from order_intake.domain.channel import Channel, Format, Policy
from order_intake.domain.holding import pay
from order_intake.domain.order import Order, State
from order_intake.placing import PlaceRequest, locks_of, place_all, prepared
from order_intake.store import CHANNELS, CLAIMS, DELIVERIES, ORDERS, Claim, Delivery, Verdict

log = structlog.get_logger("expedite.intake")

_SECRET_HEADERS = {"authorization", "cookie", "x-api-key", "proxy-authorization"}
_BASE64 = "base64:"


@dataclass(frozen=True, slots=True)
class Inbound:
    """One webhook request, its signature checked."""

    channel: Channel
    headers: Mapping[str, str]
    body: bytes
    traceparent: str | None = None


def signed(format_: Format, headers: Mapping[str, str], body: bytes, secrets: tuple[str, ...]) -> bool:
    """Whether the raw bytes carry a valid signature of the channel's shop."""
    if format_ is Format.SHOPIFY:
        return webhooks.verify_base64(body, headers.get(shopify.SIGNATURE), secrets)
    return webhooks.verify_woocommerce(body, headers.get(woocommerce.SIGNATURE), secrets)


def new_delivery(inbound: Inbound, now: datetime, verdict: Verdict) -> Delivery:
    """The log row of a request. A body whose signature is wrong is not kept: it could be anybody's."""
    kept = verdict != "bad-signature"
    topic = inbound.headers.get(shopify.TOPIC) or inbound.headers.get(woocommerce.TOPIC) or ""
    return Delivery(
        delivery_id=str(uuid7()),
        channel=inbound.channel.id,
        format=inbound.channel.format.value,
        topic=topic[:100],
        received_at=now,
        headers={name: value[:1000] for name, value in inbound.headers.items() if name not in _SECRET_HEADERS},
        body=_text(inbound.body) if kept else None,
        size=len(inbound.body),
        sha256=hashlib.sha256(inbound.body).hexdigest(),
        verdict=verdict,
    )


async def refuse(engine: Engine, inbound: Inbound) -> None:
    """Log a request with a wrong signature; nothing else happens."""

    async def work(tx: Tx) -> None:
        tx.add(DELIVERIES, new_delivery(inbound, tx.now, "bad-signature"))

    await engine.transact([], work)


async def accept(engine: Engine, inbound: Inbound, policy: Policy) -> Delivery:
    """Keep a signed delivery and do what it asks for, in one transaction. Whatever it holds, it is kept."""

    async def blank(tx: Tx) -> Delivery:
        return new_delivery(inbound, tx.now, "needs-mapping")

    return await _process(engine, inbound, await engine.read(blank), policy, again=False)


async def replay(engine: Engine, delivery_id: str, policy: Policy) -> Delivery:
    """Do again what a kept delivery asks for, with the mapping of now. Raises `Problem` for one that is not kept."""

    async def load(tx: Tx) -> tuple[Delivery | None, Channel | None]:
        delivery = (await tx.load(DELIVERIES, [delivery_id])).get(delivery_id)
        channels = await tx.load(CHANNELS, [delivery.channel] if delivery else [])
        return delivery, channels.get(delivery.channel) if delivery else None

    delivery, channel = await engine.read(load)
    if delivery is None or channel is None:
        raise Problem(404, "unknown-delivery", detail=f"There is no delivery {delivery_id}.")
    if delivery.body is None:
        raise Problem(409, "not-replayable", detail="Its signature was wrong, so its body was not kept.")
    inbound = Inbound(channel, delivery.headers, _bytes(delivery.body))
    again = delivery.put(attempts=delivery.attempts + 1, detail=None)
    return await _process(engine, inbound, again, policy, again=True)


async def retry_parked(engine: Engine, policy: Policy) -> None:
    """Replay deliveries that waited behind parked events of their order."""

    async def find(tx: Tx) -> list[Delivery]:
        return await tx.find(DELIVERIES, {"verdict": "parked"}, order_by=("delivery_id",), limit=200)

    for delivery in await engine.read(find):
        await replay(engine, delivery.delivery_id, policy)


async def _process(engine: Engine, inbound: Inbound, delivery: Delivery, policy: Policy, *, again: bool) -> Delivery:
    try:
        mapped = _read(inbound)
        while True:
            done = await _attempt(engine, inbound, delivery, mapped, policy, again=again)
            if done is not None:
                return done
    except Transient:
        raise
    except KeyParked as parked:
        log.warning("webhook waits behind parked events", keys=parked.keys)
        return await _keep(engine, delivery, "parked", f"waits for {', '.join(parked.keys)}")
    except Unmappable as unmappable:
        return await _keep(engine, delivery, "needs-mapping", str(unmappable))
    except Exception as error:
        # A mistake of ours must not lose the shop's order: some shops never send it again.
        log.error("webhook could not be processed", error=type(error).__name__, delivery=delivery.delivery_id)
        return await _keep(engine, delivery, "needs-mapping", f"internal: {type(error).__name__}")


def _read(inbound: Inbound) -> Mapped:
    read = shopify.read if inbound.channel.format is Format.SHOPIFY else woocommerce.read
    return read(inbound.headers, inbound.body, inbound.channel.id)


async def _keep(engine: Engine, delivery: Delivery, verdict: Verdict, detail: str) -> Delivery:
    row = delivery.put(verdict=verdict, detail=detail[:500])

    async def work(tx: Tx) -> Delivery:
        (await tx.load(DELIVERIES, [row.delivery_id])).put(row)
        return row

    return await engine.transact([], work)


async def _attempt(
    engine: Engine, inbound: Inbound, delivery: Delivery, mapped: Mapped, policy: Policy, *, again: bool
) -> Delivery | None:
    """One transaction; None when the order came into being meanwhile, so that its lock must be taken first."""
    claim_key = mapped.order_claim

    async def lookup(tx: Tx) -> str | None:
        # Read without a lock: the order's own lock comes first, and the claim is looked at again below it.
        found = await tx.find(CLAIMS, {"scope": claim_key[0], "key": claim_key[1]}) if claim_key else []
        return found[0].order_id if found else None

    known = await engine.read(lookup)
    request = _request(inbound, mapped)
    claimed = [key for key in (mapped.delivery_claim, claim_key) if key]

    async def work(tx: Tx) -> Delivery | None:
        claims = await tx.load(CLAIMS, claimed)
        if claim_key and claims[claim_key].order_id != known:
            return None
        verdict, order_id, detail = await _do(tx, inbound, mapped, request, claims, known, policy, again=again)
        row = delivery.put(verdict=verdict, order_id=order_id, detail=detail)
        (await tx.load(DELIVERIES, [row.delivery_id])).put(row)
        return row

    locks = {*locks_of(claimed), *(request.locks if request else ())}
    return await engine.transact([*locks, known] if known else list(locks), work)


def _request(inbound: Inbound, mapped: Mapped) -> PlaceRequest | None:
    """What taking the delivery's order in asks for; None when it holds none."""
    if mapped.action == "ignore" or mapped.content is None or mapped.order_claim is None:
        return None
    return prepared(
        mapped.content,
        channel=inbound.channel.id,
        client=_client(inbound),
        claims=(mapped.order_claim,),
        cancelled=_reason(mapped) if mapped.action == "cancel" else None,
        traceparent=inbound.traceparent,
    )


def _client(inbound: Inbound) -> str:
    return f"{inbound.channel.format.value}:{inbound.channel.id}"


def _reason(mapped: Mapped) -> str:
    return f"Cancelled by the shop: {mapped.detail or 'no reason given'}"


async def _do(
    tx: Tx,
    inbound: Inbound,
    mapped: Mapped,
    request: PlaceRequest | None,
    claims: Book[Claim],
    known: str | None,
    policy: Policy,
    *,
    again: bool,
) -> tuple[Verdict, str | None, str | None]:
    """(verdict, order, detail) of a delivery."""
    if key := mapped.delivery_claim:
        if claims[key].taken and not again:
            return "duplicate", known or claims[key].order_id, "this delivery came before"
        claims.put(claims[key].put(order_id=known, at=tx.now))
    if request is None:
        return "ignored", known, mapped.detail
    if known is None:
        (placed,) = await place_all(tx, [request], policy)
        if isinstance(placed, Problem):
            return "needs-mapping", None, placed.detail
        return ("cancelled" if mapped.action == "cancel" else "accepted"), placed.order_id, None
    cause = Root(key=known, traceparent=inbound.traceparent)
    if mapped.action == "cancel":
        return await _cancel(tx, cause, policy, request.client, _reason(mapped))
    order = (await tx.load(ORDERS, [known]))[known]
    paid = request.content.payment_state
    if order.content.payment_state == paid or paid == "unpaid" or order.state in (State.CANCELLED, State.CLOSED):
        return "duplicate", known, "the order is known and nothing new is said about its payment"

    def record(desk: Desk) -> Decision[Order]:
        return pay(desk.order, paid, desk.channel, desk.products, tx.now, policy, by=request.client)

    await change_in(tx, cause, policy, record)
    return "paid", known, None


async def _cancel(
    tx: Tx, cause: Root, policy: Policy, client: str, reason: str
) -> tuple[Verdict, str | None, str | None]:
    def ask(desk: Desk) -> Decision[Order]:
        return cancel(desk.order, CancelAsk(reason=reason), desk.handed, tx.now, by=client)

    try:
        await change_in(tx, cause, policy, ask)
    except Problem as refused:
        return "too-late", cause.key, refused.detail
    return "cancelled", cause.key, None


def _text(body: bytes) -> str:
    """A body as storable text: UTF-8 as it is, anything else in base64."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text or text.startswith(_BASE64):
        return _BASE64 + base64.b64encode(body).decode()
    return text


def _bytes(text: str) -> bytes:
    return base64.b64decode(text[len(_BASE64) :]) if text.startswith(_BASE64) else text.encode()
