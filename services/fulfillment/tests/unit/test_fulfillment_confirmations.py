"""Confirmations in bulk, over an engine in memory: what conveyors and warehouse control systems get back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import orjson
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import fulfillment.confirming
from expedite_chassis.testing import client
from expedite_events import Lane, Packed, Tier, Units
from fulfillment import bodies, plain
from fulfillment.main import spec
from fulfillment.store import NOTES_PER_PAGE, TRACE

UNITS = Units.of(1, 1, 3) | Units.of(2, 1, 1)
CODE_1, CODE_2 = "5900000000001", "5900000000002"
ORDERS = [f"20261123-EC-{n:06d}" for n in range(1, 6)]
PATH = "/warehouses/HUL/confirmations"


@pytest_asyncio.fixture
async def belt(make: Any, service: Any) -> AsyncIterator[httpx.AsyncClient]:
    await service.hear(make.product(1), make.product(2), make.product(3), make.warehouse("HUL"), make.person("pete"))
    await service.hear(*(make.reserved(UNITS, order=order) for order in ORDERS))
    async with client(spec, service.engine, ["floor:work"]) as api:
        yield api


def said(order: str, *scans: tuple[str, int], fo: str = "F1", by: str = "belt-4", **more: Any) -> dict[str, Any]:
    """A confirmation of these scans, or of everything; each scan has an id made of what it says."""
    rows = scans or ((CODE_1, 3), (CODE_2, 1))
    return {
        "fulfilment_order_id": f"{order}-{fo}", "by": by, **more,
        "scans": [{"barcode": code, "quantity": n, "scan_id": f"{order}/{fo}/{code}/{n}"} for code, n in rows],
    }  # fmt: skip


async def send(belt: httpx.AsyncClient, *confirmations: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await belt.post(PATH, json={"confirmations": list(confirmations)})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def test_picked_and_packed_in_one_request(make: Any, service: Any, belt: httpx.AsyncClient):
    """E2, E3, E6: box and weight are worked out or named; the parcel is answered; everything is in the trace."""
    results = await send(
        belt,
        said(ORDERS[0], pack={}),
        said(ORDERS[1], pack={"box": "tote-9", "weight_g": 1234}),
        said(ORDERS[2]),
        {"fulfilment_order_id": f"{ORDERS[2]}-F1", "by": "bench-1", "pack": {"box": None, "weight_g": None}},
    )
    parcels = [f"{ORDERS[0]}-P1", f"{ORDERS[1]}-P1", None, f"{ORDERS[2]}-P1"]
    assert [(r["outcome"], r.get("parcel_id")) for r in results] == [("done", parcel) for parcel in parcels]
    assert [r["fulfilment_order_id"] for r in results] == [f"{ORDERS[n]}-F1" for n in (0, 1, 2, 2)]
    assert all(isinstance(e, Packed) and e.units == UNITS for e in service.said) and len(service.said) == 3
    by_order = {e.order_id: (e.box, e.weight_g, e.packed_by) for e in service.said}
    assert by_order[ORDERS[0]] == ("mailer", 4 * 200 + 40, "belt-4")
    assert by_order[ORDERS[1]] == ("tote-9", 1234, "belt-4")
    assert by_order[ORDERS[2]] == ("mailer", 4 * 200 + 40, "bench-1")
    whole = (await belt.get(f"/orders/{ORDERS[2]}/fulfilment")).json()
    assert [(t["did"], t["by"], t["quantity"]) for t in whole["trace"]] == [
        ("arrived", "expedite", 4), ("picked", "belt-4", 3), ("picked", "belt-4", 1), ("packed", "bench-1", 4),
    ]  # fmt: skip
    assert len((await belt.get("/warehouses/HUL/queue")).json()["items"]) == 2


async def test_each_confirmation_is_judged_on_its_own(make: Any, service: Any, belt: httpx.AsyncClient):
    """E2: a refused confirmation undoes no other, is refused whole, and says what the single call says."""
    await service.hear(make.held(order=ORDERS[1]), make.person("gone", active=False))
    confirmations = [
        said(ORDERS[0], pack={}),
        said(ORDERS[1], pack={}),
        said(ORDERS[2], (CODE_1, 3), (CODE_2, 2), pack={}),
        said(ORDERS[2], (CODE_1, 1), ("5900000000003", 1)),
        said(ORDERS[2], ("nonsense", 1)),
        said(ORDERS[3], by="gone"),
        said(ORDERS[3], fo="F9"),
        said("nobody-knows"),
        {"fulfilment_order_id": f"{ORDERS[3]}-F1", "by": "belt-4", "pack": {}},
        said(ORDERS[4], pack={}),
    ]
    results = await send(belt, *confirmations)
    assert [(r["outcome"], r.get("code"), r.get("expected"), r.get("pointer")) for r in results] == [
        ("done", None, None, None),
        ("refused", "held", None, None),
        ("refused", "wrong-quantity", "1", "/confirmations/2/scans/1"),
        ("refused", "wrong-item", "SKU-1 (Thing 1), SKU-2 (Thing 2)", "/confirmations/3/scans/1"),
        ("refused", "unknown-code", "SKU-1 (Thing 1), SKU-2 (Thing 2)", "/confirmations/4/scans/0"),
        ("refused", "inactive-person", None, "/confirmations/5/by"),
        ("refused", "unknown-fulfilment-order", None, None),
        ("refused", "unknown-fulfilment-order", None, None),
        ("refused", "not-picked", None, None),
        ("done", None, None, None),
    ]
    for order in (ORDERS[1], ORDERS[2], ORDERS[3]):
        assert not (await service.order(order)).fulfilment_orders[0].picked
    for number in (1, 2, 3, 4):
        alone = confirmations[number]
        path = f"/fulfilment-orders/{alone['fulfilment_order_id']}/scans"
        single = (await belt.post(path, json={"by": alone["by"], "scans": alone["scans"]})).json()
        assert single["type"] == f"/problems/{results[number]['code']}"
        assert (single["detail"], single.get("expected")) == (
            results[number]["detail"],
            results[number].get("expected"),
        )
    elsewhere = await belt.post("/warehouses/LDS/confirmations", json={"confirmations": [said(ORDERS[2])]})
    (result,) = elsewhere.json()["results"]
    assert (result["outcome"], result["code"], result["expected"]) == ("refused", "other-warehouse", "HUL")


async def test_sending_again_changes_nothing(make: Any, service: Any, belt: httpx.AsyncClient):
    """E2: the answer was lost; the same request answers the same parcels, and packs nothing that was picked since."""
    first, rest = said(ORDERS[0], (CODE_1, 2), pack={}), said(ORDERS[0], (CODE_1, 1), (CODE_2, 1), pack={})
    assert await send(belt, first) == [
        {"fulfilment_order_id": f"{ORDERS[0]}-F1", "outcome": "done", "parcel_id": f"{ORDERS[0]}-P1"}
    ]
    await send(belt, said(ORDERS[0], (CODE_1, 1)))
    again = [{"fulfilment_order_id": f"{ORDERS[0]}-F1", "outcome": "already_done", "parcel_id": f"{ORDERS[0]}-P1"}]
    assert await send(belt, first) == again and len(service.said) == 1
    (second,) = await send(belt, rest)
    assert (second["outcome"], second["parcel_id"]) == ("done", f"{ORDERS[0]}-P2")
    assert await send(belt, first) == again
    assert (await send(belt, rest))[0]["parcel_id"] == f"{ORDERS[0]}-P2"
    assert [e.units for e in service.said] == [Units.of(1, 1, 2), UNITS - Units.of(1, 1, 2)]


async def test_the_same_order_twice_in_one_request(make: Any, service: Any, belt: httpx.AsyncClient):
    """E2: later confirmations see what earlier ones of the same request did; duplicates are recognised."""
    part, rest = said(ORDERS[0], (CODE_1, 2), pack={}), said(ORDERS[0], (CODE_1, 1), (CODE_2, 1), pack={})
    results = await send(belt, part, part, rest)
    assert [(r["outcome"], r["parcel_id"][-2:]) for r in results] == [
        ("done", "P1"), ("already_done", "P1"), ("done", "P2"),
    ]  # fmt: skip
    assert len(service.said) == 2


async def test_parked_orders_wait_and_the_rest_goes_on(make: Any, service: Any, belt: httpx.AsyncClient):
    """E2: events of an order that wait for repair block its own confirmations only."""
    await service.hear(make.reserved(UNITS, "F2", order=ORDERS[1]))  # a doubled custody parks the key
    assert list(service.parked) == [ORDERS[1]]
    results = await send(belt, *(said(order, pack={}) for order in ORDERS[:3]))
    assert [(r["outcome"], r.get("code")) for r in results] == [("done", None), ("parked", "parked"), ("done", None)]
    results = await send(belt, said(ORDERS[1]))
    assert results[0]["outcome"] == "parked" and "repair" in results[0]["detail"]


async def test_a_bug_of_ours_refuses_one_confirmation(
    monkeypatch: pytest.MonkeyPatch, service: Any, belt: httpx.AsyncClient
):
    """E2: what no check foresaw fails alone; all the others are done."""
    real = fulfillment.confirming.wrapping_of

    def breaks(work: Any, *rest: Any) -> Any:
        if work.fulfilment_order_id.startswith(ORDERS[3]):
            raise ZeroDivisionError
        return real(work, *rest)

    monkeypatch.setattr(fulfillment.confirming, "wrapping_of", breaks)
    results = await send(belt, *(said(order, pack={}) for order in ORDERS))
    assert [(r["outcome"], r.get("code")) for r in results] == [
        ("refused", "internal") if order == ORDERS[3] else ("done", None) for order in ORDERS
    ]
    assert len(service.said) == 4 and not (await service.order(ORDERS[3])).fulfilment_orders[0].picked


async def test_urgent_parcels_of_a_mixed_request_leave_on_the_express_lane(
    make: Any, service: Any, belt: httpx.AsyncClient
):
    """B3, E2: each parcel travels on the lane of its own order."""
    urgent = make.urgency(Tier.URGENT, express=True)
    await service.hear(make.reserved(UNITS, order="20261123-EC-000009", urgency=urgent), lane=Lane.EXPRESS)
    await send(belt, said(ORDERS[0], pack={}), said("20261123-EC-000009", pack={}))
    assert {e.event.order_id[-1]: e.lane for e in service.engine.db.ledger} == {
        "1": Lane.STANDARD, "9": Lane.EXPRESS,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("confirmations", "pointer"),
    [
        ([], "/confirmations"),
        ([said("x")] * 501, "/confirmations"),
        ([{"fulfilment_order_id": "x", "by": "b"}], "/confirmations/0"),
        ([{"fulfilment_order_id": "x", "pack": {}}], "/confirmations/0/by"),
        ([{"fulfilment_order_id": "x", "by": "b", "pack": {"size": 1}}], "/confirmations/0/pack/size"),
        ([{"fulfilment_order_id": "x", "by": "b", "scans": [{"sku": "a"}]}], "/confirmations/0/scans/0/scan_id"),
    ],
)
async def test_malformed_requests_name_the_field(belt: httpx.AsyncClient, confirmations: Any, pointer: str):
    """E2: a request that cannot be understood is refused whole: scans without an id, nothing to confirm, too many."""
    answer = await belt.post(PATH, json={"confirmations": confirmations})
    assert answer.status_code == 422 and pointer in [e["pointer"] for e in answer.json()["errors"]]


async def test_master_data_learned_is_used_at_once(make: Any, service: Any, belt: httpx.AsyncClient):
    """E2: copies kept in the process give way to what the process learns."""
    (refused,) = await send(belt, said(ORDERS[0], ("777", 3)))
    assert refused["code"] == "unknown-code"
    await service.hear(make.product(1, barcodes=("777",), revision=2))
    (done,) = await send(belt, said(ORDERS[0], ("777", 3)))
    assert done["outcome"] == "done"
    (refused,) = await send(belt, said(ORDERS[1], (CODE_1, 3)))
    assert refused["code"] == "unknown-code"
    (item, *_) = (await belt.get("/warehouses/HUL/queue")).json()["items"]
    assert item["lines"][0]["barcodes"] == ["777"]


async def test_the_trace_of_many_scans_is_whole(make: Any, service: Any, belt: httpx.AsyncClient):
    """E6: full pages of the trace are put away, so that an order of many scans stays small; nothing is lost of it."""
    order, pieces = "20261123-EC-000008", 2 * NOTES_PER_PAGE + 10
    await service.hear(make.reserved(Units.of(1, 1, pieces), order=order))
    for number in range(pieces):
        scan = {"barcode": CODE_1, "scan_id": f"piece-{number:04d}"}
        body = {"fulfilment_order_id": f"{order}-F1", "by": f"belt-{number}", "scans": [scan]}
        assert (await send(belt, body))[0]["outcome"] == "done"
    assert len((await service.order(order)).notes) <= NOTES_PER_PAGE
    assert len(await service.engine.read(lambda tx: tx.find(TRACE, {"order_id": order}))) == 2
    trace = (await belt.get(f"/fulfilment-orders/{order}-F1")).json()["trace"]
    assert [t["by"] for t in trace] == ["expedite", *(f"belt-{n}" for n in range(pieces))]


async def test_the_api_describes_the_bulk_call(belt: httpx.AsyncClient):
    """E2: who connects a conveyor finds the call, its limits and its results in the OpenAPI document."""
    api = (await belt.get("/openapi.json")).json()
    call = api["paths"]["/warehouses/{warehouse_id}/confirmations"]["post"]
    assert "ConfirmationResults" in str(call["responses"]["200"])
    assert api["components"]["schemas"]["ConfirmationsBody"]["properties"]["confirmations"]["maxItems"] == 500


TEXTS = st.one_of(
    st.sampled_from(["", "a", "a b", " a", "a ", "\t", 'a"b', "a\\", "\u00a0a", "ü", "\x00", "x" * 7, "x" * 8]),
    st.builds("y".__mul__, st.sampled_from([40, 41, 64, 65, 100, 101, 128, 129])),
)
VALUES = st.one_of(
    TEXTS, st.sampled_from([None, True, -1, 0, 1, 2.0, 1.5, 100_000, 100_001, 5_000_000, 5_000_001, [], {}])
)


def _some(fields: dict[str, Any], **usual: Any) -> st.SearchStrategy[dict[str, Any]]:
    """The usual object with some fields set otherwise, or left out."""
    odd = st.dictionaries(st.sampled_from([*fields, "odd"]), VALUES, max_size=1)
    gone = st.sets(st.sampled_from(list(fields)), max_size=1)
    made = st.fixed_dictionaries({name: usual.get(name, st.just(value)) for name, value in fields.items()})
    return st.builds(lambda m, o, g: {k: v for k, v in {**m, **o}.items() if k not in g}, made, odd, gone)


SCANS = _some({"sku": "SKU-1", "quantity": 2, "scan_id": "scan-0001"})
PACKS = _some({"box": "tote-9", "weight_g": 12})
SAID = _some(
    {"fulfilment_order_id": "x-F1", "by": "belt", "scans": [], "pack": {}},
    scans=st.lists(SCANS, max_size=2),
    pack=PACKS,
)
BODIES = _some({"confirmations": []}, confirmations=st.lists(SAID, max_size=2))


@given(BODIES)
def test_what_is_read_at_once_is_read_alike(body: dict[str, Any]) -> None:
    """E2: the fast way of reading takes nothing that the model refuses, and finds the same in the rest."""
    read = plain.read_plain(orjson.dumps(body))
    if read is not None:
        model = bodies.ConfirmationsBody.model_validate(body)
        assert msgspec.to_builtins(read) == model.model_dump()
        first, same = read.confirmations[0], model.confirmations[0]
        assert [scan.code for scan in first.scans] == [scan.code for scan in same.scans]
        return
    try:
        model = bodies.ConfirmationsBody.model_validate(body)
    except ValidationError:
        return
    assert not orjson.dumps(body).isascii() or any(s in orjson.dumps(body) for s in (b"\\", b'" ', b' "'))


def test_the_usual_call_is_read_at_once() -> None:
    """E2: what conveyors send is plain, and what is read so has the fields of the models."""
    assert plain.read_plain(orjson.dumps({"confirmations": [said(order, pack={}) for order in ORDERS]}))
    for model, read in (
        (bodies.ConfirmationsBody, plain.PlainConfirmations), (bodies.Confirmation, plain.PlainConfirmation),
        (bodies.KnownScan, plain.PlainScan), (bodies.Wrapped, plain.PlainWrapped),
    ):  # fmt: skip
        assert set(read.__struct_fields__) == set(model.model_fields)


@pytest.mark.parametrize("form", [orjson.dumps, lambda body: orjson.dumps(body, option=orjson.OPT_INDENT_2)])
async def test_a_call_is_taken_however_it_is_written(belt: httpx.AsyncClient, form: Any):
    """E2: compact or laid out, the call is the same."""
    body = form({"confirmations": [said(ORDERS[0], pack={})]})
    answer = await belt.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["results"][0]["outcome"] == "done"
