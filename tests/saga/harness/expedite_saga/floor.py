"""What crews and carriers do at random: they look at what is there and act on it. Orderly ones do only what works, so that
everything comes to its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from expedite_events import Units
from expedite_saga.acts import Acts
from expedite_saga.audit import demand
from expedite_saga.borders import webhook_name
from expedite_saga.world import seats
from fulfillment.domain.tasks import Status as TaskStatus
from fulfillment.store import TASKS
from order_intake.store import PARCELS as HANDED
from shipping.domain.state import Station
from shipping.store import DELIVERIES, ON_DOCK, PARCELS, ParcelStatus
from shipping.store import ORDERS as LEGS

SAYS = ("in_transit", "out_for_delivery", "delivery_delayed", "delivered", "delivered", "delivered", "lost", "returned",
        "return_to_sender", "delivery_failed")  # fmt: skip
LATE_MINUTES = (0, 0, 0, 5, 60, 600)


class Floor:
    """Crews and carriers of one random saga."""

    def __init__(self, acts: Acts) -> None:
        self.acts, self.hands, self.world = acts, acts.hands, acts.world

    async def _asks(self, service: str, path: str, body: Any) -> bool:
        return await self.hands.asks(service, path, body)

    # -- crews

    async def crew(self, *, orderly: bool = False) -> bool:
        """One thing on a floor or a dock. Whether there was anything to do."""
        r = self.hands.r
        tasks = [t for t in self.world.rows("fulfillment", TASKS) if t.status in (TaskStatus.OPEN, TaskStatus.CLAIMED)]
        parcels = [p for p in self.world.rows("shipping", PARCELS) if p.status in ON_DOCK]
        if orderly:
            # A failed label is bought again when its timer says so: a carrier that refuses today takes it tomorrow.
            waits = (ParcelStatus.HELD, ParcelStatus.LABELLING, ParcelStatus.LABEL_FAILED)
            parcels = [p for p in parcels if p.status not in waits]
        elif self.hands.trouble(0.1):  # a screen that was not refreshed
            tasks, parcels = self.world.rows("fulfillment", TASKS), self.world.rows("shipping", PARCELS)  # type: ignore[assignment]
        if tasks and (not parcels or r.random() < 0.6):
            await self._task(self.hands.choose(tasks, lambda t: t.task_id), orderly)
        elif parcels:
            await self._dock(self.hands.choose(parcels, lambda p: p.parcel_id), orderly)
        return bool(tasks or parcels)

    async def _task(self, task: Any, orderly: bool) -> None:
        by = {"by": self.hands.r.choice(("tom", "ann"))}
        match task.kind.value:
            case "pick":
                await self._pick(task, by, orderly)
            case "put_back":
                self.hands.met["put-backs"] += await self._asks("fulfillment", f"/put-backs/{task.task_id}/confirm", by)
            case "transfer_out":
                await self._asks(
                    "fulfillment", f"/transfers/{task.transfer_id}/dispatch", by | self._fewer(task.lines, orderly)
                )
            case "transfer_in":
                await self._asks(
                    "fulfillment", f"/transfers/{task.transfer_id}/receive", by | self._fewer(task.lines, orderly)
                )

    def _fewer(self, lines: Sequence[Any], orderly: bool) -> dict[str, Any]:
        """A count that finds less, sometimes."""
        if orderly or not self.hands.trouble(0.25):
            return {}
        self.hands.met["transfers with differences"] += 1
        return {"lines": [{"line": x.line, "quantity": self.hands.r.randint(0, x.quantity)} for x in lines]}

    async def _pick(self, task: Any, by: dict[str, str], orderly: bool) -> None:
        r, path, lines = self.hands.r, f"/fulfilment-orders/{task.task_id}", list(task.lines)
        if lines and not orderly and self.hands.trouble(0.2):
            line = self.hands.choose(lines, lambda x: x.line)
            missing = [{"line": line.line, "quantity": r.randint(1, line.quantity)}]
            await self._asks("fulfillment", f"{path}/short", {**by, "lines": missing, "reason": "shelf empty",
                                                              "report_id": self.hands.token("report")})  # fmt: skip
            return
        if not orderly and r.random() < 0.08:
            self.hands.met["claimed"] += await self._asks(
                "fulfillment", f"{path}/claim", {**by, "take_over": r.random() < 0.5}
            )
        if not orderly:
            lines = r.sample(lines, r.randint(1, len(lines))) if lines else []
        scans = [
            {"barcode": f"bar-{x.sku}", "quantity": x.quantity if orderly else r.randint(1, x.quantity),
             "scan_id": self.hands.token("scan")}
            for x in lines
        ]  # fmt: skip
        packs = orderly or r.random() < 0.45
        if not orderly and (scans or packs) and r.random() < 0.15:
            await self._conveyor(task, by, scans, packs)
            return
        if scans:
            if not await self._asks("fulfillment", f"{path}/scans", {**by, "scans": scans}):
                return
            if not orderly:
                await self.acts.regret(task.order_id)
        if packs:
            await self._asks("fulfillment", f"{path}/pack", by)

    async def _conveyor(self, task: Any, by: dict[str, str], scans: list[dict[str, Any]], packs: bool) -> None:
        """A warehouse control system confirms in bulk."""
        said: dict[str, Any] = {**by, "fulfilment_order_id": task.task_id, "scans": scans}
        if packs:
            said["pack"] = {}
        path = f"/warehouses/{task.warehouse_id}/confirmations"
        self.hands.met["confirmed in bulk"] += await self._asks("fulfillment", path, {"confirmations": [said]})

    async def _dock(self, parcel: Any, orderly: bool) -> None:
        r, body, path = self.hands.r, {"by": "tom"}, f"/parcels/{parcel.parcel_id}"
        if parcel.status is ParcelStatus.LABEL_FAILED:
            await self._asks("shipping", f"{path}/label", body)
        elif parcel.status is ParcelStatus.PUT_BACK and (orderly or r.random() < 0.8):
            self.hands.met["dock put-backs"] += await self._asks("shipping", f"{path}/put-back", body)
        else:
            if r.random() < 0.5:
                await self._asks("shipping", f"{path}/hand-over", body)
            else:
                many = {**body, "parcel_ids": [parcel.parcel_id]}
                await self._asks("shipping", f"/warehouses/{parcel.warehouse_id}/hand-overs", many)
            if orderly:
                return
            parted = self._parted(parcel)
            if parted and self.hands.trouble(0.7):
                await self.acts.cancel(parcel.order_id, lines=[{"line": r.choice(parted), "quantity": 1}])
            else:
                await self.acts.regret(parcel.order_id)

    def _parted(self, parcel: Any) -> list[int]:
        """Lines of which one parcel has the last unit and another place some more: who wants one less now, before intake
        hears of the hand-over, is refused that unit and gets another one cancelled."""
        order = self.acts.order(parcel.order_id)
        inside: Units = self.world.row("shipping", LEGS, parcel.order_id).parcel(parcel.parcel_id).packed
        parcels = [p for p in self.world.rows("order-intake", HANDED) if p.order_id == parcel.order_id]  # type: ignore[attr-defined]
        here = order.units - order.out - order.handed(parcels)
        lines = [here.on_line(line) for line in inside.lines]
        return [units.lines[0] for units in lines if units - inside and units.last_n(1) <= inside]

    # -- carriers

    async def carrier(self, *, orderly: bool = False) -> bool:
        """A carrier has something to say about a parcel. Whether there was one."""
        r = self.hands.r
        rows = [p for p in self.world.rows("shipping", PARCELS) if p.tracking_number]
        handed = [p for p in rows if p.status is ParcelStatus.HANDED]
        if not orderly and self.hands.trouble(0.15):  # also about parcels on the dock, and about those at their end
            handed = [p for p in rows if p.status in ON_DOCK] or rows
        if not handed:
            return False
        parcel = self.hands.choose(handed, lambda p: p.parcel_id)
        back = f"/parcels/{parcel.parcel_id}/returned"
        if not orderly and self.hands.trouble(0.05):  # nobody scanned it, it simply stands at the door again
            await self._asks("shipping", back, {"by": "tom", "reason": "found at the gate"})
            return True
        late = 0 if orderly else r.choice(LATE_MINUTES)
        await self.scan(parcel, "delivered" if orderly else r.choice(SAYS), late)
        if orderly:
            await self.webhooks()
            again = next(p for p in self.world.rows("shipping", PARCELS) if p.parcel_id == parcel.parcel_id)
            if again.status is ParcelStatus.HANDED:  # on its way back: it arrives at our door
                await self._asks("shipping", back, {"by": "tom"})
        return True

    async def scan(self, parcel: Any, status: str, late: int) -> None:
        """A carrier scans a parcel, or tells now what it scanned `late` minutes ago; the webhook goes into its bag."""
        station = self.world.row("shipping", LEGS, parcel.order_id).parcel(parcel.parcel_id).station
        at = self.world.clock.now - timedelta(minutes=late)
        body = {"tracking_number": parcel.tracking_number, "status": status, "occurred_at": at.isoformat()}
        if status == "delivery_delayed" and self.hands.r.random() < 0.5:
            body["expected_at"] = (self.world.clock.now + timedelta(days=3)).isoformat()
        for _ in range(2 if self.hands.trouble(0.15) else 1):
            response = await self.world.carrier_http.post(f"/{parcel.carrier_id}/scans", json=body)
            assert response.is_success and response.json()["accepted"], response.text
        self.hands.met["scans told late"] += late > 0
        self.hands.met["scans of parcels on the dock"] += station is Station.DOCK
        self.hands.trail.append(f"{parcel.carrier_id} scans {status} of {parcel.parcel_id} ({station}), {late} min ago")

    async def webhook(self) -> None:
        """One webhook of the carriers' bag arrives: any of them, perhaps again later, perhaps forged first."""
        bag = self.world.post.bag
        if not bag:
            return
        said = self.hands.choose(bag, webhook_name)
        if self.hands.trouble(0.08):
            await self._forged(said)
        again = self.hands.trouble(0.15)
        self.hands.met["webhooks again"] += again
        self.hands.met["webhooks that overtake others"] += said is not bag[0]
        await self.arrives(said)
        if not again:
            bag.remove(said)

    async def webhooks(self) -> bool:
        """The bag is emptied. Whether there was anything in it."""
        bag, self.world.post.bag = self.world.post.bag, []
        for said in bag:
            await self.arrives(said)
        return bool(bag)

    async def arrives(self, said: Any) -> None:
        """A webhook reaches shipping, which takes it."""
        response = await self.hands.ask("shipping", said.url.path, said.content, dict(said.headers))
        assert response.is_success, f"{said.url.path}: {response.status_code} {response.text}"
        self.hands.trail.append(f"webhook {webhook_name(said)} arrives: {response.json()['state']}")

    async def _forged(self, said: Any) -> None:
        """Somebody who does not know the secret says the same: nothing moves, it is only written down (I8)."""
        names = ("x-hmac-signature", "webhook-signature")
        forged = {name: "v1,AAAA" if name in names else value for name, value in said.headers.items()}
        before = self._shipping()
        response = await seats()["shipping"].client.post(said.url.path, content=said.content, headers=forged)
        demand(response.status_code == 401, "I8 a forged webhook is refused", response.status_code, response.text)
        demand(before == self._shipping(), "I8 no state changes without a valid signature", webhook_name(said))
        self.hands.met["forged webhooks refused"] += 1

    def _shipping(self) -> dict[str, Any]:
        db = self.world.engines["shipping"].db
        rows = {name: dict(rows) for name, rows in db.rows.items() if name != DELIVERIES.name and rows}
        return {"rows": rows, "events": len(db.ledger), "timers": dict(db.timers), "effects": dict(db.effects)}


__all__ = ["Floor"]
