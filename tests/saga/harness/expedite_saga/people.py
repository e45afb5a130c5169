"""The people of a scenario, in the words of their work: a planner, a channel, crews, carriers. All speak HTTP only."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from expedite_saga import masters
from expedite_saga.ids import fixed_chance
from expedite_saga.masters import CHANNEL, CHANNEL_BODY, PEOPLE, PRODUCTS, WAREHOUSE_BODIES, carrier_bodies, customer
from expedite_saga.world import CARRIERS_URL, Snapshot, World

Stock = Mapping[tuple[str, str], int]  # (SKU, warehouse) -> pieces
_OPENED: list[Snapshot] = []  # the usual house, just opened


class Planner:
    """Loads master data and stock, as the seed files are loaded."""

    def __init__(self, world: World) -> None:
        self.world, self._count = world, itertools.count(1)
        self.booked: dict[str, int] = {}  # by SKU: everything that ever came in

    def came_in(self, sku: str, pieces: int) -> None:
        self.booked[sku] = self.booked.get(sku, 0) + pieces

    async def opens(self, stock: Stock, *, products: list[dict[str, Any]] | None = None) -> None:
        """The house opens: warehouses, carriers, people, products, a channel, and this stock. Houses that open alike
        begin as copies of the first one."""
        if products is not None:
            await self._loads(products)
        else:
            if not _OPENED:
                # With ids of its own: a run that comes first draws the same ones as any other.
                with fixed_chance(lambda: self.world.clock.now):
                    await self._loads(PRODUCTS)
                    for channel_id, body in masters.SHOPS.items():
                        await self.world.ok("order-intake", "PUT", f"/channels/{channel_id}", body)
                _OPENED.append(self.world.copy())
            self.world.begin_from(_OPENED[0])
        await self.books(stock)
        await self.world.settle()

    async def _loads(self, products: list[dict[str, Any]]) -> None:
        world = self.world
        for warehouse_id, body in WAREHOUSE_BODIES.items():
            await world.ok("inventory", "PUT", f"/warehouses/{warehouse_id}", body)
        for carrier_id, body in carrier_bodies(CARRIERS_URL).items():
            await world.ok("shipping", "PUT", f"/carriers/{carrier_id}", body)
        for person_id, body in PEOPLE.items():
            await world.ok("prioritizer", "PUT", f"/people/{person_id}", body)
        await world.ok("inventory", "PUT", "/products", products)
        await world.ok("order-intake", "PUT", f"/channels/{CHANNEL}", CHANNEL_BODY)
        await world.settle()

    async def books(self, stock: Stock) -> None:
        """Opening stock."""
        lines = [{"sku": sku, "warehouse_id": w, "quantity": n} for (sku, w), n in stock.items() if n]
        if lines:
            body = {"lines": lines, "reason": "opening", "reference": f"opening-{next(self._count)}"}
            await self.world.ok("inventory", "POST", "/stock/opening", body)
            for line in lines:
                self.came_in(str(line["sku"]), int(str(line["quantity"])))

    async def adds_product(self, sku: str) -> None:
        await self.world.ok("inventory", "PUT", f"/products/{sku}", masters.product(sku))

    async def counts(self, sku: str, warehouse_id: str, found: int) -> None:
        """Somebody looked where a picker found nothing."""
        body = {"sku": sku, "warehouse_id": warehouse_id, "found": found, "reference": f"count-{next(self._count)}"}
        booking = await self.world.ok("inventory", "POST", "/stock/counts", body)
        self.came_in(sku, sum(line["corrected"] for line in booking["lines"]))

    async def raises(self, order_id: str, tier: str = "urgent", **more: Any) -> str:
        """Expedite by hand; the outcome."""
        body = {"tier": tier, "reason": "the customer called", **more}
        answer = await self.world.ok("prioritizer", "POST", f"/orders/{order_id}/raise", body)
        return str(answer["outcome"])


class Channel:
    """Posts orders and what customers want changed."""

    def __init__(self, world: World) -> None:
        self.world, self._count = world, itertools.count(1)

    async def places(self, *lines: tuple[str, int], **changes: Any) -> str:
        """Post an order; its number. `changes` replaces fields of the native order."""
        answer = await self.posts(self.order(*lines, **changes))
        return str(answer["order_id"])

    def order(self, *lines: tuple[str, int], **changes: Any) -> dict[str, Any]:
        number = next(self._count)
        body: dict[str, Any] = {
            "channel": CHANNEL,
            "reference": f"web-{number}",
            "currency": "GBP",
            "customer": customer(number),
            "lines": [{"sku": sku, "quantity": n, "unit_price": "9.50"} for sku, n in lines],
        }
        return {name: value for name, value in {**body, **changes}.items() if value is not None}

    async def posts(self, body: dict[str, Any]) -> Any:
        return await self.world.ok("order-intake", "POST", "/orders", body)

    async def completes(self, order_id: str, **patch: Any) -> Any:
        return await self.world.ok("order-intake", "POST", f"/orders/{order_id}/completion", patch)

    async def cancels(self, order_id: str, **what: Any) -> str:
        """Cancel the whole order, or `lines` (quantities), or `units`; the request's id."""
        answer = await self.world.ok(
            "order-intake", "POST", f"/orders/{order_id}/cancel", {"reason": "changed their mind", **what}
        )
        return str(answer["request_id"])

    async def answer(self, order_id: str, request_id: str) -> dict[str, Any]:
        """What the status link of a cancel says."""
        found: dict[str, Any] = await self.world.ok("order-intake", "GET", f"/orders/{order_id}/cancels/{request_id}")
        return found

    async def confirms(self, order_id: str) -> Any:
        return await self.world.ok("order-intake", "POST", f"/orders/{order_id}/confirm")

    async def sees(self, order_id: str) -> dict[str, Any]:
        """The order as intake shows it."""
        found: dict[str, Any] = await self.world.ok("order-intake", "GET", f"/orders/{order_id}")
        return found


class Crew:
    """Works on one warehouse's floor and dock, by the queue as the API shows it."""

    def __init__(self, world: World, warehouse_id: str, by: str = "tom") -> None:
        self.world, self.warehouse_id, self.by = world, warehouse_id, by
        self._count = itertools.count(1)

    async def queue(self, kind: str | None = None, status: str = "open") -> list[dict[str, Any]]:
        """What there is to do, most urgent first."""
        path = f"/warehouses/{self.warehouse_id}/queue?limit=500&status={status}" + (f"&kind={kind}" if kind else "")
        page = await self.world.ok("fulfillment", "GET", path)
        return list(page["items"])

    async def task(self, kind: str, order_id: str) -> dict[str, Any]:
        """The one open task of this kind for an order."""
        found = [t for t in await self.queue(kind) if t["order_id"] == order_id]
        found += [t for t in await self.queue(kind, "claimed") if t["order_id"] == order_id]
        assert len(found) == 1, f"{self.warehouse_id} has {len(found)} {kind} tasks of {order_id}"
        return found[0]

    async def says(self, path: str, **body: Any) -> Any:
        return await self.world.ok("fulfillment", "POST", path, {"by": self.by, **body})

    async def picks(self, order_id: str, quantities: Mapping[str, int] | None = None) -> str:
        """Scan the goods of an order (all, or these quantities by SKU); the fulfilment order."""
        task = await self.task("pick", order_id)
        wanted = quantities or {line["sku"]: line["quantity"] for line in task["lines"]}
        scans = [{"barcode": f"bar-{sku}", "quantity": n} for sku, n in wanted.items()]
        await self.says(f"/fulfilment-orders/{task['task_id']}/scans", scans=scans)
        return str(task["task_id"])

    async def packs(self, fulfilment_order_id: str) -> str:
        """Pack what is picked; the parcel."""
        answer = await self.says(f"/fulfilment-orders/{fulfilment_order_id}/pack")
        return str(answer["parcel"]["parcel_id"])

    async def picks_and_packs(self, order_id: str, quantities: Mapping[str, int] | None = None) -> str:
        """From shelf to dock; the parcel."""
        parcel_id = await self.packs(await self.picks(order_id, quantities))
        await self.world.settle()
        return parcel_id

    async def finds_too_little(self, order_id: str, line: int, quantity: int) -> None:
        task = await self.task("pick", order_id)
        lines = [{"line": line, "quantity": quantity}]
        await self.says(f"/fulfilment-orders/{task['task_id']}/short", lines=lines, reason="shelf empty")

    async def puts_back(self, order_id: str) -> None:
        """Cancelled goods of a tote go back to the shelf."""
        task = await self.task("put_back", order_id)
        await self.says(f"/put-backs/{task['task_id']}/confirm")

    async def dispatches(self, order_id: str, **body: Any) -> None:
        task = await self.task("transfer_out", order_id)
        await self.says(f"/transfers/{task['transfer_id']}/dispatch", **body)

    async def receives(self, order_id: str, **body: Any) -> None:
        task = await self.task("transfer_in", order_id)
        await self.says(f"/transfers/{task['transfer_id']}/receive", **body)

    async def receives_goods(self, planner: Planner, **pieces: int) -> None:
        """Purchased goods stand on the dock."""
        lines = [{"barcode": f"bar-{sku}", "quantity": n} for sku, n in pieces.items()]
        receipt_id = f"{self.warehouse_id}-R{next(self._count)}"
        await self.says("/receipts", receipt_id=receipt_id, warehouse_id=self.warehouse_id, lines=lines)
        for sku, n in pieces.items():
            planner.came_in(sku, n)

    async def hands_over(self, parcel_id: str) -> None:
        """The scan at the truck."""
        await self.world.ok("shipping", "POST", f"/parcels/{parcel_id}/hand-over", {"by": self.by})

    async def puts_parcel_back(self, parcel_id: str) -> None:
        """Cancelled units come out of a box on the dock."""
        await self.world.ok("shipping", "POST", f"/parcels/{parcel_id}/put-back", {"by": self.by})

    async def ships(self, order_id: str) -> str:
        """From shelf to truck; the parcel."""
        parcel_id = await self.picks_and_packs(order_id)
        await self.hands_over(parcel_id)
        await self.world.settle()
        return parcel_id


class Carriers:
    """Tell shipping what becomes of parcels, in their own formats, signed."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def says(self, parcel_id: str, status: str, **more: Any) -> None:
        """One scan of the carrier that has the parcel: in_transit, delivered, lost, returned, …"""
        parcel = await self.world.ok("shipping", "GET", f"/parcels/{parcel_id}")
        label = parcel["label"]
        body = {"tracking_number": label["tracking_number"], "status": status, "message": status, **more}
        response = await self.world.carrier_http.post(f"/{label['carrier_id']}/scans", json=body)
        assert response.is_success and response.json()["accepted"], response.text
        await self.world.settle()


class House:
    """A world with its people, opened with some stock."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.planner, self.channel, self.carriers = Planner(world), Channel(world), Carriers(world)
        self.crews = {w: Crew(world, w) for w in masters.WAREHOUSES}
        self.london, self.manchester, self.lille = (self.crews[w] for w in masters.WAREHOUSES)

    @property
    def orders(self) -> list[str]:
        """The numbers of all orders that were accepted."""
        from order_intake.store import ORDERS

        return sorted(self.world.engines["order-intake"].db.rows[ORDERS.name])  # type: ignore[arg-type]

    async def delivers(self, order_id: str, parcel_id: str) -> None:
        """The parcel arrives; the customer confirms when it was the last."""
        await self.carriers.says(parcel_id, "delivered")
        counts = (await self.channel.sees(order_id))["units"]["counts"]
        if counts["delivered"] + counts["cancelled"] == counts["ordered"]:
            await self.channel.confirms(order_id)
        await self.world.settle()
