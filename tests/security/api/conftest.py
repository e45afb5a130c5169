"""One real system for the fuzzer, with a little of everything in it, so that drawn ids meet something."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE / "harness"), str(_HERE.parents[1] / "e2e" / "harness")]

from expedite_e2e import OTHER, SKU, System, eventually, expedite, order, post

Ids = dict[str, list[str]]


@dataclass(frozen=True)
class Target:
    """A running system and ids of it, by parameter."""

    system: System
    ids: Ids


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A fresh system at 600 times real time, with the demo's master data, stock and some orders at every station."""
    home = tmp_path_factory.mktemp("fuzz") / "home"
    started = expedite(home, "up", "--detach", "--fresh", "--speed", "600", "--port-base", "0")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        system = System(home, json.loads(expedite(home, "status", "--json").stdout))
        seeded = system.expedite("seed", "--orders", "60")
        assert seeded.returncode == 0, seeded.stdout + seeded.stderr
        with system.client("order-intake") as intake:
            eventually(lambda: intake.get("/readyz").status_code == 200, "order-intake knowing products")
        yield Target(system, _populated(system))
    finally:
        stopped = expedite(home, "down")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr


def _populated(system: System) -> Ids:
    """Post orders, work some of them to different ends, and say what they are called."""
    ids: Ids = {}

    def note(name: str, *values: str | None) -> None:
        known = ids.setdefault(name, [])
        known += [value for value in values if value and value not in known]

    with system.client("order-intake") as intake, system.client("fulfillment", "crew") as floor:
        shipped, packed, picked, waiting = [post(intake, order()).json()["order_id"] for _ in range(4)]
        held = order()
        del held["customer"]["ship_to"]["postcode"]
        held_answer = post(intake, held).json()
        cancelled = post(intake, order()).json()["order_id"]
        asked = intake.post(f"/orders/{cancelled}/cancel", json={"reason": "ordered twice"}).json()
        note("path.order_id", shipped, packed, picked, waiting, held_answer["order_id"], cancelled)
        note("path.hold_id", *(hold["hold_id"] for hold in held_answer["holds"]))
        note("path.request_id", asked.get("request_id"))
        works = _works(floor, {shipped, packed, picked, waiting})
    with system.client("fulfillment", "crew") as floor, system.client("shipping", "crew") as dock:
        for order_id in (shipped, packed, picked):
            task = works[order_id]
            path = f"/fulfilment-orders/{task['task_id']}"
            scans = [{"barcode": line["barcodes"][0], "quantity": line["quantity"]} for line in task["lines"]]
            floor.post(f"{path}/scans", json={"by": "tom", "scans": scans}).raise_for_status()
            if order_id != picked:
                floor.post(f"{path}/pack", json={"by": "tom"}).raise_for_status()
        note("path.fulfilment_order_id", *(task["task_id"] for task in works.values()))
        parcels = _parcels(system, {shipped, packed})
        note("path.parcel_id", *parcels.values())
        handed = _until(
            lambda: dock.post(f"/parcels/{parcels[shipped]}/hand-over", json={"by": "tom"}), "the parcel handed over"
        )
        assert handed.status_code == 200, handed.text
        sold = dock.get(f"/parcels/{parcels[shipped]}").json()
        note("query.carrier_id", sold["label"]["carrier_id"])
        note("query.tracking_number", sold["label"]["tracking_number"])
    with system.client("order-intake") as intake:
        note("path.channel_id", *(channel["id"] for channel in intake.get("/channels").json()["items"]))
        note("path.delivery_id", *(d["delivery_id"] for d in intake.get("/deliveries").json()["items"][:3]))
    with system.client("prioritizer") as prioritizer:
        note("path.person_id", *(p["person_id"] for p in prioritizer.get("/people").json()["items"][:4]))
        note("path.breach_id", *(b["breach_id"] for b in prioritizer.get("/breaches").json()["items"][:3]))
    note("path.carrier_id", *ids["query.carrier_id"], "swift-post")
    note("path.warehouse_id", "LON", "MAN")
    note("path.sku", SKU, OTHER)
    note("body.by", "tom")
    for name in ("sku", "warehouse_id", "order_id", "person_id"):
        ids[f"query.{name}"] = ids[f"path.{name}"]
    ids["body.lines[*].sku"], ids["body.warehouse_id"], ids["body.sku"] = [SKU, OTHER], ["LON"], [SKU]
    ids["body.channel"] = ids["path.channel_id"]
    return ids


def _works(floor: Any, orders: set[str]) -> dict[str, dict[str, Any]]:
    def look() -> dict[str, dict[str, Any]] | None:
        found = {}
        for warehouse in ("LON", "MAN", "LIL", "SYD"):
            for task in floor.get(f"/warehouses/{warehouse}/queue", params={"limit": 200}).json()["items"]:
                if task["order_id"] in orders and task["kind"] == "pick":
                    found[task["order_id"]] = task
        return found if found.keys() == orders else None

    return eventually(look, "picking work for every order")


def _parcels(system: System, orders: set[str]) -> dict[str, str]:
    with system.client("shipping", "crew") as dock:

        def look() -> dict[str, str] | None:
            found = {}
            for order_id in orders:
                answer = dock.get(f"/orders/{order_id}/parcels")
                for parcel in answer.json()["items"] if answer.status_code == 200 else ():
                    if parcel["label"]:
                        found[order_id] = parcel["parcel_id"]
            return found if found.keys() == orders else None

        return eventually(look, "labels for the packed parcels")


def _until(ask: Callable[[], Any], what: str) -> Any:
    for _ in range(100):
        answer = ask()
        if answer.status_code < 400:
            return answer
        time.sleep(0.3)
    raise AssertionError(f"{what} did not happen: {answer.text}")
