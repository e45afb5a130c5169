"""Choosing a service, and when the truck leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from expedite_events import Address, CarrierService, CutOff, WarehouseChanged
from shipping.domain.desk import Carrier, Desk, change, next_cut_off
from shipping.domain.selection import Offer, choose

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday


def offer(service: str, price: str, hours: int, carrier: str = "swift-post", **more: Any) -> Offer:
    return Offer(
        carrier_id=carrier, service=service, name=service.title(), price=Decimal(price), currency="GBP", leaves_at=NOW,
        arrives_at=NOW + timedelta(hours=hours), **more,
    )  # fmt: skip


ECONOMY, EXPRESS = offer("ECONOMY", "3.20", 72), offer("EXPRESS", "9.80", 24, insured=True, signature=True)
DASH = offer("SAME_DAY", "24.00", 8, "city-dash", insured=True, signature=True)


def pick(*offers: Offer, hours: int = 48, valuable: bool = False, preference: str | None = None) -> tuple[str, str]:
    choice = choose(offers, promise_by=NOW + timedelta(hours=hours), valuable=valuable, preference=preference)
    assert choice is not None
    return choice.offer.service, choice.because


@pytest.mark.parametrize(
    ("wish", "service", "because"),
    [
        ({"hours": 100}, "ECONOMY", "cheapest of 3 service(s)"),
        ({"hours": 48}, "EXPRESS", "cheapest of 2 service(s)"),
        ({"hours": 10}, "SAME_DAY", "cheapest of 1 service(s)"),
        ({"hours": 1}, "SAME_DAY", "none of 3 service(s) arrives"),
        ({"hours": 100, "valuable": True}, "EXPRESS", "insured and signed for"),
        ({"hours": 48, "preference": "city-dash"}, "SAME_DAY", "city-dash as the order prefers"),
        ({"hours": 10, "preference": "swift-post"}, "SAME_DAY", "swift-post was preferred but is too late"),
        ({"hours": 48, "preference": "nobody"}, "EXPRESS", "nobody was preferred but"),
    ],
)
def test_the_cheapest_service_that_keeps_the_promise(wish: dict[str, Any], service: str, because: str) -> None:
    """F1: deadline, cost, product and preference decide, and the record says why."""
    chosen, why = pick(ECONOMY, EXPRESS, DASH, **wish)
    assert chosen == service
    assert because in why


def test_an_unreliable_carrier_must_be_cheaper() -> None:
    """F1: reliability is weighed into the price."""
    shaky, solid = offer("A", "9.00", 24, reliability=0.7), offer("B", "10.00", 24, "city-dash", reliability=0.98)
    assert pick(shaky, solid)[0] == "B"
    assert pick(shaky._replace(price=Decimal("6.00")), solid)[0] == "A"


def test_valuables_say_when_nobody_covers_them() -> None:
    """F1: what could not be honoured is in the explanation."""
    assert "nobody offers insurance" in pick(ECONOMY, hours=100, valuable=True)[1]


def test_no_offer_no_choice() -> None:
    """F1: nothing to choose from is an answer of its own."""
    assert choose((), promise_by=NOW, valuable=False, preference=None) is None


def site(**more: Any) -> WarehouseChanged:
    base: dict[str, Any] = {
        "warehouse_id": "LON", "name": "London", "address": Address(line1="1", city="London", country="GB"),
        "time_zone": "Europe/London", "opens": "06:00", "closes": "22:00",
        "cut_offs": (CutOff(carrier_id="swift-post", local_time="17:30"),),
    }  # fmt: skip
    return WarehouseChanged(**(base | more))


@pytest.mark.parametrize(
    ("now", "leaves"),
    [
        (datetime(2026, 11, 23, 9, 0, tzinfo=UTC), datetime(2026, 11, 23, 17, 30, tzinfo=UTC)),
        (datetime(2026, 11, 23, 17, 31, tzinfo=UTC), datetime(2026, 11, 24, 17, 30, tzinfo=UTC)),
        (datetime(2026, 11, 27, 18, 0, tzinfo=UTC), datetime(2026, 11, 30, 17, 30, tzinfo=UTC)),  # over a weekend
        (datetime(2026, 7, 6, 9, 0, tzinfo=UTC), datetime(2026, 7, 6, 16, 30, tzinfo=UTC)),  # summer time
    ],
)
def test_the_next_truck_in_local_working_time(now: datetime, leaves: datetime) -> None:
    """F2: cut-offs per warehouse, in its time zone, on its working days."""
    assert next_cut_off(site(), "swift-post", now) == leaves


def test_holidays_and_unknown_carriers() -> None:
    """F2: a holiday has no truck; a carrier without a cut-off takes parcels any time."""
    closed = site(holidays=("2026-11-23",))
    assert next_cut_off(closed, "swift-post", NOW) == datetime(2026, 11, 24, 17, 30, tzinfo=UTC)
    assert next_cut_off(site(), "city-dash", NOW) is None


def test_a_truck_looked_up_before_is_the_right_one_later_and_earlier() -> None:
    """F2: what the desk remembers of trucks never outlives their departure, and holds for no earlier moment."""
    desk = Desk(sites={"LON": site()})
    for hours in (0, 8.6, 8.4, -24, 30):
        at = NOW + timedelta(hours=hours)
        assert desk.leaves_at("LON", "swift-post", at) == next_cut_off(site(), "swift-post", at)
    assert desk.leaves_at("LON", "city-dash", NOW) == NOW


def test_a_carrier_is_announced_when_it_changes() -> None:
    """F1: CarrierChanged carries services and reliability; the same word twice is no news."""
    wanted = Carrier(
        carrier_id="c", name="C", base_url="http://c",
        services=(CarrierService(code="X", name="X", transit_hours=4, base_price=Decimal(3), price_per_kg=Decimal(1)),),
    )  # fmt: skip
    first = change(None, wanted)
    assert [e.revision for e in first.events] == [1]  # type: ignore[attr-defined]
    assert change(first.state, wanted).events == ()
    assert change(first.state, wanted.put(active=False)).state.revision == 2
