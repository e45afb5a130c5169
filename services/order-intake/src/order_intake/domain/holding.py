"""Acceptance, verification, holds and their release (A3, A4, A5): until the last hold ends, an order is not received."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from expedite_events import Decision, HoldKind, Outcome, Problem, already_done
from order_intake.domain.channel import Channel, Policy
from order_intake.domain.content import (
    Content,
    DraftAddress,
    DraftCustomer,
    DraftLine,
    clean_customer,
)
from order_intake.domain.ending import cancel_at_intake, settle
from order_intake.domain.order import Hold, Order, State, held, received, release
from order_intake.domain.refusal import Refused
from order_intake.domain.verify import Products, lines_of, review, unpaid, verify

_OUTCOME = {HoldKind.NEEDS_INFO: "completed", HoldKind.REVIEW: "withdrawn", HoldKind.UNPAID: "paid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePatch:
    """A correction of one line, or, without a number, a line to add. `given` are fields of `DraftLine`."""

    line: int | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    remove: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What completion may supply or correct; what is not given stays as it is. `customer` and `ship_to` are the given
    fields of `DraftCustomer` and `DraftAddress`: a field that is given as None is taken away."""

    customer: Mapping[str, Any] = field(default_factory=dict)
    ship_to: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[LinePatch, ...] = ()
    placed_at: datetime | None = None
    currency: str | None = None


def place(
    order_id: str,
    content: Content,
    channel: Channel,
    products: Products,
    now: datetime,
    policy: Policy,
    *,
    client: str,
    alike: str | None = None,
    duplicate_of: str | None = None,
) -> Decision[Order]:
    """Accept an order of normalised content: it is received at once, or waits behind one hold per problem. It is never
    refused."""
    order = Order(
        order_id=order_id,
        channel=channel.id,
        owner=channel.owner,
        client=client,
        content=content,
        accepted_at=now,
        urgent_mark=channel.urgent(content),
        alike=alike,
        duplicate_of=duplicate_of,
    )
    return examine(order, channel, products, now, policy, by=client)


def place_cancelled(
    order_id: str, content: Content, channel: Channel, now: datetime, *, client: str, reason: str
) -> Decision[Order]:
    """Accept an order whose cancel came with it or before it: it is on record and never starts."""
    order = Order(
        order_id=order_id,
        channel=channel.id,
        owner=channel.owner,
        client=client,
        content=content,
        accepted_at=now,
    )
    return cancel_at_intake(order, now, by=client, reason=reason)


def examine(
    order: Order, channel: Channel, products: Products, now: datetime, policy: Policy, *, by: str
) -> Decision[Order]:
    """Verify an order that is not received yet: holds whose problem is gone end, new problems become holds, and when
    none is left the order is received. Holds of problems that stay keep their id and their clock."""
    if order.state is not State.HELD:
        return already_done(order)
    problems = _wanted(order, channel, products, now, policy)
    if not problems and not order.open_holds:
        return _announce(order, products, now)
    wanted = {(kind, p.field, p.code): p for kind, p in problems}
    decision: Decision[Order] = Decision(order, express=order.lane)
    for hold in order.open_holds:
        if (hold.kind, hold.problem.field, hold.problem.code) not in wanted:
            decision = decision.and_then(release(decision.state, hold, _OUTCOME[hold.kind], by, now))
    known = {(hold.kind, hold.problem.field, hold.problem.code) for hold in order.open_holds}
    for key, problem in wanted.items():
        if key not in known:
            decision = decision.and_then(_hold(decision.state, key[0], problem, now, policy))
    if decision.state.open_holds:
        return decision
    return decision.and_then(_announce(decision.state, products, now))


def _wanted(
    order: Order, channel: Channel, products: Products, now: datetime, policy: Policy
) -> list[tuple[HoldKind, Problem]]:
    content = order.content
    wanted = [(HoldKind.NEEDS_INFO, problem) for problem in verify(content, products, now, policy)]
    wanted += [
        (HoldKind.REVIEW, problem)
        for problem in review(content, channel, policy, order.duplicate_of)
        # An approval stands until the order grows beyond what was approved.
        if order.approved.get(problem.code, Decimal(-1)) < content.amount
    ]
    return wanted + [(HoldKind.UNPAID, problem) for problem in unpaid(content)]


def _hold(order: Order, kind: HoldKind, problem: Problem, now: datetime, policy: Policy) -> Decision[Order]:
    times = {
        HoldKind.NEEDS_INFO: policy.completion_time,
        HoldKind.REVIEW: policy.review_time,
        HoldKind.UNPAID: policy.payment_time,
    }
    hold = Hold(
        hold_id=order.next_hold_id(),
        kind=kind,
        problem=problem,
        owner=order.owner,
        held_at=now,
        due_at=now + times[kind],
    )
    state = order.put(holds=(*order.holds, hold))
    return Decision(state, events=(held(state, hold),), express=order.lane)


def _announce(order: Order, products: Products, now: datetime) -> Decision[Order]:
    state = order.put(announced_at=now, lines=lines_of(order.content, products))
    return Decision(state, events=(received(state),), express=order.lane)


def complete(
    order: Order, patch: Patch, channel: Channel, products: Products, now: datetime, policy: Policy, *, by: str
) -> Decision[Order]:
    """Supply what is missing and verify again. Raises `Refused` when the order does not wait for information or the
    patch names what it cannot change. The same patch again changes nothing."""
    content = patched(order, patch)
    if content == order.content:
        return already_done(order)
    if order.state is not State.HELD:
        raise Refused("not-held", f"The order is {order.state} and cannot be completed any more.")
    state = order.put(content=content, urgent_mark=order.urgent_mark or channel.urgent(content))
    if state.units and state.units <= state.out:
        # I2: all that is left was cancelled while it waited; announced, it would end as delivered with nothing.
        return settle(state, now, policy)
    return examine(state, channel, products, now, policy, by=by)


def patched(order: Order, patch: Patch) -> Content:
    """The content with the patch applied. Numbers of lines are kept for ever."""
    content = order.content
    updates: dict[str, object] = {}
    if patch.customer or patch.ship_to:
        updates["customer"] = _customer(content.customer, patch)
    if patch.placed_at is not None:
        updates["placed_at"] = patch.placed_at
    if patch.currency is not None:
        updates["currency"] = patch.currency.strip().upper()
    if patch.lines:
        lines = _lines(order, patch.lines)
        if lines != content.lines:
            # What the channel charged was for the old lines.
            updates |= {"lines": lines, "total": None}
    return content.put(**updates)


def _customer(known: DraftCustomer, patch: Patch) -> DraftCustomer:
    address = known.ship_to
    if patch.ship_to:
        address = (address or DraftAddress()).put(**patch.ship_to)
    return clean_customer(known.put(**patch.customer, ship_to=address))


def _lines(order: Order, patches: Iterable[LinePatch]) -> tuple[DraftLine, ...]:
    lines = {line.line: line for line in order.content.lines}
    asked = {line for request in order.cancels for line in request.units.lines}
    for index, patch in enumerate(patches):
        number = patch.line or len(lines) + 1
        known = lines.get(number)
        if patch.line is not None and known is None:
            raise Refused("unknown-line", f"The order has no line {number}.", f"/lines/{index}/line")
        base = known or DraftLine(line=number)
        line = base.put(**patch.given, removed=base.removed or patch.remove)
        if line != base and number in asked:
            # Its units are numbered and a custodian may have answered for them.
            message = f"Units of line {number} were asked to be cancelled; it cannot change any more."
            raise Refused("line-has-cancels", message, f"/lines/{index}/line")
        lines[number] = line
    return tuple(lines.values())


def decide_review(
    order: Order,
    hold_id: str,
    verdict: str,
    reason: str,
    channel: Channel,
    products: Products,
    now: datetime,
    policy: Policy,
    *,
    by: str,
) -> Decision[Order]:
    """Approve a review hold (work goes on when it was the last) or reject it (the order is cancelled). Raises `Refused`
    for a hold that is no open review; the same verdict again is fine."""
    hold = order.hold(hold_id)
    if hold is None:
        raise Refused("unknown-hold", f"The order has no hold {hold_id}.")
    if hold.kind is not HoldKind.REVIEW:
        raise Refused("not-a-review", f"{hold_id} is no review: it ends when its problem is solved.")
    if hold.outcome == verdict:
        return already_done(order)
    if not hold.open:
        raise Refused("hold-ended", f"{hold_id} has ended already: {hold.outcome}.")
    decision = release(order, hold, verdict, by, now, reason)
    state = decision.state
    if verdict == "rejected":
        return decision.and_then(cancel_at_intake(state, now, by=by, reason=f"Rejected: {reason}"))
    approved = state.put(approved={**state.approved, hold.problem.code: state.content.amount})
    return decision.and_then(examine(approved, channel, products, now, policy, by=by))


def pay(
    order: Order, payment_state: str, channel: Channel, products: Products, now: datetime, policy: Policy, *, by: str
) -> Decision[Order]:
    """The payment arrived: the unpaid hold ends. A payment that is already known changes nothing."""
    if order.content.payment_state in (payment_state, "paid"):
        return already_done(order)
    content = order.content.put(payment_state=payment_state)
    state = order.put(content=content)
    if order.state is not State.HELD:
        return Decision(state, express=order.lane)
    return examine(state, channel, products, now, policy, by=by)


def raise_order(order: Order) -> Decision[Order]:
    """Somebody raised the order before the prioritizer saw it: announce it again on the express lane; a held order
    takes that lane when it is received."""
    state = order if order.raised else order.put(raised=True)
    if order.state is State.RECEIVED:
        return Decision(state, events=(received(state),), express=True)
    return Decision(state, outcome=Outcome.NOT_YET if order.state is State.HELD else Outcome.TOO_LATE)
