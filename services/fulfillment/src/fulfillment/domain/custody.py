"""Custody of units: work arrives, is cancelled, is put back. The protocol is the project's executable custody model,
with ranges of units in place of single ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from expedite_events import (
    NO_UNITS,
    CancelRequested,
    Decision,
    Event,
    Illegal,
    Outcome,
    StockReserved,
    Units,
    UnitsCancelled,
    already_done,
)
from fulfillment.domain.model import Ask, FulfilmentOrder, Note, Order, PutBack, Refused

SYSTEM = "expedite"  # the name in the trace for what no person did


def arrive(order: Order, event: StockReserved, cut_off: datetime | None, now: datetime) -> Decision[Order]:
    """A fulfilment order arrives: custody of its units is ours. What was cancelled before it came is cancelled on
    arrival. A repeated announcement may only raise urgency. Raises `Illegal` when a unit is already in our custody or
    the order has ended: custody would be doubled."""
    news = order.news(event.urgency, event.order_version, event.brief)
    if order.fulfilment_order(event.fulfilment_order_id):
        return already_done(order.put(**news) if news else order)
    if order.ended:
        raise Illegal(f"{event.fulfilment_order_id} came after {order.order_id} was {order.ended}")
    for other in order.fulfilment_orders:
        if twice := event.units & (other.in_custody | other.cancelled):
            raise Illegal(f"{twice} of {event.fulfilment_order_id} are still in {other.fulfilment_order_id}")
    work = FulfilmentOrder(
        fulfilment_order_id=event.fulfilment_order_id,
        warehouse_id=event.warehouse_id,
        units=event.units,
        goods=event.goods,
        settled=event.settled,
        arrived_at=now,
        cut_off=cut_off,
    )
    doomed = Units.union(units for _, units in due(order, work, work.units)) if order.asks else NO_UNITS
    answers: tuple[UnitsCancelled, ...] = ()
    if doomed:
        work, answers = free(order, work, doomed, now)
    arrived = Note(work.fulfilment_order_id, now, SYSTEM, "arrived", len(work.units))
    state = order.put(fulfilment_orders=(*order.fulfilment_orders, work), notes=(*order.notes, arrived), **news)
    if doomed:
        state = state.note(
            work.fulfilment_order_id, now, SYSTEM, "cancelled", quantity=len(doomed), detail="asked before it arrived"
        )
    return Decision(state, answers)


def due(order: Order, work: FulfilmentOrder, units: Units) -> Iterator[tuple[Ask, Units]]:
    """The requests that hold for these units here: all standing ones, and those not settled before the units came."""
    for ask in order.asks:
        hit = ask.units & units
        if not ask.standing:
            hit -= work.settled_by(ask.request_id)
        if hit:
            yield ask, hit


def free(
    order: Order, work: FulfilmentOrder, units: Units, now: datetime
) -> tuple[FulfilmentOrder, tuple[UnitsCancelled, ...]]:
    """These units will not be delivered and lie on their shelf: every request due for them is answered. Inventory frees
    them once per (fulfilment order, unit), however many answers name them."""
    answers = tuple(_yes(order, work, ask.request_id, hit, now) for ask, hit in due(order, work, units))
    return work.put(cancelled=work.cancelled | units), answers


def _yes(order: Order, work: FulfilmentOrder, request_id: str, units: Units, now: datetime) -> UnitsCancelled:
    return UnitsCancelled(
        order_id=order.order_id,
        request_id=request_id,
        units=units,
        answered_by="fulfillment",
        container_id=work.fulfilment_order_id,
        warehouse_id=work.warehouse_id,
        at=now,
    )


def cancel(order: Order, event: CancelRequested, now: datetime) -> Decision[Order]:
    """Units shall not be delivered. Open ones are cancelled at once, picked ones when they are back on the shelf, ones
    that are cancelled already are answered again. What is not here is remembered: it may still come, or another
    custodian answers."""
    known = next((a for a in order.asks if a.request_id == event.request_id), None)
    fresh = event.units - known.units if known else event.units
    if not fresh:
        return already_done(order)
    asked = Ask(request_id=event.request_id, standing=event.standing, units=(known.units if known else fresh) | fresh)
    state = order.put(asks=(*(a for a in order.asks if a.request_id != event.request_id), asked))
    answers: list[Event] = []
    touched = False
    for work in order.fulfilment_orders:
        hit = fresh & work.units
        if not event.standing:
            hit -= work.settled_by(event.request_id)
        again, shelf, tote = hit & work.cancelled, hit & work.open, hit & work.picked
        touched = touched or bool(again or hit & work.in_custody)
        if again:
            answers.append(_yes(state, work, event.request_id, again, now))
        if shelf:
            freed, said = free(state, work, shelf, now)
            answers += said
            state = state.replaced(freed)
            state = state.note(
                work.fulfilment_order_id, now, event.requested_by, "cancelled", quantity=len(shelf), detail=event.reason
            )
        if tote:
            state = _ask_put_back(state, work.fulfilment_order_id, tote, event, now)
    return Decision(state, tuple(answers), outcome=Outcome.DONE if touched else Outcome.NOT_YET)


def _ask_put_back(state: Order, work_id: str, tote: Units, event: CancelRequested, now: datetime) -> Order:
    work = state.fulfilment_order(work_id)
    assert work is not None
    task = PutBack(put_back_id=f"{work_id}-B{len(work.put_backs) + 1}", units=tote, asked_at=now)
    work = work.put(
        picked=work.picked - tote,
        to_put_back=work.to_put_back | tote,
        put_backs=(*work.put_backs, task),
    )
    return state.replaced(work).note(
        work_id, now, event.requested_by, "put-back asked", quantity=len(tote), detail=event.reason
    )


def confirm_put_back(order: Order, put_back_id: str, by: str, now: datetime) -> Decision[Order]:
    """The goods of a cancelled pick are on the shelf again: now the requests are answered. Held orders too: a cancel
    must not wait for a question that nobody needs answered any more. Raises `Refused` for an unknown put-back."""
    for work in order.fulfilment_orders:
        task = next((p for p in work.put_backs if p.put_back_id == put_back_id), None)
        if task is None:
            continue
        if task.confirmed_by is not None:
            return already_done(order)
        done = task.put(confirmed_by=by, confirmed_at=now)
        work = work.put(
            to_put_back=work.to_put_back - task.units,
            put_backs=tuple(done if p is task else p for p in work.put_backs),
        )
        work, answers = free(order, work, task.units, now)
        state = order.replaced(work).note(
            work.fulfilment_order_id, now, by, "put back", quantity=len(task.units), detail=put_back_id
        )
        return Decision(state, answers, express=order.express)
    raise Refused("unknown-put-back", f"There is no put-back {put_back_id}: scan the list of your warehouse again.")
