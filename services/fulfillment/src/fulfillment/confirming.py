"""Confirmations in bulk: how a conveyor or a warehouse control system says what it did (E2)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel

from expedite_chassis import Caller, EngineDep, require, root
from expedite_events import Units, to_json
from expedite_messaging import Engine, KeyParked, Transient, Tx
from fulfillment.bodies import Confirmation, Wrapped
from fulfillment.desk import Known, order_of, problem, read_codes, refuse_impostor
from fulfillment.domain import floor
from fulfillment.domain.floor import Wrapping
from fulfillment.domain.model import FulfilmentOrder, Refused
from fulfillment.plain import Confirmations, PlainRoute
from fulfillment.store import BARCODES, PEOPLE, PRODUCTS, Floor
from fulfillment.store import floor as load_floor
from fulfillment.views import Sizes, wrapping_of

router = APIRouter(route_class=PlainRoute)
log = logging.getLogger(__name__)

Result = dict[str, Any]


class ConfirmationResult(BaseModel):
    """What became of one confirmation."""

    fulfilment_order_id: str
    outcome: Literal["done", "already_done", "refused", "parked"]
    parcel_id: str | None = None
    code: str | None = None
    detail: str | None = None
    expected: str | None = None
    pointer: str | None = None


class ConfirmationResults(BaseModel):
    """One result per confirmation, in the order of the request."""

    results: list[ConfirmationResult]


class Row(NamedTuple):
    """A confirmation and its place in the request."""

    index: int
    order_id: str
    said: Confirmation

    def answer(self, outcome: str, **more: str | None) -> Result:
        found: Result = {"fulfilment_order_id": self.said.fulfilment_order_id, "outcome": outcome}
        for name, value in more.items():
            if value is not None:
                found[name] = value
        return found

    def refusal(self, refused: Refused) -> Result:
        """The refusal as the single call answers it; the pointer leads into this request."""
        said = problem(refused, lambda i: f"/confirmations/{self.index}/scans/{i}")
        pointer = said.errors[0].pointer if said.errors else None
        return self.answer("refused", code=said.code, detail=said.detail, expected=refused.expected, pointer=pointer)


@router.post(
    "/warehouses/{warehouse_id}/confirmations",
    response_model=None,
    responses={200: {"model": ConfirmationResults, "description": "One result per confirmation, in request order"}},
)
async def confirm_in_bulk(
    warehouse_id: Annotated[str, Path(min_length=1, max_length=100)],
    body: Confirmations,
    engine: EngineDep,
    caller: Annotated[Caller, Depends(require("floor:work"))],
) -> Response:
    """What a conveyor or warehouse control system did with up to 500 fulfilment orders: pieces picked and, with `pack`,
    the parcel they became.

    Each confirmation is judged on its own, whole or not at all: its result is `done`, `already_done`, `refused` (with
    the code, detail and expected value that the single call answers, and a pointer into this request) or `parked`
    (events of the order wait for repair; send it again later). Everything that is `done` is durable when the answer
    comes. Sending a request again is safe: scans are known by their `scan_id`, and a confirmation that was packed
    answers the parcel it became."""
    rows = [Row(i, order_of(c.fulfilment_order_id), c) for i, c in enumerate(body.confirmations)]
    refuse_impostor(caller, [c.by for c in body.confirmations], lambda i: f"/confirmations/{i}/by")
    results = await _settle(engine, warehouse_id, rows)
    return Response(to_json({"results": [results[row.index] for row in rows]}), media_type="application/json")


async def _settle(engine: Engine, warehouse_id: str, rows: Sequence[Row]) -> dict[int, Result]:
    """Results by index: one transaction for all, without the orders that wait for repair. When a decision fails, halves
    are tried, down to the one that a bug of ours is about."""
    if not rows:
        return {}
    keys = sorted({row.order_id for row in rows})
    try:
        return await engine.transact(keys, partial(_judge, warehouse_id=warehouse_id, rows=rows))
    except KeyParked as parked:
        waiting, detail = set(parked.keys), "Events of this order wait for repair; send it again afterwards."
        behind = {r.index: r.answer("parked", code="parked", detail=detail) for r in rows if r.order_id in waiting}
        others = [row for row in rows if row.order_id not in waiting]
        return behind | await _settle(engine, warehouse_id, others)
    except Transient:
        raise
    except Exception:
        if len(rows) == 1:
            log.exception("confirmation of %s failed", rows[0].said.fulfilment_order_id)
            detail = "An error of ours; the others of this request went on."
            return {rows[0].index: rows[0].answer("refused", code="internal", detail=detail)}
        middle = len(rows) // 2
        first = await _settle(engine, warehouse_id, rows[:middle])
        return first | await _settle(engine, warehouse_id, rows[middle:])


async def _judge(tx: Tx, warehouse_id: str, rows: Sequence[Row]) -> dict[int, Result]:
    orders = await load_floor(tx, {row.order_id for row in rows})
    codes = {scan.code for row in rows for scan in row.said.scans}
    goods = {g.sku for order in orders.orders for work in order.fulfilment_orders for g in work.goods}
    known = Known(await tx.glance(BARCODES, codes), await tx.glance(PRODUCTS, codes | goods))
    people = await tx.glance(PEOPLE, {row.said.by for row in rows})
    sizes = Sizes(known.products)
    inactive = {by for by, person in people.items() if not person.active}
    results: dict[int, Result] = {}
    for row in rows:
        if row.said.by in inactive:
            detail, pointer = f"{row.said.by} is not active; name who works.", f"/confirmations/{row.index}/by"
            results[row.index] = row.answer("refused", code="inactive-person", detail=detail, pointer=pointer)
            continue
        try:
            results[row.index] = _confirm(tx, orders, warehouse_id, row, known, sizes)
        except Refused as refused:
            results[row.index] = row.refusal(refused)
    return results


def _confirm(tx: Tx, orders: Floor, warehouse_id: str, row: Row, known: Known, sizes: Sizes) -> Result:
    order, said = orders[row.order_id], row.said
    work = floor.work_on(order, said.fulfilment_order_id)
    if work.warehouse_id != warehouse_id:
        raise Refused(
            "other-warehouse", f"{work.fulfilment_order_id} is work of {work.warehouse_id}.", expected=work.warehouse_id
        )
    scans = read_codes(said.scans, known, work)
    wrap = partial(_wrap, said.pack, sizes) if said.pack else None
    decision, parcel = floor.confirm(order, said.fulfilment_order_id, scans, wrap, said.by, tx.now)
    orders.apply(root(row.order_id), decision)
    return row.answer(decision.outcome.value, parcel_id=parcel.parcel_id if parcel else None)


def _wrap(asked: Wrapped, sizes: Sizes, work: FulfilmentOrder, units: Units) -> Wrapping:
    return wrapping_of(work, units, sizes, asked.box, asked.weight_g)
