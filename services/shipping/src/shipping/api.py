"""Shipping's HTTP API: the dock, parcels, labels, carriers; webhooks are in `api_webhooks`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

import shipping.problems
from expedite_chassis import Caller, EngineDep, Problem, Runtime, RuntimeDep, require, root
from expedite_events import Decision, Lane
from expedite_events import Outcome as Ended
from expedite_messaging import Cause, Engine, Group, Tx
from shipping import api_webhooks
from shipping.domain import custody, labels
from shipping.domain.custody import Refused
from shipping.domain.desk import Carrier, change
from shipping.domain.state import LabelState, OrderLeg
from shipping.handlers import with_products
from shipping.store import CARRIERS, LABELS, ON_DOCK, ORDERS, PARCELS, Desktop, LabelFile, ParcelRow, ParcelStatus
from shipping.views import (
    By,
    CarrierBody,
    CarrierList,
    DockList,
    HandOver,
    HandOverResult,
    HandOverResults,
    HandOvers,
    Id,
    IdQuery,
    Outcome,
    ParcelList,
    ParcelView,
    ParcelViews,
    Returned,
    dock_item,
    outcome,
    view,
)

router = APIRouter()
router.include_router(api_webhooks.router)
PROBLEMS = shipping.problems.__name__  # importing it registers the problem pages

Reader = Annotated[Caller, Depends(require("read"))]
Crew = Annotated[Caller, Depends(require("floor:work"))]
Planner = Annotated[Caller, Depends(require("master:write"))]
Limit = Annotated[int, Query(ge=1, le=500)]
Decide = Callable[[OrderLeg, Desktop], Decision[OrderLeg]]


@router.get("/warehouses/{warehouse_id}/dock")
async def dock(warehouse_id: Id, engine: EngineDep, caller: Crew, limit: Limit = 100) -> DockList:
    """What stands on the dock, most urgent first: tier, then the truck it must catch, then its deadline (E1, F2)."""

    async def work(tx: Tx) -> list[ParcelRow]:
        where = {"warehouse_id": warehouse_id, "status": [s.value for s in ON_DOCK]}
        return await tx.find(PARCELS, where, order_by=("tier_rank", "cut_off_at", "deadline", "parcel_id"), limit=limit)

    return DockList(items=[dock_item(row) for row in await engine.read(work)])


@router.get("/parcels")
async def list_parcels(
    engine: EngineDep,
    caller: Reader,
    carrier_id: IdQuery = None,
    warehouse_id: IdQuery = None,
    status: ParcelStatus | None = None,
    tracking: Annotated[str | None, Query(pattern="^none$", description="none: not scanned by its carrier yet")] = None,
    after: IdQuery = None,
    limit: Limit = 100,
) -> ParcelList:
    """Parcels by id; `after` is the `next` of the page before."""
    named = {"carrier_id": carrier_id, "warehouse_id": warehouse_id, "status": status and status.value}
    where: dict[str, str | None] = {name: value for name, value in named.items() if value is not None}
    if tracking:
        where["tracking_status"] = None
    if after:
        where["parcel_id__gt"] = after

    async def work(tx: Tx) -> ParcelList:
        rows = await tx.find(PARCELS, where, order_by=("parcel_id",), limit=limit)
        return ParcelList(items=rows, next=rows[-1].parcel_id if len(rows) == limit else None, now=tx.now)

    return await engine.read(work)


@router.get("/parcels/{parcel_id}")
async def get_parcel(parcel_id: Id, engine: EngineDep, caller: Reader) -> ParcelView:
    """Everything about one parcel: why this carrier, where it is, what it waits for."""

    async def work(tx: Tx) -> ParcelView | None:
        row = (await tx.load(PARCELS, [parcel_id])).get(parcel_id)
        if row is None:
            return None
        leg = (await tx.load(ORDERS, [row.order_id]))[row.order_id]
        parcel = leg.parcel(parcel_id)
        return view(leg, parcel) if parcel else None

    found = await engine.read(work)
    if found is None:
        raise unknown_parcel(parcel_id)
    return found


@router.get("/orders/{order_id}/parcels")
async def get_order_parcels(order_id: Id, engine: EngineDep, caller: Reader) -> ParcelViews:
    """All parcels of an order, in the order they were packed."""

    async def work(tx: Tx) -> OrderLeg | None:
        return (await tx.load(ORDERS, [order_id])).get(order_id)

    leg = await engine.read(work)
    if leg is None:
        raise Problem(404, "unknown-order", detail=f"Shipping has heard nothing of order {order_id} yet.")
    return ParcelViews(items=[view(leg, parcel) for parcel in leg.parcels])


@router.get("/parcels/{parcel_id}/label.zpl", response_class=Response)
async def label_zpl(parcel_id: Id, engine: EngineDep, caller: Crew) -> Response:
    """The label for the printer, exactly as bought from the carrier (F2)."""
    label = await _label(engine, parcel_id)
    if label.zpl is None:
        raise Problem(404, "no-label", detail=f"The carrier sold no ZPL label for parcel {parcel_id}.")
    return Response(label.zpl, media_type="application/zpl")


@router.get("/parcels/{parcel_id}/label.pdf", response_class=Response)
async def label_pdf(parcel_id: Id, engine: EngineDep, caller: Crew) -> Response:
    """The label as a page, exactly as bought from the carrier (F2)."""
    label = await _label(engine, parcel_id)
    if label.pdf_base64 is None:
        raise Problem(404, "no-label", detail=f"The carrier sold no PDF label for parcel {parcel_id}.")
    return Response(base64.b64decode(label.pdf_base64), media_type="application/pdf")


async def _label(engine: Engine, parcel_id: str) -> LabelFile:
    async def work(tx: Tx) -> LabelFile | None:
        row = (await tx.load(PARCELS, [parcel_id])).get(parcel_id)
        if row is None:
            raise unknown_parcel(parcel_id)
        parcel = (await tx.load(ORDERS, [row.order_id]))[row.order_id].parcel(parcel_id)
        if parcel is None or parcel.label is None:
            return None
        return (await tx.load(LABELS, [parcel.label.label_id])).get(parcel.label.label_id)

    found = await engine.read(work)
    if found is None:
        raise Problem(404, "no-label", detail=f"Parcel {parcel_id} has no label.")
    return found


@router.post("/parcels/{parcel_id}/hand-over")
async def hand_over(parcel_id: Id, body: HandOver, engine: EngineDep, runtime: RuntimeDep, caller: Crew) -> Outcome:
    """The scan at the truck. Refused with the reason for parcels that must not leave; from here on a cancel is refused."""
    order_id = await _order_of(engine, parcel_id)
    answer = await _hand_overs(engine, runtime).submit(_Scan(order_id, parcel_id, body.by, body.scanned))
    if isinstance(answer, Refused):
        raise refused(answer)
    return answer


@router.post("/warehouses/{warehouse_id}/hand-overs")
async def hand_overs(
    warehouse_id: Id, body: HandOvers, engine: EngineDep, runtime: RuntimeDep, caller: Crew
) -> HandOverResults:
    """A truck is loaded: many parcels at once, each with its own answer."""
    wanted = list(dict.fromkeys(body.parcel_ids))

    async def look(tx: Tx) -> dict[str, ParcelRow]:
        rows = await tx.load(PARCELS, wanted)
        return {row.parcel_id: row for row in rows if row.warehouse_id == warehouse_id}

    known = await engine.read(look)
    scans = [_Scan(known[p].order_id, p, body.by, None) for p in wanted if p in known]

    async def work(tx: Tx) -> list[Outcome | Refused]:
        return list(await _hand_over_work(tx, scans))

    keys = sorted({scan.order_id for scan in scans})
    answers = dict(zip((s.parcel_id for s in scans), await engine.transact(keys, work), strict=True))
    return HandOverResults(results=[_result(p, answers.get(p), warehouse_id) for p in wanted])


def _result(parcel_id: str, answer: Outcome | Refused | None, warehouse_id: str) -> HandOverResult:
    if answer is None:
        reason = f"No parcel {parcel_id} is known in warehouse {warehouse_id}."
        return HandOverResult(parcel_id=parcel_id, outcome="refused", code="unknown-parcel", reason=reason)
    if isinstance(answer, Refused):
        return HandOverResult(parcel_id=parcel_id, outcome="refused", code=answer.code, reason=answer.reason)
    return HandOverResult(parcel_id=parcel_id, outcome="handed" if answer.changed else "already")


@dataclass(frozen=True, slots=True)
class _Scan:
    order_id: str
    parcel_id: str
    by: str
    scanned: str | None


def _hand_overs(engine: Engine, runtime: Runtime) -> Group[_Scan, Outcome | Refused]:
    """Scans of many crews share transactions."""
    return runtime.shared(
        "shipping.hand-overs", lambda: Group(engine, keys=lambda scan: (scan.order_id,), work=_hand_over_work)
    )


async def _hand_over_work(tx: Tx, scans: Sequence[_Scan]) -> Sequence[Outcome | Refused]:
    desktop = await Desktop.load(tx, {scan.order_id for scan in scans})
    answers: list[Outcome | Refused] = []
    for scan in scans:
        leg = desktop.orders[scan.order_id]
        try:
            decision = custody.hand_over(leg, scan.parcel_id, scan.by, scan.scanned, tx.now)
        except Refused as refusal:  # an answer, not an error: the other scans of the group go on
            answers.append(refusal)
            continue
        desktop.save(_cause(leg), decision)
        answers.append(outcome(decision.state, scan.parcel_id, decision.outcome is not Ended.ALREADY_DONE))
    return answers


@router.post("/parcels/{parcel_id}/put-back")
async def put_back(parcel_id: Id, body: By, engine: EngineDep, caller: Crew) -> Outcome:
    """The cancelled units are out of the box and on the shelf: the cancel is answered."""
    return await _decide(engine, parcel_id, lambda leg, d: custody.put_back(leg, parcel_id, d.desk, d.now))


@router.post("/parcels/{parcel_id}/returned")
async def parcel_returned(parcel_id: Id, body: Returned, engine: EngineDep, caller: Crew) -> Outcome:
    """The parcel stands in the warehouse again, whatever its carrier says."""
    cause = f"{body.reason} (received by {body.by})"
    return await _decide(engine, parcel_id, lambda leg, d: custody.returned(leg, parcel_id, cause, d.now))


@router.post("/parcels/{parcel_id}/label", status_code=202)
async def retry_label(parcel_id: Id, body: By, engine: EngineDep, caller: Crew) -> Outcome:
    """Buy the label anew after it failed: every carrier is asked again, now."""

    def decide(leg: OrderLeg, desktop: Desktop) -> Decision[OrderLeg]:
        parcel = leg.parcel(parcel_id)
        if parcel is None or parcel.label_state is not LabelState.FAILED:
            raise Refused("label-not-failed", f"The label of parcel {parcel_id} did not fail.")
        return labels.try_again(leg, parcel_id, desktop.desk, desktop.now)

    return await _decide(engine, parcel_id, decide)


@router.put("/carriers/{carrier_id}")
async def put_carrier(carrier_id: Id, body: CarrierBody, engine: EngineDep, caller: Planner) -> Carrier:
    """Create or change a carrier; announced when it changes. Its API key and webhook secret are in the secrets file."""
    wanted = Carrier(carrier_id=carrier_id, **(body.model_dump() | {"base_url": body.base_url.rstrip("/")}))

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


async def _decide(engine: Engine, parcel_id: str, decide: Decide) -> Outcome:
    """Load, decide, save on behalf of a person, under the order's lock."""
    order_id = await _order_of(engine, parcel_id)

    async def work(tx: Tx) -> Outcome:
        desktop = await with_products(tx, [order_id])
        leg = desktop.orders[order_id]
        decision = decide(leg, desktop)
        desktop.save(_cause(leg), decision)
        return outcome(decision.state, parcel_id, decision.outcome is not Ended.ALREADY_DONE)

    try:
        return await engine.transact([order_id], work)
    except Refused as refusal:
        raise refused(refusal) from None


async def _order_of(engine: Engine, parcel_id: str) -> str:
    async def work(tx: Tx) -> ParcelRow | None:
        return (await tx.load(PARCELS, [parcel_id])).get(parcel_id)

    row = await engine.read(work)
    if row is None:
        raise unknown_parcel(parcel_id)
    return row.order_id


def _cause(leg: OrderLeg) -> Cause:
    return root(leg.order_id, Lane.EXPRESS if leg.express else Lane.STANDARD)


def unknown_parcel(parcel_id: str) -> Problem:
    """404 with what to check."""
    return Problem(404, "unknown-parcel", detail=f"No parcel {parcel_id} is known here.")


def refused(refusal: Refused) -> Problem:
    """409 with the reason in the words of the crew."""
    return Problem(409, refusal.code, detail=refusal.reason)
