"""Fulfillment and shipping as the executable custody model has them, speaking the real events."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from expedite_events import (
    CancelRefused,
    CancelRequested,
    Lane,
    Packed,
    ParcelReturned,
    PickShort,
    Settled,
    ShipmentLost,
    StockReserved,
    TransferDispatched,
    TransferReceived,
    TransferRequested,
    Units,
    UnitsCancelled,
)

Unit = tuple[int, int]


def units_of(units: Iterable[Unit]) -> Units:
    return Units((line, n, n) for line, n in units)


def settled_of(units: Iterable[Unit], refused: dict[Unit, set[str]]) -> tuple[Settled, ...]:
    by: dict[str, list[Unit]] = defaultdict(list)
    for u in units:
        for rid in refused.get(u, ()):
            by[rid].append(u)
    return tuple(Settled(request_id=rid, units=units_of(us)) for rid, us in sorted(by.items()))


class Downstream:
    """What happens to units after inventory announced them. Subclasses are the bus and the customer."""

    inv: Any
    r: random.Random
    orders: dict[str, dict[str, Any]]

    def __init__(self) -> None:
        self.now = self.inv.clock.now
        self.task: dict[str, dict[str, Any]] = {}
        self.f_ask: dict[str, dict[Unit, dict[str, bool]]] = defaultdict(lambda: defaultdict(dict))
        self.moves: dict[str, list[Any]] = {}
        self.parcels: dict[str, dict[str, Any]] = {}
        self.s_ask: dict[str, dict[Unit, dict[str, bool]]] = defaultdict(lambda: defaultdict(dict))

    def id(self, prefix: str) -> str:
        raise NotImplementedError

    def say(self, event: Any, to: str, service: str, lane: Lane | None = None) -> None:
        raise NotImplementedError

    def out(self, o: str, u: Unit, end: str) -> None:
        raise NotImplementedError

    # -- fulfillment

    def f_due(self, f: str, u: Unit) -> list[str]:
        t = self.task[f]
        return [rid for rid, standing in self.f_ask[t["o"]][u].items() if standing or rid not in t["settled"][u]]

    def f_cancel(self, f: str, u: Unit, rids: Iterable[str]) -> None:
        t = self.task[f]
        t["units"][u] = "cancelled"
        for rid in rids:
            self.answer(t["o"], rid, u, "fulfillment", f, t["w"])

    def answer(self, o: str, rid: str, u: Unit, by: str, container: str, w: str) -> None:
        event = UnitsCancelled(
            order_id=o, request_id=rid, units=units_of([u]), answered_by=by, container_id=container, warehouse_id=w,
            at=self.now,
        )  # fmt: skip
        self.say(event, "IV", by)

    def fulfillment(self, event: Any) -> None:
        o = event.order_id
        if isinstance(event, StockReserved):
            f = event.fulfilment_order_id
            if f in self.task:
                assert self.task[f]["all"] == event.units, "announced again with other units"
                return
            settled: dict[Unit, set[str]] = defaultdict(set)
            for item in event.settled:
                for u in item.units.each():
                    settled[u].add(item.request_id)
            self.task[f] = {
                "o": o, "w": event.warehouse_id, "units": dict.fromkeys(event.units.each(), "open"),
                "settled": settled, "all": event.units,
            }  # fmt: skip
            for u in event.units.each():
                if due := self.f_due(f, u):
                    self.f_cancel(f, u, due)
        elif isinstance(event, TransferRequested):
            self.moves.setdefault(event.transfer_id, [event, "open", Units()])
        elif isinstance(event, CancelRequested):
            for u in event.units.each():
                rid = event.request_id
                if rid in self.f_ask[o][u]:
                    continue
                self.f_ask[o][u][rid] = event.standing
                for f, t in self.task.items():
                    if t["o"] != o or (rid in t["settled"][u] and not event.standing):
                        continue
                    if t["units"].get(u) == "open":
                        self.f_cancel(f, u, self.f_due(f, u))
                    elif t["units"].get(u) == "cancelled":
                        self.answer(o, rid, u, "fulfillment", f, t["w"])

    def floor(self) -> bool:
        jobs = [f for f, t in self.task.items() if "open" in t["units"].values()]
        moves = [t for t, m in self.moves.items() if m[1] != "done"]
        if moves and (not jobs or self.r.random() < 0.5):
            self.carry(self.moves[self.r.choice(moves)])
            return True
        if not jobs:
            return False
        f = self.r.choice(jobs)
        t = self.task[f]
        open_ = [u for u, s in t["units"].items() if s == "open"]
        some = self.r.sample(open_, self.r.randint(1, len(open_)))
        common = {
            "order_id": t["o"], "fulfilment_order_id": f, "warehouse_id": t["w"], "units": units_of(some), "goods": (),
            "settled": settled_of(some, t["settled"]),
        }  # fmt: skip
        if self.r.random() < 0.25:
            t["units"].update(dict.fromkeys(some, "short"))
            self.say(PickShort(**common, reported_by="p", at=self.now), "V", "fulfillment")
        else:
            t["units"].update(dict.fromkeys(some, "packed"))
            od = self.orders[t["o"]]
            event = Packed(
                **common, parcel_id=self.id(f"{t['o']}-P"), box="S", weight_g=1, packed_by="p", packed_at=self.now,
                brief=self.inv.brief(), urgency=self.inv.urgency(od["tier"], max(od["rev"], 1)),
            )  # fmt: skip
            self.say(event, "SV", "fulfillment")
        return True

    def carry(self, move: list[Any]) -> None:
        told = {
            "order_id": move[0].order_id, "transfer_id": move[0].transfer_id, "at": self.now,
            "from_warehouse_id": move[0].from_warehouse_id, "to_warehouse_id": move[0].to_warehouse_id,
        }  # fmt: skip
        pool = move[0].units if move[1] == "open" else move[2]
        missing = units_of(u for u in pool.each() if self.r.random() < 0.15)
        if move[1] == "open":
            move[1:] = ["moving" if pool - missing else "done", pool - missing]
            event: Any = TransferDispatched(**told, units=pool - missing, missing=missing, dispatched_by="d")
        else:
            move[1] = "done"
            event = TransferReceived(**told, units=pool - missing, missing=missing, received_by="d")
        self.say(event, "V", "fulfillment")

    # -- shipping

    def s_settle(self, p: str, u: Unit, rid: str) -> None:
        v = self.parcels[p]
        if rid in v["settled"][u] and not self.s_ask[v["o"]][u][rid]:
            return
        if v["units"][u] == "packed" and v["state"] == "dock":
            v["units"][u] = "cancelled"
            self.answer(v["o"], rid, u, "shipping", p, v["w"])
        elif v["units"][u] == "cancelled":
            self.answer(v["o"], rid, u, "shipping", p, v["w"])
        elif v["state"] in ("handed", "delivered"):
            v["settled"][u].add(rid)
            event = CancelRefused(
                order_id=v["o"], request_id=rid, units=units_of([u]), answered_by="shipping", container_id=p,
                at=self.now, reason="handed over",
            )  # fmt: skip
            self.say(event, "IV", "shipping")

    def shipping(self, event: Any) -> None:
        o = event.order_id
        if isinstance(event, Packed):
            if event.parcel_id in self.parcels:
                return
            settled: dict[Unit, set[str]] = defaultdict(set)
            for item in event.settled:
                for u in item.units.each():
                    settled[u].add(item.request_id)
            self.parcels[event.parcel_id] = {
                "o": o, "f": event.fulfilment_order_id, "w": event.warehouse_id, "state": "dock", "settled": settled,
                "units": dict.fromkeys(event.units.each(), "packed"),
            }  # fmt: skip
            for u in event.units.each():
                for rid in list(self.s_ask[o][u]):
                    self.s_settle(event.parcel_id, u, rid)
        else:
            for u in event.units.each():
                if event.request_id in self.s_ask[o][u]:
                    continue
                self.s_ask[o][u][event.request_id] = event.standing
                for p, v in self.parcels.items():
                    if v["o"] == o and u in v["units"]:
                        self.s_settle(p, u, event.request_id)

    def truck(self) -> bool:
        live = [
            p for p, v in self.parcels.items() if v["state"] in ("dock", "handed") and "packed" in v["units"].values()
        ]  # fmt: skip
        if not live:
            return False
        p = self.r.choice(live)
        v = self.parcels[p]
        if v["state"] == "dock":
            v["state"] = "handed"
            return True
        v["state"] = self.r.choices(["delivered", "lost", "returned"], [70, 15, 15])[0]
        units = [u for u, s in v["units"].items() if s == "packed"]
        if v["state"] == "delivered":
            for u in units:
                self.out(v["o"], u, "delivered")
            return True
        kind = ShipmentLost if v["state"] == "lost" else ParcelReturned
        event = kind(
            order_id=v["o"], parcel_id=p, fulfilment_order_id=v["f"], warehouse_id=v["w"], units=units_of(units),
            goods=(), settled=settled_of(units, v["settled"]), cause="c", at=self.now, customer=self.inv.brief().customer,
        )  # fmt: skip
        self.say(event, "V", "shipping")
        return True
