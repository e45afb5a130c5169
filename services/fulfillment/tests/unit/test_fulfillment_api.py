"""The API over an engine in memory: what scanners, conveyors and people get back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from expedite_chassis import issue_token
from expedite_chassis.testing import client, runtime_for
from expedite_events import (
    GoodsReceived,
    Lane,
    Packed,
    PickShort,
    Stage,
    Tier,
    TransferDispatched,
    TransferReceived,
    Units,
    UnitsCancelled,
)
from fulfillment.main import spec

UNITS = Units.of(1, 1, 3) | Units.of(2, 1, 1)
CODE_1, CODE_2 = "5900000000001", "5900000000002"


@pytest_asyncio.fixture
async def floor(make: Any, service: Any) -> AsyncIterator[httpx.AsyncClient]:
    await service.hear(make.product(1), make.product(2), make.product(3), make.warehouse("HUL"), make.warehouse("LDS"))
    await service.hear(make.person("pete", stages=(Stage.PREPARE,)), make.reserved(UNITS))
    async with client(spec, service.engine, ["floor:work"]) as api:
        yield api


@pytest.fixture
def fo(make: Any) -> str:
    return f"/fulfilment-orders/{make.order}-F1"


def scans(*rows: tuple[str, int], by: str = "pete") -> dict[str, Any]:
    return {"by": by, "scans": [{"barcode": code, "quantity": quantity} for code, quantity in rows]}


async def test_from_the_queue_to_the_dock(make: Any, service: Any, floor: httpx.AsyncClient, fo: str):
    """E1, E2, E3, E6: a picker's whole job, and who did what when."""
    queue = (await floor.get("/warehouses/HUL/queue?limit=10&kind=pick")).json()
    (task,) = queue["items"]
    assert task["task_id"] == f"{make.order}-F1" and task["lines"][0]["barcodes"] == [CODE_1]
    assert queue["next"] is None
    assert (await floor.post(f"{fo}/claim", json={"by": "pete"})).json()["claimed_by"] == "pete"
    assert not (await floor.get("/warehouses/HUL/queue")).json()["items"]
    mine = (await floor.get("/warehouses/HUL/queue?status=claimed&claimed_by=pete")).json()["items"]
    assert len(mine) == 1
    done = await floor.post(f"{fo}/scans", json=scans((CODE_1, 3), (CODE_2, 1)))
    assert done.json()["outcome"] == "done" and done.json()["lines"][0]["picked"] == 3
    again = await floor.post(f"{fo}/scans", json=scans((CODE_1, 3), (CODE_2, 1)))
    assert (again.status_code, again.json()["outcome"]) == (200, "already_done")
    packed = (await floor.post(f"{fo}/pack", json={"by": "pete"})).json()
    assert packed["parcel"]["parcel_id"] == f"{make.order}-P1" and packed["status"] == "done"
    assert packed["parcel"]["box"] == "mailer" and packed["parcel"]["weight_g"] == 4 * 200 + 40
    (event,) = service.said
    assert isinstance(event, Packed) and event.units == UNITS and event.packed_by == "pete"
    again = (await floor.post(f"{fo}/pack", json={"by": "pete"})).json()
    assert again["outcome"] == "already_done" and again["parcel"]["parcel_id"] == f"{make.order}-P1"
    assert len(service.said) == 1
    state = (await floor.get(fo)).json()
    assert [(t["did"], t["by"]) for t in state["trace"]] == [
        ("arrived", "expedite"), ("claimed", "pete"), ("picked", "pete"), ("picked", "pete"), ("packed", "pete"),
    ]  # fmt: skip
    assert state["owner"] == {"person_id": "pete", "name": "Pete"}
    whole = (await floor.get(f"/orders/{make.order}/fulfilment")).json()
    assert whole["fulfilment_orders"][0]["parcels"][0]["packed_by"] == "pete"


async def test_the_queue_is_ordered_by_tier_then_deadline(make: Any, service: Any, floor: httpx.AsyncClient):
    """E1: urgent work jumps in at once; held work is not offered; pages follow on."""
    for serial, tier, hours in ((2, Tier.REGULAR, 2), (3, Tier.URGENT, 30), (4, Tier.URGENT, 1)):
        other = f"20261123-EC-{serial:06d}"
        await service.hear(make.reserved(UNITS, order=other, urgency=make.urgency(tier, hours=hours)))
    await service.hear(make.held(order="20261123-EC-000004"))
    first = (await floor.get("/warehouses/HUL/queue?limit=2")).json()
    assert [t["order_id"][-1] for t in first["items"]] == ["3", "2"]
    rest = (await floor.get(f"/warehouses/HUL/queue?limit=2&cursor={first['next']}")).json()
    assert [t["order_id"][-1] for t in rest["items"]] == ["1"] and rest["next"] is None


async def test_a_page_of_the_queue_follows_the_last_one_whatever_happens(
    make: Any, service: Any, floor: httpx.AsyncClient
):
    """E1: work that is taken or that jumps in while somebody turns pages makes no other work seen twice or never."""
    for serial in range(2, 8):
        await service.hear(make.reserved(UNITS, order=f"20261123-EC-{serial:06d}", urgency=make.urgency(hours=serial)))
    first = (await floor.get("/warehouses/HUL/queue?limit=3")).json()
    assert [t["order_id"][-1] for t in first["items"]] == ["2", "3", "4"]
    await floor.post(f"/fulfilment-orders/{first['items'][0]['task_id']}/claim", json={"by": "pete"})
    await service.hear(make.reserved(UNITS, order="20261123-EC-000009", urgency=make.urgency(Tier.URGENT)))
    rest = (await floor.get("/warehouses/HUL/queue", params={"limit": 50, "cursor": first["next"]})).json()
    assert [t["order_id"][-1] for t in rest["items"]] == ["5", "6", "7", "1"] and rest["next"] is None
    again = (await floor.get("/warehouses/HUL/queue?limit=1")).json()
    assert [t["order_id"][-1] for t in again["items"]] == ["9"]


@pytest.mark.parametrize(
    ("rows", "code", "pointer", "expected"),
    [
        ([("5900000000003", 1)], "wrong-item", "/scans/0", "SKU-1 (Thing 1), SKU-2 (Thing 2)"),
        ([(CODE_1, 1), ("SKU-3", 1)], "wrong-item", "/scans/1", "SKU-1 (Thing 1), SKU-2 (Thing 2)"),
        ([("4711", 1)], "unknown-code", "/scans/0", "SKU-1 (Thing 1), SKU-2 (Thing 2)"),
        ([(CODE_1, 4)], "wrong-quantity", "/scans/0", "3"),
        ([(CODE_1, 2), (CODE_1, 2)], "wrong-quantity", "/scans/1", "1"),
    ],
)
async def test_bad_scans_are_refused_whole_and_say_what_was_expected(
    service: Any, floor: httpx.AsyncClient, fo: str, rows: Any, code: str, pointer: str, expected: str
):
    """E2: wrong item, wrong quantity, unknown code."""
    answer = await floor.post(f"{fo}/scans", json=scans(*rows))
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"/problems/{code}" and problem["expected"] == expected
    assert problem["errors"][0]["pointer"] == pointer
    assert not (await service.order()).fulfilment_orders[0].picked


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scans": [{"barcode": CODE_1}]}, "/by"),
        ({"by": "pete", "scans": []}, "/scans"),
        ({"by": "pete", "scans": [{"barcode": CODE_1, "quantity": 0}]}, "/scans/0/quantity"),
        ({"by": "pete", "scans": [{"barcode": CODE_1, "sku": "SKU-1"}]}, "/scans/0"),
        ({"by": "pete", "scans": [{"barcode": CODE_1, "pieces": 2}]}, "/scans/0/pieces"),
    ],
)
async def test_malformed_scans_name_the_field(floor: httpx.AsyncClient, fo: str, body: Any, pointer: str):
    """E2: a misspelt field is never ignored."""
    answer = await floor.post(f"{fo}/scans", json=body)
    assert answer.status_code == 422
    assert pointer in [e["pointer"] for e in answer.json()["errors"]]


async def test_a_scan_id_makes_one_piece_of_many_answers_lost(service: Any, floor: httpx.AsyncClient, fo: str):
    """E2: the same scan sent twice counts once; another piece is another scan."""
    body = {"by": "pete", "scans": [{"sku": "SKU-1", "scan_id": "aaaaaaaa"}]}
    outcomes = [(await floor.post(f"{fo}/scans", json=body)).json()["outcome"] for _ in range(2)]
    assert outcomes == ["done", "already_done"]
    body["scans"][0]["scan_id"] = "bbbbbbbb"  # type: ignore[index]
    assert (await floor.post(f"{fo}/scans", json=body)).json()["lines"][0]["picked"] == 2


async def test_a_held_order_answers_409_naming_the_hold(make: Any, service: Any, floor: httpx.AsyncClient, fo: str):
    """A5: nothing is started while a question is open."""
    await service.hear(make.held())
    for path, body in (
        ("claim", {"by": "pete"}),
        ("scans", scans((CODE_1, 1))),
        ("short", {"by": "pete", "reason": "empty", "lines": [{"line": 1, "quantity": 1}]}),
    ):
        answer = await floor.post(f"{fo}/{path}", json=body)
        assert answer.status_code == 409 and answer.json()["type"] == "/problems/held"
        assert f"{make.order}-H1" in answer.json()["detail"]
    await service.hear(make.released())
    assert (await floor.post(f"{fo}/claim", json={"by": "pete"})).status_code == 200


async def test_a_cancelled_order_says_what_to_do_and_put_back_answers(
    make: Any, service: Any, floor: httpx.AsyncClient, fo: str
):
    """A8: cancelled while being picked: the goods go back, then the cancel is answered."""
    await floor.post(f"{fo}/scans", json=scans((CODE_1, 2)))
    await service.hear(make.cancel(UNITS))
    late = await floor.post(f"{fo}/pack", json={"by": "pete"})
    assert late.status_code == 409 and "put-back" in late.json()["detail"]
    (task,) = (await floor.get("/warehouses/HUL/queue?kind=put_back")).json()["items"]
    assert task["lines"] == [{"line": 1, "sku": "SKU-1", "name": "Thing 1", "quantity": 2, "barcodes": [CODE_1]}]
    before = len(service.said)
    confirmed = await floor.post(f"/put-backs/{task['task_id']}/confirm", json={"by": "pete"})
    assert confirmed.json()["lines"][0] == {
        "line": 1, "sku": "SKU-1", "name": "Thing 1", "barcodes": [CODE_1], "quantity": 3, "open": 0, "picked": 0,
        "packed": 0, "short": 0, "cancelled": 3, "to_put_back": 0,
    }  # fmt: skip
    (answer,) = service.said[before:]
    assert isinstance(answer, UnitsCancelled) and answer.warehouse_id == "HUL" and len(answer.units) == 2
    again = await floor.post(f"/put-backs/{task['task_id']}/confirm", json={"by": "pete"})
    assert again.json()["outcome"] == "already_done"


async def test_a_short_pick_over_http(service: Any, floor: httpx.AsyncClient, fo: str):
    """E4: the missing piece goes back to inventory, on the lane of its order."""
    body = {"by": "pete", "reason": "shelf empty", "lines": [{"line": 1, "quantity": 2}], "report_id": "rrrrrrrr"}
    first = await floor.post(f"{fo}/short", json=body)
    assert first.json()["lines"][0]["short"] == 2
    assert (await floor.post(f"{fo}/short", json=body)).json()["outcome"] == "already_done"
    (event,) = service.said
    assert isinstance(event, PickShort) and event.reported_by == "pete"
    answer = await floor.post(f"{fo}/short", json=body | {"report_id": "ssssssss"})
    assert answer.status_code == 422 and answer.json()["expected"] == "1"


async def test_urgent_work_leaves_on_the_express_lane(make: Any, service: Any, floor: httpx.AsyncClient):
    """B3: what a person does to an express order travels express."""
    urgent = make.urgency(Tier.URGENT, express=True)
    await service.hear(make.reserved(Units.of(1, 1, 1), order="20261123-EC-000009", urgency=urgent), lane=Lane.EXPRESS)
    await floor.post("/fulfilment-orders/20261123-EC-000009-F1/scans", json=scans((CODE_1, 1)))
    await floor.post(
        "/fulfilment-orders/20261123-EC-000009-F1/pack", json={"by": "pete", "box": "tube", "weight_g": 99}
    )
    assert service.lanes == [("Packed", Lane.EXPRESS)]
    assert (service.said[0].box, service.said[0].weight_g) == ("tube", 99)


async def test_transfers_over_http(make: Any, service: Any, floor: httpx.AsyncClient):
    """E5: out of one queue, into the other, with differences."""
    await service.hear(make.transfer(Units.of(1, 1, 3)))
    path = f"/transfers/{make.order}-T1"
    assert len((await floor.get("/warehouses/HUL/queue?kind=transfer_out")).json()["items"]) == 1
    early = await floor.post(f"{path}/receive", json={"by": "lena"})
    assert early.status_code == 409 and early.json()["type"] == "/problems/not-dispatched"
    many = await floor.post(f"{path}/dispatch", json={"by": "pete", "lines": [{"line": 1, "quantity": 4}]})
    assert many.status_code == 422 and many.json()["errors"][0]["pointer"] == "/lines/0"
    sent = await floor.post(f"{path}/dispatch", json={"by": "pete", "lines": [{"line": 1, "quantity": 2}]})
    assert sent.json()["status"] == "dispatched" and sent.json()["lines"][0]["sent"] == 2
    (task,) = (await floor.get("/warehouses/LDS/queue?kind=transfer_in")).json()["items"]
    assert task["lines"][0]["quantity"] == 2 and task["other_warehouse_id"] == "HUL"
    for outcome in ("done", "already_done"):
        got = await floor.post(f"{path}/receive", json={"by": "lena"})
        assert got.json()["outcome"] == outcome
    assert [type(e) for e in service.said] == [TransferDispatched, TransferReceived]
    trace = (await floor.get(f"/orders/{make.order}/fulfilment")).json()["trace"]
    assert [t["by"] for t in trace if t["did"] in ("dispatched", "received")] == ["pete", "lena"]


async def test_a_receipt_is_counted_once(service: Any, floor: httpx.AsyncClient):
    """E2, D5: purchased goods by barcode or SKU; the same receipt with other goods is refused."""
    body = {"receipt_id": "PO-7/1", "warehouse_id": "HUL", "by": "pete",
            "lines": [{"barcode": CODE_1, "quantity": 5}, {"sku": "SKU-1", "quantity": 1}]}  # fmt: skip
    assert (await floor.post("/receipts", json=body)).json()["outcome"] == "done"
    assert (await floor.post("/receipts", json=body)).json()["outcome"] == "already_done"
    (event,) = service.said
    assert isinstance(event, GoodsReceived) and [(x.sku, x.quantity) for x in event.lines] == [("SKU-1", 6)]
    other = await floor.post("/receipts", json=body | {"lines": [{"sku": "SKU-1", "quantity": 7}]})
    assert other.status_code == 409 and other.json()["type"] == "/problems/receipt-differs"
    for wrong, pointer in (
        ({"warehouse_id": "XXX"}, "/warehouse_id"),
        ({"lines": [{"sku": "nope", "quantity": 1}]}, "/lines/0"),
    ):
        answer = await floor.post("/receipts", json=body | {"receipt_id": "PO-8"} | wrong)
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == pointer


async def test_who_may_do_what(make: Any, service: Any, floor: httpx.AsyncClient, fo: str):
    """E6: without a key nothing, to read without the floor's scope, and nobody who left signs work."""
    async with client(spec, service.engine, anonymous=True) as stranger:
        assert (await stranger.get(fo)).status_code == 401
        assert (await stranger.post(f"{fo}/claim", json={"by": "pete"})).status_code == 401
    async with client(spec, service.engine, ["read"]) as office:
        assert (await office.get(fo)).status_code == 200
        assert (await office.post(f"{fo}/claim", json={"by": "pete"})).status_code == 403
    async with client(spec, service.engine, ["orders:write"]) as shop:
        assert (await shop.get(fo)).status_code == 403
    await service.hear(make.person("pete", active=False))
    gone = await floor.post(f"{fo}/claim", json={"by": "pete"})
    assert gone.status_code == 422 and gone.json()["errors"][0]["pointer"] == "/by"


async def test_a_person_signs_with_their_own_name(service: Any, floor: httpx.AsyncClient, fo: str):
    """E6: the trace cannot be forged by somebody who is signed in; a scanner's key names whoever holds it."""
    runtime = runtime_for(spec)
    token = issue_token(runtime.secrets["jwt_private_pem"], person_id="anna", name="Anna", scopes=["floor:work"])
    headers = {"Authorization": f"Bearer {token}"}
    async with client(spec, service.engine, anonymous=True, runtime=runtime, headers=headers) as anna:
        forged = await anna.post(f"{fo}/claim", json={"by": "pete"})
        assert forged.status_code == 403 and forged.json()["errors"][0]["pointer"] == "/by"
        said = [{"fulfilment_order_id": "x", "pack": {}, "by": by} for by in ("anna", "pete")]
        forged = await anna.post("/warehouses/HUL/confirmations", json={"confirmations": said})
        assert forged.status_code == 403 and forged.json()["errors"][0]["pointer"] == "/confirmations/1/by"
        assert (await anna.post(f"{fo}/claim", json={"by": "anna"})).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/fulfilment-orders/{o}-F9/claim", {"by": "pete"}, "unknown-fulfilment-order"),
        ("/transfers/{o}-T9/dispatch", {"by": "pete"}, "unknown-transfer"),
        ("/put-backs/{o}-F1-B9/confirm", {"by": "pete"}, "unknown-put-back"),
    ],
)
async def test_unknown_work_is_404(make: Any, floor: httpx.AsyncClient, path: str, body: Any, code: str):
    """E2: unknown ids, of known and unknown orders."""
    for order in (make.order, "nobody"):
        answer = await floor.post(path.format(o=order), json=body)
        assert answer.status_code == 404 and answer.json()["type"] == f"/problems/{code}"
    assert (await floor.get("/orders/nobody/fulfilment")).status_code == 404
    assert (await floor.get("/fulfilment-orders/nobody-F1")).status_code == 404


async def test_barcodes_move_with_their_products(make: Any, service: Any, floor: httpx.AsyncClient, fo: str):
    """E2: a code given up is unknown; a code taken over by another product means that one."""
    await service.hear(make.product(1, barcodes=("777",), revision=2), make.product(2, barcodes=(CODE_1,), revision=2))
    await service.hear(make.product(1, barcodes=("old",), revision=1))
    for code, status in (("777", 200), (CODE_2, 422), ("old", 422)):
        assert (await floor.post(f"{fo}/scans", json=scans((code, 1)))).status_code == status
    assert (await floor.post(f"{fo}/scans", json=scans((CODE_1, 1)))).json()["lines"][1]["picked"] == 1


async def test_the_scanner_page_loads_nothing_from_elsewhere(service: Any):
    """E2: a page for phones under a strict policy, without inline code."""
    async with client(spec, service.engine, anonymous=True) as phone:
        page = await phone.get("/scanner")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert not re.search(r"<script(?![^>]*src=)|<style| on\w+=|style=", page.text)
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert links == ["static/icon.svg", "static/scanner.css", "static/scanner.js"]
        for link in links:
            assert (await phone.get(f"/{link}")).status_code == 200
        assert 'aria-live="assertive"' in page.text and 'lang="en"' in page.text
