"""What the API answers: the state of work as people and machines read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import asdict

from expedite_events import PersonChanged, ProductChanged, Units, plain
from fulfillment.domain.floor import Wrapping
from fulfillment.domain.model import FulfilmentOrder, Note, Order, Transfer, pieces
from fulfillment.domain.packing import VALUABLE, Item, choose, plan
from fulfillment.domain.tasks import Task, tasks_of

Products = Mapping[str, ProductChanged]


class Sizes(dict[tuple[str, int], Item]):
    """Goods to pack by SKU and number of pieces; a product nobody described counts as size and weight 0. One serves a
    whole batch: the same goods come again and again."""

    def __init__(self, products: Products) -> None:
        super().__init__()
        self._products = products

    def __missing__(self, key: tuple[str, int]) -> Item:
        sku, pieces = key
        known = self._products.get(sku)
        item = self[key] = (
            Item(known.length_mm, known.width_mm, known.height_mm, known.weight_g, known.product_class, pieces)
            if known
            else Item(quantity=pieces)
        )
        return item

    def items_of(self, work: FulfilmentOrder, units: Units) -> list[Item]:
        """The goods of these units."""
        counted = pieces(units)
        return [self[goods.sku, counted[goods.line]] for goods in work.goods if goods.line in counted]


def wrapping_of(work: FulfilmentOrder, units: Units, sizes: Sizes, box: str | None, weight_g: int | None) -> Wrapping:
    """How these units are packed: as the packer says, and worked out where they say nothing (E3)."""
    chosen, planned_g, classes = choose(sizes.items_of(work, units))
    return Wrapping(box or chosen.code, planned_g if weight_g is None else weight_g, VALUABLE in classes)


def fulfilment_order_view(order: Order, work: FulfilmentOrder, products: Products) -> dict[str, Any]:
    """One fulfilment order: what is to do, what is done, what it is packed in."""
    task = tasks_of(order)[work.fulfilment_order_id]
    to_pack = work.open | work.picked
    return {
        "fulfilment_order_id": work.fulfilment_order_id,
        "order_id": order.order_id,
        "warehouse_id": work.warehouse_id,
        "status": task.status.value,
        "tier": task.tier.value,
        "deadline": task.deadline.isoformat(),
        "promise_by": task.promise_by.isoformat(),
        "cut_off": task.cut_off.isoformat() if task.cut_off else None,
        "claimed_by": work.claimed_by,
        "held_by": plain(order.holds) if order.held else [],
        "order_ended": order.ended,
        "lines": [
            {
                "line": goods.line,
                "sku": goods.sku,
                "name": goods.name,
                "barcodes": _barcodes(products.get(goods.sku)),
                "quantity": len(work.units.on_line(goods.line)),
                "open": len(work.open.on_line(goods.line)),
                "picked": len(work.picked.on_line(goods.line)),
                "packed": len(work.packed.on_line(goods.line)),
                "short": len(work.short.on_line(goods.line)),
                "cancelled": len(work.cancelled.on_line(goods.line)),
                "to_put_back": len(work.to_put_back.on_line(goods.line)),
            }
            for goods in work.goods
        ],
        "packing": plain(plan(Sizes(products).items_of(work, to_pack))) if to_pack else None,
        "parcels": [plain(p) for p in order.parcels if p.fulfilment_order_id == work.fulfilment_order_id],
        "put_backs": plain(work.put_backs),
    }


def transfer_view(order: Order, transfer: Transfer) -> dict[str, Any]:
    """One transfer: pieces asked for, sent and arrived."""
    sent, arrived = transfer.sent, transfer.arrived
    return {
        "transfer_id": transfer.transfer_id,
        "order_id": order.order_id,
        "from_warehouse_id": transfer.from_warehouse_id,
        "to_warehouse_id": transfer.to_warehouse_id,
        "status": transfer.status,
        "lines": [
            {
                "line": goods.line,
                "sku": goods.sku,
                "name": goods.name,
                "quantity": len(transfer.units.on_line(goods.line)),
                "sent": None if sent is None else len(sent.on_line(goods.line)),
                "arrived": None if arrived is None else len(arrived.on_line(goods.line)),
            }
            for goods in transfer.goods
        ],
        "dispatched_by": transfer.sent_by or None,
        "received_by": transfer.arrived_by or None,
    }


def task_view(task: Task, products: Products) -> dict[str, Any]:
    """One entry of a queue, with all a picker or a robot needs to do it."""
    lines = [{**asdict(line), "barcodes": _barcodes(products.get(line.sku))} for line in task.lines]
    return {**asdict(task), "lines": lines}


def _barcodes(product: ProductChanged | None) -> list[str]:
    return list(product.barcodes) if product else []


def trace_view(notes: Iterable[Note], people: Mapping[str, PersonChanged]) -> list[dict[str, Any]]:
    """Who did what when (E6)."""
    return [
        {
            "at": n.at.isoformat(),
            "by": n.by,
            "name": people[n.by].name if n.by in people else n.by,
            "did": n.did,
            "quantity": n.quantity,
            "detail": n.detail,
        }
        for n in notes
    ]
