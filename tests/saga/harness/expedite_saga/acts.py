"""What people want at random, over HTTP: channels, customers, operators, planners. Being refused is an answer like another."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from expedite_saga.hands import Hands
from expedite_saga.masters import CAKE, LAMP, LIL, LON, MUG, RING, WAREHOUSES
from expedite_saga.orders import CITY, NEW, Orders
from inventory.store import BACKORDERS, SHELVES
from order_intake.domain.order import Order, State
from order_intake.store import ORDERS


class Acts:
    """The people of one random saga."""

    def __init__(self, hands: Hands) -> None:
        self.hands, self.house, self.world = hands, hands.house, hands.world
        self.orders = Orders(hands)
        self.new_product = False

    async def open(self) -> None:
        """The house opens with little stock."""
        r = self.hands.r
        await self.house.planner.opens(
            {(sku, w): r.randint(0, 4) for sku in (MUG, LAMP, RING) for w in (LON, "MAN", LIL)}
        )

    async def wish(self) -> None:
        """What this step asks about its order, if that was placed."""
        step = self.hands.step
        if step.kind == "place":
            await self.orders.place()
            return
        if step.kind == "product":
            await self.add_product()
            return
        order_id = self.hands.placed.get(step.order)
        if order_id is None:
            return
        match step.kind:
            case "cancel":
                if self.hands.r.random() < 0.5 or not await self.orders.cancel(order_id):
                    await self.cancel(order_id)
            case "cancel units":
                await self._cancel_units(order_id)
            case "reduce":
                await self.reduce(order_id)
            case "raise":
                await self._raise(order_id)
            case "lower":
                self.hands.met["lowered"] += await self._asks("prioritizer", f"/orders/{order_id}/lower", None)
            case "again":
                await self.orders.again(step.order)
            case "amend":
                await self._amend(self.order(order_id))
            case kind:
                raise AssertionError(f"nobody knows how to {kind}")

    async def people(self) -> None:
        """Something a person does because it is due."""
        r = self.hands.r
        held = [order for order in self.all_orders() if order.open_holds]
        if held and r.random() < 0.6:
            order = self.hands.choose(held, lambda o: o.order_id)
            if r.random() < 0.2:
                await self._amend(order)
            else:
                await self.solve(order)
        elif r.random() < 0.3:
            await self.receive()
        elif r.random() < 0.4:
            await self._count()
        elif self.hands.placed:
            order_id = r.choice(list(self.hands.placed.values()))
            await self._asks("order-intake", f"/orders/{order_id}/confirm", None)

    async def _asks(self, service: str, path: str, body: Any, headers: dict[str, str] | None = None) -> bool:
        return await self.hands.asks(service, path, body, headers)

    # -- customers

    async def cancel(self, order_id: str, **what: Any) -> None:
        body = {"reason": "changed their mind", **what}
        key = {"Idempotency-Key": self.hands.token("cancel-cancel")}
        if not await self._asks("order-intake", f"/orders/{order_id}/cancel", body, key):
            self.hands.met["cancels refused at once"] += 1

    async def _cancel_units(self, order_id: str) -> None:
        units = list(self.order(order_id).units.each())
        if units:
            some = self.hands.r.sample(units, self.hands.r.randint(1, len(units)))
            await self.cancel(order_id, units=[{"line": line, "first": n, "last": n} for line, n in some])

    async def reduce(self, order_id: str, lines: list[int] | None = None) -> None:
        """One or two pieces less of a line."""
        lines = lines or list(self.order(order_id).units.lines)
        if lines:
            what = {"line": self.hands.r.choice(lines), "quantity": self.hands.r.randint(1, 2)}
            await self.cancel(order_id, lines=[what])

    async def regret(self, order_id: str) -> None:
        """Customers like to change their minds at the worst moment: picked, or just handed over."""
        if self.hands.trouble(0.1):
            if self.hands.r.random() < 0.4:
                await self.cancel(order_id)
            else:
                await self.reduce(order_id)

    async def _amend(self, order: Order) -> None:
        """What was ordered is corrected, as long as it waits."""
        r = self.hands.r
        lines: list[dict[str, Any]] = []
        live = order.content.live_lines
        match r.choice(("quantity", "add", "remove", "name")):
            case "quantity" if live:
                lines = [{"line": r.choice(live).line, "quantity": r.randint(1, 4)}]
            case "add":
                lines = [{"sku": r.choice((MUG, LAMP, RING)), "quantity": 1, "unit_price": "9.50"}]
            case "remove" if len(live) > 1:
                lines = [{"line": r.choice(live).line, "remove": True}]
        body: dict[str, Any] = {"lines": lines} if lines else {"customer": {"name": "Ada King"}}
        if await self._asks("order-intake", f"/orders/{order.order_id}/completion", body):
            self.hands.met["orders amended"] += 1
        else:
            self.hands.met["amendments refused"] += 1

    async def _raise(self, order_id: str) -> None:
        body: dict[str, Any] = {"tier": self.hands.r.choice(("urgent", "high")), "reason": "the customer called"}
        if self.hands.r.random() < 0.3:
            body["expires_at"] = (self.world.clock.now + timedelta(hours=2)).isoformat()
        self.hands.met["raised"] += await self._asks("prioritizer", f"/orders/{order_id}/raise", body)

    # -- operators

    async def add_product(self) -> None:
        """The unknown product is announced."""
        if not self.new_product:
            self.new_product = True
            await self.house.planner.adds_product(NEW)
            self.hands.trail.append(f"product {NEW} appears")

    async def solve(self, order: Order) -> None:
        """End what an order waits for."""
        r = self.hands.r
        hold = self.hands.choose(order.open_holds, lambda h: h.hold_id)
        path = f"/orders/{order.order_id}"
        match hold.kind.value, hold.problem.code:
            case "needs_info", "postcode_missing" | "address_missing":
                to = order.content.customer.ship_to
                line1, city, postcode = CITY["FR" if to is not None and to.country == "FR" else "GB"]
                good = {
                    "line1": line1,
                    "city": city,
                    "postcode": postcode,
                    "country": "FR" if city == "Lille" else "GB",
                }
                await self._asks("order-intake", f"{path}/completion", {"customer": {"ship_to": good}})
            case "needs_info", "contact_missing":
                await self._asks("order-intake", f"{path}/completion", {"customer": {"email": "ada@example.com"}})
            case "needs_info", "sku_unknown":
                await self.add_product()
            case "unpaid", _:
                if r.random() < 0.5 or not await self.orders.pay(order.order_id):
                    await self._asks("order-intake", f"{path}/payment", {"state": "paid"})
            case "review", code:
                verdict = "approve" if r.random() < 0.8 else "reject"
                yes = await self._asks(
                    "order-intake", f"{path}/holds/{hold.hold_id}/{verdict}", {"reason": "looked at it"}
                )
                self.hands.met[f"reviews of {code}"] += yes
            case kind, code:
                raise AssertionError(f"nobody knows how to solve {kind} {code}")

    async def receive(self, *, all_of: bool = False) -> bool:
        """Goods arrive for who waits, and sometimes for nobody."""
        r = self.hands.r
        waiting: Counter[str] = Counter()
        for row in self.world.rows("inventory", BACKORDERS):
            waiting[row.sku] += row.quantity
        known = [MUG, LAMP, RING, CAKE, *([NEW] if self.new_product else [])]
        short = [sku for sku in known if waiting[sku] > 0]
        if all_of and not short:
            return False
        sku = r.choice(short or known)
        pieces = waiting[sku] if all_of else r.randint(1, 3)
        body = {"by": "tom", "receipt_id": self.hands.token("receipt"), "warehouse_id": r.choice(WAREHOUSES),
                "lines": [{"sku": sku, "quantity": pieces}]}  # fmt: skip
        # Refused while fulfillment has not heard of the product.
        if await self._asks("fulfillment", "/receipts", body):
            self.hands.met["receipts"] += 1
            self.house.planner.came_in(sku, pieces)
        return True

    async def _count(self) -> None:
        doubtful = [s for s in self.world.rows("inventory", SHELVES) if s.in_count]
        if doubtful:
            shelf = self.hands.choose(doubtful, lambda s: (s.sku, s.warehouse_id))
            await self.house.planner.counts(shelf.sku, shelf.warehouse_id, self.hands.r.randint(0, shelf.in_count + 1))
            self.hands.met["counts"] += 1

    # -- what is there

    def all_orders(self) -> list[Order]:
        """Every order intake knows."""
        return self.world.rows("order-intake", ORDERS)  # type: ignore[return-value]

    def open_orders(self) -> list[Order]:
        """Those that have not ended."""
        return [order for order in self.all_orders() if order.ended is None]

    def held_orders(self) -> list[Order]:
        """Those that wait at intake."""
        return [order for order in self.all_orders() if order.state is State.HELD and order.open_holds]

    def order(self, order_id: str) -> Order:
        """An order as committed."""
        found: Order = self.world.row("order-intake", ORDERS, order_id)
        return found


__all__ = ["Acts"]
