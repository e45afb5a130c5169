"""What people may do with an order: complete, decide a review, record a payment, cancel, confirm."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool
from starlette.responses import JSONResponse, Response

from expedite_chassis import (
    Amount,
    Caller,
    EngineDep,
    Problem,
    Written,
    require,
    root,
    security_of,
    storable,
)
from expedite_chassis.idempotency import HEADER, checked_key
from expedite_chassis.openapi import IDEMPOTENCY_KEY
from expedite_events import Decision, UnitRange, Units
from expedite_messaging import Engine
from order_intake.adapters.native import Count, NativeCustomer, Short, given
from order_intake.api.access import OrderPath, any_of, holder, known_shape, of_caller
from order_intake.api.shown import CANCEL_LINK, LOCATION, CancelAccepted, CancelShown, OrderShown, shown
from order_intake.changes import Desk, change, problem_of
from order_intake.domain.cancelling import CancelAsk, LineQuantity, answering, cancel
from order_intake.domain.content import digest
from order_intake.domain.ending import confirm
from order_intake.domain.holding import LinePatch, Patch, complete, decide_review, patched, pay
from order_intake.domain.order import Order
from order_intake.domain.refusal import Refused
from order_intake.settings import policy
from order_intake.store import ORDERS
from order_intake.views import cancel_view, order_view

router = APIRouter(tags=["orders"])
Writer = Annotated[Caller, Depends(require("orders:write", by_channel=True))]
Reviewer = Annotated[Caller, Depends(require("orders:review"))]
Reader = Annotated[Caller, Depends(any_of("orders:read", "orders:write", "read"))]
Why = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(storable)]
HoldPath = Annotated[str, Path(max_length=80)]
Number = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LineCompletion(_Body):
    """A correction of line `line`, or, without it, a line to add."""

    line: Number | None = None
    sku: Short | None = None
    name: Short | None = None
    quantity: Count | None = None
    unit_price: Amount | None = None
    remove: StrictBool = False

    def patch(self) -> LinePatch:
        fields = given(self)
        for name in ("line", "remove"):
            fields.pop(name, None)
        if self.unit_price is None and "unit_price" in fields:
            fields["unit_price"] = Decimal(0)  # a line without a price costs nothing, as when it is posted so
        return LinePatch(line=self.line, given=fields, remove=self.remove)


class Completion(_Body):
    """What was missing. What is not given stays as it is; `null` takes a value away."""

    customer: NativeCustomer | None = None
    lines: Annotated[tuple[LineCompletion, ...], Field(max_length=2000)] = ()
    placed_at: Written | None = None
    currency: Short | None = None

    def patch(self) -> Patch:
        customer = given(self.customer) if self.customer else {}
        ship_to = customer.pop("ship_to", None)
        return Patch(
            customer=customer,
            ship_to=given(ship_to) if ship_to else {},
            lines=tuple([line.patch() for line in self.lines]),
            placed_at=self.placed_at,
            currency=self.currency,
        )


class Verdict(_Body):
    """Why a review ends as it does."""

    reason: Why


class Payment(_Body):
    """What became of the payment."""

    state: Literal["paid", "authorized"]


class CancelLine(_Body):
    """So many units of a line."""

    line: Number
    quantity: Number


class CancelUnits(_Body):
    """Units `first` to `last` of a line."""

    line: Number
    first: Number
    last: Number


class Cancel(_Body):
    """What shall not be delivered: quantities of lines, named units, or, with neither, the whole order."""

    lines: Annotated[tuple[CancelLine, ...], Field(min_length=1, max_length=2000)] | None = None
    units: Annotated[tuple[CancelUnits, ...], Field(min_length=1, max_length=2000)] | None = None
    reason: Why

    def ask(self, client: str, key: str | None) -> CancelAsk:
        for index, part in enumerate(self.units or ()):
            if part.last < part.first:
                raise Refused("unknown-units", "A range ends at or after its first unit.", f"/units/{index}/last")
        ranges = [UnitRange(line=part.line, first=part.first, last=part.last) for part in self.units or ()]
        return CancelAsk(
            lines=tuple(LineQuantity(line=item.line, quantity=item.quantity) for item in self.lines or ()),
            units=Units((r.line, r.first, r.last) for r in ranges),
            reason=self.reason,
            idempotency=f"{client}|{key}" if key else None,
            fingerprint=digest(self.model_dump_json().encode()),
        )


_SHOWN = shown(OrderShown)


@router.post(
    "/orders/{order_id}/completion",
    response_model=None,
    responses=_SHOWN,
    openapi_extra={"security": security_of(("orders:write",), ("orders:review",), link=True)},
)
async def post_completion(
    order_id: OrderPath,
    body: Completion,
    engine: EngineDep,
    by: Annotated[Caller, Depends(holder("complete", "orders:write", "orders:review"))],
) -> dict[str, Any]:
    """Supply what an order waits for (A4). It is verified again: holds whose problem is gone end, new problems become
    holds. With a signed link (purpose `complete`) or the scope orders:write or orders:review."""
    known_shape(order_id)
    patch = body.patch()

    def decide(desk: Desk) -> Decision[Order]:
        return complete(desk.order, patch, desk.channel, desk.products, desk.tx.now, desk.policy, by=by.client)

    return _desk_view(await change(engine, root(order_id), policy(), by, decide, lambda order: patched(order, patch)))


@router.post("/orders/{order_id}/holds/{hold_id}/approve", response_model=None, responses=_SHOWN)
async def approve(
    order_id: OrderPath, hold_id: HoldPath, body: Verdict, engine: EngineDep, caller: Reviewer
) -> dict[str, Any]:
    """Let an order that waits for a review go on (A5)."""
    return await _review(engine, order_id, hold_id, "approved", body.reason, caller)


@router.post("/orders/{order_id}/holds/{hold_id}/reject", response_model=None, responses=_SHOWN)
async def reject(
    order_id: OrderPath, hold_id: HoldPath, body: Verdict, engine: EngineDep, caller: Reviewer
) -> dict[str, Any]:
    """Reject an order that waits for a review: it is cancelled (A5)."""
    return await _review(engine, order_id, hold_id, "rejected", body.reason, caller)


async def _review(
    engine: Engine, order_id: str, hold_id: str, verdict: str, reason: str, caller: Caller
) -> dict[str, Any]:
    def decide(desk: Desk) -> Decision[Order]:
        return decide_review(
            desk.order, hold_id, verdict, reason, desk.channel, desk.products, desk.tx.now, desk.policy,
            by=caller.client,
        )  # fmt: skip

    return _desk_view(await change(engine, root(known_shape(order_id)), policy(), caller, decide))


@router.post("/orders/{order_id}/payment", response_model=None, responses=_SHOWN)
async def post_payment(order_id: OrderPath, body: Payment, engine: EngineDep, caller: Writer) -> dict[str, Any]:
    """Record that an order is paid or its payment authorised: its unpaid hold ends (A5)."""

    def decide(desk: Desk) -> Decision[Order]:
        return pay(
            desk.order, body.state, desk.channel, desk.products, desk.tx.now, desk.policy, by=caller.client
        )  # fmt: skip

    return _desk_view(await change(engine, root(known_shape(order_id)), policy(), caller, decide))


@router.post(
    "/orders/{order_id}/cancel",
    status_code=202,
    response_model=None,
    responses=shown(CancelAccepted, 202, headers=LOCATION, links=CANCEL_LINK),
    openapi_extra={"parameters": [IDEMPOTENCY_KEY]},
)
async def post_cancel(
    order_id: OrderPath, body: Cancel, request: Request, engine: EngineDep, caller: Writer
) -> Response:
    """Ask for units not to be delivered (A8). Each unit is answered by whoever has it, under `status_url`; 409 only when
    all of it is known to be with the carrier or delivered. Quantities add up; the whole order or the same named units
    asked again is the same request."""
    known_shape(order_id)
    key = request.headers.get(HEADER)
    try:
        ask = body.ask(caller.client, checked_key(key) if key is not None else None)
    except Refused as refused:
        raise problem_of(refused) from None

    def decide(desk: Desk) -> Decision[Order]:
        return cancel(desk.order, ask, desk.handed, desk.tx.now, by=caller.client)

    order = (await change(engine, root(order_id), policy(), caller, decide)).order
    found = answering(order, ask) or order.cancels[-1]
    url = f"{str(request.base_url).rstrip('/')}/orders/{order_id}/cancels/{found.request_id}"
    answer = {"request_id": found.request_id, "status_url": url, **cancel_view(order, found)}
    return JSONResponse(answer, status_code=202, headers={"Location": url})


@router.get("/orders/{order_id}/cancels/{request_id}", response_model=None, responses=shown(CancelShown))
async def get_cancel(order_id: OrderPath, request_id: HoldPath, engine: EngineDep, caller: Reader) -> dict[str, Any]:
    """The answers to a cancel request, unit by unit."""
    known_shape(order_id)
    found = (await engine.read(lambda tx: tx.load(ORDERS, [order_id]))).get(order_id)
    order = of_caller(found, order_id, caller)
    request = order.request(request_id)
    if request is None:
        raise Problem(404, "unknown-request", detail="The order has no such cancel request.")
    return cancel_view(order, request)


@router.post(
    "/orders/{order_id}/confirm",
    response_model=None,
    responses=_SHOWN,
    openapi_extra={"security": security_of(("orders:write",), link=True)},
)
async def post_confirm(
    order_id: OrderPath, engine: EngineDep, by: Annotated[Caller, Depends(holder("confirm", "orders:write"))]
) -> dict[str, Any]:
    """Confirm that everything arrived: the order is closed (A10). With a signed link (purpose `confirm`) or the scope
    orders:write."""
    known_shape(order_id)
    return _desk_view(
        await change(
            engine,
            root(order_id),
            policy(),
            by,
            lambda desk: confirm(desk.order, _confirmed_by(by.client), desk.tx.now),
        )
    )


def _desk_view(desk: Desk) -> dict[str, Any]:
    """The order after a decision."""
    return order_view(desk.order, desk.handed)


def _confirmed_by(by: str) -> str:
    """A channel confirms for its customer."""
    return "customer" if by == "customer" else f"customer via {by}"
