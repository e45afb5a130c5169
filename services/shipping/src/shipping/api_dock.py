"""The dock: what stands there, what may leave, what has to be put back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Response

from expedite_chassis import Caller, EngineDep, RuntimeDep, require, root
from expedite_events import Decision, Lane
from expedite_events import Outcome as Ended
from expedite_messaging import Cause, Engine, Group, KeyParked, Tx
from shipping.domain import custody, labels
from shipping.domain.custody import Refused
from shipping.domain.state import LabelState, OrderLeg, order_of
from shipping.problems import refused, unknown_parcel
from shipping.store import PARCELS, Desktop, ParcelRow, ParcelStatus
from shipping.views import (
    LAST,
    ActionQuery,
    By,
    DockList,
    HandOver,
    HandOverResults,
    HandOvers,
    Id,
    Limit,
    Outcome,
    PlaceQuery,
    Returned,
    answered,
    asking_for,
    dock_item,
    outcome,
    parcel_links,
    rest_of_place,
)

router = APIRouter()
Crew = Annotated[Caller, Depends(require("floor:work"))]
Decide = Callable[[OrderLeg, Desktop], Decision[OrderLeg]]


@router.get("/warehouses/{warehouse_id}/dock", response_model=DockList, responses=parcel_links("/items/0/parcel_id"))
async def dock(
    warehouse_id: Id,
    engine: EngineDep,
    caller: Crew,
    action: ActionQuery = None,
    after: PlaceQuery = None,
    limit: Limit = 100,
) -> Response:
    """What stands on the dock, most urgent first: tier, then the truck it must catch, then its deadline (E1, F2). `action`
    leaves only what asks for it; `after` is the `next` of the page before."""
    where: dict[str, Any] = {
        "dock_place__gt": f"{warehouse_id}|{after or ''}",
        "dock_place__lt": f"{warehouse_id}|{LAST}",
    }
    if action:
        where["status"] = asking_for(action)

    async def work(tx: Tx) -> list[ParcelRow]:
        return await tx.find(PARCELS, where, order_by=("dock_place",), limit=limit)

    rows = await engine.read(work)
    following = rest_of_place(rows[-1].dock_place) if len(rows) == limit else None
    return answered(items=[dock_item(row) for row in rows], next=following)


@router.post("/parcels/{parcel_id}/hand-over")
async def hand_over(parcel_id: Id, body: HandOver, engine: EngineDep, runtime: RuntimeDep, caller: Crew) -> Outcome:
    """The scan at the truck. Refused with the reason for parcels that must not leave; from here on a cancel is refused."""
    group = runtime.shared("shipping.hand-overs", lambda: Group(engine, keys=lambda scan: (scan.order_id,), work=_load))
    answer = await group.submit(_Scan(order_of(parcel_id), parcel_id, body.by, body.scanned))
    if answer is None:
        raise unknown_parcel(parcel_id)
    if isinstance(answer, Refused):
        raise refused(answer)
    return Outcome(parcel_id=parcel_id, status=ParcelStatus.HANDED, changed=answer.changed)


@router.post("/warehouses/{warehouse_id}/hand-overs", response_model=HandOverResults)
async def hand_overs(warehouse_id: Id, body: HandOvers, engine: EngineDep, caller: Crew) -> Response:
    """A truck is loaded: up to 500 parcels at once, each with its own answer."""
    scans = {p: _Scan(order_of(p), p, body.by, warehouse_id=warehouse_id) for p in body.parcel_ids}
    answers, parked = await _load_all(engine, list(scans.values()))
    results = [_result(scan, answers.get(scan.parcel_id), parked) for scan in scans.values()]
    return answered(results=results)


class _Scan(NamedTuple):
    """A parcel at a truck; with the warehouse of the truck when the whole truck is loaded at once."""

    order_id: str
    parcel_id: str
    by: str
    scanned: str | None = None
    warehouse_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Handed:
    """The parcel is with its carrier; `changed=False`: it was before."""

    changed: bool


Loaded = _Handed | Refused | None  # None: there is no such parcel


async def _load_all(engine: Engine, scans: list[_Scan]) -> tuple[dict[str, Loaded], frozenset[str]]:
    """The answers by parcel, and the orders that wait for repair: they stay, the rest of the truck goes."""
    parked: frozenset[str] = frozenset()
    while True:
        going = [scan for scan in scans if scan.order_id not in parked]

        async def work(tx: Tx, going: list[_Scan] = going) -> Sequence[Loaded]:
            return await _load(tx, going)

        try:
            answers = await engine.transact([scan.order_id for scan in going], work)
        except KeyParked as found:
            parked |= frozenset(found.keys)
            continue
        return dict(zip((scan.parcel_id for scan in going), answers, strict=True)), parked


async def _load(tx: Tx, scans: Sequence[_Scan]) -> Sequence[Loaded]:
    desktop = await Desktop.of_orders(tx, {scan.order_id for scan in scans})
    return [_hand(desktop, scan) for scan in scans]


def _hand(desktop: Desktop, scan: _Scan) -> Loaded:
    leg = desktop.orders.get(scan.order_id)
    parcel = leg.parcel(scan.parcel_id) if leg else None
    if leg is None or parcel is None or scan.warehouse_id not in (None, parcel.warehouse_id):
        return None
    try:
        decision = custody.hand_over(leg, scan.parcel_id, scan.by, scan.scanned, desktop.now)
    except Refused as refusal:  # an answer, not an error: the other scans go on
        return refusal
    if decision.outcome is Ended.ALREADY_DONE:
        return _WAS_HANDED
    desktop.save(_cause(leg), decision)
    return _HANDED


_HANDED, _WAS_HANDED = _Handed(True), _Handed(False)


def _result(scan: _Scan, answer: Loaded, parked: frozenset[str]) -> dict[str, Any]:
    """`HandOverResult`."""
    if scan.order_id in parked:
        answer = Refused("parked", f"Something about order {scan.order_id} waits for repair: keep the parcel here.")
    elif answer is None:
        where = f"No parcel {scan.parcel_id} is known in warehouse {scan.warehouse_id}."
        answer = Refused("unknown-parcel", where)
    if isinstance(answer, Refused):
        return {"parcel_id": scan.parcel_id, "outcome": "refused", "code": answer.code, "reason": answer.reason}
    done = "handed" if answer.changed else "already"
    return {"parcel_id": scan.parcel_id, "outcome": done, "code": None, "reason": None}


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


async def _decide(engine: Engine, parcel_id: str, decide: Decide) -> Outcome:
    """Load, decide, save on behalf of a person, under the order's lock."""
    order_id = order_of(parcel_id)

    async def work(tx: Tx) -> Outcome:
        desktop = await Desktop.load(tx, [order_id])
        leg = desktop.orders.get(order_id)
        if leg is None or leg.parcel(parcel_id) is None:
            raise unknown_parcel(parcel_id)
        decision = decide(leg, desktop)
        desktop.save(_cause(leg), decision)
        return outcome(decision.state, parcel_id, decision.outcome is not Ended.ALREADY_DONE)

    try:
        return await engine.transact([order_id], work)
    except Refused as refusal:
        raise refused(refusal) from None


def _cause(leg: OrderLeg) -> Cause:
    return root(leg.order_id, Lane.EXPRESS if leg.express else Lane.STANDARD)
