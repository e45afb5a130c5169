"""The collections of fulfillment. `task` mirrors what the orders say, so that a queue is one indexed query (E1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from expedite_events import Decision, PersonChanged, ProductChanged, WarehouseChanged
from expedite_messaging import Book, Cause, Collection, Column, Tx
from expedite_messaging.collection import metadata_naming
from fulfillment.domain.copies import Barcode, Receipt
from fulfillment.domain.model import Note, Order, Page
from fulfillment.domain.tasks import Task, task_ids, tasks_of

metadata = sa.MetaData(naming_convention=metadata_naming)

ORDERS = Collection("orders", Order, metadata=metadata, new=lambda order_id: Order(order_id=order_id))
TASKS = Collection(
    "task",
    Task,
    metadata=metadata,
    key=("task_id",),
    columns=(
        Column("queue", sa.Text()),
        Column("chore", sa.Text()),
        Column("place", sa.Text()),
        Column("kind", sa.Text()),
        Column("claimed_by", sa.Text()),
    ),
    constraints=(
        # Finished and waiting tasks are in no queue, so that the indexes stay as small as the open work (E1).
        sa.Index("ix_task_queue", "queue", "place", postgresql_where=sa.text("queue IS NOT NULL")),
        sa.Index("ix_task_chore", "chore", "place", postgresql_where=sa.text("chore IS NOT NULL")),
    ),
)
TRACE = Collection("trace", Page, metadata=metadata, key=("order_id", "number"))
PRODUCTS = Collection("product", ProductChanged, metadata=metadata, key=("sku",))
BARCODES = Collection("barcode", Barcode, metadata=metadata, key=("code",))
WAREHOUSES = Collection("warehouse", WarehouseChanged, metadata=metadata, key=("warehouse_id",))
PEOPLE = Collection("person", PersonChanged, metadata=metadata, key=("person_id",))
RECEIPTS = Collection("receipt", Receipt, metadata=metadata, key=("receipt_id",))

NOTES_PER_PAGE = 40  # what an order of many scans rewrites with each further one stays small


@dataclass(frozen=True, slots=True)
class Floor:
    """The orders of a transaction. Applying a decision keeps the queue and the trace in step with the order."""

    tx: Tx
    orders: Book[Order]
    tasks: Book[Task]

    def __getitem__(self, order_id: str) -> Order:
        return self.orders[order_id]

    def apply(self, cause: Cause, decision: Decision[Any]) -> Order:
        """Save the state, write what changed in the queue and the trace, emit. The state as saved."""
        state: Order = decision.state
        before = self.orders[state.order_id]
        if state is not before:
            if len(state.notes) > NOTES_PER_PAGE:
                state, page = state.turned()
                self.tx.add(TRACE, page)
            tasks = tasks_of(state, before)
            self.tasks.stored(tasks, {})  # all but those that `floor` knows of are new
            for task in tasks.values():
                self.tasks.put(task)
            self.orders.put(state)
        self.tx.emit(cause, decision)
        return state


async def floor(tx: Tx, order_ids: Iterable[str]) -> Floor:
    """The orders of these ids, blank ones for those never heard of."""
    orders, tasks = await tx.load(ORDERS, order_ids), await tx.load(TASKS, ())
    # Tasks are derived whole from their order and written with it: their rows are known without being read.
    tasks.exist(t for order in orders if order.order_id not in orders.changed for t in task_ids(order))
    return Floor(tx, orders, tasks)


async def trace(tx: Tx, order: Order) -> list[Note]:
    """Everything that was done with an order, in the order it was done (E6)."""
    pages = await tx.find(TRACE, {"order_id": order.order_id}, order_by=("number",)) if order.pages else []
    return [*(note for page in pages for note in page.notes), *order.notes]
