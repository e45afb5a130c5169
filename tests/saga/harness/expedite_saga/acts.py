"""What people, crews and carriers do at random. They look at what is there and act on it, over HTTP; being refused is an
answer like another."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from expedite_events import Units
from expedite_saga.masters import CAKE, LAMP, LIL, LON, MUG, RING, WAREHOUSES, customer
from expedite_saga.people import House
from fulfillment.domain.tasks import Status as TaskStatus
from fulfillment.store import TASKS
from inventory.store import BACKORDERS, SHELVES
from order_intake.domain.order import Order, State
from order_intake.store import ORDERS
from order_intake.store import PARCELS as HANDED
from shipping.domain.state import Station
from shipping.store import ON_DOCK, PARCELS, ParcelStatus
from shipping.store import ORDERS as LEGS

Act = Callable[[], Awaitable[None]]
NEW = "NEWCOMER"  # a product that is not known at first
EXPECTED = {404, 409, 422}


class Acts:
    """The hands of one random saga."""

    def __init__(self, house: House, r: random.Random, met: Counter[str], trail: list[str]) -> None:
        self.house, self.world, self.r, self.met, self.trail = house, house.world, r, met, trail
        self.placed: list[str] = []
        self.step = 0
        self.todo: list[tuple[int, Act]] = []  # not before this step
        self.new_product = False
        self._serial = 0

    # -- the beginning

    async def open(self) -> None:
        """The house opens with little stock, and the day's wishes are drawn."""
        r = self.r
        stock = {(sku, w): r.randint(0, 4) for sku in (MUG, LAMP, RING) for w in (LON, "MAN", LIL)}
        await self.house.planner.opens(stock)
        for index in range(r.randint(2, 4)):
            body = self._order(index)
            self.todo.append((index * 20, lambda body=body: self._place(body)))  # type: ignore[misc]

    def _order(self, index: int) -> dict[str, Any]:
        r = self.r
        skus = r.sample([MUG, LAMP, RING, CAKE], r.randint(1, 2))
        who = customer(index + 1, language=r.choice(("en", "zh")))
        if r.random() < 0.2:
            who["ship_to"] = {"line1": "3 Rue Haute", "city": "Lille", "postcode": "59000", "country": "FR"}
        changes: dict[str, Any] = {"customer": who, "partial_shipment": r.random() < 0.6}
        trouble = r.random()
        if trouble < 0.15:
            who["ship_to"] = {**who["ship_to"], "postcode": None}
        elif trouble < 0.25:
            skus = [NEW, *skus[1:]]
        elif trouble < 0.32:
            changes["payment_state"] = "unpaid"
        elif trouble < 0.4:
            changes["tags"] = ["custom"]
        if r.random() < 0.3:
            changes["tags"] = [*changes.get("tags", []), "urgent"]
        if r.random() < 0.1:
            changes["carrier_preference"] = "city-dash"
        return self.house.channel.order(*((sku, r.randint(1, 3)) for sku in skus), **changes)

    async def _place(self, body: dict[str, Any]) -> None:
        answer = await self.house.channel.posts(body)
        order_id = answer["order_id"]
        if self.r.random() < 0.2:
            again = await self.house.channel.posts(body)
            assert again["order_id"] == order_id, "the same reference is the same order"
        self.trail.append(f"placed {order_id}: {[(x['sku'], x['quantity']) for x in body['lines']]}")
        self.placed.append(order_id)
        self._wish(order_id, body)

    def _wish(self, order_id: str, body: dict[str, Any], horizon: int = 260) -> None:
        """What will be asked about this order, at some moment within so many steps."""
        r = self.r
        wishes: list[Act] = []
        if r.random() < 0.18:
            wishes.append(lambda: self.cancel(order_id))
        if r.random() < 0.25:
            wishes.append(lambda: self._cancel_units(order_id))
        wishes += [lambda: self._reduce(order_id)] * r.choice((0, 0, 1, 1, 2))
        if r.random() < 0.4:
            wishes.append(lambda: self._raise(order_id))
        if r.random() < 0.1:
            wishes.append(lambda: self._try("prioritizer", f"/orders/{order_id}/lower", None))
        if r.random() < 0.15:  # at once, before anybody heard of the order
            self.todo.append((0, lambda: self._raise(order_id)))
        # Any moment of the order's life, from the first to the last.
        self.todo += [(self.step + r.choice((0, r.randint(0, horizon))), wish) for wish in wishes]
        if NEW in [line["sku"] for line in body["lines"]]:
            self.todo.append((self.step + r.randint(0, 60), self._add_product))

    # -- people

    async def people(self) -> None:
        """One wish, or something a person does because it is due."""
        ripe = [wish for wish in self.todo if wish[0] <= self.step]
        if ripe and self.r.random() < 0.7:
            wish = self.r.choice(ripe)
            self.todo.remove(wish)
            await wish[1]()
            return
        held = [o for o in self.all_orders() if o.open_holds]
        if held and self.r.random() < 0.6:
            await self._solve(self.r.choice(held))
        elif self.r.random() < 0.3:
            await self._receive()
        elif self.r.random() < 0.4:
            await self._count()
        elif self.placed:
            await self._try("order-intake", f"/orders/{self.r.choice(self.placed)}/confirm", None)

    async def _try(self, service: str, path: str, body: Any, headers: dict[str, str] | None = None) -> bool:
        """Ask; whether the answer was yes. The same request may be sent twice."""
        for _ in range(2 if self.r.random() < 0.12 else 1):
            if self.r.random() < 0.06:
                self.met["requests decided again"] += 1
                self.world.stumbles(service)
            response = await self.world.call(service, "POST", path, body, headers)
            self.world.stands(service)
            assert response.is_success or response.status_code in EXPECTED, f"{path} {body}: {response.text}"
        self.trail.append(f"{service} {path} {'' if body is None else body}: {response.status_code}")
        self.met["requests answered yes" if response.is_success else "requests answered no"] += 1
        return response.is_success

    async def cancel(self, order_id: str, **what: Any) -> None:
        self._serial += 1
        body = {"reason": "changed their mind", **what}
        key = {"Idempotency-Key": f"cancel-{self._serial:012d}"}
        if not await self._try("order-intake", f"/orders/{order_id}/cancel", body, key):
            self.met["cancels refused at once"] += 1

    async def _cancel_units(self, order_id: str) -> None:
        units = list(self._order_row(order_id).units.each())
        if units:
            some = self.r.sample(units, self.r.randint(1, len(units)))
            await self.cancel(order_id, units=[{"line": line, "first": n, "last": n} for line, n in some])

    async def _reduce(self, order_id: str) -> None:
        lines = self._order_row(order_id).units.lines
        if lines:
            await self.cancel(order_id, lines=[{"line": self.r.choice(lines), "quantity": self.r.randint(1, 2)}])

    async def _raise(self, order_id: str) -> None:
        body: dict[str, Any] = {"tier": self.r.choice(("urgent", "high")), "reason": "the customer called"}
        if self.r.random() < 0.3:
            body["expires_at"] = (self.world.clock.now + timedelta(hours=2)).isoformat()
        await self._try("prioritizer", f"/orders/{order_id}/raise", body)

    async def _add_product(self) -> None:
        if self.new_product:
            return
        self.new_product = True
        await self.house.planner.adds_product(NEW)
        self.trail.append(f"product {NEW} appears")

    async def _solve(self, order: Order) -> None:
        hold = self.r.choice(order.open_holds)
        path = f"/orders/{order.order_id}"
        match hold.kind.value, hold.problem.code:
            case "needs_info", "postcode_missing":
                to = order.content.customer.ship_to
                good = "59000" if to is not None and to.country == "FR" else "SW1Y 4LB"
                await self._try(
                    "order-intake", f"{path}/completion", {"customer": {"ship_to": {"postcode": good}}}
                )  # fmt: skip
            case "needs_info", "sku_unknown":
                await self._add_product()
            case "unpaid", _:
                await self._try("order-intake", f"{path}/payment", {"state": "paid"})
            case "review", _:
                verdict = "approve" if self.r.random() < 0.8 else "reject"
                await self._try("order-intake", f"{path}/holds/{hold.hold_id}/{verdict}", {"reason": "looked at it"})
            case kind, code:
                raise AssertionError(f"nobody knows how to solve {kind} {code}")

    async def _receive(self, *, all_of: bool = False) -> bool:
        """Goods arrive for who waits, and sometimes for nobody."""
        waiting: Counter[str] = Counter()
        for row in self.world.rows("inventory", BACKORDERS):
            waiting[row.sku] += row.quantity
        known = [MUG, LAMP, RING, CAKE, *([NEW] if self.new_product else [])]
        short = [sku for sku in known if waiting[sku] > 0]
        if all_of and not short:
            return False
        sku = self.r.choice(short or known)
        pieces = waiting[sku] if all_of else self.r.randint(1, 3)
        warehouse_id = self.r.choice(WAREHOUSES)
        body = {"by": "tom", "receipt_id": self._token("receipt"), "warehouse_id": warehouse_id,
                "lines": [{"sku": sku, "quantity": pieces}]}  # fmt: skip
        # Refused while fulfillment has not heard of the product.
        if await self._try("fulfillment", "/receipts", body):
            self.house.planner.came_in(sku, pieces)
        return True

    async def _count(self) -> None:
        doubtful = [s for s in self.world.rows("inventory", SHELVES) if s.in_count]
        if doubtful:
            shelf = self.r.choice(doubtful)
            await self.house.planner.counts(shelf.sku, shelf.warehouse_id, self.r.randint(0, shelf.in_count + 1))
            self.met["counts"] += 1

    # -- crews

    async def crew(self, *, orderly: bool = False) -> bool:
        """One thing on a floor or a dock. Orderly crews do only what works. Whether anything was done."""
        tasks = [t for t in self.world.rows("fulfillment", TASKS) if t.status in (TaskStatus.OPEN, TaskStatus.CLAIMED)]
        parcels = [p for p in self.world.rows("shipping", PARCELS) if p.status in ON_DOCK]
        if orderly:
            # A failed label is bought again when its timer says so: a carrier that refuses today takes it tomorrow.
            waits = (ParcelStatus.HELD, ParcelStatus.LABELLING, ParcelStatus.LABEL_FAILED)
            parcels = [p for p in parcels if p.status not in waits]
        elif self.r.random() < 0.1:  # a screen that was not refreshed
            tasks, parcels = self.world.rows("fulfillment", TASKS), self.world.rows("shipping", PARCELS)  # type: ignore[assignment]
        if tasks and (not parcels or self.r.random() < 0.6):
            await self._task(self.r.choice(tasks), orderly)
        elif parcels:
            await self._dock(self.r.choice(parcels), orderly)
        return bool(tasks or parcels)

    async def _task(self, task: Any, orderly: bool) -> None:
        by = {"by": self.r.choice(("tom", "ann"))}
        match task.kind.value:
            case "pick":
                await self._pick(task, by, orderly)
            case "put_back":
                self.met["put-backs"] += await self._try("fulfillment", f"/put-backs/{task.task_id}/confirm", by)
            case "transfer_out":
                body = {**by, **({} if orderly else self._fewer(task.lines, 0.25))}
                await self._try("fulfillment", f"/transfers/{task.transfer_id}/dispatch", body)
            case "transfer_in":
                body = {**by, **({} if orderly else self._fewer(task.lines, 0.25))}
                await self._try("fulfillment", f"/transfers/{task.transfer_id}/receive", body)

    def _fewer(self, lines: Sequence[Any], share: float) -> dict[str, Any]:
        """A count that finds less, sometimes."""
        if self.r.random() >= share:
            return {}
        self.met["transfers with differences"] += 1
        return {"lines": [{"line": x.line, "quantity": self.r.randint(0, x.quantity)} for x in lines]}

    async def _pick(self, task: Any, by: dict[str, str], orderly: bool) -> None:
        path, lines = f"/fulfilment-orders/{task.task_id}", list(task.lines)
        if lines and not orderly and self.r.random() < 0.2:
            line = self.r.choice(lines)
            missing = [{"line": line.line, "quantity": self.r.randint(1, line.quantity)}]
            await self._try("fulfillment", f"{path}/short", {**by, "lines": missing, "reason": "shelf empty",
                                                             "report_id": self._token("report")})  # fmt: skip
            return
        if lines:
            if not orderly:
                lines = self.r.sample(lines, self.r.randint(1, len(lines)))
            scans = [
                {"barcode": f"bar-{x.sku}", "quantity": x.quantity if orderly else self.r.randint(1, x.quantity),
                 "scan_id": self._token("scan")}
                for x in lines
            ]  # fmt: skip
            if not await self._try("fulfillment", f"{path}/scans", {**by, "scans": scans}):
                return
            await self._regret(task.order_id, orderly)
        if orderly or self.r.random() < 0.6:
            await self._try("fulfillment", f"{path}/pack", by)

    def _token(self, what: str) -> str:
        self._serial += 1
        return f"{what}-{self._serial:08d}"

    async def _dock(self, parcel: Any, orderly: bool) -> None:
        body = {"by": "tom"}
        if parcel.status is ParcelStatus.LABEL_FAILED:
            await self._try("shipping", f"/parcels/{parcel.parcel_id}/label", body)
        elif parcel.status is ParcelStatus.PUT_BACK and (orderly or self.r.random() < 0.8):
            if await self._try("shipping", f"/parcels/{parcel.parcel_id}/put-back", body):
                self.met["dock put-backs"] += 1
        else:
            if self.r.random() < 0.5:
                await self._try("shipping", f"/parcels/{parcel.parcel_id}/hand-over", body)
            else:
                many = {**body, "parcel_ids": [parcel.parcel_id]}
                await self._try("shipping", f"/warehouses/{parcel.warehouse_id}/hand-overs", many)
            parted = self._parted(parcel)
            if parted and not orderly and self.r.random() < 0.7:
                line = self.r.choice(parted)
                await self.cancel(parcel.order_id, lines=[{"line": line, "quantity": 1}])
            else:
                await self._regret(parcel.order_id, orderly)

    def _parted(self, parcel: Any) -> list[int]:
        """Lines of which one parcel has the last unit and another place some more: who wants one less now, before intake
        hears of the hand-over, is refused that unit and gets another one cancelled."""
        order, inside = self._order_row(parcel.order_id), self._inside(parcel)
        parcels = [p for p in self.world.rows("order-intake", HANDED) if p.order_id == parcel.order_id]  # type: ignore[attr-defined]
        here = order.units - order.out - order.handed(parcels)
        lines = [here.on_line(line) for line in inside.lines]
        return [units.lines[0] for units in lines if units - inside and units.last_n(1) <= inside]

    def _inside(self, parcel: Any) -> Units:
        leg = self.world.row("shipping", LEGS, parcel.order_id)
        found: Units = leg.parcel(parcel.parcel_id).packed
        return found

    async def _regret(self, order_id: str, orderly: bool) -> None:
        """Customers like to change their minds at the worst moment: picked, or just handed over."""
        if orderly or self.r.random() >= 0.1:
            return
        if self.r.random() < 0.4:
            await self.cancel(order_id)
        else:
            await self._reduce(order_id)

    # -- carriers

    async def carrier(self, *, orderly: bool = False) -> bool:
        """A carrier says something about a parcel. Orderly carriers bring every parcel to its end."""
        rows = [p for p in self.world.rows("shipping", PARCELS) if p.tracking_number]
        handed = [p for p in rows if p.status is ParcelStatus.HANDED]
        if not orderly and self.r.random() < 0.15:  # also about parcels on the dock, and about those at their end
            handed = [p for p in rows if p.status in ON_DOCK] or rows
        if not handed:
            return False
        parcel = self.r.choice(handed)
        said = (
            ("delivered",)
            if orderly
            else ("in_transit", "out_for_delivery", "delivery_delayed", "delivered", "delivered", "delivered", "lost",
                  "returned", "return_to_sender", "delivery_failed")
        )  # fmt: skip
        if not orderly and self.r.random() < 0.05:  # nobody scanned it, it simply stands at the door again
            body = {"by": "tom", "reason": "found at the gate"}
            await self._try("shipping", f"/parcels/{parcel.parcel_id}/returned", body)
            return True
        at = self.world.clock.now - timedelta(minutes=0 if orderly else self.r.choice((0, 0, 0, 5, 60)))
        await self._scan(parcel, self.r.choice(said), at)
        if orderly:
            again = next(p for p in self.world.rows("shipping", PARCELS) if p.parcel_id == parcel.parcel_id)
            if again.status is ParcelStatus.HANDED:  # on its way back: it arrives at our door
                await self._try("shipping", f"/parcels/{parcel.parcel_id}/returned", {"by": "tom"})
        return True

    async def _scan(self, parcel: Any, status: str, at: Any) -> None:
        leg = self.world.row("shipping", LEGS, parcel.order_id)
        station = leg.parcel(parcel.parcel_id).station
        body = {"tracking_number": parcel.tracking_number, "status": status, "occurred_at": at.isoformat()}
        if status == "delivery_delayed" and self.r.random() < 0.5:
            body["expected_at"] = (self.world.clock.now + timedelta(days=3)).isoformat()
        for _ in range(2 if self.r.random() < 0.15 else 1):
            response = await self.world.carrier_http.post(f"/{parcel.carrier_id}/scans", json=body)
            assert response.is_success and response.json()["accepted"], response.text
        self.met["scans of parcels on the dock"] += station is Station.DOCK
        self.trail.append(f"{parcel.carrier_id} says {status} of {parcel.parcel_id} ({station})")

    # -- the end

    def all_orders(self) -> list[Order]:
        return self.world.rows("order-intake", ORDERS)  # type: ignore[return-value]

    def open_orders(self) -> list[Order]:
        return [order for order in self.all_orders() if order.ended is None]

    def _order_row(self, order_id: str) -> Order:
        found: Order = self.world.row("order-intake", ORDERS, order_id)
        return found

    async def finish(self) -> bool:
        """One round in which everybody finishes what is open. Whether there was anything to do."""
        busy = bool(self.todo)
        for _, wish in self.todo:
            await wish()
        self.todo.clear()
        for order in self.all_orders():
            if order.state is State.HELD and order.open_holds:
                await self._solve(order)
                busy = True
        for work in (self.crew, self.carrier):
            for _ in range(8):
                if not await work(orderly=True):
                    break
                busy = True
        return busy or await self._receive(all_of=True)


__all__ = ["NEW", "Acts"]
