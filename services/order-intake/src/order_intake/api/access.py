"""Who may do what: any of several scopes, or a signed link to one order."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Path, Query, Request

from expedite_chassis import Caller, Problem, ProblemType, links, register_problem, require
from expedite_chassis.auth import offering
from order_intake.domain.order import Order

ORDER_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
OrderPath = Annotated[str, Path(max_length=64, description="Order number, e.g. 20261122-EC-000001")]
Token = Annotated[str | None, Query(max_length=1024, description="Signed link token")]
Cursor = Annotated[str | None, Query(max_length=64, pattern=r"^[A-Za-z0-9-]{1,64}$")]
Limit = Annotated[int, Query(ge=1, le=500)]

CUSTOMER = Caller("customer", "customer", frozenset())
"""Whoever holds the signed link of an order; the link is for this order alone."""

_identify = require(by_channel=True)


def any_of(*scopes: str) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that gives a caller who holds at least one of these scopes. It may act for some channels only."""

    async def authorised(request: Request) -> Caller:
        caller = await _identify(request)
        if not any(caller.may(scope) for scope in scopes):
            await require(scopes[0], by_channel=True)(request)
        return caller

    return offering(authorised, *((scope,) for scope in scopes))


def holder(purpose: str, *scopes: str) -> Callable[..., Awaitable[Caller]]:
    """A dependency that gives who acts on the order of the path: the customer with a token for this order and purpose, else
    a caller with one of the scopes."""
    by_scope = any_of(*scopes)

    async def acting(request: Request, order_id: OrderPath, token: Token = None) -> Caller:
        if token is None:
            return await by_scope(request)
        secret = request.app.state.runtime.secrets.get("link_secret", "")
        if links.verify(secret, purpose, token) != order_id:
            raise Problem(401, "bad-link", detail="The link is not valid for this order; use the newest message.")
        return CUSTOMER

    return acting


def unknown_order(order_id: str) -> Problem:
    """No such order, or none that the caller may know of: both are answered alike."""
    return Problem(404, "unknown-order", detail=f"There is no order {order_id}.")


def of_caller(order: Order | None, order_id: str, caller: Caller) -> Order:
    """The order, when there is one and the caller's channel took it in. Raises the 404 problem."""
    if order is None or not caller.serves(order.channel):
        raise unknown_order(order_id)
    return order


def known_shape(order_id: str) -> str:
    """The order number, or the 404 that any number nobody ever got is answered with."""
    if not ORDER_ID.fullmatch(order_id):
        raise Problem(404, "unknown-order", detail="No order has a number like this.")
    return order_id


for _code, _status, _title, _meaning, _remedy in (
    ("bad-link", 401, "This link is not valid", "The token does not fit this order and purpose.",
     "Open the newest link you were sent."),
    ("unknown-channel", 422, "No such channel", "Orders belong to a channel that was set up.",
     "Use the id of a channel listed under GET /channels."),
    ("reference-reused", 422, "This reference belongs to another order",
     "The channel's reference was used for an order that says something else.",
     "Use a new reference for a new order; post exactly the same body to repeat one."),
    ("unknown-line", 422, "No such line", "The order has no such line, or no units on it.",
     "Use line numbers as GET /orders/{id} shows them."),
    ("unknown-units", 422, "No such units", "The order has no units with these numbers.",
     "Use unit numbers as GET /orders/{id} shows them."),
    ("choose-one", 422, "Quantities or units, not both", "A cancel names quantities of lines or single units.",
     "Send `lines` or `units`, or neither for the whole order."),
    ("unknown-hold", 404, "No such hold", "The order has no hold of this id.", "See the holds of the order."),
    ("unknown-request", 404, "No such cancel request", "The order has no cancel request of this id.",
     "Use the status link that the request was answered with."),
    ("unknown-delivery", 404, "No such delivery", "The delivery log has no row of this id.", "See GET /deliveries."),
    ("not-held", 409, "The order does not wait for information", "It was received or has ended.",
     "See the order's present state."),
    ("not-a-review", 409, "This hold is no review", "Only review holds are approved or rejected.",
     "Complete the order, or record its payment."),
    ("hold-ended", 409, "This hold has ended", "It was decided otherwise before.", "See the holds of the order."),
    ("line-has-cancels", 409, "Units of this line were asked to be cancelled", "Its numbered units cannot change.",
     "Cancel the line and order again."),
    ("order-cancelled", 409, "The order was cancelled", "A cancelled order cannot be confirmed.", "Order again."),
    ("not-yet", 409, "Not all units have arrived", "An order is confirmed when every unit is delivered or cancelled.",
     "Confirm after the last parcel."),
    ("not-replayable", 409, "This delivery was not kept", "Bodies with a wrong signature are not stored.",
     "Let the shop send it again."),
    ("products-not-loaded", 503, "Products are not loaded yet", "Without products no order can be verified.",
     "Try again in a few seconds."),
):  # fmt: skip
    register_problem(ProblemType(_code, _status, _title, _meaning, _remedy))
