"""The carriers' HTTP API: rates, labels, voids, pick-ups, tracking; and scans by hand, to cause an exception on purpose.

Rates and labels are also sold in batches, as carriers' bulk APIs do: each request of a batch has its own answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from expedite_local.carriers import labels, messages, rates
from expedite_local.carriers.chance import digest, digits, short_hash
from expedite_local.carriers.rates import NoSuchService, Profile
from expedite_local.carriers.script import Step
from expedite_local.carriers.world import World

router = APIRouter()
BATCH_AT_MOST = 200
EASYPOST_WORDS = {
    "pending": ("pre_transit", "label_created"),
    "picked_up": ("in_transit", "received_at_origin_facility"),
    "in_transit": ("in_transit", "arrived_at_facility"),
    "out_for_delivery": ("out_for_delivery", "out_for_delivery"),
    "ready_for_pickup": ("available_for_pickup", "available_for_pickup"),
    "delivered": ("delivered", "arrived_at_destination"),
    "delivery_failed": ("failure", "delivery_attempted"),
    "delivery_delayed": ("in_transit", "delayed"),
    "on_hold": ("in_transit", "held"),
    "return_to_sender": ("return_to_sender", "return"),
    "returned": ("return_to_sender", "returned"),
    "lost": ("failure", "lost"),
    "cancelled": ("cancelled", "cancelled"),
}


class Refused(BaseModel):
    """What a carrier says of a request it does not take: a sentence, or what is wrong with each field."""

    detail: str | list[dict[str, Any]]


class Ask(BaseModel):
    """A parcel to price or to label; what is not named here is the shipper's business."""

    model_config = ConfigDict(extra="allow")

    parcel_id: str
    weight_g: Annotated[int, Field(ge=1, le=30_000_000)]
    service: str | None = None


class Wish(Ask):
    """A label to buy. `formats` names those that shall be in the answer; the PDF is always at its `pdf_url` too."""

    formats: tuple[str, ...] = labels.FORMATS


class BatchWish(Wish):
    """A label to buy in a batch, where the idempotency key of each stands in its request."""

    model_config = ConfigDict(extra="ignore")  # what is printed and priced is taken from the request itself

    idempotency_key: Annotated[str, Field(min_length=8)]


class Pickup(BaseModel):
    """Parcels the carrier's driver took."""

    tracking_numbers: Annotated[list[str], Field(max_length=1000)]
    at: AwareDatetime | None = None


class Scan(BaseModel):
    """One scan, told at once: status is one of our twelve, or lost, or returned."""

    tracking_number: str
    status: str
    occurred_at: AwareDatetime | None = None
    location: str | None = None
    message: str | None = None
    expected_at: AwareDatetime | None = None


# Coroutines, though they wait for nothing: the framework runs plain functions in a thread each.
async def _world(request: Request) -> World:
    world: World = request.app.state.world
    return world


async def _carrier(
    carrier_id: str, world: Annotated[World, Depends(_world)], authorization: Annotated[str, Header()] = ""
) -> Profile:
    profile = world.profiles.get(carrier_id)
    if profile is None:
        raise HTTPException(404, f"no carrier {carrier_id} here; try {', '.join(world.profiles)}")
    key = world.api_key_of(carrier_id)
    if key and authorization != f"Bearer {key}":
        raise HTTPException(401, "unknown API key")
    return profile


WorldDep = Annotated[World, Depends(_world)]
CarrierDep = Annotated[Profile, Depends(_carrier)]


@router.post("/{carrier_id}/rates")
async def quote(ask: Ask, carrier: CarrierDep) -> dict[str, Any]:
    """Prices of all services that go there."""
    return rates.quote(carrier, ask.model_dump())


@router.post("/{carrier_id}/rates/batch")
async def quote_many(request: Request, carrier: CarrierDep) -> Response:
    """Prices for up to 200 parcels; one that cannot be priced has an `error` in its place."""

    def priced(raw: Any) -> dict[str, Any]:
        Ask.model_validate(raw)
        return rates.quote(carrier, raw)

    return _answered(await _requests(request), priced)


@router.post("/{carrier_id}/labels")
async def buy(
    ask: Wish, carrier: CarrierDep, world: WorldDep, idempotency_key: Annotated[str, Header(min_length=8)]
) -> dict[str, Any]:
    """Sell a label. Number and label derive from the idempotency key: asking again gives the same and costs nothing."""
    try:
        return _sell(world, carrier, ask.model_dump(), ask.formats, idempotency_key)
    except NoSuchService as refusal:
        raise HTTPException(422, str(refusal)) from None


@router.post("/{carrier_id}/labels/batch")
async def buy_many(request: Request, carrier: CarrierDep, world: WorldDep) -> Response:
    """Sell up to 200 labels; one that is not sold has an `error` in its place."""

    def sold(raw: Any) -> dict[str, Any]:
        wish = BatchWish.model_validate(raw)
        return _sell(world, carrier, raw, wish.formats, wish.idempotency_key)

    return _answered(await _requests(request), sold)


async def _requests(request: Request) -> list[Any]:
    try:
        asked = orjson.loads(await request.body())["requests"]
    except (ValueError, TypeError, KeyError):
        raise HTTPException(422, 'the body must be {"requests": [...]}') from None
    if not isinstance(asked, list) or len(asked) > BATCH_AT_MOST:
        raise HTTPException(422, f"requests must be a list of at most {BATCH_AT_MOST}")
    return asked


def _answered(asked: list[Any], answer: Callable[[Any], dict[str, Any]]) -> Response:
    results: list[dict[str, Any]] = []
    for raw in asked:
        try:
            results.append(answer(raw))
        except NoSuchService as refusal:
            results.append({"error": {"status": 422, "detail": str(refusal)}})
        except ValidationError as invalid:
            first = invalid.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            results.append({"error": {"status": 422, "detail": f"{where}: {first['msg']}"}})
    return Response(orjson.dumps({"results": results}), media_type="application/json")


def _sell(world: World, carrier: Profile, asked: Mapping[str, Any], formats: Sequence[str], key: str) -> dict[str, Any]:
    drawn = digest(carrier.carrier_id, key)
    number = f"{carrier.prefix}{digits(12, drawn)}"
    today = None if number in world.labels else world.clock.now().date()
    rate = rates.price_of(carrier, asked.get("service") or "", asked, world.seed, today)
    world.labels[number] = rate["transit_hours"]
    label_id, lines = f"lbl_{drawn[:6].hex()}", labels.address_lines(asked)
    # The address of the PDF carries what is printed on it: the page can be drawn at any time, from no memory at all.
    printed = base64.urlsafe_b64encode("\n".join(lines).encode()).decode()
    return {
        "label_id": label_id,
        "tracking_number": number,
        "tracking_url": f"https://track.example/{carrier.carrier_id}/{number}",
        "cost": rate["price"],
        "currency": rate["currency"],
        "pdf_url": f"/labels/{label_id}/pdf?number={number}&service={rate['service']}&printed={printed}",
        **labels.make(carrier.name, rate["name"], number, lines, formats),
    }


@router.get("/{carrier_id}/labels/{label_id}/pdf")
async def label_pdf(label_id: str, number: str, service: str, printed: str, carrier: CarrierDep) -> Response:
    """The label as a page, drawn when somebody asks for it."""
    name = next((s.name for s in carrier.services if s.code == service), None)
    try:
        lines = base64.urlsafe_b64decode(printed).decode().split("\n")
        if name is None:
            raise ValueError("unknown service")
        page = labels.pdf(carrier.name, name, number, lines)
    except (binascii.Error, ValueError):
        raise HTTPException(404, "there is no such label") from None
    return Response(page, media_type="application/pdf")


@router.post("/{carrier_id}/labels/{label_id}/void")
async def void(label_id: str, carrier: CarrierDep, world: WorldDep) -> dict[str, Any]:
    """Take a label back; twice is fine."""
    world.voided[label_id] = True
    return {"label_id": label_id, "voided": True}


@router.post("/{carrier_id}/pickup")
async def pick_up(body: Pickup, carrier: CarrierDep, world: WorldDep) -> dict[str, Any]:
    """The driver took these parcels: their stories begin."""
    at = body.at or world.clock.now()
    begun = [
        number
        for number in body.tracking_numbers
        if world.begin(carrier.carrier_id, number, at, at + timedelta(hours=world.labels.get(number, 24)))
    ]
    return {"begun": begun}


@router.post("/{carrier_id}/scans")
async def scan(body: Scan, carrier: CarrierDep, world: WorldDep) -> dict[str, Any]:
    """Push one scan as a signed webhook, now."""
    if body.status not in EASYPOST_WORDS:
        raise HTTPException(422, f"status must be one of {', '.join(EASYPOST_WORDS)}")
    at: datetime = body.occurred_at or world.clock.now()
    status, detail = EASYPOST_WORDS[body.status]
    step = Step(at, status, detail, body.status, body.message or body.status, body.location, body.expected_at)
    event_id = "evt_" + short_hash(carrier.carrier_id, body.tracking_number, body.status, at, body.location)
    if carrier.webhook_format == "easypost":
        payload = messages.easypost(carrier, body.tracking_number, (step,), event_id, body.expected_at)
    else:
        payload = messages.native(body.tracking_number, step, event_id)
    return {"event_id": event_id, "accepted": await world.push(carrier, payload, event_id)}


@router.get("/{carrier_id}/tracking/{number}")
async def track(number: str, carrier: CarrierDep, world: WorldDep) -> dict[str, Any]:
    """Where a parcel is: its checkpoints so far."""
    steps = world.seen(number)
    events = [
        {"status": s.native, "occurred_at": s.at.isoformat(), "message": s.message, "location": s.location}
        for s in steps
    ]
    return {"tracking_number": number, "status": steps[-1].native if steps else "pending", "events": events}


@router.get("/livez")
async def livez(world: WorldDep) -> dict[str, Any]:
    """Alive, and how busy."""
    return {"status": "ok", "active": len(world.active), "sent": world.sent, "refused": world.refused}


def create_app(world: World, *, tell_stories: bool = True) -> FastAPI:
    """The carriers' app. Without `tell_stories` nothing moves by itself: tests step the world."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        telling = asyncio.create_task(world.run()) if tell_stories else None
        yield
        if telling:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling

    refused: dict[int | str, dict[str, Any]] = {422: {"model": Refused}}
    app = FastAPI(title="Demo carriers", docs_url=None, redoc_url=None, lifespan=lifespan, responses=refused)
    app.state.world = world
    app.include_router(router)
    return app
