"""Shops that post orders and the customers behind them: they complete, pay, cancel (sometimes twice, sometimes too
late) and confirm."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from expedite_local.demo.client import Api
from expedite_local.demo.invoices import PlannedOrder
from expedite_local.demo.shops import cancellation, posting

LOOK_S = 0.5


class Customers:
    """Everyone on the other side of order-intake. `orders` maps accepted order ids to what was planned."""

    def __init__(
        self, shop: Api, office: Api, secrets: dict[str, str], now: Callable[[], datetime], done: Counter[str]
    ) -> None:
        self.shop, self.office, self.secrets, self.now, self.done = shop, office, secrets, now, done
        self.orders: dict[str, PlannedOrder] = {}
        self.problems: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def post(self, planned: Iterable[PlannedOrder], *, pace_s: float, at_once: int, stop: asyncio.Event) -> None:
        """Post the planned orders, `at_once` in flight, one every `pace_s` real seconds (0: as fast as they go)."""
        slots = asyncio.Semaphore(at_once)
        running: set[asyncio.Task[None]] = set()
        for order in planned:
            if stop.is_set():
                break
            await slots.acquire()
            task = asyncio.create_task(self._post(order))
            running.add(task)
            task.add_done_callback(lambda t: (running.discard(t), slots.release()))  # type: ignore[func-returns-value]
            if pace_s:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pace_s)
        if running:
            await asyncio.gather(*running)

    async def _post(self, order: PlannedOrder) -> None:
        said = posting(order, self.now(), self.shop.key, self.secrets)
        response = await self.shop.send("POST", "order-intake", said.path, content=said.body, headers=said.headers)
        answer: dict[str, Any] = response.json() if response.content else {}
        order_id = answer.get("order_id")
        if not response.is_success or not order_id:
            self.problems.append(f"{order.reference} ({order.format}): {response.status_code} {response.text[:300]}")
            return
        self.done[f"accepted {order.format}"] += 1
        self.orders[order_id] = order
        task = asyncio.create_task(self._live(order_id, order))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.problems.append(f"a customer gave up: {task.exception()!r}")

    async def _live(self, order_id: str, order: PlannedOrder) -> None:
        """What the customer of this order does besides waiting."""
        if order.missing:
            await self._complete(order_id, order)
        if order.cancel:
            await self._cancel(order_id, order)
        if order.confirms:
            await self._confirm(order_id)

    async def _order(self, order_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.office.get("order-intake", f"/orders/{order_id}")
        return found

    async def _complete(self, order_id: str, order: PlannedOrder) -> None:
        """Answer the question the order was held for."""
        await asyncio.sleep(LOOK_S)
        person = order.person
        if order.missing == "sku":
            known = await self._order(order_id)
            wrong = next((line for line in known["lines"] if str(line["sku"]).endswith("-OLD")), None)
            body: dict[str, Any] = (
                {"lines": [{"line": wrong["line"], "sku": wrong["sku"].removesuffix("-OLD")}]} if wrong else {}
            )
        elif order.missing == "contact":
            body = {"customer": {"email": person.email}}
        else:
            body = {
                "customer": {
                    "name": person.name,
                    "ship_to": {"line1": person.line1, "city": person.city, "region": person.region,
                                "postcode": person.postcode, "country": person.country},
                }
            }  # fmt: skip
        response = await self.office.post("order-intake", f"/orders/{order_id}/completion", body)
        self.done["completed by customers" if response.is_success else "completions refused"] += 1
        if not response.is_success:
            self.problems.append(f"completion of {order_id}: {response.status_code} {response.text[:300]}")

    async def _cancel(self, order_id: str, order: PlannedOrder) -> None:
        if order.cancel == "late":
            await self._until(
                order_id, lambda o: o["units"]["counts"]["handed_over"] + o["units"]["counts"]["delivered"] > 0
            )
            await self._ask(order_id, {"reason": "changed my mind"})
            return
        if order.cancel == "whole":
            said = cancellation(order, self.now(), self.secrets)
            if said is not None:
                await self.shop.send("POST", "order-intake", said.path, content=said.body, headers=said.headers)
                self.done["cancels asked"] += 1
            else:
                await self._ask(order_id, {"reason": "ordered by mistake"})
            return
        known = await self._order(order_id)
        by_sku = {line["sku"]: line["line"] for line in known["lines"]}
        wanted = {
            by_sku[sku]: quantity
            for number, quantity in order.cancel_lines
            if (sku := order.lines[number - 1].sku) in by_sku
        }
        body = {"lines": [{"line": line, "quantity": q} for line, q in wanted.items()], "reason": "fewer are enough"}
        if not wanted:
            return
        await self._ask(order_id, body)
        if order.cancel == "repeated":
            await asyncio.sleep(LOOK_S)
            await self._ask(order_id, {"reason": "and now all of it"})
            await self._ask(order_id, {"reason": "all of it, please"})

    async def _ask(self, order_id: str, body: dict[str, Any]) -> None:
        response = await self.office.post("order-intake", f"/orders/{order_id}/cancel", body)
        self.done["cancels asked"] += 1
        if response.status_code == 409:
            self.done["cancels refused at once"] += 1
        elif not response.is_success:
            self.problems.append(f"cancel of {order_id}: {response.status_code} {response.text[:300]}")

    async def _confirm(self, order_id: str) -> None:
        found = await self._until(
            order_id, lambda o: o["units"]["counts"]["open"] + o["units"]["counts"]["handed_over"] == 0
        )
        if found["state"] == "received":
            response = await self.office.post("order-intake", f"/orders/{order_id}/confirm", {})
            self.done["confirmed by customers" if response.is_success else "confirmations refused"] += 1

    async def _until(self, order_id: str, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The order once something holds for it, or once it ended."""
        pause = LOOK_S
        while True:
            found = await self._order(order_id)
            if found["state"] in ("closed", "cancelled") or true(found):
                return found
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 3.0)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Office:
    """The operators' desk: reviews are decided, payments arrive."""

    def __init__(self, api: Api, done: Counter[str]) -> None:
        self.api, self.done = api, done
        self._seen: dict[str, float] = {}

    async def work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                for order in await self.api.items("order-intake", "/orders", state="held", limit=200):
                    await self._decide(order)
            except RuntimeError:
                self.done["office errors"] += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)

    async def _decide(self, order: dict[str, Any]) -> None:
        for hold in order["open_holds"]:
            path = f"/orders/{order['order_id']}"
            if hold["kind"] == "unpaid":
                response = await self.api.post("order-intake", f"{path}/payment", {"state": "paid"})
                self.done["payments" if response.is_success else "payments refused"] += 1
            elif hold["kind"] == "review":
                response = await self.api.post(
                    "order-intake", f"{path}/holds/{hold['hold_id']}/approve", {"reason": "checked with the customer"}
                )
                self.done["reviews approved" if response.is_success else "reviews refused"] += 1
