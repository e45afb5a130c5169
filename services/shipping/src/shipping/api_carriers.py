"""Carriers as their planner describes them, and what each of them has to take up."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from expedite_chassis import Caller, EngineDep, Instant, Problem, followed_by, require, root
from expedite_events import CarrierService
from expedite_messaging import Tx
from shipping.domain.desk import Carrier, change
from shipping.store import CARRIERS, PARCELS, ParcelRow, place_of
from shipping.views import (
    LAST,
    CarrierBody,
    CarrierList,
    Id,
    Limit,
    Manifest,
    PlaceQuery,
    answered,
    manifest_item,
    rest_of_place,
)

router = APIRouter()
Reader = Annotated[Caller, Depends(require("read"))]
Planner = Annotated[Caller, Depends(require("master:write"))]


_CARRIER: dict[int | str, dict[str, Any]] = {
    200: {"links": {name: followed_by(name, "carrier_id", "/carrier_id") for name in ("get_carrier", "manifest")}}
}


@router.put("/carriers/{carrier_id}", responses=_CARRIER)
async def put_carrier(carrier_id: Id, body: CarrierBody, engine: EngineDep, caller: Planner) -> Carrier:
    """Create or change a carrier; announced when it changes. Its API key and webhook secret are in the secrets file."""
    services = tuple(CarrierService(**dict(service)) for service in body.services)
    said = dict(body) | {"base_url": body.base_url.rstrip("/"), "services": services}
    wanted = Carrier(carrier_id=carrier_id, **said)

    async def work(tx: Tx) -> Carrier:
        book = await tx.load(CARRIERS, [carrier_id])
        decision = change(book.get(carrier_id), wanted)
        tx.apply(root(carrier_id), book, decision)
        return decision.state

    return await engine.transact([f"carrier:{carrier_id}"], work)


@router.get("/carriers")
async def list_carriers(engine: EngineDep, caller: Reader) -> CarrierList:
    """All carriers."""

    async def work(tx: Tx) -> list[Carrier]:
        return await tx.find(CARRIERS, order_by=("carrier_id",))

    return CarrierList(items=await engine.read(work))


@router.get("/carriers/{carrier_id}")
async def get_carrier(carrier_id: Id, engine: EngineDep, caller: Reader) -> Carrier:
    """One carrier."""

    async def work(tx: Tx) -> Carrier | None:
        return (await tx.load(CARRIERS, [carrier_id])).get(carrier_id)

    found = await engine.read(work)
    if found is None:
        raise Problem(404, "unknown-carrier", detail=f"There is no carrier {carrier_id}.")
    return found


@router.get("/carriers/{carrier_id}/manifest", response_model=Manifest)
async def manifest(
    carrier_id: Id,
    engine: EngineDep,
    caller: Reader,
    since: Annotated[Instant | None, Query()] = None,
    after: PlaceQuery = None,
    limit: Limit = 100,
) -> Response:
    """The parcels that are with this carrier now, in the order of their hand-over: those handed over at or after `since`.
    `after` is the `next` of the page before."""
    start = after or (place_of(since) if since else "")
    place = {"handed_place__gt": f"{carrier_id}|{start}", "handed_place__lt": f"{carrier_id}|{LAST}"}

    async def work(tx: Tx) -> tuple[list[ParcelRow], datetime]:
        return await tx.find(PARCELS, place, order_by=("handed_place",), limit=limit), tx.now

    rows, now = await engine.read(work)
    following = rest_of_place(rows[-1].handed_place) if len(rows) == limit else None
    return answered(items=[manifest_item(row) for row in rows], next=following, now=now)
