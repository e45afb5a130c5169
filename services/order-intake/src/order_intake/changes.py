"""Changes to one order: load it under its lock, decide, apply. Shared by routes, webhooks and handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from uuid import UUID

from expedite_chassis import Caller, FieldProblem, Problem
from expedite_events import NO_UNITS, Decision, Lane, ProductChanged, Units
from expedite_messaging import Cause, Engine, Tx
from order_intake.domain.channel import Channel, Policy
from order_intake.domain.content import Content
from order_intake.domain.holding import examine
from order_intake.domain.order import Order
from order_intake.domain.refusal import Refused
from order_intake.parcels import handed_of
from order_intake.placing import await_products
from order_intake.store import CHANNELS, ORDERS, PRODUCTS

_STATUS = {
    "unknown-line": 422,
    "unknown-units": 422,
    "choose-one": 422,
    "idempotency-key-reused": 422,
    "unknown-hold": 404,
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What a decision about a loaded order may look at; `handed` are its units in a carrier's hands."""

    order: Order
    handed: Units
    channel: Channel
    products: dict[str, ProductChanged]
    policy: Policy
    tx: Tx


Decide = Callable[[Desk], Decision[Order]]


@dataclass(frozen=True, slots=True)
class OnBehalf:
    """A cause that reaches from one key to another: what a product's event sets going in an order."""

    cause: Cause
    key: str

    @property
    def id(self) -> UUID:
        return self.cause.id

    @property
    def lane(self) -> Lane:
        return self.cause.lane

    @property
    def correlation_id(self) -> UUID:
        return self.cause.correlation_id

    @property
    def traceparent(self) -> str | None:
        return self.cause.traceparent


async def change(
    engine: Engine,
    cause: Cause,
    policy: Policy,
    caller: Caller,
    decide: Decide,
    content: Callable[[Order], Content] | None = None,
) -> Desk:
    """Decide about the order `cause.key` on behalf of `caller` in a transaction of its own; the desk with the order as it
    then is. `content` tells which content (and so which products) the decision is about, when it is not the order's own.
    Raises `Problem`: 404 for an unknown order and for one of a channel that the caller does not act for, otherwise what
    the decision refuses."""

    async def work(tx: Tx) -> Desk:
        return await change_in(tx, cause, policy, decide, content, serves=caller.serves)

    return await engine.transact([cause.key], work)


async def change_in(
    tx: Tx,
    cause: Cause,
    policy: Policy,
    decide: Decide,
    content: Callable[[Order], Content] | None = None,
    *,
    serves: Callable[[str], bool] = lambda channel: True,
) -> Desk:
    """As `change`, in a transaction that holds the order's lock; `serves` tells for which channels one acts."""
    orders = await tx.load(ORDERS, [cause.key])
    order = orders.get(cause.key)
    if order is None or not serves(order.channel):
        raise Problem(404, "unknown-order", detail=f"There is no order {cause.key}.")
    try:
        subject = content(order) if content else order.content
        desk = await desk_for(tx, order, policy, subject)
        decision = decide(desk)
    except Refused as refused:
        raise problem_of(refused) from None
    tx.apply(cause, orders, decision)
    await await_products(tx, [decision.state])
    return replace(desk, order=decision.state)


async def desk_for(tx: Tx, order: Order, policy: Policy, content: Content) -> Desk:
    channels = await tx.load(CHANNELS, [order.channel])
    products = await tx.load(PRODUCTS, {line.sku for line in content.live_lines if line.sku})
    handed = (await handed_of(tx, [order])).get(order.order_id, NO_UNITS)
    return Desk(order, handed, channels[order.channel], {product.sku: product for product in products}, policy, tx)


async def reexamine(tx: Tx, causes: Iterable[Cause], policy: Policy) -> None:
    """Verify these orders (the causes' keys, whose locks are held) again; what is not held any more stays as it is."""
    causes = list(causes)
    orders = await tx.load(ORDERS, [cause.key for cause in causes])
    for cause in causes:
        order = orders.get(cause.key)
        if order is None:
            continue
        desk = await desk_for(tx, order, policy, order.content)
        decision = examine(order, desk.channel, desk.products, tx.now, policy, by="order-intake")
        tx.apply(cause, orders, decision)
        await await_products(tx, [decision.state])


def problem_of(refused: Refused) -> Problem:
    """The HTTP answer to a refusal: 409 unless the request itself is wrong."""
    status = _STATUS.get(refused.code, 409)
    errors = [FieldProblem(pointer=refused.pointer, code=refused.code, message=refused.message)]
    return Problem(status, refused.code, detail=refused.message, errors=errors if refused.pointer else ())


__all__ = ["Decide", "Desk", "OnBehalf", "change", "change_in", "problem_of", "reexamine"]
