"""What the API answers, for its description: the answers themselves are written by `views`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from expedite_events import Tier
from expedite_events.base import Moment
from expedite_events.contract import model_of
from fulfillment.domain.model import Hold, Parcel, PutBack
from fulfillment.domain.packing import Packing
from fulfillment.domain.tasks import Status, Task, TaskLine


class WarehouseName(BaseModel):
    warehouse_id: str
    name: str


class Warehouses(BaseModel):
    items: list[WarehouseName]
    next: str | None


class QueueLine(model_of(TaskLine)):  # type: ignore[misc]
    barcodes: list[str]


class QueueTask(model_of(Task)):  # type: ignore[misc]
    lines: list[QueueLine]


class Queue(BaseModel):
    items: list[QueueTask]
    next: str | None


class WorkLine(BaseModel):
    """Pieces of a line, by what became of them."""

    line: int
    sku: str
    name: str
    barcodes: list[str]
    quantity: int
    open: int
    picked: int
    packed: int
    short: int
    cancelled: int
    to_put_back: int


class Work(BaseModel):
    """A fulfilment order: what is to do, what is done, what it is packed in."""

    fulfilment_order_id: str
    order_id: str
    warehouse_id: str
    status: Status
    tier: Tier
    deadline: Moment
    promise_by: Moment
    cut_off: Moment | None
    claimed_by: str | None
    held_by: list[Hold]
    order_ended: str | None
    lines: list[WorkLine]
    packing: Packing | None
    parcels: list[Parcel]
    put_backs: list[PutBack]


class TraceLine(BaseModel):
    """Who did what when (E6)."""

    at: Moment
    by: str
    name: str
    did: str
    quantity: int
    detail: str


class Owner(BaseModel):
    person_id: str
    name: str


class TracedWork(Work):
    owner: Owner | None
    trace: list[TraceLine]


class TransferLine(BaseModel):
    line: int
    sku: str
    name: str
    quantity: int
    sent: int | None
    arrived: int | None


class TransferShown(BaseModel):
    """A transfer: pieces asked for, sent and arrived."""

    transfer_id: str
    order_id: str
    from_warehouse_id: str
    to_warehouse_id: str
    status: str
    lines: list[TransferLine]
    dispatched_by: str | None
    received_by: str | None


class OrderWork(BaseModel):
    """All work on an order."""

    order_id: str
    tier: Tier | None
    ended: str | None
    held_by: list[Hold]
    fulfilment_orders: list[Work]
    transfers: list[TransferShown]
    trace: list[TraceLine]


class WorkDone(Work):
    """The new state; `outcome` says whether anything was new."""

    outcome: str


class PackDone(WorkDone):
    parcel: Parcel


class TransferDone(TransferShown):
    outcome: str


class ReceiptDone(BaseModel):
    """A counted receipt: SKU and pieces of each line."""

    outcome: str
    receipt_id: str
    warehouse_id: str
    lines: list[Annotated[list[str | int], Field(min_length=2, max_length=2)]]
    received_by: str
    at: Moment


def shown(model: type[BaseModel], links: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that writes its answer itself."""
    return {200: {"model": model, **({"links": links} if links else {})}}


def _onward(operations: tuple[str, ...], parameter: str, pointer: str) -> dict[str, Any]:
    return {name: {"operationId": name, "parameters": {parameter: f"$response.body#{pointer}"}} for name in operations}


_STEPS = ("claim", "scan", "short", "pack", "read_fulfilment_order")
OF_QUEUE = _onward(_STEPS, "fulfilment_order_id", "/items/0/fulfilment_order_id") | _onward(
    ("dispatch", "receive"), "transfer_id", "/items/0/transfer_id"
)
"""What can be done with the first task of a queue."""

OF_WORK = _onward(_STEPS, "fulfilment_order_id", "/fulfilment_order_id") | _onward(
    ("read_order",), "order_id", "/order_id"
)
"""What can be done next with a fulfilment order."""

OF_ORDER = _onward(_STEPS, "fulfilment_order_id", "/fulfilment_orders/0/fulfilment_order_id") | _onward(
    ("confirm_put_back",), "put_back_id", "/fulfilment_orders/0/put_backs/0/put_back_id"
)
"""What can be done with the first work of an order."""

OF_WAREHOUSES = _onward(("queue", "confirm_in_bulk"), "warehouse_id", "/items/0/warehouse_id")
