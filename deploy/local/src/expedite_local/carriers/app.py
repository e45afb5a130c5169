"""The carriers' HTTP API: rates, labels, voids, pick-ups, tracking; and scans by hand, to cause an exception on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from expedite_local.carriers import labels, messages, rates
from expedite_local.carriers.chance import digits, short_hash
from expedite_local.carriers.rates import NoSuchService, Profile
from expedite_local.carriers.script import Step
from expedite_local.carriers.world import World

router = APIRouter()
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


class Ask(BaseModel):
    """A parcel to price or to label; what is not named here is the shipper's business."""

    model_config = ConfigDict(extra="allow")

    parcel_id: str
    weight_g: Annotated[int, Field(ge=1, le=30_000_000)]
    service: str | None = None


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


def _world(request: Request) -> World:
    world: World = request.app.state.world
    return world


def _carrier(
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
    return {"rates": rates.quote(carrier, ask.model_dump())}


@router.post("/{carrier_id}/labels")
async def buy(
    ask: Ask, carrier: CarrierDep, world: WorldDep, idempotency_key: Annotated[str, Header(min_length=8)]
) -> dict[str, Any]:
    """Sell a label. Number and label derive from the idempotency key: asking again gives the same and costs nothing."""
    asked = ask.model_dump()
    number = f"{carrier.prefix}{digits(12, carrier.carrier_id, idempotency_key)}"
    today = None if number in world.labels else world.clock.now().date()
    try:
        rate = rates.price_of(carrier, ask.service or "", asked, world.seed, today)
    except NoSuchService as refusal:
        raise HTTPException(422, str(refusal)) from None
    world.labels[number] = rate["transit_hours"]
    return {
        "label_id": "lbl_" + short_hash(carrier.carrier_id, idempotency_key),
        "tracking_number": number,
        "tracking_url": f"https://track.example/{carrier.carrier_id}/{number}",
        "cost": rate["price"],
        "currency": rate["currency"],
        **labels.make(carrier.name, rate["name"], number, asked),
    }


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

    app = FastAPI(title="Demo carriers", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.world = world
    app.include_router(router)
    return app
