"""The load: orders by single POSTs with a key and in bulk, reads, cancels; each call as its client knows it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import httpx
import orjson

from expedite_chaos.calls import HEADER, Book, Call, Outcome, verdicts
from expedite_local.demo.client import Api

TIMEOUT_S = 18.0
"""A client's patience with one call; beyond the services' own deadline, so that their answer is heard."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.3, 2.0
AT_MOST = 100
"""Customers at once: a machine that cannot take the rate is driven as fast as it can, and the driver not into the ground."""
BULK_EVERY_S, BULK_LINES = 5.0, 10
READ_EVERY_S = 0.3
URGENT, CANCELLED, SCARCE = 0.15, 0.06, 0.05
REPLAYED = 8


class Driver:
    """Drives one trial. Every order is posted under a key of its own, and again until its client has an answer; every
    second one has no reference, so that the key alone stands between it and a double. `plenty`: SKUs in stock; `scarce`:
    SKUs everybody cannot have."""

    def __init__(
        self,
        name: str,
        urls: dict[str, str],
        keys: dict[str, str],
        plenty: Sequence[str],
        scarce: Sequence[str],
        seed: int,
    ) -> None:
        self.name, self.plenty, self.scarce = name, plenty, scarce
        self.book = Book()
        self.urls, self._shop = urls, keys["shop"]
        self._office = Api(urls, keys["operator"])
        self._rnd = random.Random(f"{name} {seed}")
        self._http = httpx.AsyncClient(
            trust_env=False, timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=200, max_keepalive_connections=50)
        )
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._serial = 0

    def order(self, *, urgent: bool | None = None, plain: bool = False) -> Call:
        """A new paid order by a customer nobody shares. `plain`: of goods that are in stock."""
        self._serial += 1
        mark = f"{self.name}-{self._serial}"
        skus = self._rnd.sample(list(self.plenty), self._rnd.randint(1, 2))
        if not plain and self._rnd.random() < SCARCE:
            skus[0] = self._rnd.choice(list(self.scarce))
        if urgent is None:
            urgent = self._rnd.random() < URGENT
        body: dict[str, Any] = {
            "channel": "web",
            "currency": "GBP",
            "payment_state": "paid",
            "customer": {
                "name": f"Customer {mark}",
                "email": f"{mark}@example.com",
                "ship_to": {"line1": f"{mark} High Street", "city": "London", "postcode": "SW1A 1AA", "country": "GB"},
            },
            "lines": [{"sku": sku, "quantity": self._rnd.randint(1, 3), "unit_price": "2.50"} for sku in skus],
            "tags": ["urgent"] if urgent else [],
        }
        if self._serial % 2:
            body["reference"] = mark
        call = Call(mark, body)
        self.book.calls[mark] = call
        return call

    def begin(self, rate: float) -> None:
        """Load the system until `end`: `rate` single orders a second, and everything else beside them."""
        self._loops = [asyncio.create_task(loop) for loop in (self._singles(rate), self._bulks(), self._reads())]

    async def end(self) -> None:
        """No new calls; those under way go on."""
        self._stop.set()
        await asyncio.gather(*self._loops)

    async def settle(self, within_s: float) -> list[str]:
        """Ask again until every outcome is known, then repeat some calls to hear the same answer. What is wrong (I6)."""
        deadline = time.monotonic() + within_s
        while self._tasks and time.monotonic() < deadline:
            await asyncio.wait(self._tasks, timeout=1.0)
        wrong = [f"{c.mark} is {c.outcome} after {c.attempts} calls: {c.status}" for c in self.book.open]
        singles = [call for call in self.book.ok if call.answer]
        for call in self._rnd.sample(singles, min(REPLAYED, len(singles))):
            await self.post(call)
        return wrong + self.book.wrong

    async def close(self) -> None:
        for task in (*self._loops, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._loops, *self._tasks, return_exceptions=True)
        await self._http.aclose()
        await self._office.close()

    async def post(self, call: Call) -> Outcome:
        """Post an order once."""
        call.attempts += 1
        began = time.monotonic()
        headers = {HEADER: f"key-of-order-{call.mark}", "Authorization": f"Bearer {self._shop}"}
        try:
            response = await self._http.post(f"{self.urls['order-intake']}/orders", json=call.order, headers=headers)
        except httpx.TransportError as error:
            outcome = self.book.failed("POST /orders", error)
        else:
            call.status = response.status_code
            outcome = self.book.answered("POST /orders", response, time.monotonic() - began)
            if outcome is Outcome.OK:
                self.book.accepted(call, response.json()["order_id"], response.content)
        if call.outcome is not Outcome.OK:
            call.outcome = outcome
        return outcome

    async def place(self, call: Call) -> None:
        """Post an order until it is taken in, as a good client does."""
        pause = FIRST_PAUSE_S
        while await self.post(call) is not Outcome.OK:
            await asyncio.sleep(pause * self._rnd.uniform(0.7, 1.3))
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def place_bulk(self, calls: Sequence[Call]) -> None:
        """Post orders together, all of them again until each has its verdict."""
        pause = FIRST_PAUSE_S
        for call in calls:
            call.bulk = True
            call.order["reference"] = call.mark
        while [call for call in calls if call.outcome is not Outcome.OK]:
            await self._post_bulk(calls)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _post_bulk(self, calls: Sequence[Call]) -> None:
        began, said = time.monotonic(), b""
        for call in calls:
            call.attempts += 1
        headers = {"Authorization": f"Bearer {self._shop}", "Content-Type": "application/x-ndjson"}
        body = b"\n".join(orjson.dumps(call.order) for call in calls)
        url = f"{self.urls['order-intake']}/orders/bulk"
        try:
            async with self._http.stream("POST", url, content=body, headers=headers) as response:
                async for part in response.aiter_bytes():
                    said += part
                self.book.answered("POST /orders/bulk", response, time.monotonic() - began, said)
        except httpx.TransportError as error:
            self.book.failed("POST /orders/bulk", error)
        for row in verdicts(said):
            call = calls[row["line"] - 1]
            call.status = row["status"]
            if row["status"] == 202:
                self.book.accepted(call, row["order_id"])

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Something a client does until it is through; `settle` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.book.wrong.append(f"a client gave up: {error!r}")

    async def _singles(self, rate: float) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            if len(self._tasks) < AT_MOST:
                self.spawn(self._customer(self.order()))
            due += 1 / rate
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), max(0.0, due - time.monotonic()))

    async def _customer(self, call: Call) -> None:
        await self.place(call)
        if self._rnd.random() < CANCELLED:
            await asyncio.sleep(self._rnd.uniform(0.0, 2.0))
            path = f"/orders/{call.order_id}/cancel"
            response = await self._office.post("order-intake", path, {"reason": "changed my mind"})
            self.book.answered("POST cancel", response, 0.0)

    async def _bulks(self) -> None:
        while not self._stop.is_set():
            self.spawn(self.place_bulk([self.order() for _ in range(BULK_LINES)]))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), BULK_EVERY_S)

    async def _reads(self) -> None:
        headers = {"Authorization": f"Bearer {self._office.key}"}
        while not self._stop.is_set():
            known = [call.order_id for call in self.book.ok[-20:]]
            if known:
                began = time.monotonic()
                try:
                    url = f"{self.urls['order-intake']}/orders/{self._rnd.choice(known)}"
                    response = await self._http.get(url, headers=headers)
                except httpx.TransportError as error:
                    self.book.failed("GET /orders/{id}", error)
                else:
                    self.book.answered("GET /orders/{id}", response, time.monotonic() - began)
                    if response.status_code == 404:
                        self.book.wrong.append(f"an order that was taken in is not there: {response.url}")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), READ_EVERY_S)
