"""Shipping as a whole: events in, carriers over HTTP, scans of the crew, events out; on the in-memory engine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from expedite_chassis.testing import client
from expedite_events import OrderHeld, PriorityAssigned, Tier, UnitRange, WarehouseChanged, checked
from expedite_events.contract import model_of
from expedite_local.carriers import messages, rates
from expedite_messaging.memory import MemoryClock, MemoryEngine
from shipping import effects
from shipping.main import spec
from shipping.store import ParcelRow
from shipping.views import DockItem, DockList, HandOverResult, HandOverResults, Manifest, ManifestItem, ParcelList


def test_every_event_shipping_hears_has_a_handler() -> None:
    """I1: the catalogue is the contract."""
    assert spec.handlers.missing() == ()


async def test_a_parcel_gets_a_label_and_leaves(house: Any) -> None:
    """F1, F2: rates over HTTP, an explained choice, a label as bought, the hand-over announces Shipped once."""
    parcel = await house.on_dock()
    assert parcel["status"] == "ready"
    assert parcel["label"]["service"] == "TRACKED_48" and "cheapest of" in parcel["chosen_because"]
    dock = (await house.api.get("/warehouses/LON/dock?limit=10")).json()["items"]
    assert [(i["parcel_id"], i["action"]) for i in dock] == [(house.given.parcel_id, "hand_over")]
    zpl = await house.api.get(f"/parcels/{house.given.parcel_id}/label.zpl")
    assert parcel["label"]["tracking_number"] in zpl.text
    pdf = await house.api.get(f"/parcels/{house.given.parcel_id}/label.pdf")
    assert pdf.headers["content-type"] == "application/pdf" and pdf.content.startswith(b"%PDF")
    wrong = await house.api.post(f"/parcels/{house.given.parcel_id}/hand-over", json={"by": "bob", "scanned": "X1"})
    assert (wrong.status_code, wrong.json()["type"]) == (409, "/problems/wrong-label")
    for changed in (True, False):
        answer = await house.api.post(f"/parcels/{house.given.parcel_id}/hand-over", json={"by": "bob"})
        assert answer.json() == {"parcel_id": house.given.parcel_id, "status": "handed", "changed": changed}
    assert house.said() == ["Shipped"]
    assert (await house.api.get("/warehouses/LON/dock")).json()["items"] == []
    listed = (await house.api.get(f"/orders/{house.given.order_id}/parcels")).json()["items"]
    assert [p["parcel_id"] for p in listed] == [house.given.parcel_id]


async def test_the_dock_is_sorted_by_tier_then_truck(house: Any) -> None:
    """E1, F2: urgent first, then what must catch the earlier truck."""
    cut_offs = ({"carrier_id": "swift-post", "local_time": "17:30"}, {"carrier_id": "city-dash", "local_time": "20:00"})
    await house.hear(
        checked(
            WarehouseChanged,
            {
                "warehouse_id": "LON", "name": "London", "time_zone": "Europe/London", "opens": "06:00",
                "closes": "22:00", "cut_offs": cut_offs, "address": house.given.brief().customer.ship_to,
            }
        )
    )  # fmt: skip
    later = house.given.urgency(promise_by=house.given.now + timedelta(hours=24))
    tiers = (Tier.LOW, Tier.URGENT, Tier.REGULAR)
    for index, tier in enumerate(tiers):
        order = f"order-{index}"
        event = house.given.packed(order_id=order, parcel_id=f"{order}-P1", urgency=later.put(tier=tier))
        await house.hear(event)
    await house.settle()
    dock = (await house.api.get("/warehouses/LON/dock")).json()["items"]
    assert [i["tier"] for i in dock] == ["urgent", "regular", "low"]
    assert {i["cut_off_at"] for i in dock} == {"2026-11-23T20:00:00Z"}  # the truck it was planned for


async def test_lists_answer_what_is_described(house: Any) -> None:
    """F2: long lists are written without their models, and have every field of them all the same."""
    await house.on_dock()
    truck = {"by": "bob", "parcel_ids": [house.given.parcel_id, "nobody-P1"]}
    for model, item, method, path, body in (
        (ParcelList, model_of(ParcelRow), "GET", "/parcels", None),
        (DockList, DockItem, "GET", "/warehouses/LON/dock", None),
        (HandOverResults, HandOverResult, "POST", "/warehouses/LON/hand-overs", truck),
        (Manifest, ManifestItem, "GET", "/carriers/swift-post/manifest", None),
    ):
        answer = await house.api.request(method, path, json=body)
        model.model_validate_json(answer.content)
        told = answer.json()
        assert told.keys() == model.model_fields.keys()
        rows = told["items" if "items" in told else "results"]
        assert rows and all(row.keys() == item.model_fields.keys() for row in rows), path


async def test_a_truck_is_loaded_in_one_request(house: Any) -> None:
    """F2: each parcel of a bulk hand-over has its own answer."""
    await house.on_dock()
    body = {"by": "bob", "parcel_ids": [house.given.parcel_id, "nobody-P1"]}
    results = (await house.api.post("/warehouses/LON/hand-overs", json=body)).json()["results"]
    assert [(r["outcome"], r["code"]) for r in results] == [("handed", None), ("refused", "unknown-parcel")]
    again = (await house.api.post("/warehouses/LON/hand-overs", json=body)).json()["results"]
    assert again[0]["outcome"] == "already"
    elsewhere = (await house.api.post("/warehouses/MAN/hand-overs", json=body)).json()["results"]
    assert elsewhere[0]["code"] == "unknown-parcel"


async def test_a_cancelled_parcel_is_refused_put_back_and_its_label_voided(house: Any) -> None:
    """A8: the scan says why, the put-back answers the cancel, the carrier takes the label back."""
    parcel = await house.on_dock()
    await house.hear(house.given.cancel(), express=True)
    refused = await house.api.post(f"/parcels/{house.given.parcel_id}/hand-over", json={"by": "bob"})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/parcel-cancelled")
    dock = (await house.api.get("/warehouses/LON/dock")).json()["items"]
    assert [(i["status"], i["action"]) for i in dock] == [("put_back", "put_back")]
    done = await house.api.post(f"/parcels/{house.given.parcel_id}/put-back", json={"by": "eve"})
    assert done.json()["status"] == "cancelled"
    await house.settle()
    assert house.said() == ["UnitsCancelled"]
    assert parcel["label"]["label_id"] in house.world.voided


async def test_a_cancel_after_the_hand_over_is_refused(house: Any) -> None:
    """A8: too late, with the way out."""
    await house.handed()
    await house.hear(house.given.cancel(), express=True)
    assert house.said() == ["Shipped", "CancelRefused"]
    answer = house.engine.db.ledger[-1]
    assert "return" in answer.event.reason and answer.topic.endswith(".express")  # type: ignore[attr-defined]


async def test_a_held_parcel_is_refused_with_the_hold(house: Any) -> None:
    """A5: the crew reads which hold keeps the parcel."""
    await house.on_dock()
    await house.hear(
        checked(
            OrderHeld,
            {
                "order_id": house.given.order_id, "hold_id": "H1", "kind": "review", "owner": "ops",
                "held_at": house.given.now, "due_at": house.given.now, "received_at": house.given.now,
                "summary": {"channel": "EC"},
            }
        ),
        express=True,
    )  # fmt: skip
    refused = await house.api.post(f"/parcels/{house.given.parcel_id}/hand-over", json={"by": "bob"})
    assert refused.json()["type"] == "/problems/order-held" and "H1" in refused.json()["detail"]
    assert (await house.parcel())["status"] == "held"


async def test_without_a_carrier_the_problem_is_visible_and_tried_again(house: Any) -> None:
    """F5: no label is a state people see; a timer and a person can try again."""
    for carrier_id in rates.profiles():
        body = {"name": carrier_id, "base_url": f"http://carriers/{carrier_id}", "active": False}
        await house.api.put(f"/carriers/{carrier_id}", json=body)
    parcel = await house.on_dock()
    assert parcel["status"] == "label_failed" and "no active carrier" in parcel["problem"]
    refused = await house.api.post(f"/parcels/{house.given.parcel_id}/hand-over", json={"by": "bob"})
    assert refused.json()["type"] == "/problems/parcel-unlabelled"
    body = {"name": "Swift Post", "base_url": "http://carriers/swift-post"}
    await house.api.put("/carriers/swift-post", json=body)
    house.clock.advance(timedelta(minutes=11))
    for fired in house.engine.due():
        await house.engine.fire([fired])
    await house.settle()
    assert (await house.parcel())["status"] == "ready"
    late = await house.api.post(f"/parcels/{house.given.parcel_id}/label", json={"by": "bob"})
    assert late.json()["type"] == "/problems/label-not-failed"


async def test_a_key_the_carrier_does_not_know_is_named(house: Any) -> None:
    """F1: what went wrong and where to mend it."""
    house.world._secrets = house.world._secrets | {"carriers": {c: {"api_key": "other"} for c in rates.profiles()}}
    await house.hear(house.given.packed())
    (call,) = house.engine.pending_effects()
    (answer,) = await house.engine.handlers.performers[call.kind]([call])
    assert isinstance(answer, effects.CarrierAway) and "secrets file" in str(answer)


async def test_the_whole_way_of_many_parcels(house: Any) -> None:
    """F3, F4: the carriers tell their stories with repetitions, swaps, losses and returns; every parcel ends once."""
    count = 60
    for number in range(1, count + 1):
        units = UnitRange(line=1, first=number, last=number)
        event = house.given.packed(
            parcel=number, units=type(house.given.packed().units)([(1, units.first, units.last)])
        )
        await house.hear(event)
    await house.settle()
    ids = [f"{house.given.order_id}-P{n}" for n in range(1, count + 1)]
    answer = await house.api.post("/warehouses/LON/hand-overs", json={"by": "bob", "parcel_ids": ids})
    assert {r["outcome"] for r in answer.json()["results"]} == {"handed"}
    begun = [await house.world.look(carrier_id) for carrier_id in rates.profiles()]
    assert sum(begun) == count
    house.clock.advance(timedelta(days=20))
    while number_due := house.world.take(house.clock.now):
        await house.world.step(number_due)
    assert house.world.refused == 0 and not house.world.active
    said = house.said()
    ends = {name: said.count(name) for name in ("Delivered", "ShipmentLost", "ParcelReturned")}
    assert said.count("Shipped") == count and sum(ends.values()) == count, ends
    assert await house.world.look("swift-post") == 0
    # Told once more from the start, as after a restart of the carriers: nothing is announced twice.
    before = len(said)
    for number, steps in list(house.world.finished.items()):
        carrier = "swift-post" if number.startswith("SP") else "city-dash"
        await _tell_again(house, carrier, number, steps)
    assert len(house.said()) == before


async def _tell_again(house: Any, carrier: str, number: str, steps: Any) -> None:
    profile = rates.profiles()[carrier]
    for index in range(len(steps)):
        event_id = f"again_{number}_{index}"
        if profile.webhook_format == "easypost":
            body = messages.easypost(profile, number, steps[: index + 1], event_id, None)
        else:
            body = messages.native(number, steps[index], event_id)
        assert await house.world.push(profile, body, event_id)


async def test_a_raise_announces_the_parcel_again_on_the_express_lane(house: Any) -> None:
    """B3: the wave passes through shipping."""
    await house.handed()
    event = PriorityAssigned(
        order_id=house.given.order_id, brief=house.given.brief(), lines=(), reasons=(), assigned_at=house.given.now,
        urgency=house.given.urgency(revision=2, tier=Tier.URGENT, express=True),
    )  # fmt: skip
    await house.hear(event, express=True)
    assert [e.topic for e in house.engine.db.ledger] == ["Shipped", "Shipped.express"]
    assert (await house.parcel())["tier"] == "urgent"


async def test_bad_requests_name_the_field(house: Any) -> None:
    """F1: problems say what and where."""
    answer = await house.api.put("/carriers/x", json={"name": "X", "base_url": "ftp://x", "colour": "red"})
    assert answer.status_code == 422
    assert {e["pointer"] for e in answer.json()["errors"]} == {"/base_url", "/colour"}
    assert (await house.api.get("/parcels/none")).json()["type"] == "/problems/unknown-parcel"
    assert (await house.api.get("/orders/none/parcels")).json()["type"] == "/problems/unknown-order"
    assert (await house.api.get("/parcels/a%00b")).status_code == 404
    assert (await house.api.get("/parcels/a%20b")).status_code == 422
    nul = await house.api.post("/parcels/x/hand-over", json={"by": "a\u0000b"})
    assert nul.status_code == 422


SERVICE = {"code": "std", "name": "Standard", "transit_hours": 24, "base_price": "3.00", "price_per_kg": "1.00"}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"services": [SERVICE | {"transit_hours": 10**18}]}, "/services/0/transit_hours"),
        ({"services": [SERVICE | {"transit_hours": -1}]}, "/services/0/transit_hours"),
        ({"services": [SERVICE | {"base_price": "Infinity"}]}, "/services/0/base_price"),
        ({"services": [SERVICE | {"price_per_kg": -1}]}, "/services/0/price_per_kg"),
        ({"services": [SERVICE | {"countries": ["Germany"]}]}, "/services/0/countries/0"),
        ({"services": [SERVICE | {"speed": 1}]}, "/services/0/speed"),
        ({"names": {"en": "x" * 301}}, "/names/en"),
        ({"reliability": True}, "/reliability"),
        ({"batch": "no"}, "/batch"),
    ],
)
async def test_a_carrier_nobody_could_reckon_with_is_refused(house: Any, change: Any, pointer: str) -> None:
    """F1, I3: transit times and prices travel to services that add them to dates; beyond the calendar they would stop there."""
    body = {"name": "X", "base_url": "http://x"}
    answer = await house.api.put("/carriers/x", json=body | change)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    fine = await house.api.put("/carriers/x", json=body | {"services": [SERVICE]})
    assert fine.json()["services"][0]["transit_hours"] == 24


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0", "1e300"])
async def test_a_manifest_begins_at_a_real_time(house: Any, since: str) -> None:
    """F2: times at the ends of the calendar and numbers are refused."""
    assert (await house.api.get("/carriers/swift-post/manifest", params={"since": since})).status_code == 422


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("read", "POST", "/parcels/x/hand-over"),
        ("read", "POST", "/parcels/x/put-back"),
        ("read", "GET", "/warehouses/LON/dock"),
        ("floor:work", "PUT", "/carriers/x"),
        ("floor:work", "GET", "/parcels"),
        ("floor:work", "GET", "/tracking-deliveries"),
    ],
)
async def test_scopes(scope: str, method: str, path: str) -> None:
    """I5: people by role."""
    engine = MemoryEngine(spec.handlers, MemoryClock())
    async with client(spec, engine, [scope]) as api:
        body = {"by": "x"} if method == "POST" else {"name": "x", "base_url": "http://x"} if method == "PUT" else None
        assert (await api.request(method, path, json=body)).status_code == 403
