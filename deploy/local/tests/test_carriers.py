"""The demo's carriers: labels that scan, stories that repeat, webhooks that arrive."""

from __future__ import annotations

import asyncio
import base64
import re
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
import zxingcpp
from fastapi import FastAPI, Request, Response

from expedite_chassis.webhooks import verify_easypost, verify_standard
from expedite_local.carriers import labels, rates
from expedite_local.carriers.app import create_app
from expedite_local.carriers.script import tell
from expedite_local.carriers.world import Clock, Remembered, World

SECRETS = {
    "webhooks": {"swift-post": "swift-secret", "city-dash": "whsec_dGVzdC1zZWNyZXQ="},
    "carriers": {"swift-post": {"api_key": "swift-key"}},
}
T0 = datetime(2026, 11, 23, 9, tzinfo=UTC)
ASK: dict[str, Any] = {
    "parcel_id": "20261123-EC-000001-P1", "weight_g": 1200,
    "from": {"country": "GB"}, "to": {"line1": "1 ^High~ Street", "city": "Łódź", "postcode": "90-001", "country": "GB"},
    "recipient": {"name": "Ada Byron"},
}  # fmt: skip


def decode(pixels: list[bytearray]) -> list[str]:
    """What a barcode reader sees in a grey image."""
    flat = b"".join(pixels)
    image = memoryview(flat).cast("B", shape=[len(pixels), len(pixels[0])])
    return [found.text for found in zxingcpp.read_barcodes(image)]


def rendered(pdf: bytes, scale: int = 4) -> list[bytearray]:
    """The filled rectangles of a page as an image: points times `scale`."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\n?endstream", pdf, re.S)
    streams = [base64.a85decode(b"<~" + s, adobe=True) if s.endswith(b"~>") else s for s in streams]
    drawn = b"".join(zlib.decompress(s) for s in streams if s[:1] == b"x").decode("latin-1")
    width, height = (float(v) * scale for v in re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", pdf).groups())  # type: ignore[union-attr]
    rows = [bytearray(b"\xff" * int(width)) for _ in range(int(height))]
    for x, y, w, h in re.findall(r"(-?[\d.]+) (-?[\d.]+) (-?[\d.]+) (-?[\d.]+) re f", drawn):
        left, right = round(float(x) * scale), round((float(x) + float(w)) * scale)
        low, high = sorted((float(y) * scale, (float(y) + float(h)) * scale))
        for row in rows[int(height - high) : int(height - low)]:
            row[left:right] = b"\x00" * (right - left)
    return rows


@pytest.mark.parametrize("number", ["SP000000000001", "CD999999999999", "SP123456789012"])
def test_the_barcode_of_a_label_decodes(number: str) -> None:
    """F2: the PDF's Code 128 and the ZPL's both carry the tracking number."""
    made = labels.make("Swift Post", "Express 24", number, labels.address_lines(ASK), labels.FORMATS)
    assert decode(rendered(base64.b64decode(made["pdf_base64"]))) == [number]
    assert f"^BCN,200,Y,N,N^FD{number}^FS" in made["zpl"]


def test_an_address_cannot_program_the_printer() -> None:
    """F2: ZPL commands in an address are printed, not obeyed; the ZPL carries the full text."""
    text = labels.make("Swift Post", "Express 24", "SP1", labels.address_lines(ASK), ["zpl"])["zpl"]
    assert "1 _5EHigh_7E Street" in text and "Łódź" in text
    assert text.count("^XA") == 1 and text.count("^XZ") == 1


class Receiver:
    """Shipping's side: checks signatures, refuses now and then, remembers what it accepted."""

    def __init__(self) -> None:
        self.app, self.accepted, self.refuse = FastAPI(), [], 0
        self.bodies: list[bytes] = self.accepted
        self.app.add_api_route("/webhooks/{kind}/{carrier}", self.take, methods=["POST"])

    async def take(self, kind: str, carrier: str, request: Request) -> Response:
        body, told = await request.body(), request.headers
        if self.refuse:
            self.refuse -= 1
            return Response(status_code=503)
        if kind == "easypost":
            good = verify_easypost(body, told.get("x-hmac-signature"), ["swift-secret"])
        else:
            stamp = told.get("webhook-timestamp")
            good = verify_standard(
                body, told.get("webhook-id"), stamp, told.get("webhook-signature"), ["whsec_dGVzdC1zZWNyZXQ="],
                float(stamp or 0),
            )  # fmt: skip
        if not good:
            return Response(status_code=401)
        self.bodies.append(body)
        return Response(status_code=200)


@pytest.fixture
async def world() -> AsyncIterator[tuple[World, Receiver, httpx.AsyncClient]]:
    receiver = Receiver()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(receiver.app)) as http:
        made = World(rates.profiles(), http, "http://shipping", SECRETS, Clock(1.0), seed=3)
        app = create_app(made, tell_stories=False)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://carriers") as carriers:
            carriers.headers["Authorization"] = "Bearer swift-key"
            yield made, receiver, carriers


async def test_a_label_is_sold_once_per_idempotency_key(world: Any) -> None:
    """F2: asking again gives the same number; another key is another label."""
    _, _, carriers = world
    body = ASK | {"service": "EXPRESS_24"}
    keys = ("key-000001", "key-000001", "key-000002")
    sold = [
        (await carriers.post("/swift-post/labels", json=body, headers={"Idempotency-Key": key})).json() for key in keys
    ]
    assert sold[0] == sold[1] and sold[0]["tracking_number"] != sold[2]["tracking_number"]
    quoted = (await carriers.post("/swift-post/rates", json=ASK)).json()["rates"]
    assert {r["service"]: r["price"] for r in quoted}["EXPRESS_24"] == sold[0]["cost"]
    voided = await carriers.post(f"/swift-post/labels/{sold[0]['label_id']}/void")
    assert voided.json()["voided"] is True


async def test_a_batch_sells_what_single_requests_sell(world: Any) -> None:
    """F1, F2: same prices, same label for the same key, and an error in the place of each request that fails."""
    _, _, carriers = world
    wish = ASK | {"service": "EXPRESS_24", "formats": ["zpl"]}
    one = await carriers.post("/swift-post/labels", json=wish, headers={"Idempotency-Key": "key-000001"})
    bad = [wish | {"service": "ROCKET", "idempotency_key": "key-000002"}, wish, {"weight_g": "?"}, "nonsense"]
    body = {"requests": [wish | {"idempotency_key": "key-000001"}, *bad]}
    sold = (await carriers.post("/swift-post/labels/batch", json=body)).json()["results"]
    assert sold[0] == one.json() and set(sold[0]) >= {"zpl", "pdf_url"} and "pdf_base64" not in sold[0]
    assert [s["error"]["status"] for s in sold[1:]] == [422] * 4 and "ROCKET" in sold[1]["error"]["detail"]
    single = (await carriers.post("/swift-post/rates", json=ASK)).json()
    rated = (await carriers.post("/swift-post/rates/batch", json={"requests": [ASK, {}]})).json()["results"]
    assert rated[0] == single and rated[1]["error"]["status"] == 422
    for nonsense in ({}, [], {"requests": 1}, {"requests": [ASK] * 201}):
        assert (await carriers.post("/swift-post/rates/batch", json=nonsense)).status_code == 422
    wrong = await carriers.post("/swift-post/labels/batch", json=body, headers={"Authorization": "Bearer x"})
    assert wrong.status_code == 401


async def test_the_page_of_a_label_is_drawn_when_asked_for(world: Any) -> None:
    """F2: the page behind `pdf_url` carries the same number, also after the carriers forgot the label."""
    made, _, carriers = world
    wish = ASK | {"service": "EXPRESS_24", "formats": ["zpl"]}
    sold = (await carriers.post("/swift-post/labels", json=wish, headers={"Idempotency-Key": "key-000001"})).json()
    made.labels.clear()
    page = await carriers.get("/swift-post" + sold["pdf_url"])
    assert page.headers["content-type"] == "application/pdf"
    assert decode(rendered(page.content)) == [sold["tracking_number"]]
    assert (await carriers.get("/swift-post/labels/x/pdf?number=1&service=NONE&printed=eA==")).status_code == 404


async def test_refusals_have_reasons(world: Any) -> None:
    """F1: unknown service, unknown carrier, wrong key, missing idempotency key."""
    _, _, carriers = world
    key = {"Idempotency-Key": "key-000001"}
    none = await carriers.post("/swift-post/labels", json=ASK | {"service": "ROCKET"}, headers=key)
    assert none.status_code == 422 and "ROCKET" in none.json()["detail"]
    assert (await carriers.post("/nobody/rates", json=ASK)).status_code == 404
    wrong = await carriers.post("/swift-post/rates", json=ASK, headers={"Authorization": "Bearer x"})
    assert wrong.status_code == 401
    assert (await carriers.post("/swift-post/labels", json=ASK | {"service": "ECONOMY"})).status_code == 422


def test_what_a_carrier_refuses_today_it_may_sell_tomorrow() -> None:
    """F1: a parcel that only one carrier takes leaves in the end; a label that was sold is never refused afterwards."""
    swift, full = rates.profiles()["swift-post"], []
    for number in range(1000):
        ask = ASK | {"parcel_id": f"P{number}"}
        try:
            rates.price_of(swift, "ECONOMY", ask, 1, T0.date())
        except rates.NoSuchService:
            full.append(ask)
    assert full
    for ask in full:
        assert rates.price_of(swift, "ECONOMY", ask, 1, None)
        days = [(T0 + timedelta(days=day)).date() for day in (1, 2, 3)]
        assert any(_sold(swift, ask, day) for day in days)


def _sold(carrier: rates.Profile, ask: dict[str, Any], day: date) -> bool:
    try:
        return bool(rates.price_of(carrier, "ECONOMY", ask, 1, day))
    except rates.NoSuchService:
        return False


async def test_rates_say_for_which_parcels_they_hold(world: Any) -> None:
    """F1: every parcel within the told bounds has the same rates, quote ids included; the next gram costs more."""
    _, _, carriers = world
    told = (await carriers.post("/swift-post/rates", json=ASK)).json()
    holds = told["holds_for"]
    assert (holds["weight_from_g"], holds["weight_to_g"], holds["postcodes"]) == (1001, 1500, "")
    for weight, same in ((1001, True), (1500, True), (1000, False), (1501, False)):
        other = ASK | {"parcel_id": "other-P1", "weight_g": weight, "to": {"postcode": "E1 1AA", "country": "GB"}}
        assert ((await carriers.post("/swift-post/rates", json=other)).json() == told) is same


async def test_a_dedicated_lane_stays_in_its_country(world: Any) -> None:
    """F6: City Dash does not cross borders; Swift Post does, dearer and slower."""
    _, _, carriers = world
    abroad = ASK | {"to": {"country": "FR"}}
    assert (await carriers.post("/city-dash/rates", json=abroad)).json()["rates"] == []
    home, away = [(await carriers.post("/swift-post/rates", json=ask)).json()["rates"][0] for ask in (ASK, abroad)]
    assert away["price"] > home["price"] and away["transit_hours"] > home["transit_hours"]


async def test_a_refused_webhook_comes_again_and_keeps_the_order_of_its_parcel(world: Any) -> None:
    """F3: retried with back-off until accepted; what follows waits for it."""
    made, receiver, carriers = world
    receiver.refuse = 3
    begun = await carriers.post("/city-dash/pickup", json={"tracking_numbers": ["CD1", "CD1"], "at": T0.isoformat()})
    assert begun.json() == {"begun": ["CD1"]}
    while number := made.take(T0 + timedelta(days=90_000)):
        await made.step(number)
    story = tell(3, "city-dash", "CD1", T0, T0 + timedelta(hours=24))
    assert made.refused == 3 and len(receiver.bodies) == len(story.sends)
    ids = [re.search(rb'"id": "([^"]+)"', body).group(1).decode() for body in receiver.bodies]  # type: ignore[union-attr]
    assert ids == [send.event_id for send in story.sends]
    assert "CD1" in made.finished and not made.active
    tracked = (await carriers.get("/city-dash/tracking/CD1")).json()
    assert len(tracked["events"]) == len(story.steps)


async def test_a_scan_by_hand_is_pushed_at_once(world: Any) -> None:
    """F3: an exception can be caused on purpose."""
    _, receiver, carriers = world
    for carrier in ("swift-post", "city-dash"):
        answer = await carriers.post(f"/{carrier}/scans", json={"tracking_number": "X1", "status": "lost"})
        assert answer.json()["accepted"] is True
    assert b'"status_detail": "lost"' in receiver.bodies[0] and b'"status": "lost"' in receiver.bodies[1]
    nonsense = await carriers.post("/swift-post/scans", json={"tracking_number": "X1", "status": "eaten"})
    assert nonsense.status_code == 422


async def test_stories_are_told_while_the_clock_runs(world: Any) -> None:
    """F3: the sender tasks follow the business clock at its speed."""
    made, receiver, _ = world
    made.clock.speed = 1e7
    for index in range(20):
        made.begin("swift-post", f"SP{index}", made.clock.now(), made.clock.now() + timedelta(hours=24))
    running = asyncio.create_task(made.run())
    while made.active:  # noqa: ASYNC110 - the suite has a time limit; nothing in the world exists only for tests
        await asyncio.sleep(0.01)
    running.cancel()
    assert len(made.finished) == 20 and len(receiver.bodies) >= 60


def test_the_same_seed_tells_the_same_story_and_every_exception_occurs() -> None:
    """F3, F4: repetitions, swaps, delays, failed attempts, losses and returns are part of every longer run."""
    stories = [tell(1, "swift-post", f"SP{n}", T0, T0 + timedelta(hours=48)) for n in range(2000)]
    assert stories[:50] == [tell(1, "swift-post", f"SP{n}", T0, T0 + timedelta(hours=48)) for n in range(50)]
    ends = Counter(story.steps[-1].native for story in stories)
    assert set(ends) == {"delivered", "lost", "returned"} and ends["delivered"] > 1800
    seen = Counter(step.native for story in stories for step in story.steps)
    assert seen["delivery_delayed"] > 50 and seen["delivery_failed"] > 50
    repeated = sum(len(s.sends) > len({x.event_id for x in s.sends}) for s in stories)
    swapped = sum([x.step for x in s.sends] != sorted(x.step for x in s.sends) for s in stories)
    assert repeated > 100 and swapped > 100
    for story in stories:
        assert list(story.steps) == sorted(story.steps, key=lambda step: step.at)
        assert {send.step for send in story.sends} == set(range(len(story.steps)))


def test_memory_is_bounded() -> None:
    """I1: a carrier that runs for weeks forgets what nobody asks for any more."""
    few = Remembered(3)
    for index in range(10):
        few[str(index)] = index
    assert list(few) == ["7", "8", "9"]
