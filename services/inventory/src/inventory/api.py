"""The HTTP API: master data, stock, counts, and what is where and why."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query

from expedite_chassis import Caller, EngineDep, FieldProblem, Problem, QueryFlag, require
from expedite_chassis.problem_types import ProblemType, register_problem
from expedite_events import ProductChanged, WarehouseChanged
from expedite_messaging.cause import Root
from expedite_messaging.tx import Tx
from inventory import audit
from inventory.domain import masters
from inventory.domain.backorder import Backorder
from inventory.domain.bookings import Booking, BookingLine, NothingToCount, book_in, count
from inventory.domain.conservation import Verdict
from inventory.domain.stock import Because, Movement, Movements
from inventory.shapes import (
    Allocation,
    Changed,
    CountBody,
    OpeningBody,
    OpeningLine,
    Page,
    ProductBody,
    ProductRow,
    StockRow,
    WarehouseBody,
)
from inventory.shelves import Stockroom
from inventory.store import BACKORDERS, BOOKINGS, MOVEMENTS, ORDERS, PRODUCTS, QUEUE, SHELVES, WAREHOUSES

router = APIRouter()

Planner = Annotated[Caller, Depends(require("master:write"))]
Stocker = Annotated[Caller, Depends(require("stock:write"))]
Reader = Depends(require("read"))
PathId = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^\s|/\x00-\x1f\x7f]+$")]
OrderPath = Annotated[str, Path(min_length=1, max_length=64)]
Filter = Annotated[str | None, Query(max_length=64)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[str | None, Query(pattern=r"^[0-9]{1,9}$", description="`next` of the page before")]
RowCursor = Annotated[
    str | None, Query(pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$", description="`next` of the page before")
]

for _type in (
    ProblemType("reference-reused", 422, "This reference was used for something else",
                "A booking with this reference exists and its content is another one.",
                "Use a new reference for a new booking; repeat a booking only with exactly the same body."),
    ProblemType("nothing-to-count", 409, "Nothing is in count there",
                "A count resolves goods that pickers did not find; this shelf has none.",
                "Look at `in_count` in GET /stock; book found goods with POST /stock/opening and a reason."),
):  # fmt: skip
    register_problem(_type)


# -- master data


def _then(status: int, **pointers: str) -> dict[int | str, dict[str, Any]]:
    """`responses` with links to the lists that show what was done; query parameters by their pointer in the answer."""
    parameters = {name: f"$response.body#{pointer}" for name, pointer in pointers.items()}
    names = ("get_stock", "get_movements") if "warehouse_id" in pointers else ("get_stock", "get_conservation")
    return {status: {"links": {name: {"operationId": name, "parameters": parameters} for name in names}}}


@router.put("/products/{sku}", responses=_then(200, sku="/sku"))
async def put_product(sku: PathId, body: ProductBody, engine: EngineDep, caller: Planner) -> ProductChanged:
    """Create or change a product; announced only when something differs."""
    _same_id("/sku", body.sku, sku)
    await engine.transact([f"product:{sku}"], partial(_put_products, wanted=[body.snapshot(sku)]))
    return await engine.read(lambda tx: _product(tx, sku))


@router.put("/products")
async def put_products(
    body: Annotated[list[ProductRow], Body(max_length=10_000)], engine: EngineDep, caller: Planner
) -> Changed:
    """Create or change many products in one transaction."""
    seen: dict[str, int] = {}
    for i, row in enumerate(body):
        if row.sku in seen:
            raise _field(f"/{i}/sku", "duplicate", f"{row.sku} is also at /{seen[row.sku]}: name each product once")
        seen[row.sku] = i
    wanted = [row.snapshot(row.sku) for row in body]
    changed = await engine.transact([f"product:{sku}" for sku in seen], partial(_put_products, wanted=wanted))
    return Changed(changed=changed, unchanged=len(body) - changed)


async def _put_products(tx: Tx, wanted: Sequence[ProductChanged]) -> int:
    book, changed = await tx.load(PRODUCTS, [p.sku for p in wanted]), 0
    for product in wanted:
        decision = masters.change(book.get(product.sku), product)
        tx.apply(Root(key=product.sku), book, decision)
        changed += bool(decision.events)
    return changed


async def _product(tx: Tx, sku: str) -> ProductChanged:
    return (await tx.load(PRODUCTS, [sku]))[sku]


@router.put("/warehouses/{warehouse_id}")
async def put_warehouse(
    warehouse_id: PathId, body: WarehouseBody, engine: EngineDep, caller: Planner
) -> WarehouseChanged:
    """Create or change a warehouse; announced only when something differs. An inactive one serves no new units."""

    _same_id("/warehouse_id", body.warehouse_id, warehouse_id)

    async def work(tx: Tx) -> WarehouseChanged:
        book = await tx.load(WAREHOUSES, [warehouse_id])
        before = book.get(warehouse_id)
        decision = masters.change(before, body.snapshot(warehouse_id))
        tx.apply(Root(key=warehouse_id), book, decision)
        if before is not None and not before.active and body.active:
            # What lies there may serve who waits.
            stocked = await tx.find(SHELVES, {"warehouse_id": warehouse_id, "free__gt": 0})
            room = await Stockroom.exact(tx, [(s.sku, s.warehouse_id) for s in stocked])
            for shelf in stocked:
                room.world.stock.want_fill(shelf.sku, shelf.warehouse_id)
            room.save()
        return decision.state

    return await engine.transact([f"warehouse:{warehouse_id}"], work)


@router.get("/products", dependencies=[Reader])
async def get_products(engine: EngineDep, limit: Limit = 200, cursor: Cursor = None) -> Page[ProductChanged]:
    """All products, by SKU."""
    start = int(cursor or 0)
    rows = await engine.read(lambda tx: tx.find(PRODUCTS, order_by=["sku"], limit=limit + 1, offset=start))
    return Page(items=rows[:limit], next=_next(rows, limit, start))


@router.get("/warehouses", dependencies=[Reader])
async def get_warehouses(engine: EngineDep) -> Page[WarehouseChanged]:
    """All warehouses, by id."""
    return Page(items=await engine.read(lambda tx: tx.find(WAREHOUSES, order_by=["warehouse_id"])))


# -- stock


@router.post(
    "/stock/opening", status_code=201, responses=_then(201, sku="/lines/0/sku", warehouse_id="/lines/0/warehouse_id")
)
async def post_opening(body: OpeningBody, engine: EngineDep, caller: Stocker) -> Booking:
    """Book stock that is there, with a reason. Repeating the same reference and body answers the first booking."""

    async def work(tx: Tx) -> Booking:
        book = await tx.load(BOOKINGS, [("opening", body.reference)])
        digest = _digest(body.model_dump_json())
        known = book.get(("opening", body.reference))
        if known is not None:
            return _same(known, digest)
        await _known_places(tx, body.lines)
        totals: dict[tuple[str, str], int] = {}
        for line in body.lines:
            totals[line.sku, line.warehouse_id] = totals.get((line.sku, line.warehouse_id), 0) + line.quantity
        lines = tuple(BookingLine(sku=s, warehouse_id=w, quantity=n) for (s, w), n in sorted(totals.items()))
        room = await Stockroom.exact(tx, totals)
        cause = Root(key=body.reference)
        book_in(room.world.stock, Because(f"opening {body.reference}", str(cause.id), tx.now), lines)
        room.save()
        made = Booking(
            kind="opening", reference=body.reference, lines=lines, digest=digest, reason=body.reason,
            by=caller.name, at=tx.now,
        )  # fmt: skip
        book.put(made)
        return made

    return await engine.transact([f"opening:{body.reference}"], work)


@router.post(
    "/stock/counts", status_code=201, responses=_then(201, sku="/lines/0/sku", warehouse_id="/lines/0/warehouse_id")
)
async def post_count(body: CountBody, engine: EngineDep, caller: Stocker) -> Booking:
    """Resolve what is in count on a shelf: the found pieces are free again, the books are corrected by the rest (D11)."""

    async def work(tx: Tx) -> Booking:
        book = await tx.load(BOOKINGS, [("count", body.reference)])
        digest = _digest(body.model_dump_json())
        known = book.get(("count", body.reference))
        if known is not None:
            return _same(known, digest)
        await _known_places(tx, [body], pointer="")
        room = await Stockroom.exact(tx, [(body.sku, body.warehouse_id)])
        cause = Root(key=body.reference)
        because = Because(f"count {body.reference}", str(cause.id), tx.now)
        try:
            line = count(room.world.stock, because, body.sku, body.warehouse_id, body.found)
        except NothingToCount as error:
            raise Problem(409, "nothing-to-count", detail=str(error)) from None
        room.save()
        made = Booking(
            kind="count", reference=body.reference, lines=(line,), digest=digest, reason=body.reason, by=caller.name,
            at=tx.now,
        )  # fmt: skip
        book.put(made)
        return made

    return await engine.transact([f"count:{body.reference}"], work)


async def _known_places(tx: Tx, lines: Sequence[OpeningLine | CountBody], pointer: str = "/lines/{i}") -> None:
    """Every named SKU and warehouse exists; else a problem that names each field."""
    products = await tx.load(PRODUCTS, {line.sku for line in lines})
    warehouses = await tx.load(WAREHOUSES, {line.warehouse_id for line in lines})
    errors = []
    for i, line in enumerate(lines):
        at = pointer.format(i=i)
        if products.get(line.sku) is None:
            errors.append(
                _error(f"{at}/sku", "unknown-sku", f"{line.sku} is no product; PUT /products/{line.sku} first")
            )
        if warehouses.get(line.warehouse_id) is None:
            text = f"{line.warehouse_id} is no warehouse; see GET /warehouses"
            errors.append(_error(f"{at}/warehouse_id", "unknown-warehouse", text))
    if errors:
        raise Problem(422, "invalid", errors=errors[:100])


@router.get("/stock", dependencies=[Reader])
async def get_stock(
    engine: EngineDep, sku: Filter = None, warehouse_id: Filter = None, in_count: QueryFlag = False,
    limit: Limit = 200, cursor: Cursor = None,
) -> Page[StockRow]:  # fmt: skip
    """Live stock by SKU and warehouse (D1); `in_count=true` shows the shelves that wait for a count."""
    start = int(cursor or 0)
    where: dict[str, object] = {k: v for k, v in (("sku", sku), ("warehouse_id", warehouse_id)) if v is not None}
    if in_count:
        where["in_count__gt"] = 0
    rows = await engine.read(
        lambda tx: tx.find(SHELVES, where, order_by=["sku", "warehouse_id"], limit=limit + 1, offset=start)
    )
    return Page(items=[StockRow.of(row) for row in rows[:limit]], next=_next(rows, limit, start))


@router.get("/stock/movements", dependencies=[Reader])
async def get_movements(
    engine: EngineDep, sku: Filter = None, warehouse_id: Filter = None, order_id: Filter = None,
    limit: Limit = 200, cursor: RowCursor = None,
) -> Page[Movement]:  # fmt: skip
    """The signed movements of a shelf, a SKU or an order, oldest first per shelf (D10)."""
    first, _, within = (cursor or "0").partition(".")
    at, skipped = int(first), int(within or 0)  # rows before this page; movements of its first row before this page
    where: dict[str, object] = {k: v for k, v in (("sku", sku), ("warehouse_id", warehouse_id)) if v is not None}

    async def rows(tx: Tx) -> list[Movements]:
        if order_id is not None:
            order = (await tx.load(ORDERS, [order_id])).get(order_id)
            skus = set(order.lines.values()) if order else set()
            where.update(sku=sorted(skus & {sku} if sku is not None else skus), orders__contains=order_id)
        return await tx.find(MOVEMENTS, where, order_by=["sku", "warehouse_id", "entry"], limit=limit + 1, offset=at)

    items: list[Movement] = []
    for n, row in enumerate(await engine.read(rows), start=at):
        found = [m for m in row.each() if order_id in (None, m.order_id)]
        for i, movement in enumerate(found):
            if n == at and i < skipped:
                continue
            if len(items) == limit:
                return Page(items=items, next=f"{n}.{i}")
            items.append(movement)
    return Page(items=items)


@router.get("/stock/conservation", dependencies=[Reader])
async def get_conservation(
    engine: EngineDep, sku: Filter = None, limit: Limit = 200, cursor: Cursor = None
) -> Page[Verdict]:
    """Per SKU: what was booked in, where it is, and whether shelves, movements and orders agree (I1, D10)."""
    start = int(cursor or 0)
    skus = [sku] if sku is not None else await engine.read(_stocked)
    page = skus[start : start + limit]
    return Page(items=await audit.check(engine, page), next=_next(skus[start:], limit, start))


async def _stocked(tx: Tx) -> list[str]:
    return sorted({shelf.sku for shelf in await tx.find(SHELVES)})


@router.get("/orders/{order_id}/allocation", dependencies=[Reader])
async def get_allocation(order_id: OrderPath, engine: EngineDep) -> Allocation:
    """Where each unit of the order is, and why (D3)."""

    async def work(tx: Tx) -> Allocation:
        order = (await tx.load(ORDERS, [order_id])).get(order_id)
        if order is None:
            raise Problem(404, "unknown-order")
        return Allocation.of(order)

    return await engine.read(work)


@router.get("/backorders", dependencies=[Reader])
async def get_backorders(
    engine: EngineDep, sku: Filter = None, limit: Limit = 200, cursor: Cursor = None
) -> Page[Backorder]:
    """Who waits for what, in the order in which they will be served (D5)."""
    start = int(cursor or 0)
    where = {"open": True} | ({"sku": sku} if sku is not None else {})
    rows = await engine.read(lambda tx: tx.find(BACKORDERS, where, order_by=QUEUE, limit=limit + 1, offset=start))
    return Page(items=rows[:limit], next=_next(rows, limit, start))


def _next(rows: Sequence[object], limit: int, start: int) -> str | None:
    return str(start + limit) if len(rows) > limit else None


def _digest(body: str) -> str:
    return hashlib.blake2b(body.encode(), digest_size=16).hexdigest()


def _same(known: Booking, digest: str) -> Booking:
    if known.digest != digest:
        raise Problem(422, "reference-reused", errors=[_error("/reference", "reused", "this reference is taken")])
    return known


def _error(pointer: str, code: str, message: str) -> FieldProblem:
    return FieldProblem(pointer=pointer, code=code, message=message)


def _field(pointer: str, code: str, message: str) -> Problem:
    return Problem(422, "invalid", errors=[_error(pointer, code, message)])


def _same_id(pointer: str, given: str | None, path: str) -> None:
    if given not in (None, path):
        raise _field(pointer, "other-id", f"the address says {path}: leave this out or make it the same")
