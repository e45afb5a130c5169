"""Faults of inventory: allocation, custody, shelves, transfers, backorders."""

from __future__ import annotations

from expedite_mutants.mutant import Mutant

SOURCE = "services/inventory/src/inventory"
CUSTODY, DESK, STOCK, WORLD, BOOKINGS = (
    f"{SOURCE}/domain/{name}.py" for name in ("custody", "desk", "stock", "world", "bookings")
)

MUTANTS = (
    Mutant(
        name="inventory-release-twice",
        wrong="Goods that were put back are released once for each request that is answered.",
        attacks="I1 D10",
        file=CUSTODY,
        old='fresh = order.fresh("UnitsCancelled", container, event.units)',
        new="fresh = event.units",
    ),
    Mutant(
        name="inventory-allocate-twice",
        wrong="A repeated PriorityAssigned sources its units again.",
        attacks="D2 I1",
        file=CUSTODY,
        old="desk.source(units - order.known if order.segments else units)",
        new="desk.source(units)",
    ),
    Mutant(
        name="inventory-tombstone-forgotten",
        wrong="A cancel that comes before its units is forgotten.",
        attacks="A8 I2",
        file=CUSTODY,
        old="new = new - order.having(*GONE)",
        new="new = (new - order.having(*GONE)) & order.known",
    ),
    Mutant(
        name="inventory-cancels-what-left",
        wrong="Units that fulfillment has are cancelled here too.",
        attacks="I2",
        file=CUSTODY,
        old="new = new - order.having(*GONE)",
        new="new = new - order.having(Status.PACKED)",
    ),
    Mutant(
        name="inventory-early-release-forgotten",
        wrong="A hold that comes after its release holds the order for ever.",
        attacks="I9",
        file=CUSTODY,
        old="if hold_id in order.released or hold_id in order.holds:",
        new="if hold_id in order.holds:",
    ),
    Mutant(
        name="inventory-held-order-starts",
        wrong="Work on a held order is announced.",
        attacks="A4",
        file=DESK,
        old="if order.ended or order.holds or self.content is None:",
        new="if order.ended or self.content is None:",
    ),
    Mutant(
        name="inventory-parts-leave-early",
        wrong="An order that shall leave whole leaves in parts.",
        attacks="D3",
        file=DESK,
        old="if waiting and not self.content.brief.partial_shipment:",
        new="if waiting and not order.segments:",
    ),
    Mutant(
        name="inventory-one-too-few",
        wrong="The nearest warehouse is taken to have everything when it lacks one piece.",
        attacks="D2",
        file=DESK,
        old="stock.free(sku, home) < len(part):",
        new="stock.free(sku, home) < len(part) - 1:",
    ),
    Mutant(
        name="inventory-settled-applied-again",
        wrong="A cancel that was settled downstream is applied when the units come back.",
        attacks="A8",
        file=DESK,
        old="            if not ask.standing:\n                wanted = wanted - self.order.settled_of(ask.request_id)\n",
        new="",
    ),
    Mutant(
        name="inventory-standing-forgotten",
        wrong="A standing cancel that was refused does not hold again when the units come back.",
        attacks="A8",
        file=DESK,
        old="            if not ask.standing:\n                wanted = wanted - self.order.settled_of(ask.request_id)\n",
        new="            wanted = wanted - self.order.settled_of(ask.request_id)\n",
    ),
    Mutant(
        name="inventory-wave-silent",
        wrong="A raised order is not announced again on the express lane.",
        attacks="B4",
        file=CUSTODY,
        old="        desk.wave()\n",
        new="        pass\n",
    ),
    Mutant(
        name="inventory-short-goods-free",
        wrong="Goods a picker did not find are sourced again from the same empty bin, uncounted.",
        attacks="E4 I1",
        file=CUSTODY,
        old="desk.move(part, str(segment.warehouse_id), Bucket.ALLOCATED, Bucket.IN_COUNT)",
        new="desk.move(part, str(segment.warehouse_id), Bucket.ALLOCATED, Bucket.FREE)",
    ),
    Mutant(
        name="inventory-lost-and-returned-swapped",
        wrong="Lost goods wait for inspection, returned ones are written off.",
        attacks="I1 F4",
        file=CUSTODY,
        old="Bucket.QUALITY_CHECK if isinstance(event, ParcelReturned) else Bucket.LOST",
        new="Bucket.LOST if isinstance(event, ParcelReturned) else Bucket.QUALITY_CHECK",
    ),
    Mutant(
        name="inventory-dead-transfer-keeps-goods",
        wrong="Goods that arrive for units that died stay promised to them.",
        attacks="I1 I9",
        file=CUSTODY,
        old="(arrived - pegged, Bucket.FREE)",
        new="(arrived - pegged, Bucket.ALLOCATED)",
    ),
    Mutant(
        name="inventory-missing-not-sourced",
        wrong="Units whose goods were missing at a transfer's start are forgotten.",
        attacks="I9 D3",
        file=CUSTODY,
        old="    _back_from_transfer(desk, transfer.transfer_id, missing)\n",
        new="",
    ),
    Mutant(
        name="inventory-demand-doubled",
        wrong="A backorder that is cancelled is added to the demand instead of taken from it.",
        attacks="I1 D5",
        file=DESK,
        old="self._demand(part, _at(segment.warehouse_id), -1)",
        new="self._demand(part, _at(segment.warehouse_id), 1)",
    ),
    Mutant(
        name="inventory-fill-not-wanted",
        wrong="Nobody looks who waits for goods that came free.",
        attacks="D5",
        file=STOCK,
        old="            if bucket is Bucket.FREE and delta > 0:\n",
        new="            if bucket is Bucket.FREE and delta < 0:\n",
    ),
    Mutant(
        name="inventory-least-urgent-first",
        wrong="Goods that came free go to the least urgent order first.",
        attacks="D5 B3",
        file=f"{SOURCE}/jobs.py",
        old="key=lambda i: contents[i].urgency.sort_key):",
        new="key=lambda i: contents[i].urgency.sort_key, reverse=True):",
    ),
    Mutant(
        name="inventory-newcomer-first",
        wrong="Who comes now is served before more urgent orders that wait.",
        attacks="D5",
        file=WORLD,
        old="w.order_id != order_id and w.rank <= rank)",
        new="w.order_id != order_id and w.rank > rank)",
    ),
    Mutant(
        name="inventory-receipt-twice",
        wrong="A receipt that is announced again is booked again.",
        attacks="I1 D11",
        file=f"{SOURCE}/handlers.py",
        old="""        if bookings.get(("receipt", event.receipt_id)) is not None:
            continue
""",
        new="",
    ),
    Mutant(
        name="inventory-count-the-wrong-way",
        wrong="The difference found in a count corrects the books in the wrong direction.",
        attacks="I1 D11",
        file=BOOKINGS,
        old="Bucket.BOOKED: found - doubtful}",
        new="Bucket.BOOKED: doubtful - found}",
    ),
)
