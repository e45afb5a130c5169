"""Goods on their way between two warehouses (E5). Inventory keeps custody of the units and decides what the goods are
for when they arrive; so a transfer goes on when its order dies.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from expedite_events import Decision, TransferRequested, Units, already_done
from fulfillment.domain import changes
from fulfillment.domain.custody import SYSTEM
from fulfillment.domain.floor import Missing, refuse_held
from fulfillment.domain.model import Order, Refused, Transfer


def request(order: Order, event: TransferRequested, now: datetime) -> Decision[Order]:
    """A transfer joins the queue of the sending warehouse; said again, it may only raise urgency."""
    heard = order.heard(event.urgency)
    if heard.transfer(event.transfer_id):
        return already_done(heard)
    transfer = Transfer(
        transfer_id=event.transfer_id,
        from_warehouse_id=event.from_warehouse_id,
        to_warehouse_id=event.to_warehouse_id,
        units=event.units,
        goods=event.goods,
        requested_at=event.requested_at,
    )
    state = heard.put(transfers=(*heard.transfers, transfer))
    return Decision(state.note(transfer.transfer_id, now, SYSTEM, "transfer requested", quantity=len(transfer.units)))


def _transfer(order: Order, transfer_id: str) -> Transfer:
    transfer = order.transfer(transfer_id)
    if transfer is None:
        raise Refused("unknown-transfer", f"There is no transfer {transfer_id}.")
    return transfer


def _counted(within: Units, lines: Sequence[Missing] | None) -> Units:
    """The units that were counted: all, or per line the lowest numbers up to the quantity."""
    if lines is None:
        return within
    counted = Units()
    for index, line in enumerate(lines):
        mine = within.on_line(line.line) - counted
        if line.quantity > len(mine):
            raise Refused(
                "wrong-quantity", f"{line.quantity} of line {line.line} are too many: {len(mine)} are expected.",
                index=index, expected=str(len(mine)),
            )  # fmt: skip
        counted |= mine.first_n(line.quantity)
    return counted


def dispatch(
    order: Order, transfer_id: str, found: Sequence[Missing] | None, by: str, now: datetime
) -> Decision[Order]:
    """The goods leave; what was not on the shelf is missing. With nothing found the transfer ends here."""
    transfer = _transfer(order, transfer_id)
    if transfer.sent is not None:
        return already_done(order)
    refuse_held(order)
    sent = _counted(transfer.units, found)
    transfer = transfer.put(sent=sent, sent_by=by, sent_at=now)
    state = order.moved(transfer).note(
        transfer_id, now, by, "dispatched", quantity=len(sent), detail=_missing(transfer.units - sent)
    )
    return Decision(state, (changes.dispatched(state, transfer),), express=order.express)


def receive(order: Order, transfer_id: str, found: Sequence[Missing] | None, by: str, now: datetime) -> Decision[Order]:
    """The goods arrived and were counted; held orders too, because goods on a dock must have a place."""
    transfer = _transfer(order, transfer_id)
    if transfer.arrived is not None:
        return already_done(order)
    if transfer.sent is None:
        raise Refused(
            "not-dispatched", f"{transfer_id} has not left {transfer.from_warehouse_id} yet: dispatch it first."
        )
    if not transfer.sent:
        raise Refused("too-late", f"{transfer_id} ended at {transfer.from_warehouse_id}: nothing was found to send.")
    arrived = _counted(transfer.sent, found)
    transfer = transfer.put(arrived=arrived, arrived_by=by, arrived_at=now)
    state = order.moved(transfer).note(
        transfer_id, now, by, "received", quantity=len(arrived), detail=_missing((transfer.sent or arrived) - arrived)
    )
    return Decision(state, (changes.received(state, transfer),), express=order.express)


def _missing(units: Units) -> str:
    return f"{len(units)} missing" if units else ""
