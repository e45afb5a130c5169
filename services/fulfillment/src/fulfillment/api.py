"""What warehouse staff, scanners and conveyors call. Every write names who does it and answers the new state; a write that
is done already answers 200 with `outcome: already_done`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response

from expedite_chassis import Caller, EngineDep, Problem, require, root
from expedite_events import Decision, plain, to_json
from expedite_messaging import Tx
from fulfillment import confirming, page, receiving
from fulfillment.bodies import By as ByBody
from fulfillment.bodies import ClaimBody, CountBody, PackBody, ScansBody, ShortBody
from fulfillment.desk import Json, answered, order_of, people, products_of, reader, refuse_impostor, refuse_inactive
from fulfillment.desk import resolve as resolve_codes
from fulfillment.domain import custody, floor, transfers
from fulfillment.domain.copies import owner_of_prepare
from fulfillment.domain.floor import Missing
from fulfillment.domain.model import Order
from fulfillment.domain.tasks import Kind, chore_of, queue_of
from fulfillment.shown import (
    OF_ORDER,
    OF_QUEUE,
    OF_WAREHOUSES,
    OF_WORK,
    OrderWork,
    PackDone,
    Queue,
    TracedWork,
    TransferDone,
    Warehouses,
    WorkDone,
    shown,
)
from fulfillment.store import ORDERS, PRODUCTS, TASKS, WAREHOUSES, Floor, trace
from fulfillment.store import floor as load_floor
from fulfillment.views import Sizes, fulfilment_order_view, task_view, trace_view, transfer_view, wrapping_of

router = APIRouter()
router.include_router(page.router)
router.include_router(receiving.router)
router.include_router(confirming.router)

Worker = Annotated[Caller, Depends(require("floor:work"))]
Reader = Annotated[Caller, Depends(reader)]
Id = Annotated[str, Path(min_length=1, max_length=100)]


@router.get("/warehouses", response_model=None, responses=shown(Warehouses, OF_WAREHOUSES))
async def list_warehouses(engine: EngineDep, _: Reader) -> Json:
    """The warehouses there are: where may I work?"""

    async def work(tx: Tx) -> Json:
        found = await tx.find(WAREHOUSES, order_by=("warehouse_id",))
        items = [{"warehouse_id": w.warehouse_id, "name": w.name} for w in found if w.active]
        return {"items": items, "next": None}

    return await engine.read(work)


@router.get("/warehouses/{warehouse_id}/queue", response_model=None, responses=shown(Queue, OF_QUEUE))
async def queue(
    warehouse_id: Id,
    engine: EngineDep,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    kind: Kind | None = None,
    status: Literal["open", "claimed"] = "open",
    claimed_by: Annotated[str | None, Query(max_length=64)] = None,
    cursor: Annotated[str, Query(max_length=200, description="`next` of the page before")] = "",
) -> Response:
    """What to do next in a warehouse, most urgent first: tier, deadline, carrier cut-off (E1). Work of held orders is not
    in it. `status=claimed&claimed_by=<person>` lists what a person has begun.

    Follow `next` for more: a page costs the same wherever it is in the queue. Work that arrives meanwhile and is more
    urgent than where you are is on the first page of the next round."""
    offered = queue_of(warehouse_id, status)
    where: dict[str, Any] = {"queue": offered, "place__gt": cursor}
    if kind is Kind.PICK:
        where["kind"] = kind.value
    elif kind is not None:
        where = {"chore": chore_of(offered, kind), "place__gt": cursor}
    where |= {"claimed_by": claimed_by} if claimed_by else {}

    async def work(tx: Tx) -> Json:
        found = await tx.find(TASKS, where, order_by=("place",), limit=limit + 1)
        shown = found[:limit]
        products = await tx.glance(PRODUCTS, (line.sku for task in shown for line in task.lines))
        following = shown[-1].place if len(found) > limit else None
        return {"items": [task_view(task, products) for task in shown], "next": following}

    # As bytes: what the framework would check and convert once more here is half the cost of a page.
    return Response(to_json(await engine.read(work)), media_type="application/json")


@router.get("/fulfilment-orders/{fulfilment_order_id}", response_model=None, responses=shown(TracedWork, OF_WORK))
async def read_fulfilment_order(fulfilment_order_id: Id, engine: EngineDep, _: Reader) -> Json:
    """One fulfilment order with its whole trace and the person who answers for it (E6)."""

    async def work(tx: Tx) -> Json:
        order = await _known(tx, order_of(fulfilment_order_id))
        job = floor.work_on(order, fulfilment_order_id)
        products = await products_of(tx, (g.sku for g in job.goods))
        crew = await people(tx)
        notes = await trace(tx, order)
        owner = crew.get(job.claimed_by or "") or owner_of_prepare(list(crew.values()), job.warehouse_id)
        return {
            **fulfilment_order_view(order, job, products),
            "owner": {"person_id": owner.person_id, "name": owner.name} if owner else None,
            "trace": trace_view((n for n in notes if n.container_id == fulfilment_order_id), crew),
        }

    return await answered(lambda: engine.read(work))


@router.get("/orders/{order_id}/fulfilment", response_model=None, responses=shown(OrderWork, OF_ORDER))
async def read_order(order_id: Id, engine: EngineDep, _: Reader) -> Json:
    """All work on an order: fulfilment orders, transfers, the trace."""

    async def work(tx: Tx) -> Json:
        order = await _known(tx, order_id)
        products = await products_of(tx, (g.sku for f in order.fulfilment_orders for g in f.goods))
        notes = await trace(tx, order)
        return {
            "order_id": order_id,
            "tier": order.urgency.tier.value if order.urgency else None,
            "ended": order.ended,
            "held_by": plain(order.holds) if order.held else [],
            "fulfilment_orders": [fulfilment_order_view(order, f, products) for f in order.fulfilment_orders],
            "transfers": [transfer_view(order, t) for t in order.transfers],
            "trace": trace_view(notes, await people(tx)),
        }

    return await engine.read(work)


async def _known(tx: Tx, order_id: str) -> Order:
    order = (await tx.load(ORDERS, [order_id])).get(order_id)
    if order is None:
        raise Problem(404, "unknown-order", "Unknown order", detail=f"No work has come for order {order_id}.")
    return order


async def _write(
    engine: EngineDep,
    caller: Caller,
    container_id: str,
    by: str,
    decide: Callable[[Tx, Floor, str], Any],
    show: Callable[[Tx, Order], Any],
    pointer: Callable[[int], str] = lambda i: f"/lines/{i}",
) -> Json:
    """Load the order under its lock, decide, apply, answer the new state."""
    refuse_impostor(caller, [by])
    order_id = order_of(container_id)

    async def work(tx: Tx) -> Json:
        await refuse_inactive(tx, by)
        orders = await load_floor(tx, [order_id])
        decision: Decision[Order] = await decide(tx, orders, order_id)
        state = orders.apply(root(order_id), decision)
        return {"outcome": decision.outcome.value, **await show(tx, state)}

    return await answered(lambda: engine.transact([order_id], work), pointer)


def _showing(fulfilment_order_id: str) -> Callable[[Tx, Order], Any]:
    async def show(tx: Tx, order: Order) -> Json:
        work = floor.work_on(order, fulfilment_order_id)
        return fulfilment_order_view(order, work, await products_of(tx, (g.sku for g in work.goods)))

    return show


@router.post("/fulfilment-orders/{fulfilment_order_id}/claim", response_model=None, responses=shown(WorkDone, OF_WORK))
async def claim(fulfilment_order_id: Id, body: ClaimBody, engine: EngineDep, caller: Worker) -> Json:
    """Take the work, so that nobody else walks the same way."""

    async def decide(tx: Tx, orders: Floor, order_id: str) -> Decision[Order]:
        return floor.claim(orders[order_id], fulfilment_order_id, body.by, take_over=body.take_over, now=tx.now)

    return await _write(engine, caller, fulfilment_order_id, body.by, decide, _showing(fulfilment_order_id))


@router.post("/fulfilment-orders/{fulfilment_order_id}/scans", response_model=None, responses=shown(WorkDone, OF_WORK))
async def scan(fulfilment_order_id: Id, body: ScansBody, engine: EngineDep, caller: Worker) -> Json:
    """Confirm picked pieces, all scans or none. A wrong item, quantity or code is refused with what was expected (E2)."""

    async def decide(tx: Tx, orders: Floor, order_id: str) -> Decision[Order]:
        order = orders[order_id]
        scans = await resolve_codes(tx, body.scans, floor.work_on(order, fulfilment_order_id))
        return floor.scan(order, fulfilment_order_id, scans, body.by, tx.now)

    return await _write(
        engine, caller, fulfilment_order_id, body.by, decide, _showing(fulfilment_order_id), lambda i: f"/scans/{i}"
    )


@router.post("/fulfilment-orders/{fulfilment_order_id}/short", response_model=None, responses=shown(WorkDone, OF_WORK))
async def short(fulfilment_order_id: Id, body: ShortBody, engine: EngineDep, caller: Worker) -> Json:
    """The shelf has less than the system says: inventory finds other stock, the rest is picked on (E4)."""
    lines = [Missing(line=x.line, quantity=x.quantity) for x in body.lines]

    async def decide(tx: Tx, orders: Floor, order_id: str) -> Decision[Order]:
        return floor.report_short(
            orders[order_id], fulfilment_order_id, lines, body.reason, body.report_id, body.by, tx.now
        )

    return await _write(engine, caller, fulfilment_order_id, body.by, decide, _showing(fulfilment_order_id))


@router.post("/fulfilment-orders/{fulfilment_order_id}/pack", response_model=None, responses=shown(PackDone, OF_WORK))
async def pack(fulfilment_order_id: Id, body: PackBody, engine: EngineDep, caller: Worker) -> Json:
    """What is picked becomes a parcel on the dock. Box and weight are worked out unless they are named (E3)."""

    async def decide(tx: Tx, orders: Floor, order_id: str) -> Decision[Order]:
        order = orders[order_id]
        work = floor.work_on(order, fulfilment_order_id)
        units = floor.units_to_pack(order, fulfilment_order_id, body.units)
        products = await products_of(tx, (g.sku for g in work.goods))
        wrapping = wrapping_of(work, units, Sizes(products), body.box, body.weight_g)
        return floor.pack(order, fulfilment_order_id, body.units, wrapping, body.by, tx.now)

    async def show(tx: Tx, order: Order) -> Json:
        mine = [
            p
            for p in order.parcels
            if p.fulfilment_order_id == fulfilment_order_id and (body.units is None or p.units & body.units)
        ]
        return {"parcel": plain(mine[-1]), **await _showing(fulfilment_order_id)(tx, order)}

    return await _write(engine, caller, fulfilment_order_id, body.by, decide, show)


@router.post("/put-backs/{put_back_id}/confirm", response_model=None, responses=shown(WorkDone))
async def confirm_put_back(put_back_id: Id, body: ByBody, engine: EngineDep, caller: Worker) -> Json:
    """Cancelled goods are on their shelf again: only now the cancel is answered, and they can be sold."""

    async def decide(tx: Tx, orders: Floor, order_id: str) -> Decision[Order]:
        return custody.confirm_put_back(orders[order_id], put_back_id, body.by, tx.now)

    show = _showing(put_back_id.rpartition("-B")[0])
    return await _write(engine, caller, put_back_id, body.by, decide, show)


def _showing_transfer(transfer_id: str) -> Callable[[Tx, Order], Any]:
    async def show(_: Tx, order: Order) -> Json:
        transfer = order.transfer(transfer_id)
        assert transfer is not None
        return transfer_view(order, transfer)

    return show


def _lines(body: CountBody) -> list[Missing] | None:
    return None if body.lines is None else [Missing(line=x.line, quantity=x.quantity) for x in body.lines]


@router.post("/transfers/{transfer_id}/dispatch", response_model=None, responses=shown(TransferDone))
async def dispatch(transfer_id: Id, body: CountBody, engine: EngineDep, caller: Worker) -> Json:
    """The goods of a transfer leave; what was not on the shelf is reported missing (E5)."""

    async def decide(tx: Tx, orders: Floor, order_id: str) -> Decision[Order]:
        return transfers.dispatch(orders[order_id], transfer_id, _lines(body), body.by, tx.now)

    return await _write(engine, caller, transfer_id, body.by, decide, _showing_transfer(transfer_id))


@router.post("/transfers/{transfer_id}/receive", response_model=None, responses=shown(TransferDone))
async def receive(transfer_id: Id, body: CountBody, engine: EngineDep, caller: Worker) -> Json:
    """The goods of a transfer arrived and were counted (E5)."""

    async def decide(tx: Tx, orders: Floor, order_id: str) -> Decision[Order]:
        return transfers.receive(orders[order_id], transfer_id, _lines(body), body.by, tx.now)

    return await _write(engine, caller, transfer_id, body.by, decide, _showing_transfer(transfer_id))
