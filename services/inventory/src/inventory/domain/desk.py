"""One decision in the making: an order, the world around it, and what is going to be said.

The verbs are those of `custody.py`: source, start, announce, back, cancel_here. Each keeps order and shelves in step, so
that at any moment the shelf's `allocated`, `leaving`, `in_transit`, `out` and `backordered` are the sums over orders.
"""

from __future__ import annotations

from collections.abc import Sequence

from expedite_events import (
    NO_UNITS,
    ConsideredRemedy,
    Decision,
    Event,
    OrderBackordered,
    Outcome,
    Remedy,
    Settled,
    StockReserved,
    StockShort,
    TransferRequested,
    Units,
    UnitsCancelled,
)
from inventory.domain.order import Content, FulfilmentOrder, Order, Status, Transfer
from inventory.domain.sourcing import Plan, Take, plan, weigh
from inventory.domain.stock import Because, Bucket
from inventory.domain.world import World

Considered = tuple[ConsideredRemedy, ...]


class Desk:
    """Collects the consequences of one cause for one order. Use once, then `done`."""

    def __init__(self, order: Order, world: World, because: Because) -> None:
        self.order, self.world, self.because = order, world, because
        self.content = order.content
        self.stock, self.now = world.stock, world.now
        self._before = order
        self._events: list[Event] = []

    def say(self, event: Event) -> None:
        self._events.append(event)

    def done(self, *, express: bool | None = None) -> Decision[Order]:
        """The decision. Orders that are express by their own urgency never leave the express lane; `express` says what
        holds for the others (None: the lane of the cause)."""
        if self.content is not None and self.content.urgency.express:
            express = True
        if not self._events and (self.order is self._before or self.order == self._before):
            return Decision(self._before, outcome=Outcome.ALREADY_DONE)
        return Decision(self.order, tuple(self._events), express=express)

    def known_content(self) -> Content:
        """The content; every unit in custody came with it."""
        assert self.content is not None
        return self.content

    def move(self, units: Units, warehouse_id: str, source: Bucket, target: Bucket) -> None:
        """Move the goods of these units between buckets of one warehouse."""
        for sku, part in self.order.by_sku(units).items():
            self.stock.move(self.because, sku, warehouse_id, source, target, part)

    def ship(self, units: Units, source: tuple[str, Bucket], target: tuple[str, Bucket]) -> None:
        """Move goods between buckets of two warehouses."""
        if source[0] == target[0]:
            self.move(units, source[0], source[1], target[1])
            return
        for sku, part in self.order.by_sku(units).items():
            self.stock.shift(self.because, sku, source[0], {source[1]: -len(part)}, part)
            self.stock.shift(self.because, sku, target[0], {target[1]: len(part)}, part)

    # -- cancelling

    def cancel_here(self, units: Units, answers: Sequence[tuple[str, Units]]) -> None:
        """Units in our custody (or never seen) die, what they held becomes available, each request is answered."""
        for segment, part in list(self.order.parts(units)):
            match segment.status:
                case Status.ALLOCATED:
                    self.move(part, _at(segment.warehouse_id), Bucket.ALLOCATED, Bucket.FREE)
                case Status.BACKORDERED:
                    self._demand(part, _at(segment.warehouse_id), -1)
                case Status.TRANSFER:
                    self._drop_from_transfer(str(segment.ref), part)
                case _:
                    pass
        self.order = self.order.place(units, Status.DEAD)
        for request_id, part in answers:
            self.say(
                UnitsCancelled(
                    order_id=self.order.order_id,
                    request_id=request_id,
                    units=part,
                    answered_by="inventory",
                    at=self.now,
                )
            )

    def _drop_from_transfer(self, transfer_id: str, units: Units) -> None:
        """A transfer nobody was told about is undone at once; goods of an announced one become free on arrival."""
        transfer = self.order.transfer(transfer_id)
        if transfer is None or transfer.announced:
            return
        self.move(units, transfer.from_warehouse_id, Bucket.LEAVING, Bucket.FREE)
        self.order = self.order.with_transfer(transfer.put(done=transfer.done | units))

    def back(self, units: Units, settled: Sequence[Settled] = ()) -> None:
        """Units came back into our custody, their goods already booked where they are now. What a standing or an
        unsettled request wants dies; the rest is sourced again."""
        for item in settled:
            self.order = self.order.settle(item.request_id, item.units & units)
        answers = []
        for ask in self.order.asks:
            wanted = ask.units & units
            if not ask.standing:
                wanted = wanted - self.order.settled_of(ask.request_id)
            if wanted:
                answers.append((ask.request_id, wanted))
        dying = Units.union(part for _, part in answers)
        if self.order.ended:
            dying = units
        self.order = self.order.place(dying, Status.DEAD)
        self.cancel_here(dying, answers)
        self.source(units - dying)

    # -- sourcing

    def source(self, units: Units) -> None:
        """Find goods for units that have none: allocate, split, transfer or backorder (D3, D4)."""
        if not units or self._at_nearest(units):
            return
        chosen, pools, considered = self._plan(units)
        self._apply(chosen, pools, considered)
        short = self._leftover(pools)
        if short:
            self._backorder(short, chosen, considered)

    def _at_nearest(self, units: Units) -> bool:
        """The plan of nearly every order, without weighing others: its nearest warehouse has everything, nobody waits
        for it and no sibling waits elsewhere. Whether it was that."""
        brief = self.known_content().brief
        nearest, stock = self.world.sites(brief.customer.ship_to)[0], self.stock
        home, pools = nearest.warehouse_id, self.order.by_sku(units)
        for sku, part in pools.items():
            if sku in self.world.ahead or stock.free(sku, home) < len(part):
                return False
        if not brief.partial_shipment and any(
            s.status is Status.ALLOCATED and s.warehouse_id != home for s in self.order.segments
        ):
            return False
        for sku, part in pools.items():
            stock.move(self.because, sku, home, Bucket.FREE, Bucket.ALLOCATED, part)
        why = f"{len(units)} from {home}: {nearest.distance:g} points"
        self.order = self.order.place(units, Status.ALLOCATED, home).explained(why)
        return True

    def fill(self, skus: set[str]) -> None:
        """Serve backordered units of these SKUs as far as stock goes; the rest keeps waiting, untold (D5)."""
        for segment in [s for s in self.order.segments if s.status is Status.BACKORDERED]:
            wanted = Units.union(p for sku, p in self.order.by_sku(segment.units).items() if sku in skus)
            if not wanted:
                continue
            chosen, pools, _ = self._plan(wanted)
            served = wanted - Units.union(self._last(pools, chosen.short).values())
            if not served:
                continue
            self._demand(served, _at(segment.warehouse_id), -1)
            self._apply(chosen, pools, None)

    def _plan(self, units: Units) -> tuple[Plan, dict[str, Units], Considered]:
        content = self.known_content()
        brief, pools = content.brief, self.order.by_sku(units)
        need = {sku: len(pool) for sku, pool in pools.items()}
        ranked = self.world.sites(brief.customer.ship_to)
        limits = self.world.free_for(self.order.order_id, content.urgency.sort_key, list(need), ranked)

        def free(sku: str, warehouse_id: str) -> int:
            return limits[sku, warehouse_id]

        together, tight = not brief.partial_shipment, self.world.tight(content)
        held: frozenset[str] = frozenset()
        if together:
            waiting = (s.warehouse_id for s in self.order.segments if s.status is Status.ALLOCATED)
            held = frozenset(w for w in waiting if w is not None)
        chosen = plan(need, free, ranked, together=together, tight=tight, held=held)
        considered = weigh(need, free, ranked, chosen, together=together, tight=tight, held=held) if chosen.kind else ()
        return chosen, pools, considered

    def _apply(self, chosen: Plan, pools: dict[str, Units], considered: Considered | None) -> None:
        for i, (warehouse_id, take) in enumerate(chosen.direct.items()):
            units = self._take(pools, take, warehouse_id, Bucket.ALLOCATED)
            self.order = self.order.place(units, Status.ALLOCATED, warehouse_id)
            if i and considered is not None:
                self._short(units, considered, Remedy.SPLIT)
        moved: list[Units] = []
        for sender, take in chosen.transfers.items():
            units = self._take(pools, take, sender, Bucket.LEAVING)
            number = self.order.t_count + 1
            transfer = Transfer(
                transfer_id=f"{self.order.order_id}-T{number}",
                from_warehouse_id=sender,
                to_warehouse_id=chosen.home,
                units=units,
                at=self.now,
            )
            self.order = self.order.place(units, Status.TRANSFER, None, transfer.transfer_id)
            self.order = self.order.with_transfer(transfer).put(t_count=number)
            moved.append(units)
        if moved and considered is not None:
            self._short(Units.union(moved), considered, Remedy.TRANSFER)
        self.order = self.order.explained(chosen.explain())

    def _take(self, pools: dict[str, Units], take: Take, warehouse_id: str, target: Bucket) -> Units:
        """Take the lowest units of each pool, and their goods from what is free in the warehouse."""
        taken = []
        for sku, n in take.items():
            pool = pools[sku]
            part = pool if n == len(pool) else pool.first_n(n)
            pools[sku] = pool - part
            self.stock.move(self.because, sku, warehouse_id, Bucket.FREE, target, part)
            taken.append(part)
        return taken[0] if len(taken) == 1 else Units.union(taken)

    @staticmethod
    def _last(pools: dict[str, Units], take: Take) -> dict[str, Units]:
        return {sku: pools[sku].last_n(n) for sku, n in take.items()}

    @staticmethod
    def _leftover(pools: dict[str, Units]) -> Units:
        return Units.union(pools.values())

    def _short(self, units: Units, considered: Considered, remedy: Remedy) -> None:
        self.say(
            StockShort(
                order_id=self.order.order_id,
                units=units,
                goods=self.known_content().goods(units),
                considered=considered,
                chosen=remedy,
                at=self.now,
            )
        )

    def _backorder(self, units: Units, chosen: Plan, considered: Considered) -> None:
        content = self.known_content()
        home = self.world.warehouse(chosen.home)
        assert home is not None  # sites are made of warehouses
        due = self.world.expected(home)
        since = self.order.backordered_since or self.now
        self._demand(units, chosen.home, 1)
        self.order = self.order.place(units, Status.BACKORDERED, chosen.home)
        self.order = self.order.put(backordered_since=since, backorder_estimate=due)
        for sku in self.order.by_sku(units):
            for warehouse in self.world.warehouses:
                if self.stock.free(sku, warehouse.warehouse_id):
                    # Kept back for more urgent orders; if they do not take it, the fill must look at this one too.
                    self.stock.want_fill(sku, warehouse.warehouse_id)
        self._short(units, considered, Remedy.BACKORDER)
        self.say(
            OrderBackordered(
                order_id=self.order.order_id,
                units=units,
                goods=content.goods(units),
                since=since,
                estimated_at=due,
                brief=content.brief,
                urgency=content.urgency,
            )
        )

    def _demand(self, units: Units, warehouse_id: str, sign: int) -> None:
        for sku, part in self.order.by_sku(units).items():
            self.stock.shift(self.because, sku, warehouse_id, {Bucket.BACKORDERED: sign * len(part)}, part)

    # -- announcing

    def start(self) -> None:
        """The start rule, run after every change: what may begin now is announced, one fulfilment order per warehouse."""
        order = self.order
        if order.ended or order.holds or self.content is None:
            return
        for transfer in order.transfers:
            if not transfer.announced and transfer.leaving:
                self._request(transfer)
        waiting = any(s.status in (Status.BACKORDERED, Status.TRANSFER) for s in order.segments)
        if waiting and not self.content.brief.partial_shipment:
            return
        places = {str(s.warehouse_id): s.units for s in order.segments if s.status is Status.ALLOCATED}
        for warehouse_id, units in sorted(places.items()):
            number = self.order.f_count + 1
            made = self._made(warehouse_id, units, number, complete=not waiting)
            self.order = self.order.place(units, Status.ANNOUNCED, warehouse_id, made.fulfilment_order_id)
            self.order = self.order.put(f_count=number, fulfilment_orders=(*self.order.fulfilment_orders, made))
            self.announce(made)

    def _made(self, warehouse_id: str, units: Units, number: int, *, complete: bool) -> FulfilmentOrder:
        return FulfilmentOrder(
            fulfilment_order_id=f"{self.order.order_id}-F{number}",
            warehouse_id=warehouse_id,
            units=units,
            at=self.now,
            complete=complete,
        )

    def announce(self, made: FulfilmentOrder) -> None:
        """StockReserved, for the first time or again: same id, same units, what is settled now."""
        content = self.known_content()
        self.say(
            StockReserved(
                order_id=self.order.order_id,
                order_version=max(content.order_version, 1),
                fulfilment_order_id=made.fulfilment_order_id,
                warehouse_id=made.warehouse_id,
                units=made.units,
                goods=content.goods(made.units),
                brief=content.brief,
                urgency=content.urgency,
                settled=self.order.settled_on(made.units),
                reserved_at=made.at,
                complete=made.complete,
            )
        )

    def _request(self, transfer: Transfer) -> None:
        """TransferRequested for the first time; units that died before are not moved."""
        told = transfer.put(announced=True, units=transfer.leaving, done=NO_UNITS)
        self.order = self.order.with_transfer(told)
        self.request_again(told)

    def request_again(self, transfer: Transfer) -> None:
        """TransferRequested of an announced transfer: same id, same units."""
        content = self.known_content()
        self.say(
            TransferRequested(
                order_id=self.order.order_id,
                transfer_id=transfer.transfer_id,
                from_warehouse_id=transfer.from_warehouse_id,
                to_warehouse_id=transfer.to_warehouse_id,
                units=transfer.units,
                goods=content.goods(transfer.units),
                urgency=content.urgency,
                requested_at=transfer.at,
            )
        )

    def wave(self) -> None:
        """A raised order: every outcome that is not concluded is announced again on the express lane, with its id."""
        for made in self.order.fulfilment_orders:
            if any(s.status is Status.ANNOUNCED and s.ref == made.fulfilment_order_id for s in self.order.segments):
                self.announce(made)
        for transfer in self.order.transfers:
            live = any(s.status is Status.TRANSFER and s.ref == transfer.transfer_id for s in self.order.segments)
            if transfer.announced and live:
                self.request_again(transfer)


def _at(warehouse_id: str | None) -> str:
    assert warehouse_id is not None, "a segment with goods or demand names its warehouse"
    return warehouse_id
