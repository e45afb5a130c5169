"""Writes that are not about one order: purchased goods on the dock, and confirmations of conveyors in bulk."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends

from expedite_chassis import Caller, EngineDep, FieldProblem, Problem, require, root
from expedite_events import Decision, GoodsReceived, ReceiptLine
from expedite_messaging import KeyParked, Tx
from fulfillment.bodies import BulkBody, BulkRow, ReceiptBody
from fulfillment.desk import Json, order_of, refuse_impostor, refuse_inactive, resolve
from fulfillment.domain import floor
from fulfillment.domain.copies import Receipt
from fulfillment.domain.model import Refused
from fulfillment.store import BARCODES, PEOPLE, PRODUCTS, RECEIPTS, WAREHOUSES
from fulfillment.store import floor as load_floor

router = APIRouter()
Worker = Annotated[Caller, Depends(require("floor:work"))]


@router.post("/receipts")
async def receive_goods(body: ReceiptBody, engine: EngineDep, caller: Worker) -> Json:
    """Purchased goods were counted. A receipt id is counted once; saying it again with other goods is refused."""
    refuse_impostor(caller, [body.by])

    async def work(tx: Tx) -> Json:
        await refuse_inactive(tx, body.by)
        lines = await _counted(tx, body)
        known = (await tx.load(RECEIPTS, [body.receipt_id])).get(body.receipt_id)
        if known is not None:
            if (known.warehouse_id, known.lines) != (body.warehouse_id, lines):
                raise Problem(
                    409, "receipt-differs", "This receipt says something else",
                    detail=f"Receipt {body.receipt_id} was counted by {known.received_by} with other goods. "
                    "Use a new receipt id for new goods; a wrong count is corrected in inventory.",
                )  # fmt: skip
            return {"outcome": "already_done", **known.model_dump(mode="json")}
        receipt = Receipt(
            receipt_id=body.receipt_id, warehouse_id=body.warehouse_id, lines=lines, received_by=body.by, at=tx.now
        )
        event = GoodsReceived(
            receipt_id=receipt.receipt_id,
            warehouse_id=receipt.warehouse_id,
            lines=tuple(ReceiptLine(sku=sku, quantity=quantity) for sku, quantity in lines),
            received_by=body.by,
            at=tx.now,
        )
        tx.apply(root(receipt.receipt_id), await tx.load(RECEIPTS, ()), Decision(receipt, (event,)))
        return {"outcome": "done", **receipt.model_dump(mode="json")}

    return await engine.transact([body.receipt_id], work)


async def _counted(tx: Tx, body: ReceiptBody) -> tuple[tuple[str, int], ...]:
    """SKU and pieces, each SKU once. Refuses a warehouse or a code nobody knows."""
    if body.warehouse_id not in await tx.load(WAREHOUSES, [body.warehouse_id]):
        raise _unknown("/warehouse_id", f"There is no warehouse {body.warehouse_id}; see GET /warehouses.")
    codes = [line.code for line in body.lines]
    barcodes, products = await tx.load(BARCODES, codes), await tx.load(PRODUCTS, codes)
    pieces: dict[str, int] = {}
    for index, line in enumerate(body.lines):
        held = barcodes.get(line.code)
        sku = held.sku if held is not None and held.sku else (line.code if line.code in products else None)
        if sku is None:
            raise _unknown(
                f"/lines/{index}", f"No product has the code {line.code}: check the label, or add the product first."
            )
        pieces[sku] = pieces.get(sku, 0) + line.quantity
    return tuple(sorted(pieces.items()))


def _unknown(pointer: str, message: str) -> Problem:
    error = FieldProblem(pointer=pointer, code="unknown-code", message=message)
    return Problem(422, "unknown-code", "Unknown code", detail=message, errors=[error])


@router.post("/scans")
async def scan_many(rows: BulkBody, engine: EngineDep, caller: Worker) -> Json:
    """Confirmations of conveyors and warehouse control systems: each row has a verdict of its own, in the order sent, and
    a refused row stops no other."""
    refuse_impostor(caller, [row.by for row in rows])
    parked: frozenset[str] = frozenset()
    while True:
        keys = {order_of(row.fulfilment_order_id) for row in rows} - parked
        try:
            verdicts = await engine.transact(sorted(keys), partial(_verdicts, rows=rows, parked=parked))
            return {"items": verdicts, "next": None}
        except KeyParked as error:
            # Orders that wait for repair refuse their own rows; the others go on without them.
            parked |= set(error.keys)


async def _verdicts(tx: Tx, rows: list[BulkRow], parked: frozenset[str]) -> list[Json]:
    owners = [order_of(row.fulfilment_order_id) for row in rows]
    orders = await load_floor(tx, set(owners) - parked)
    own = {g.sku for order in orders.orders for work in order.fulfilment_orders for g in work.goods}
    scans = await resolve(tx, rows, own)
    gone = {p.person_id for p in await tx.load(PEOPLE, {row.by for row in rows}) if not p.active}
    causes = {order_id: root(order_id) for order_id in owners}
    verdicts: list[Json] = []
    for index, (row, order_id, scan) in enumerate(zip(rows, owners, scans, strict=True)):
        verdict: Json = {"index": index, "fulfilment_order_id": row.fulfilment_order_id}
        try:
            if order_id in parked:
                raise Refused("parked", "Events of this order wait for repair; send the row again afterwards.")
            if row.by in gone:
                raise Refused("inactive-person", f"{row.by} is not active; name who works.")
            decision = floor.scan(orders[order_id], row.fulfilment_order_id, [scan], row.by, tx.now)
            orders.apply(causes[order_id], decision)
            verdicts.append({**verdict, "outcome": decision.outcome.value})
        except Refused as refused:
            said = {"code": refused.code, "detail": refused.detail, "expected": refused.expected}
            verdicts.append({**verdict, "outcome": "refused", **said})
    return verdicts
