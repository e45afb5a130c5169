"""Purchased goods on the dock."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from expedite_chassis import Caller, EngineDep, FieldProblem, Problem, require, root
from expedite_events import Decision, GoodsReceived, ReceiptLine, plain
from expedite_messaging import Tx
from fulfillment.bodies import ReceiptBody
from fulfillment.desk import Json, refuse_impostor, refuse_inactive
from fulfillment.domain.copies import Receipt
from fulfillment.shown import ReceiptDone, shown
from fulfillment.store import BARCODES, PRODUCTS, RECEIPTS, WAREHOUSES

router = APIRouter()
Worker = Annotated[Caller, Depends(require("floor:work"))]


@router.post("/receipts", response_model=None, responses=shown(ReceiptDone))
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
            return {"outcome": "already_done", **plain(known)}
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
        return {"outcome": "done", **plain(receipt)}

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
