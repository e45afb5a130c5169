"""Tracking webhooks over HTTP: verified, kept, applied once."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import patch

from expedite_chassis.webhooks import sign_easypost, sign_standard
from shipping import webhooks


async def test_a_webhook_faster_than_the_label_is_applied_when_the_label_arrives(house: Any) -> None:
    """F3: an unknown number is kept, answered 202, visible, and applied as soon as we know the number."""
    await house.hear(house.given.packed())
    (call,) = house.engine.pending_effects()
    await house.engine.perform(call)
    (call,) = house.engine.pending_effects()
    (sold,) = await house.engine.handlers.performers["buy_label"]([call])  # the carrier knows it, we do not yet
    scan = {
        "tracking_number": sold["tracking_number"],
        "status": "picked_up",
        "occurred_at": house.given.now.isoformat(),
    }
    body = house.scan(scan)
    early = await house.easypost(body)
    assert (early.status_code, early.json()["state"]) == (202, "unmatched")
    kept = (await house.api.get("/tracking-deliveries?state=unmatched")).json()["items"]
    assert [k["tracking_number"] for k in kept] == [sold["tracking_number"]]
    await house.settle()
    assert house.said() == ["Shipped", "ShipmentTracked"]
    assert (await house.api.get("/tracking-deliveries?state=applied")).json()["items"][0]["parcel_id"]
    assert (await house.easypost(body)).json()["duplicate"] is True
    assert house.said() == ["Shipped", "ShipmentTracked"]


async def test_a_webhook_that_slipped_between_is_found_by_the_sweep(house: Any) -> None:
    """F3: whatever order label and webhook are committed in, the job applies what was left."""
    parcel = await house.on_dock()
    number = parcel["label"]["tracking_number"]
    scan = {"tracking_number": number, "status": "picked_up", "occurred_at": house.given.now.isoformat()}
    incoming = webhooks.understand("swift-post", "easypost", house.scan(scan))

    async def work(tx: Any) -> None:
        with patch.object(webhooks, "match", return_value={}):  # decided before the parcel's row was visible
            await webhooks.settle(tx, [incoming])

    await house.engine.transact([], work)
    assert house.said() == []
    assert await webhooks.sweep(house.engine) == 1
    assert house.said() == ["Shipped", "ShipmentTracked"]
    assert await webhooks.sweep(house.engine) == 0


async def test_duplicates_are_accepted_and_change_nothing(house: Any) -> None:
    """F3: the same event id, and the same content under another id."""
    parcel = await house.handed()
    number = parcel["label"]["tracking_number"]
    scan = {"tracking_number": number, "status": "picked_up", "occurred_at": house.given.now.isoformat()}
    answers = [
        (await house.easypost(house.scan(scan, event_id))).json()["duplicate"]
        for event_id in ("evt_1", "evt_1", "evt_2")
    ]
    assert answers == [False, True, True]
    assert house.said() == ["Shipped", "ShipmentTracked"]


async def test_a_wrong_signature_is_refused_and_only_logged(house: Any) -> None:
    """F3, I5: 401, nothing stored but the delivery log, and no true event's id can be claimed that way."""
    parcel = await house.handed()
    scan = {
        "tracking_number": parcel["label"]["tracking_number"],
        "status": "x",
        "occurred_at": house.given.now.isoformat(),
    }
    body = house.scan(scan)
    good = sign_easypost(body, "swift-secret")
    attempts: list[tuple[str, bytes, dict[str, str]]] = [
        ("swift-post", body, {}),
        ("swift-post", body, {"X-Hmac-Signature": ""}),
        ("swift-post", body + b" ", {"X-Hmac-Signature": good}),
        ("swift-post", body.replace(b'": "', b'":"'), {"X-Hmac-Signature": good}),
        ("swift-post", body, {"X-Hmac-Signature": sign_easypost(body, "other")}),
        ("unknown-carrier", body, {"X-Hmac-Signature": good}),
    ]
    for carrier, sent, headers in attempts:
        answer = await house.api.post(f"/webhooks/easypost/{carrier}", content=sent, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/bad-signature")
    assert house.said() == ["Shipped"]
    logged = (await house.api.get("/tracking-deliveries")).json()["items"]
    assert {d["state"] for d in logged} == {"bad_signature"}
    assert (await house.easypost(body)).json()["state"] == "applied"


async def test_standard_webhooks_signatures(house: Any) -> None:
    """F3: the vector of formats 2.5, an old timestamp, a rotated list of signatures."""
    secret = "whsec_dGVzdC1zZWNyZXQ="
    body = b'{"id": "e1", "tracking_number": "CD1", "status": "in_transit", "occurred_at": "2026-11-23T09:00:00Z"}'
    now = int(time.time())
    signed = sign_standard(body, "msg_1", now, secret)
    rotated = signed | {"webhook-signature": "v1,AAAA " + signed["webhook-signature"]}
    old = sign_standard(body, "msg_1", now - 3600, secret)
    for headers, status in ((signed, 202), (rotated, 202), (old, 401), ({}, 401)):
        answer = await house.api.post("/webhooks/native/city-dash", content=body, headers=headers)
        assert answer.status_code == status
    vector = sign_standard(b'{"id":1001,"event":"x"}', "msg_1", 1700000000, secret)
    assert vector["webhook-signature"] == "v1,FKlYg99UYK878bfhgNtJWgXuJxDiPtX+l/mRfe7VX6Y="
    easypost = sign_easypost(b'{"id":1001,"event":"x"}', "test-secret")
    assert easypost == "hmac-sha256-hex=9ea17212aca9e2da9a650b3d2ddabca2893fb225289877cbac3f5c03380f33fa"


async def test_signed_nonsense_is_kept(house: Any) -> None:
    """F3: a valid signature is never answered 4xx; what cannot be read waits for a person."""
    answer = await house.native(b'{"id": "e1"}')
    assert (answer.status_code, answer.json()["state"]) == (202, "unreadable")
    kept = (await house.api.get("/tracking-deliveries?state=unreadable")).json()["items"]
    assert kept[0]["error"] == "tracking_number is missing" and kept[0]["body"] == '{"id": "e1"}'


async def test_a_webhook_for_a_parked_order_waits(house: Any) -> None:
    """I4: people get 409, carriers 2xx; the webhook is applied after the repair."""
    parcel = await house.handed()
    number = parcel["label"]["tracking_number"]
    house.engine.db.parked[house.given.order_id] = [object()]  # type: ignore[list-item]
    refused = await house.api.post(f"/parcels/{house.given.parcel_id}/put-back", json={"by": "eve"})
    assert refused.json()["type"] == "/problems/parked"
    scan = {"tracking_number": number, "status": "picked_up", "occurred_at": house.given.now.isoformat()}
    waiting = await house.easypost(house.scan(scan))
    assert (waiting.status_code, waiting.json()["state"]) == (202, "waiting")
    assert await webhooks.sweep(house.engine) == 0
    house.engine.db.parked.clear()
    assert await webhooks.sweep(house.engine) == 1
    assert house.said() == ["Shipped", "ShipmentTracked"]
