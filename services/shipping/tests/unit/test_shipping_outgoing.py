"""Addresses that planners and carriers give us (I5: SSRF, script in links)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from expedite_chassis.outgoing import guarded_transport
from expedite_messaging import GaveUp
from shipping.carriers import CarrierApi, label_of

SOLD: dict[str, Any] = {"label_id": "l-1", "tracking_number": "T1"}


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "data:text/html,x", "//evil.example", "/relative",
     'https://x/"onmouseover="x', "https://x/<script>", "https://x/\n", "file:///etc/passwd", "", "https://" + "x" * 3000],
)  # fmt: skip
def test_a_tracking_link_that_is_no_web_address_is_left_out(link: str) -> None:
    """F2, I5 (tracking addresses): the label is good all the same; customers are not sent there."""
    assert label_of(SOLD | {"tracking_url": link}) == SOLD


def test_a_web_address_is_kept() -> None:
    """F2"""
    link = "https://track.example/T1?lang=en&x=%20#top"
    assert label_of(SOLD | {"tracking_url": link})["tracking_url"] == link


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:1", "http://localhost:1", "http://169.254.169.254", "http://0177.0.0.1"]
)
async def test_a_carrier_in_our_own_network_is_not_called(base: str) -> None:
    """I5 (SSRF): rates, labels, voids and pages end for good; our key goes nowhere."""
    async with httpx.AsyncClient(transport=guarded_transport()) as http:
        api = CarrierApi(http, {"carriers": {"c": {"api_key": "secret"}}})
        carrier = {"carrier_id": "c", "base_url": base}
        with pytest.raises(GaveUp):
            await api.one(carrier, "/rates", {})
        with pytest.raises(GaveUp):
            await api.many(carrier, "/rates/batch", [{}])
        with pytest.raises(GaveUp):
            await api.void(carrier, "l-1")
        with pytest.raises(GaveUp):
            await api.page(carrier, "/l-1.pdf")


@pytest.mark.parametrize("address", ["http://evil.example/x.pdf", "http://carrier:81/x.pdf", "https://carrier/x.pdf", "http://[", "//evil.example/x.pdf",
                                     "http://carrier@evil.example/x.pdf"])  # fmt: skip
async def test_a_label_page_comes_from_its_carrier(address: str) -> None:
    """F2, I5 (label addresses): another server, scheme or port never sees our key."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(200, content=b"%PDF")

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        api = CarrierApi(http, {})
        try:
            await api.page({"carrier_id": "c", "base_url": "http://carrier"}, address)
        except GaveUp:
            assert asked == []
        else:
            assert asked == ["carrier"]


@pytest.mark.parametrize(
    "base",
    [
        "ftp://carrier",
        "http://user:pw@carrier",
        "http://carrier?x=1",
        "http://carrier#x",
        "http:\\\\carrier",
        "carrier",
    ],
)
async def test_an_odd_address_of_a_carrier_is_refused_at_once(house: Any, base: str) -> None:
    """I5 (SSRF): no credentials, queries or other schemes in the address of an API."""
    answer = await house.api.put("/carriers/odd", json={"name": "Odd", "base_url": base})
    assert answer.status_code == 422
