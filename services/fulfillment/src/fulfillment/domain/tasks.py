"""The pick queue: what each person sees next. A task is derived from the order, never decided on its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from expedite_events import NO_UNITS, LineGoods, Stage, Tier, Units, Value
from fulfillment.domain.model import FulfilmentOrder, Order, Transfer, pieces


class Kind(StrEnum):
    """What is to be done."""

    PICK = "pick"
    TRANSFER_OUT = "transfer_out"
    TRANSFER_IN = "transfer_in"
    PUT_BACK = "put_back"


class Status(StrEnum):
    """Whether a task is offered. Waiting tasks belong to held orders: nobody sees them."""

    OPEN = "open"
    CLAIMED = "claimed"
    WAITING = "waiting"
    DONE = "done"


class TaskLine(Value):
    """How many pieces of a line the task is still about."""

    line: int
    sku: str
    name: str
    quantity: int


class Task(Value):
    """One entry of a warehouse's queue. `task_id` is the fulfilment order, transfer or put-back it stands for."""

    task_id: str
    order_id: str
    warehouse_id: str
    kind: Kind
    status: Status
    tier: Tier
    deadline: datetime
    cut_off: datetime | None = None
    promise_by: datetime
    claimed_by: str | None = None
    fulfilment_order_id: str | None = None
    transfer_id: str | None = None
    other_warehouse_id: str | None = None  # where a transfer goes to, or comes from
    lines: tuple[TaskLine, ...]
    picked: int = 0  # pieces in the tote, to be packed

    @property
    def offered(self) -> bool:
        """Whether it is in a queue: what is finished or waits is not."""
        return self.status is Status.OPEN or self.status is Status.CLAIMED

    @property
    def queue(self) -> str | None:
        """The queue it is offered in."""
        return queue_of(self.warehouse_id, self.status) if self.offered else None

    @property
    def chore(self) -> str | None:
        """The queue of its kind alone, when it is not picking: the few among the many picks."""
        if self.kind is Kind.PICK or not self.offered:
            return None
        return chore_of(queue_of(self.warehouse_id, self.status), self.kind)

    @property
    def place(self) -> str | None:
        """Where it stands in its queue, as text that sorts so: tier, deadline, carrier cut-off, id (E1)."""
        if not self.offered:
            return None
        return f"{_RANK[self.tier]}{_ms(self.deadline)}{_ms(self.cut_off) if self.cut_off else _NEVER}{self.task_id}"


def queue_of(warehouse_id: str, status: str) -> str:
    """The name of a warehouse's queue of open or claimed work."""
    return f"{status}/{warehouse_id}"


def chore_of(queue: str, kind: str) -> str:
    """The name of the part of a queue that holds one kind of work other than picking."""
    return f"{queue}/{kind}"


_RANK = {tier: tier.rank for tier in Tier}
_NEVER = "9" * 13


@lru_cache(maxsize=4096)  # orders that came together have their deadlines together
def _ms(moment: datetime) -> str:
    return f"{round(moment.timestamp() * 1000):013d}"


def lines_of(units: Units, goods: tuple[LineGoods, ...]) -> tuple[TaskLine, ...]:
    """Pieces per line."""
    if not units:
        return ()
    counted = pieces(units)
    return tuple(
        [TaskLine(line=g.line, sku=g.sku, name=g.name, quantity=counted[g.line]) for g in goods if g.line in counted]
    )


def tasks_of(order: Order, before: Order | None = None) -> dict[str, Task]:
    """The tasks of an order by id, finished ones too: their rows must learn that they are finished. With `before`, only
    those that may have changed since."""
    known: set[int] = set()
    if before is not None and order.urgency is before.urgency and order.held == before.held:
        # The rest of a task comes from its fulfilment order or transfer: the same object says the same.
        known = {id(x) for x in (*before.fulfilment_orders, *before.transfers)}
    tasks: list[Task] = []
    for work in order.fulfilment_orders:
        if id(work) in known:
            continue
        tasks.append(_pick(order, work))
        if not work.put_backs:
            continue
        tasks += [
            _task(
                order, p.put_back_id, work.warehouse_id, Kind.PUT_BACK, Stage.PREPARE,
                Status.DONE if p.confirmed_by else Status.OPEN, p.units, work.goods,
                fulfilment_order_id=work.fulfilment_order_id, cut_off=work.cut_off,
            )
            for p in work.put_backs
        ]  # fmt: skip
    tasks += [_move(order, transfer) for transfer in order.transfers if id(transfer) not in known]
    return {task.task_id: task for task in tasks}


def task_ids(order: Order) -> Iterator[str]:
    """The ids of all tasks of an order, finished ones too."""
    for work in order.fulfilment_orders:
        yield work.fulfilment_order_id
        yield from (p.put_back_id for p in work.put_backs)
    yield from (transfer.transfer_id for transfer in order.transfers)


def _pick(order: Order, work: FulfilmentOrder) -> Task:
    left = work.units if work.untouched else NO_UNITS if work.packed == work.units else work.open
    if not (left or work.picked):
        status = Status.DONE
    elif order.held:
        status = Status.WAITING
    else:
        status = Status.CLAIMED if work.claimed_by else Status.OPEN
    return _task(
        order, work.fulfilment_order_id, work.warehouse_id, Kind.PICK, Stage.PREPARE, status, left, work.goods,
        fulfilment_order_id=work.fulfilment_order_id, cut_off=work.cut_off, claimed_by=work.claimed_by,
        picked=len(work.picked),
    )  # fmt: skip


def _move(order: Order, transfer: Transfer) -> Task:
    out = transfer.sent is None
    # Goods already on the road are received even while the order is held: they need a place.
    unfinished = Status.WAITING if out and order.held else Status.OPEN
    status = Status.DONE if transfer.status == "received" else unfinished
    units = transfer.units if transfer.sent is None else transfer.sent
    here, there = transfer.from_warehouse_id, transfer.to_warehouse_id
    return _task(
        order, transfer.transfer_id, here if out else there, Kind.TRANSFER_OUT if out else Kind.TRANSFER_IN,
        Stage.STOCK_LOCK, status, units, transfer.goods, transfer_id=transfer.transfer_id,
        other_warehouse_id=there if out else here,
    )  # fmt: skip


def _task(
    order: Order, task_id: str, warehouse_id: str, kind: Kind, stage: Stage, status: Status, units: Units,
    goods: tuple[LineGoods, ...], *, fulfilment_order_id: str | None = None, transfer_id: str | None = None,
    other_warehouse_id: str | None = None, cut_off: datetime | None = None, claimed_by: str | None = None,
    picked: int = 0,
) -> Task:  # fmt: skip
    urgency = order.known_urgency
    return Task(
        task_id=task_id,
        order_id=order.order_id,
        warehouse_id=warehouse_id,
        kind=kind,
        status=status,
        tier=urgency.tier,
        deadline=order.deadline(stage),
        cut_off=cut_off,
        promise_by=urgency.promise_by,
        claimed_by=claimed_by,
        fulfilment_order_id=fulfilment_order_id,
        transfer_id=transfer_id,
        other_warehouse_id=other_warehouse_id,
        lines=lines_of(units, goods),
        picked=picked,
    )
