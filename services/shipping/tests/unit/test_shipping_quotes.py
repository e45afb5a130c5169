"""Rates that hold for other parcels too: what is asked once for a lane, when it is asked again, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from expedite_chassis.testing import runtime_for
from expedite_events import Address, Effect, WarehouseChanged, checked
from shipping.carriers import holds_of, together
from shipping.domain import custody, labels
from shipping.domain.desk import Desk
from shipping.domain.quotes import Quote, quote_of
from shipping.domain.state import OrderLeg
from shipping.main import spec
from shipping.quotes import KEPT, KEPT_AT_MOST, KeptQuotes

HOLDS = {"weight_from_g": 1001, "weight_to_g": 1500, "postcodes": "LS1"}
RATE = {
    "carrier_id": "swift-post", "quote_id": "q", "service": "EXPRESS_24", "name": "Express 24", "price": 9.8,
    "currency": "GBP", "transit_hours": 24, "insured": True, "signature": True,
}  # fmt: skip
ANSWER = {"rates": [RATE], "errors": {}, "holds_for": HOLDS}


@pytest.fixture
def kept() -> Iterator[KeptQuotes]:
    """What a process started with a setting has."""
    KEPT.valid_s = 600.0
    yield KEPT
    KEPT.valid_s = 0.0
    KEPT.clear()


def start(given: Any, desk: Desk, **more: Any) -> tuple[OrderLeg, Effect]:
    """A parcel arrives on the dock: the order, and the first step to its label."""
    decision = custody.receive(OrderLeg(order_id=given.order_id), given.packed(**more), desk, given.now)
    (effect,) = decision.effects
    return decision.state, effect


def known(given: Any, **more: Any) -> Desk:
    """A desk where the carriers quoted for a parcel like `given.packed()` forty seconds ago."""
    _, ask = start(given, given.desk())
    quote = quote_of(ask.data, ANSWER | more, given.now - timedelta(seconds=40))
    return given.desk() if quote is None else put(given.desk(), quote)


def put(desk: Desk, *quotes: Quote) -> Desk:
    return replace(desk, quotes={quote.lane: (quote,) for quote in quotes})


def address(postcode: str | None, country: str = "GB") -> Address:
    return Address(line1="2 Low Street", city="Leeds", postcode=postcode, country=country)


def to(given: Any, ship_to: Address, **more: Any) -> dict[str, Any]:
    brief = given.brief(**more)
    return {"brief": brief.put(customer=brief.customer.put(ship_to=ship_to))}


def test_a_lane_quoted_a_moment_ago_is_bought_at_once(given: Any) -> None:
    """F1: the same choice for the same reasons, and the record says how old the rates are."""
    leg, buy = start(given, known(given), weight_g=1500, **to(given, address("ls1 9zz")))
    assert (buy.kind, buy.subject) == ("buy_label", f"{given.parcel_id}#1")
    assert "cheapest of 1 service(s)" in buy.data["because"]
    assert buy.data["because"].endswith("rates quoted 40 s before for the same lane")
    assert (buy.data["carrier_id"], buy.data["offer"]["quote_id"]) == ("swift-post", "q")
    assert (buy.data["shipment"]["weight_g"], buy.data["shipment"]["to"]["postcode"]) == (1500, "ls1 9zz")
    sold = {"label_id": "lbl_1", "tracking_number": "SP1"}
    label = labels.bought(leg, given.parcel_id, sold, buy.data, given.now).state.parcels[0].label
    assert label is not None and label.chosen_because == buy.data["because"]


def test_what_the_rates_depend_on_is_asked_again_when_it_differs(given: Any) -> None:
    """F1: weight, place, box, care, day and carriers: a quote serves only the parcels it was given for."""
    desk = known(given)
    others: list[dict[str, Any]] = [
        {"weight_g": 1000},
        {"weight_g": 1501},
        {"box": "L"},
        {"valuable": True},
        {"warehouse_id": "MAN"},
        {"urgency": given.urgency(promise_by=given.now + timedelta(hours=96))},
        to(given, address("LS2 1AA")),
        to(given, address(None)),
        to(given, address("LS1 1AA", "FR")),
    ]
    assert [start(given, desk, **more)[1].kind for more in others] == ["quote_rates"] * len(others)
    swift, dash = desk.carriers
    for carriers in ((swift,), (swift, dash.put(revision=2)), (swift, dash.put(base_url="http://elsewhere"))):
        assert start(given, Desk(carriers, quotes=desk.quotes))[1].kind == "quote_rates"


@pytest.mark.parametrize(
    "answer",
    [{"holds_for": None}, {"rates": []}, {"holds_for": HOLDS | {"weight_to_g": 1100}}, {"holds_for": HOLDS | {"postcodes": "M"}}],
)  # fmt: skip
def test_a_price_for_one_parcel_serves_no_other(given: Any, answer: dict[str, Any]) -> None:
    """F1: carriers that say nothing of other parcels, offer nothing, or contradict themselves are asked each time."""
    assert start(given, known(given, **answer))[1].kind == "quote_rates"


def test_a_choice_is_made_for_each_parcel(given: Any) -> None:
    """F1, F2: rates are shared, the decision is not: another promise or preference chooses another service."""
    slow = RATE | {"service": "ECONOMY", "name": "Economy", "price": 3.2, "transit_hours": 47}
    dash = RATE | {"carrier_id": "city-dash", "service": "SAME_DAY", "price": 24}
    desk = known(given, rates=[slow, RATE, dash])
    chosen = [
        start(given, desk)[1],
        start(given, desk, urgency=given.urgency(promise_by=given.now + timedelta(hours=46)))[1],
        start(given, desk, brief=given.brief(carrier_preference="city-dash"))[1],
    ]
    assert [effect.data["offer"]["service"] for effect in chosen] == ["ECONOMY", "EXPRESS_24", "SAME_DAY"]


def test_each_parcel_is_planned_for_the_next_truck(given: Any) -> None:
    """Rates hold on, trucks leave: a parcel after the cut-off is planned for the next one. A carrier that names no
    cut-off takes each parcel at once."""
    site = checked(WarehouseChanged, {
        "warehouse_id": "LON", "name": "London", "time_zone": "Europe/London", "opens": "06:00", "closes": "22:00",
        "cut_offs": ({"carrier_id": "swift-post", "local_time": "12:00"},), "address": given.brief().customer.ship_to,
    })  # fmt: skip
    desk = Desk(given.desk().carriers, {"LON": site})
    dash = RATE | {"carrier_id": "city-dash", "service": "SAME_DAY", "price": 24}
    later = given.urgency(promise_by=given.now + timedelta(hours=72))
    for rates, preference, expected in (
        ([RATE], None, [3, 3, 27, 27]),
        ([RATE, dash], "city-dash", [0, 2, 4, 4.5]),
        ([RATE, dash], "swift-post", [3, 3, 27, 27]),
    ):
        quote = quote_of(start(given, desk, urgency=later)[1].data, ANSWER | {"rates": rates}, given.now)
        assert quote is not None
        leaving = []
        for hours in (0, 2, 4, 4.5):
            event = given.packed(brief=given.brief(carrier_preference=preference), urgency=later)
            now = given.now + timedelta(hours=hours)
            (effect,) = custody.receive(OrderLeg(order_id=given.order_id), event, put(desk, quote), now).effects
            leaving.append(datetime.fromisoformat(effect.data["offer"]["leaves_at"]) - given.now)
        assert leaving == [timedelta(hours=hours) for hours in expected], preference


def test_a_carrier_that_does_not_sell_on_old_rates_is_asked_for_new_ones(given: Any) -> None:
    """F1: old rates cost no carrier its chance; who refuses on new ones is left out."""
    desk = known(given)
    leg, buy = start(given, desk)
    one = labels.not_bought(leg, given.parcel_id, buy.subject, "price changed", buy.data, desk, given.now)
    (ask,) = one.effects
    assert (ask.kind, len(ask.data["carriers"]), one.state.parcels[0].excluded) == ("quote_rates", 2, ())
    two = labels.quoted(one.state, given.parcel_id, ask.subject, ANSWER, ask.data, desk, given.now)
    (buy,) = two.effects
    assert "rates quoted" not in buy.data["because"]
    three = labels.not_bought(two.state, given.parcel_id, buy.subject, "closed", buy.data, desk, given.now)
    assert [c["carrier_id"] for c in three.effects[0].data["carriers"]] == ["city-dash"]


def test_quotes_are_forgotten_in_time(given: Any) -> None:
    """F1: after their time, when newer ones come, and the oldest when there are too many."""
    at = [0.0]
    quotes = KeptQuotes(60, clock=lambda: at[0])

    def quote(step: int, lane: int = 1) -> Quote:
        return Quote((lane,), step, step + 1, "", (RATE,), given.now)

    quotes.keep(quote(1))
    at[0] = 30.0
    quotes.keep(quote(2))
    again = quote(2)
    quotes.keep(again)
    assert [q.weight_from_g for q in quotes.valid()[1,]] == [2, 1]
    at[0] = 60.0
    assert quotes.valid()[1,] == (again,)
    at[0] = 90.0
    assert not quotes.valid()
    for step in range(KEPT_AT_MOST + 10):
        quotes.keep(quote(0, lane=step))
    assert len(quotes.valid()) == KEPT_AT_MOST and (0,) not in quotes.valid()
    never = KeptQuotes(0)
    never.keep(quote(1))
    assert not never.valid()


def test_several_carriers_hold_together_for_what_each_holds_for() -> None:
    """F1: the lane's quote is no wider than the narrowest answer in it."""
    wide = {"weight_from_g": 1, "weight_to_g": 2000, "postcodes": ""}
    assert together([HOLDS, wide]) == HOLDS
    assert together([HOLDS, None]) is None and together([]) is None
    assert together([HOLDS, HOLDS | {"postcodes": "M"}]) is None
    assert holds_of({"holds_for": HOLDS | {"odd": 1}}) is not None
    for odd in (None, [], {"weight_from_g": 1}, HOLDS | {"weight_to_g": "?"}):
        assert holds_of({"holds_for": odd}) is None


def test_how_long_quotes_are_valid_is_a_setting(given: Any, kept: KeptQuotes, monkeypatch: Any) -> None:
    """F1: SHIPPING_QUOTE_VALID_S; ten minutes when nothing is said, 0: carriers are asked about every parcel."""
    for told, valid_s in ((None, 600.0), ("0", 0.0)):
        if told is not None:
            monkeypatch.setenv("SHIPPING_QUOTE_VALID_S", told)
        spec.bind(runtime_for(spec))  # type: ignore[misc]
        assert kept.valid_s == valid_s


async def test_the_second_parcel_of_a_lane_costs_no_question(house: Any, kept: KeptQuotes) -> None:
    """F1, F2: from the demo carriers and back: one effect less, another label, and both records are true."""
    first = await house.on_dock()
    other = "20261123-EC-000002"
    await house.hear(house.given.packed(order_id=other, parcel_id=f"{other}-P1", weight_g=1499))
    assert [call.kind for call in house.engine.pending_effects()] == ["buy_label"]
    assert (await house.api.get("/warehouses/LON/dock")).json()["items"][-1]["status"] == "labelling"
    await house.settle()
    second = (await house.api.get(f"/parcels/{other}-P1")).json()
    assert second["status"] == "ready"
    assert second["label"]["tracking_number"] != first["label"]["tracking_number"]
    assert second["label"]["cost"] == first["label"]["cost"]
    assert "before for the same lane" in second["chosen_because"]
    assert "before for the same lane" not in first["chosen_because"]
