"""Shipping's HTTP API: parcels by any of their properties; the rest is in the `api_*` modules."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from msgspec.structs import asdict

from expedite_chassis import Caller, EngineDep, Problem, require
from expedite_messaging import Tx
from shipping import api_carriers, api_dock, api_labels, api_webhooks
from shipping.domain.state import OrderLeg
from shipping.problems import unknown_parcel
from shipping.store import ORDERS, PARCELS, ParcelRow, ParcelStatus, load_parcel
from shipping.views import Id, IdQuery, Limit, ParcelList, ParcelView, ParcelViews, answered, parcel_links, view

router = APIRouter()
for _part in (api_webhooks, api_dock, api_labels, api_carriers):  # the busiest first: routes are tried in this order
    router.include_router(_part.router)

Reader = Annotated[Caller, Depends(require("read"))]


@router.get("/parcels", response_model=ParcelList, responses=parcel_links("/items/0/parcel_id"))
async def list_parcels(
    engine: EngineDep,
    caller: Reader,
    carrier_id: IdQuery = None,
    warehouse_id: IdQuery = None,
    status: ParcelStatus | None = None,
    tracking: Annotated[str | None, Query(pattern="^none$", description="none: not scanned by its carrier yet")] = None,
    after: IdQuery = None,
    limit: Limit = 100,
) -> Response:
    """Parcels by id; `after` is the `next` of the page before."""
    named = {"carrier_id": carrier_id, "warehouse_id": warehouse_id, "status": status and status.value}
    where: dict[str, str | None] = {name: value for name, value in named.items() if value is not None}
    if tracking:
        where["tracking_status"] = None
    if after:
        where["parcel_id__gt"] = after

    async def work(tx: Tx) -> tuple[list[ParcelRow], datetime]:
        return await tx.find(PARCELS, where, order_by=("parcel_id",), limit=limit), tx.now

    rows, now = await engine.read(work)
    following = rows[-1].parcel_id if len(rows) == limit else None
    return answered(items=[asdict(row) for row in rows], next=following, now=now)


@router.get("/parcels/{parcel_id}")
async def get_parcel(parcel_id: Id, engine: EngineDep, caller: Reader) -> ParcelView:
    """Everything about one parcel: why this carrier, where it is, what it waits for."""

    async def work(tx: Tx) -> ParcelView | None:
        found = await load_parcel(tx, parcel_id)
        return view(*found) if found else None

    found = await engine.read(work)
    if found is None:
        raise unknown_parcel(parcel_id)
    return found


@router.get("/orders/{order_id}/parcels", responses=parcel_links("/items/0/parcel_id"))
async def get_order_parcels(order_id: Id, engine: EngineDep, caller: Reader) -> ParcelViews:
    """All parcels of an order, in the order they were packed."""

    async def work(tx: Tx) -> OrderLeg | None:
        return (await tx.load(ORDERS, [order_id])).get(order_id)

    leg = await engine.read(work)
    if leg is None:
        raise Problem(404, "unknown-order", detail=f"Shipping has heard nothing of order {order_id} yet.")
    return ParcelViews(items=[view(leg, parcel) for parcel in leg.parcels])
