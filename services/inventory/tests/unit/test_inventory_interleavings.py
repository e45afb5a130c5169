"""The executable custody model, played against the real inventory: random orders of messages, redelivery under new ids,
no common order of topics. Intake, fulfillment and shipping are the model's; inventory is the service itself."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

import pytest
from inventory_downstream import Downstream, Unit, units_of

from expedite_events import (
    CancelRefused,
    CancelRequested,
    Event,
    GoodsReceived,
    Lane,
    OrderCancelled,
    ReceiptLine,
    StockReserved,
    Tier,
    TransferRequested,
    Units,
    UnitsCancelled,
)
from expedite_events.intake import HoldKind, HoldSummary, OrderHeld, OrderHoldReleased
from inventory.domain.bookings import NothingToCount, count
from inventory.domain.desk import Desk
from inventory.domain.order import Order, Status
from inventory.domain.stock import Because
from inventory.shelves import Stockroom
from inventory.store import SHELVES

SKUS = ("x", "y")
SEEDS = range(60)


class World(Downstream):
    """Three orders and everybody around inventory. Names follow custody.py."""

    def __init__(self, inv: Any, seed: int) -> None:
        self.inv, self.r, self.n = inv, random.Random(seed), 0
        super().__init__()
        self.queues: dict[tuple[str, str, str], deque[tuple[Event, str, Lane]]] = defaultdict(deque)
        self.dup = 0.2
        self.orders: dict[str, dict[str, Any]] = {}
        self.todo: list[tuple[Any, ...]] = []
        r = self.r
        for i in range(3):
            o = f"o{i}"
            lines = {s: n for s in SKUS if (n := r.randint(0, 3))} or {"x": 1}
            units = [(line, k) for line, n in enumerate(lines.values(), 1) for k in range(1, n + 1)]
            self.orders[o] = {
                "lines": lines, "units": units, "out": {}, "asked": {}, "quantity": 0, "partial": r.random() < 0.5,
                "rev": 0, "tier": r.choice(list(Tier)), "hours": r.choice([10, 96]), "ended": False,
            }  # fmt: skip
            self.todo.append(("place", o))
            if r.random() < 0.3:
                self.todo.append(("cancel", o, tuple(units)))
            if r.random() < 0.3:
                self.todo.append(("cancel", o, tuple(r.sample(units, r.randint(1, len(units))))))
            if r.random() < 0.5:
                self.todo.append(("reduce", o, r.randint(1, len(lines)), r.randint(1, 2)))
            if r.random() < 0.5:
                self.todo.append(("raise", o))
            for h in range(r.randint(0, 2)):
                self.todo += [("hold", o, f"{o}-H{h}"), ("release", o, f"{o}-H{h}")]

    # -- the bus

    def id(self, prefix: str) -> str:
        self.n += 1
        return f"{prefix}{self.n}"

    def say(self, event: Any, to: str, service: str, lane: Lane | None = None) -> None:
        envelope = self.inv.envelope(event, service, lane or self.lane(event.order_id))
        for reader in to:
            self.queues[envelope.topic, envelope.key, reader].append((event, service, envelope.lane))

    def lane(self, o: str) -> Lane:
        return Lane.EXPRESS if self.orders[o]["tier"] is Tier.URGENT else Lane.STANDARD

    async def to_inventory(self, event: Event, service: str, lane: Lane) -> None:
        await self.inv.deliver([self.inv.envelope(event, service, lane)])
        self.collect()

    def collect(self) -> None:
        """What inventory said goes to its readers, its own cancel answers back to itself as well."""
        outbox = self.inv.engine.db.outbox
        for e in list(outbox):
            to = {StockReserved: "F", TransferRequested: "F", UnitsCancelled: "IV"}.get(type(e.event), "")
            for reader in to:
                self.queues[e.topic, e.key, reader].append((e.event, e.service, e.lane))
        outbox.clear()

    async def step(self) -> bool:
        ready = [k for k, q in self.queues.items() if q]
        if not ready:
            return False
        k = self.r.choice(ready)
        event, service, lane = self.queues[k][0]
        if self.r.random() >= self.dup:
            self.queues[k].popleft()
        if k[2] == "V":
            await self.to_inventory(event, service, lane)
        else:
            {"I": self.intake, "F": self.fulfillment, "S": self.shipping}[k[2]](event)
        return True

    # -- intake and prioritizer

    def act(self, a: tuple[Any, ...]) -> bool:
        o, od = a[1], self.orders[a[1]]
        if a[0] == "hold":
            self.say(
                OrderHeld(order_id=o, hold_id=a[2], kind=HoldKind.REVIEW, owner="x", held_at=self.now, due_at=self.now,
                          received_at=self.now, summary=HoldSummary(channel="EC")), "V", "order-intake",
            )  # fmt: skip
        elif a[0] == "release":
            self.say(
                OrderHoldReleased(order_id=o, hold_id=a[2], kind=HoldKind.REVIEW, outcome="ok", released_by="x",
                                  released_at=self.now), "V", "order-intake",
            )  # fmt: skip
        elif a[0] == "place":
            od["rev"] = 1
            self.assign(o)
        elif not od["rev"]:
            return False
        elif a[0] == "cancel":
            self.ask(o, a[2], True)
        elif a[0] == "reduce":
            live = [u for u in od["units"] if u[0] == a[2] and u not in od["out"]]
            self.reduce(o, a[2], min(a[3], len(live)), set())
        else:
            od["tier"], od["rev"] = Tier.URGENT, od["rev"] + 1
            self.assign(o)
        return True

    def assign(self, o: str) -> None:
        od = self.orders[o]
        event = self.inv.assigned(
            o, od["lines"], partial=od["partial"], tier=od["tier"], revision=od["rev"], hours=od["hours"]
        )
        self.say(event, "V", "prioritizer")

    def ask(self, o: str, units: Iterable[Unit], standing: bool, tried: set[Unit] | None = None) -> None:
        rid, units = self.id(f"{o}-C"), tuple(units)
        self.orders[o]["asked"][rid] = {
            "units": dict.fromkeys(units), "standing": standing, "tried": set(tried or ()) | set(units)
        }  # fmt: skip
        if not standing:
            self.orders[o]["quantity"] += len(units)
        event = CancelRequested(
            order_id=o, request_id=rid, units=units_of(units), standing=standing, reason="r", requested_by="c",
            requested_at=self.now,
        )  # fmt: skip
        self.say(event, "VFS", "order-intake")

    def reduce(self, o: str, line: int, n: int, tried: set[Unit]) -> None:
        od = self.orders[o]
        free = [u for u in od["units"] if u[0] == line and u not in od["out"] and u not in tried]
        if n and free:
            self.ask(o, free[-n:], False, tried)

    def out(self, o: str, u: Unit, end: str) -> None:
        od = self.orders[o]
        assert od["out"].setdefault(u, end) == end, (o, u, od["out"][u], "then", end)
        if set(od["out"]) == set(od["units"]) and not od["ended"]:
            od["ended"] = True
            event = OrderCancelled(order_id=o, units=units_of(od["units"]), reason="end", cancelled_at=self.now)
            self.say(event, "V", "order-intake")

    def intake(self, event: Any) -> None:
        o = event.order_id
        rq = self.orders[o]["asked"][event.request_id]
        for u in event.units.each():
            if isinstance(event, UnitsCancelled):
                self.out(o, u, "cancelled")
            if rq["units"][u] != "UnitsCancelled":
                before, rq["units"][u] = rq["units"][u], type(event).__name__
                if isinstance(event, CancelRefused) and before is None and not rq["standing"]:
                    self.orders[o]["quantity"] -= 1
                    self.reduce(o, u[0], 1, rq["tried"])

    # -- the world outside

    def waiting(self) -> list[tuple[str, str]]:
        rows = self.inv.engine.db.rows["backorder"].values()
        return sorted((row.order_id, row.sku) for row in rows if row.open)

    async def restock(self) -> None:
        _, sku = self.r.choice(self.waiting())
        event = GoodsReceived(
            receipt_id=self.id("r"), warehouse_id=self.r.choice(["LON", "MAN", "LIL"]),
            lines=(ReceiptLine(sku=sku, quantity=self.r.randint(1, 2)),), received_by="d", at=self.now,
        )  # fmt: skip
        await self.to_inventory(event, "fulfillment", Lane.STANDARD)

    async def fill(self) -> None:
        await self.inv.fill()
        self.collect()

    async def recount(self) -> None:
        async def work(tx: Any) -> None:
            for shelf in await tx.find(SHELVES, {"in_count__gt": 0}, limit=1):
                room = await Stockroom.exact(tx, [(shelf.sku, shelf.warehouse_id)])
                found = self.r.randint(0, shelf.in_count)
                try:
                    because = Because("count", self.id("count"), self.now)
                    count(room.world.stock, because, shelf.sku, shelf.warehouse_id, found)
                except NothingToCount:
                    return
                room.save()

        await self.inv.engine.transact([], work)

    async def run(self) -> None:
        stock = {f"{w}_{s}": n for w in ("LON", "MAN", "LIL") for s in SKUS if (n := self.r.randint(0, 3))}
        if stock:
            await self.inv.stock(**stock)
        for n in range(8000):
            if n > 400:
                self.dup = 0.0
            k = self.r.random()
            if self.todo and k < 0.1:
                a = self.todo.pop(self.r.randrange(len(self.todo)))
                if not self.act(a):
                    self.todo.append(a)
            elif k < 0.25:
                self.floor()
            elif k < 0.35:
                self.truck()
            elif k < 0.38 and self.waiting():
                await self.restock()
            elif k < 0.42:
                await self.fill()
            elif k < 0.43:
                await self.recount()
            elif not await self.step() and not self.todo and not self.floor() and not self.truck():
                await self.fill()
                if any(self.queues.values()):
                    continue
                if self.waiting():
                    await self.restock()
                elif n > 400:
                    await self.check()
                    return
        raise AssertionError("does not come to rest")

    async def check(self) -> None:
        for o, od in self.orders.items():
            stuck = set(od["units"]) - set(od["out"])
            assert not stuck, ("stuck", o, stuck, self.inv.order(o))
            for rid, rq in od["asked"].items():
                assert all(rq["units"].values()), ("no answer", rid, rq)
            standing = {u for rq in od["asked"].values() if rq["standing"] for u in rq["units"]}
            extra = [u for u, e in od["out"].items() if e == "cancelled" and u not in standing]
            assert len(extra) <= od["quantity"], ("cancelled more than asked", extra, od["quantity"])
            held = {Status.ALLOCATED, Status.TRANSFER, Status.ANNOUNCED, Status.BACKORDERED} & set(self.inv.where(o))
            assert not held, ("held for the dead", held)
        for shelf in self.inv.engine.db.rows["shelf"].values():
            assert not (shelf.allocated or shelf.leaving or shelf.in_transit or shelf.backordered), shelf
        await self.inv.conserved()


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_interleaving_ends_with_every_unit_in_one_place(new_inventory: Any, seed: int) -> None:
    """D2, D4, D5, D10, E4, E5, A8: whatever order messages come in, and however often, every unit ends delivered or
    cancelled once, every request is answered, nothing is held for the dead and every piece is accounted for."""
    await World(new_inventory(), seed).run()


def _no_memory(order: Any, kind: str, container: str, units: Units) -> Units:
    return units


def _nothing_settled(order: Any, request_id: str) -> Units:
    return Units()


def _never_start(desk: Any) -> None:
    return None


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [("Order", "fresh", _no_memory), ("Order", "settled_of", _nothing_settled), ("Desk", "start", _never_start)],
)
async def test_a_broken_rule_is_caught(
    new_inventory: Any, monkeypatch: pytest.MonkeyPatch, owner: str, name: str, broken: Any
) -> None:
    """The guard itself: without idempotence per (container, unit), without settled requests or without the start rule,
    some interleaving goes wrong."""
    monkeypatch.setattr({"Order": Order, "Desk": Desk}[owner], name, broken)
    for seed in range(400):
        try:
            await World(new_inventory(), seed).run()
        except (AssertionError, KeyError):
            return
    pytest.fail(f"{owner}.{name} was broken and nobody noticed")
