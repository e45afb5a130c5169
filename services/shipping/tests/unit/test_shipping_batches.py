"""Rates and labels through the carriers' bulk APIs: one request for many parcels, and still one outcome each."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest

from expedite_events import Units
from expedite_messaging import EffectCall, GaveUp
from expedite_messaging.tx import uuid8
from shipping.carriers import BATCH_AT_MOST, CarrierApi, CarrierAway
from shipping.effects import PERFORMED_AT_ONCE, Performers

LABEL = {"label_id": "lbl_1", "tracking_number": "SP1", "zpl": "^XA^XZ"}
RATE = {"service": "DAY", "name": "Day", "price": "5.10", "currency": "GBP", "transit_hours": 24, "odd": "ignored"}


class Carrier:
    """A carrier's server: answers as told, remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request, Any], httpx.Response] = lambda request, body: httpx.Response(404)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answer(request, orjson.loads(request.content))

    @property
    def paths(self) -> Counter[str]:
        return Counter(request.url.path for request in self.asked)


@pytest.fixture
async def carrier() -> AsyncIterator[tuple[Carrier, Performers]]:
    server = Carrier()
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as http:
        yield server, Performers(CarrierApi(http, {"carriers": {"swift": {"api_key": "k"}}}))


def buying(count: int, **more: Any) -> list[EffectCall]:
    return [
        EffectCall(
            id=uuid8(1, str(n)), kind="buy_label", subject=f"P{n}#1", key=f"O{n}",
            data={"carrier_id": "swift", "base_url": "http://swift", "because": "", "shipment": {"parcel_id": f"P{n}"},
                  "offer": {"carrier_id": "swift", "quote_id": f"q{n}", "service": "DAY"}, **more},
        )
        for n in range(count)
    ]  # fmt: skip


def quoting(count: int, *carriers: str, **more: Any) -> list[EffectCall]:
    asked = [{"carrier_id": c, "base_url": f"http://{c}", **more} for c in carriers]
    return [
        EffectCall(id=uuid8(1, str(n)), kind="quote_rates", subject=f"P{n}#1", key=f"O{n}",
                   data={"carriers": asked, "shipment": {"parcel_id": f"P{n}"}})
        for n in range(count)
    ]  # fmt: skip


async def test_many_labels_are_one_request_with_a_key_each(carrier: tuple[Carrier, Performers]) -> None:
    """F1, F2: the effect's id is each label's idempotency key; ZPL is wanted, no page is drawn; answers keep their order."""
    server, performers = carrier
    server.answer = lambda _, body: httpx.Response(
        200, json={"results": [LABEL | {"label_id": r["idempotency_key"]} for r in body["requests"]]}
    )
    calls = buying(3)
    sold = await performers.buy(calls)
    assert server.paths == {"/labels/batch": 1}
    assert [s["label_id"] for s in sold if isinstance(s, dict)] == [str(call.id) for call in calls]
    (request,) = server.asked
    assert request.headers["authorization"] == "Bearer k"
    wished = orjson.loads(request.content)["requests"][0]
    assert (wished["quote_id"], wished["service"], wished["formats"]) == ("q0", "DAY", ["zpl"])


async def test_no_request_has_more_than_a_carrier_takes(carrier: tuple[Carrier, Performers]) -> None:
    """F1, F2: what was wanted together and does not fit one request goes in several; answers keep their order."""
    server, performers = carrier
    sizes: list[int] = []

    def answer(_: httpx.Request, body: Any) -> httpx.Response:
        sizes.append(len(body["requests"]))
        results = [LABEL | {"label_id": r["idempotency_key"]} for r in body["requests"]]
        return httpx.Response(200, json={"results": results})

    server.answer = answer
    calls = buying(PERFORMED_AT_ONCE)
    sold = await performers.buy(calls)
    assert sorted(sizes) == [100, BATCH_AT_MOST, BATCH_AT_MOST]
    assert [s["label_id"] for s in sold if isinstance(s, dict)] == [str(call.id) for call in calls]


async def test_each_label_of_a_batch_has_its_own_outcome(carrier: tuple[Carrier, Performers]) -> None:
    """F1, F5: a refusal goes to the next carrier, a busy one is tried again, the others are bought."""
    server, performers = carrier
    errors: list[Any] = [
        LABEL,
        {"error": {"status": 422, "detail": "no capacity"}},
        {"error": {"status": 503, "detail": "busy"}},
        {"error": {"status": 401, "detail": "?"}},
        {"error": "closed"},
        {"label_id": ""},
        "nonsense",
    ]
    server.answer = lambda *_: httpx.Response(200, json={"results": errors})
    sold = await performers.buy(buying(len(errors)))
    assert [type(s) for s in sold] == [dict, GaveUp, CarrierAway, GaveUp, GaveUp, GaveUp, CarrierAway]
    assert "no capacity" in str(sold[1]) and "carriers.swift.api_key" in str(sold[3]) and "closed" in str(sold[4])


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(503),
        httpx.Response(429),
        httpx.Response(200, text="?"),
        httpx.Response(200, json={"results": []}),
    ],
)
async def test_a_whole_batch_that_fails_is_tried_again(carrier: Any, response: httpx.Response) -> None:
    """F1: nobody knows what was sold; the keys make asking again safe."""
    server, performers = carrier
    server.answer = lambda *_: response
    assert {type(s) for s in await performers.buy(buying(3))} == {CarrierAway}
    assert server.paths == {"/labels/batch": 1}


async def test_an_unknown_key_ends_a_whole_batch(carrier: tuple[Carrier, Performers]) -> None:
    """F1: what to mend is named; trying again would not help."""
    server, performers = carrier
    server.answer = lambda *_: httpx.Response(401)
    assert {type(s) for s in await performers.buy(buying(3))} == {GaveUp}


@pytest.mark.parametrize("status", [404, 405, 422, 501])
async def test_a_carrier_that_refuses_batches_is_asked_one_by_one(carrier: Any, status: int) -> None:
    """F1: also when one odd parcel makes it refuse all: then that one fails alone."""
    server, performers = carrier

    def answer(request: httpx.Request, body: Any) -> httpx.Response:
        if request.url.path.endswith("/batch"):
            return httpx.Response(status)
        if body["parcel_id"] == "P1":
            return httpx.Response(422, json={"detail": "too heavy"})
        return httpx.Response(200, json=LABEL | {"label_id": request.headers["idempotency-key"]})

    server.answer = answer
    calls = buying(3)
    sold = await performers.buy(calls)
    assert server.paths == {"/labels/batch": 1, "/labels": 3}
    assert [type(s) for s in sold] == [dict, GaveUp, dict]
    assert isinstance(sold[2], dict) and sold[2]["label_id"] == str(calls[2].id)


async def test_a_carrier_without_batches_is_never_asked_for_one(carrier: tuple[Carrier, Performers]) -> None:
    """F1: its record says so (`batch: false`)."""
    server, performers = carrier
    server.answer = lambda *_: httpx.Response(200, json=LABEL)
    assert {type(s) for s in await performers.buy(buying(3, batch=False))} == {dict}
    assert server.paths == {"/labels": 3}
    server.asked.clear()
    server.answer = lambda *_: httpx.Response(200, json={"rates": [RATE]})
    await performers.quote(quoting(2, "swift", batch=False))
    assert server.paths == {"/rates": 2}


async def test_rates_of_all_carriers_come_together(carrier: tuple[Carrier, Performers]) -> None:
    """F1: one request per carrier; a carrier that fails for a parcel, or as a whole, is left out and named."""
    server, performers = carrier

    def answer(request: httpx.Request, body: Any) -> httpx.Response:
        if request.url.host == "dash":
            return httpx.Response(500)
        priced = [{"rates": [RATE]} for _ in body["requests"]]
        priced[1] = {"error": {"status": 422, "detail": "too far"}}
        return httpx.Response(200, json={"results": priced})

    server.answer = answer
    good, none, also = await performers.quote(quoting(3, "swift", "dash"))
    assert server.paths == {"/rates/batch": 2}
    assert isinstance(good, dict) and isinstance(also, dict)
    assert good["rates"] == [
        {"carrier_id": "swift", "service": "DAY", "name": "Day", "price": 5.1, "currency": "GBP", "transit_hours": 24.0}
    ]
    assert good["errors"] == {"dash": "answered 500"}
    assert isinstance(none, CarrierAway) and "too far" in str(none) and "dash" in str(none)


async def test_a_hundred_parcels_are_labelled_in_four_requests(house: Any) -> None:
    """F1, F2: from the dock to the carriers' server and back; every label is another one and can be printed."""
    count, given = 100, house.given
    for number in range(1, count + 1):
        order = f"20261123-EC-{number:06d}"
        await house.hear(given.packed(order_id=order, parcel_id=f"{order}-P1"))
    await house.settle_together()
    dock = (await house.api.get("/warehouses/LON/dock?limit=500")).json()["items"]
    assert len({parcel["tracking_number"] for parcel in dock}) == count
    assert {parcel["status"] for parcel in dock} == {"ready"}
    zpl = (await house.api.get(f"/parcels/{dock[0]['parcel_id']}/label.zpl")).text
    assert f"^FD{dock[0]['tracking_number']}^FS" in zpl


async def test_a_batch_performed_twice_sells_the_same_labels(house: Any) -> None:
    """F2: a lease ran out after the purchase: the second performer gets the same labels, nothing is paid twice."""
    for number in (1, 2):
        await house.hear(house.given.packed(parcel=number, units=Units.of(1, number, number)))
    await house.perform(house.engine.pending_effects())
    calls = house.engine.pending_effects()
    assert {call.kind for call in calls} == {"buy_label"}
    once = await house.engine.handlers.performers["buy_label"](calls)
    again = await house.engine.handlers.performers["buy_label"](calls)
    assert once == again and len(house.world.labels) == 2


async def test_the_page_of_a_label_is_fetched_once_when_asked_for(house: Any) -> None:
    """F2: no page is drawn for labels nobody looks at; a fetched one is kept, so the carrier may forget it."""
    await house.on_dock()
    address = f"/parcels/{house.given.parcel_id}/label.pdf"
    first = await house.api.get(address)
    assert first.headers["content-type"] == "application/pdf" and first.content.startswith(b"%PDF")
    house.world.profiles = {}
    assert (await house.api.get(address)).content == first.content


@pytest.mark.parametrize(
    ("url", "page", "status"),
    [
        ("/p", httpx.Response(200, content=b"%PDF-1.4"), 200),
        ("http://swift/p", httpx.Response(200, content=b"%PDF-1.4"), 200),
        ("http://elsewhere/p", httpx.Response(200, content=b"%PDF-1.4"), GaveUp),
        ("http://swift:81/p", httpx.Response(200, content=b"%PDF-1.4"), GaveUp),
        ("/p", httpx.Response(200, content=b"<html>"), GaveUp),
        ("/p", httpx.Response(404), GaveUp),
        ("/p", httpx.Response(503), CarrierAway),
    ],
)
async def test_a_page_comes_from_the_carrier_s_own_server(url: str, page: httpx.Response, status: Any) -> None:
    """F2, I5: our key goes nowhere else, and only a PDF is taken."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: page)) as http:
        api, swift = CarrierApi(http, {}), {"carrier_id": "swift", "base_url": "http://swift"}
        if status == 200:
            assert await api.page(swift, url) == b"%PDF-1.4"
        else:
            with pytest.raises(status):
                await api.page(swift, url)
