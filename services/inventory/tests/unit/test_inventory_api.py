"""Inventory's HTTP API over a MemoryEngine."""

from __future__ import annotations

from typing import Any

import pytest

from expedite_chassis.testing import client
from expedite_events import ProductChanged, StockLevelChanged, Units, WarehouseChanged
from expedite_events.fulfillment import PickShort
from inventory import jobs
from inventory.main import spec

PRODUCT = {"name": "Mug", "barcodes": ["2000000000015"], "weight_g": 300, "unit_price": "4.95"}
WAREHOUSE = {
    "name": "Leeds", "address": {"line1": "1 Way", "city": "Leeds", "country": "GB"}, "time_zone": "Europe/London",
    "serves": ["GB"],
}  # fmt: skip


def events(inv: Any, kind: type) -> list[Any]:
    return [e.event for e in inv.engine.db.ledger if isinstance(e.event, kind)]


@pytest.fixture
def api(inv: Any) -> Any:
    return client(spec, inv.engine, ["master:write", "stock:write", "read"])


async def test_master_data_is_announced_only_when_it_changed(inv: Any, api: Any) -> None:
    """I1: compacted snapshots with rising revisions; the same body again says nothing."""
    async with api:
        for name, expected in (("Mug", 1), ("Mug", 1), ("Cup", 2)):
            answer = await api.put("/products/mug", json=PRODUCT | {"name": name})
            assert (answer.status_code, answer.json()["revision"]) == (200, expected)
        rows = [PRODUCT | {"sku": "mug", "name": "Cup"}, PRODUCT | {"sku": "jar"}]
        assert (await api.put("/products", json=rows)).json() == {"changed": 1, "unchanged": 1}
        assert (await api.put("/warehouses/LEE", json=WAREHOUSE)).json()["revision"] == 1
        assert (await api.put("/warehouses/LEE", json=WAREHOUSE | {"warehouse_id": "LEE"})).json()["revision"] == 1
        page = (await api.get("/products", params={"limit": 1})).json()
        assert [p["sku"] for p in page["items"]] == ["jar"] and page["next"] == "1"
        assert "LEE" in [w["warehouse_id"] for w in (await api.get("/warehouses")).json()["items"]]
    assert [(p.sku, p.revision) for p in events(inv, ProductChanged)] == [("mug", 1), ("mug", 2), ("jar", 1)]
    assert len(events(inv, WarehouseChanged)) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("PUT", "/products/mug", {"name": ""}, "/name"),
        ("PUT", "/products/mug", PRODUCT | {"sku": "cup"}, "/sku"),
        ("PUT", "/products/mug", PRODUCT | {"wieght": 3}, "/wieght"),
        ("PUT", "/products", [PRODUCT | {"sku": "a"}, PRODUCT | {"sku": "a"}], "/1/sku"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"time_zone": "Mars/Base"}, "/time_zone"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"opens": "8"}, "/opens"),
        # What another service would stumble over when it hears of it.
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"opens": "29:00"}, "/opens"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"closes": "24:01"}, "/closes"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"closes": "\u0661\u0668:00"}, "/closes"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"holidays": ["2026-13-45"]}, "/holidays/0"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"holidays": ["\u0662026-01-01"]}, "/holidays/0"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"cut_offs": [{"carrier_id": "c", "local_time": "29:59"}]},
         "/cut_offs/0/local_time"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"time_zone": "Europe"}, "/time_zone"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"time_zone": "../../etc/passwd"}, "/time_zone"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"time_zone": "a" * 300}, "/time_zone"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"working_days": [True]}, "/working_days/0"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"address": {"line1": "1", "city": "L", "country": "gb"}},
         "/address/country"),
        ("PUT", "/warehouses/LEE", WAREHOUSE | {"address": {"line1": "1", "city": "L", "country": "GB", "x": 1}},
         "/address/x"),
        ("PUT", "/products/mug", PRODUCT | {"weight_g": 10**30}, "/weight_g"),
        ("PUT", "/products/mug", PRODUCT | {"length_mm": "5"}, "/length_mm"),
        ("PUT", "/products/mug", PRODUCT | {"barcodes": ["1" * 3000]}, "/barcodes/0"),
        ("PUT", "/products/mug", PRODUCT | {"barcodes": [str(n) for n in range(101)]}, "/barcodes"),
        ("PUT", "/products/mug", PRODUCT | {"names": {"en": "\u0000"}}, "/names/en"),
        ("PUT", "/products/mug", PRODUCT | {"unit_price": "\u0661"}, "/unit_price"),
        ("PUT", "/products/mug", PRODUCT | {"active": "yes"}, "/active"),
        ("POST", "/stock/opening",
         {"lines": [{"sku": "m", "warehouse_id": "LON", "quantity": True}], "reason": "r", "reference": "1"},
         "/lines/0/quantity"),
        ("POST", "/stock/opening",
         {"lines": [{"sku": "m\u0001", "warehouse_id": "LON", "quantity": 1}], "reason": "r", "reference": "1"},
         "/lines/0/sku"),
        ("POST", "/stock/opening", {"lines": [], "reason": "r", "reference": "1"}, "/lines"),
        ("POST", "/stock/counts", {"sku": "mug", "warehouse_id": "LON", "found": -1, "reference": "1"}, "/found"),
    ],
)  # fmt: skip
async def test_bad_input_names_the_field(api: Any, method: str, path: str, body: Any, pointer: str) -> None:
    """RFC 9457: every refused field has a JSON pointer."""
    async with api:
        answer = await api.request(method, path, json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert pointer in [e.get("pointer") for e in answer.json()["errors"]]


async def test_opening_stock_is_booked_once_per_reference(inv: Any, api: Any) -> None:
    """D1, D10: repeated → the first answer; another body → refused; unknown names → named."""
    body = {
        "lines": [{"sku": "mug", "warehouse_id": "LON", "quantity": 5}, {"sku": "mug", "warehouse_id": "LON", "quantity": 2}],
        "reason": "first day", "reference": "open-1",
    }  # fmt: skip
    async with api:
        refused = await api.post("/stock/opening", json=body)
        assert refused.status_code == 422 and refused.json()["errors"][0]["pointer"] == "/lines/0/sku"
        await api.put("/products/mug", json=PRODUCT)
        first, again = await api.post("/stock/opening", json=body), await api.post("/stock/opening", json=body)
        assert first.status_code == again.status_code == 201 and first.json() == again.json()
        other = await api.post("/stock/opening", json=body | {"reason": "second"})
        assert (other.status_code, other.json()["type"]) == (422, "/problems/reference-reused")
        (row,) = (await api.get("/stock", params={"sku": "mug"})).json()["items"]
        assert (row["free"], row["on_hand"], row["available"]) == (7, 7, 7)
        moved = (await api.get("/stock/movements", params={"sku": "mug"})).json()["items"]
        assert [m["changes"] for m in moved] == [{"booked": 7, "free": 7}]


async def test_a_count_resolves_what_was_in_count(inv: Any, api: Any) -> None:
    """D11: found pieces are free again, the rest corrects the books with a reason; then there is nothing to count."""
    await inv.stock(LON_mug=3)
    await inv.send(inv.assigned("a", {"mug": 3}))
    await inv.send(
        PickShort(order_id="a", fulfilment_order_id="a-F1", warehouse_id="LON", units=Units.of(1, 1, 3), goods=(),
                  reported_by="p", at=inv.clock.now)
    )  # fmt: skip
    async with api:
        await api.put("/products/mug", json=PRODUCT)
        (doubtful,) = (await api.get("/stock", params={"in_count": True})).json()["items"]
        assert (doubtful["warehouse_id"], doubtful["in_count"]) == ("LON", 3)
        body = {"sku": "mug", "warehouse_id": "LON", "found": 2, "reference": "c1", "reason": "fell behind"}
        answer = await api.post("/stock/counts", json=body)
        assert answer.status_code == 201
        assert answer.json()["lines"] == [{"sku": "mug", "warehouse_id": "LON", "quantity": 2, "corrected": -1}]
        assert (await api.post("/stock/counts", json=body)).json() == answer.json()
        nothing = await api.post("/stock/counts", json=body | {"reference": "c2"})
        assert (nothing.status_code, nothing.json()["type"]) == (409, "/problems/nothing-to-count")
    (made,) = await inv.fill()  # the waiting order takes what was found
    assert len(made.units) == 2
    await inv.conserved()


async def test_allocation_backorders_and_conservation_are_shown(inv: Any, api: Any) -> None:
    """D3, D5, D10: where each unit is and why; who waits in which order; every piece accounted for."""
    await inv.stock(LON_mug=2)
    await inv.send(inv.assigned("a", {"mug": 3}))
    async with api:
        shown = (await api.get("/orders/a/allocation")).json()
        assert {s["status"] for s in shown["segments"]} == {"announced", "backordered"}
        assert shown["sourced"] == ["2 from LON, 1 in no warehouse: 0 points"]
        assert (await api.get("/orders/zz/allocation")).json()["type"] == "/problems/unknown-order"
        (row,) = (await api.get("/backorders")).json()["items"]
        assert (row["order_id"], row["quantity"]) == ("a", 1)
        (sound,) = (await api.get("/stock/conservation")).json()["items"]
        assert sound["conserved"] and sound["available"] == -1
        shelf = inv.shelf("mug", "LON")
        inv.engine.db.rows["shelf"]["mug", "LON"] = shelf.put(free=1)
        (broken,) = (await api.get("/stock/conservation", params={"sku": "mug"})).json()["items"]
        assert not broken["conserved"]
        assert {(leak["bucket"], leak["expected"], leak["found"]) for leak in broken["leaks"]} >= {("free", 0, 1)}


async def test_movements_are_paged_one_by_one_although_they_are_kept_in_rows(inv: Any, api: Any) -> None:
    """D10: several changes of a shelf in one transaction are one row; pages cut through it, and an order sees its own."""
    await inv.stock(LON_mug=9, LON_cup=9)
    await inv.send(*(inv.assigned(order_id, {"mug": 1, "cup": 1}) for order_id in ("a", "b", "ab")))
    async with api:
        seen, cursor = [], None
        while True:
            where = {"sku": "mug", "limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await api.get("/stock/movements", params=where)).json()
            seen += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        assert [m["seq"] for m in seen] == [1, 2, 3, 4]
        assert [m["order_id"] for m in seen] == [None, "a", "b", "ab"]
        assert seen[3]["after"] == {"free": 6, "allocated": 3}
        mine = (await api.get("/stock/movements", params={"order_id": "a"})).json()["items"]
        assert [(m["sku"], m["order_id"]) for m in mine] == [("cup", "a"), ("mug", "a")]
        mine = (await api.get("/stock/movements", params={"order_id": "b", "sku": "mug"})).json()["items"]
        assert [(m["sku"], m["changes"]) for m in mine] == [("mug", {"free": -1, "allocated": 1})]
        assert (await api.get("/stock/movements", params={"order_id": "zz"})).json()["items"] == []


async def test_scopes_are_required(inv: Any) -> None:
    """I5: reading is not writing."""
    async with client(spec, inv.engine, ["read"]) as reader:
        assert (await reader.put("/products/mug", json=PRODUCT)).status_code == 403
        assert (await reader.get("/stock")).status_code == 200
    async with client(spec, inv.engine, anonymous=True) as nobody:
        assert (await nobody.get("/stock")).status_code == 401


async def test_levels_are_published_once_per_change(inv: Any) -> None:
    """D12: coalesced: many movements, one snapshot; nothing new, nothing said; revisions rise per shelf."""
    await inv.stock(LON_x=5)
    for order_id in ("a", "b"):
        await inv.send(inv.assigned(order_id, {"x": 2}))
    await jobs.publish_levels(inv.engine)
    await jobs.publish_levels(inv.engine)
    (level,) = [e for e in events(inv, StockLevelChanged) if e.warehouse_id == "LON"]
    assert (level.free, level.allocated, level.on_hand, level.revision) == (1, 4, 5, 1)
    await inv.stock(LON_x=1)
    await jobs.publish_levels(inv.engine)
    assert [e.revision for e in events(inv, StockLevelChanged) if e.warehouse_id == "LON"] == [1, 2]


async def test_many_levels_are_published_some_skus_at_a_time(inv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """D12: each shelf once, also those of a SKU that lies in more warehouses than one transaction takes shelves."""
    monkeypatch.setattr(jobs, "SHELVES_A_PASS", 2)
    shelves = [("a", "LON"), ("b", "LIL"), ("b", "LON"), ("b", "MAN"), ("c", "LON")]
    await inv.stock(**{f"{warehouse_id}_{sku}": 1 for sku, warehouse_id in shelves})
    await jobs.publish_levels(inv.engine)
    assert [(e.sku, e.warehouse_id) for e in events(inv, StockLevelChanged)] == shelves


async def test_a_long_walk_over_levels_goes_on_in_the_next_run(inv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """D12: other jobs wait for a run; those at the end are said before those at the beginning are said again."""
    monkeypatch.setattr(jobs, "SHELVES_A_PASS", 1)
    monkeypatch.setattr(jobs, "MAX_PASSES", 2)
    said: list[list[str]] = []
    for _ in range(3):
        before = len(events(inv, StockLevelChanged))
        await inv.stock(**{f"LON_{sku}": 1 for sku in "abc"})
        await jobs.publish_levels(inv.engine)
        said.append([e.sku for e in events(inv, StockLevelChanged)[before:]])
    assert said == [["a", "b"], ["c"], ["a", "b"]]


async def test_every_event_of_the_catalogue_has_its_handler(inv: Any) -> None:
    """I1: what the catalogue says inventory hears, it handles."""
    assert inv.engine.handlers.missing() == ()
