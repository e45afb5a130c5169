"""Verification (A3): each missing or wrong thing is named once, with where it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expedite_events import ProductChanged
from order_intake.adapters.native import NativeOrder
from order_intake.domain.channel import Channel, Counter, Policy, order_number
from order_intake.domain.content import Content, DraftLine, merged, money, normalised
from order_intake.domain.verify import customer_of, phone_of, review, unpaid, verify

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
POLICY = Policy()
PRODUCTS = {sku: ProductChanged(sku=sku, name=sku) for sku in "AB"} | {
    "OLD": ProductChanged(sku="OLD", name="OLD", active=False)
}
GB = {"line1": "1 High St", "city": "London", "postcode": "SW1Y 4LB", "country": "GB"}
ADA = {"name": "Ada", "email": "ada@example.com", "ship_to": GB}
COMPLETE: dict[str, Any] = {"channel": "web", "customer": ADA, "lines": [{"sku": "A", "quantity": 1}]}


def content(**changes: Any) -> Content:
    return normalised(NativeOrder.model_validate(COMPLETE | changes).content(NOW))


def found(**changes: Any) -> list[tuple[str, str]]:
    return [(p.field, p.code) for p in verify(content(**changes), PRODUCTS, NOW, POLICY)]


def to(**changes: Any) -> dict[str, Any]:
    return {"customer": ADA | {"ship_to": {**GB, **changes}}}


def line(**changes: Any) -> dict[str, Any]:
    return {"lines": [{"sku": "A", "quantity": 1, **changes}]}


def test_a_complete_order_has_no_problem() -> None:
    """A3: nothing is asked of an order that has everything."""
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"customer": {**ADA, "name": None}}, ("/customer/name", "name_missing")),
        ({"customer": {**ADA, "name": "  "}}, ("/customer/name", "name_missing")),
        ({"customer": {**ADA, "name": "123"}}, ("/customer/name", "name_malformed")),
        ({"customer": {**ADA, "email": None}}, ("/customer", "contact_missing")),
        ({"customer": {**ADA, "email": "ada@"}}, ("/customer/email", "email_malformed")),
        ({"customer": {**ADA, "email": None, "phone": "12"}}, ("/customer/phone", "phone_malformed")),
        ({"customer": {**ADA, "ship_to": None}}, ("/customer/ship_to", "address_missing")),
        ({"customer": {**ADA, "ship_to": {"line1": " "}}}, ("/customer/ship_to", "address_missing")),
        (to(country=None), ("/customer/ship_to/country", "country_missing")),
        (to(country="XX"), ("/customer/ship_to/country", "country_unknown")),
        (to(country="../x"), ("/customer/ship_to/country", "country_unknown")),
        (to(country="United Kingdom"), ("/customer/ship_to/country", "country_unknown")),
        (to(line1=None), ("/customer/ship_to/line1", "line1_missing")),
        (to(city=""), ("/customer/ship_to/city", "city_missing")),
        (to(postcode=None), ("/customer/ship_to/postcode", "postcode_missing")),
        (to(postcode="12345"), ("/customer/ship_to/postcode", "postcode_malformed")),
        (to(country="US", postcode="98121"), ("/customer/ship_to/region", "region_missing")),
        (to(country="DE", postcode="1234"), ("/customer/ship_to/postcode", "postcode_malformed")),
        ({"placed_at": "2026-12-24T00:00:00Z"}, ("/placed_at", "time_implausible")),
        ({"placed_at": "1970-01-01T00:00:00Z"}, ("/placed_at", "time_implausible")),
        ({"placed_at": "0001-01-01T00:00:00+14:00"}, ("/placed_at", "time_implausible")),
        ({"placed_at": "9999-12-31T23:59:59-14:00"}, ("/placed_at", "time_implausible")),
        ({"currency": "EURO"}, ("/currency", "currency_malformed")),
        ({"total": "-1"}, ("/total", "total_implausible")),
        ({"lines": []}, ("/lines", "lines_missing")),
        (line(sku="NOPE"), ("/lines/0/sku", "sku_unknown")),
        (line(sku=None), ("/lines/0/sku", "sku_missing")),
        (line(sku="OLD"), ("/lines/0/sku", "sku_inactive")),
        (line(quantity=None), ("/lines/0/quantity", "quantity_missing")),
        (line(quantity=0), ("/lines/0/quantity", "quantity_not_positive")),
        (line(quantity=-3), ("/lines/0/quantity", "quantity_not_positive")),
        (line(quantity=100_001), ("/lines/0/quantity", "quantity_too_large")),
        ({**line(unit_price="-1"), "total": "5"}, ("/lines/0/unit_price", "price_negative")),
    ],
)
def test_each_missing_or_wrong_thing_is_one_named_problem(changes: dict[str, Any], problem: tuple[str, str]) -> None:
    """A3, A4: one problem, with a JSON pointer and a stable code."""
    assert found(**changes) == [problem]


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ({"line1": "410 Cedar St", "city": "Seattle", "region": "WA", "postcode": "98121"}, "US"),
        ({"line1": "9 Ferry Lane", "city": "Toronto", "region": "ON", "postcode": "m5j 2n8"}, "CA"),
        ({"line1": "南京路 1", "city": "上海市", "region": "上海", "postcode": "200000"}, "CN"),
        ({"line1": "1 Queen's Rd", "region": "Hong Kong Island"}, "HK"),
        ({"line1": "Prosta 1", "city": "Warszawa", "postcode": "00-950"}, "pl"),
        ({"line1": "Main St", "city": "Dublin"}, "IE"),
    ],
)
def test_each_country_asks_for_what_it_needs(address: dict[str, str], country: str) -> None:
    """A3: required fields and postcode are those of the country; countries without postcodes need none."""
    assert found(customer=ADA | {"ship_to": address | {"country": country}}) == []


def test_one_valid_contact_is_enough_and_the_other_does_not_travel() -> None:
    """A3: phone or e-mail; a malformed one is left out of events, so that nobody writes to it."""
    said = content(customer=ADA | {"email": "broken@", "phone": "020 7946 0018"})
    assert verify(said, PRODUCTS, NOW, POLICY) == ()
    customer = customer_of(said)
    assert customer is not None
    assert (customer.email, customer.phone) == (None, "+442079460018")


def test_phones_are_read_in_the_country_of_delivery() -> None:
    """A3: national numbers are fine when the country is known."""
    assert phone_of("(206) 555-0142", "US") == "+12065550142"
    assert phone_of("(206) 555-0142", None) is None
    assert phone_of("1" * 500, "US") is None


def test_repeated_lines_become_one() -> None:
    """A3: the same goods at the same price are one line; another price, custom work or a bad quantity stay apart."""
    said = content(
        lines=[
            {"sku": "A", "quantity": 1, "unit_price": "2"},
            {"sku": "B", "quantity": 1},
            {"sku": " A ", "quantity": 2, "unit_price": "2.00"},
            {"sku": "A", "quantity": 1, "unit_price": "3"},
            {"sku": "A", "quantity": 0, "unit_price": "2"},
            {"sku": "A", "quantity": 1, "unit_price": "2", "custom": True},
        ]
    )
    assert [(x.line, x.sku, x.quantity) for x in said.lines] == [
        (1, "A", 3), (2, "B", 1), (3, "A", 1), (4, "A", 0), (5, "A", 1),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(-2, 5)), max_size=8))
def test_merging_loses_no_piece(lines: list[tuple[str, int]]) -> None:
    """A3: merging never changes how much of a SKU is ordered, and numbers lines 1..n."""
    drafts = [DraftLine(line=1, sku=sku, quantity=n) for sku, n in lines]
    result = merged(drafts)
    for sku in "AB":
        assert sum(x.quantity or 0 for x in result if x.sku == sku) == sum(n for s, n in lines if s == sku)
    assert [x.line for x in result] == list(range(1, len(result) + 1))


def test_reviews_are_for_custom_work_high_value_large_quantity_and_twins() -> None:
    """A5, A6: what a person must look at."""
    channel = Channel(id="web", code="EC", high_value_limit=Decimal(100))

    def codes(duplicate: str | None = None, **changes: Any) -> list[str]:
        return [p.code for p in review(content(**changes), channel, POLICY, duplicate)]

    assert codes() == []
    assert codes(tags=["定制"]) == ["custom_work"]
    assert codes(**line(custom=True)) == ["custom_work"]
    assert codes(**line(quantity=10, unit_price="10")) == ["high_value"]
    assert codes(**line(quantity=10_001)) == ["large_quantity"]
    assert codes("20261122-EC-000001") == ["suspected_duplicate"]


def test_only_an_unpaid_order_waits_for_its_payment() -> None:
    """A5"""
    assert [p.code for p in unpaid(content(payment_state="unpaid"))] == ["payment_missing"]
    assert unpaid(content(payment_state="authorized")) == ()


@pytest.mark.parametrize(
    ("changes", "urgent"),
    [
        ({}, False),
        ({"tags": [" Urgent "]}, True),
        ({"tags": ["加急"]}, True),
        ({"tags": ["rush"]}, False),
        ({"shipping_method": "next_day"}, True),
        ({"shipping_method": "ECONOMY"}, False),
    ],
)
def test_the_urgent_mark_comes_from_a_tag_or_a_mapped_method(changes: dict[str, Any], urgent: bool) -> None:
    """A3, B1: the customer's 24-hour mark."""
    assert Channel(id="web", code="EC", urgent_methods=("NEXT_DAY",)).urgent(content(**changes)) is urgent


def test_a_carrier_may_be_preferred_by_field_or_tag() -> None:
    """A3"""
    assert content(carrier_preference=" swift ").carrier_preference == "swift"
    assert content(tags=["carrier: swift-post"]).carrier_preference == "swift-post"


def test_order_numbers_carry_day_channel_and_serial() -> None:
    """A2: six digits, more when a day has more."""
    assert Counter(day="20261122", code="EC").next().number == "20261122-EC-000001"
    assert order_number("20261122", "EC", 1_234_567) == "20261122-EC-1234567"


@pytest.mark.parametrize("wrong", ["abc", "NaN", "Infinity", True, None, [], "1e30", ""])
def test_money_is_never_guessed(wrong: Any) -> None:
    """A3: an amount that is none is refused."""
    with pytest.raises(ValueError, match="not an amount"):
        money(wrong)


def test_money_keeps_its_digits() -> None:
    """Trap 9: strings and shortest floats, never binary fractions."""
    assert (money("488.97"), money(19.95), money("1E2")) == (Decimal("488.97"), Decimal("19.95"), Decimal(100))


@given(st.builds(dict, now=st.timedeltas(timedelta(0), timedelta(hours=48))))
def test_clocks_may_differ_a_little(case: dict[str, timedelta]) -> None:
    """A3: an order a little in the future is not wrong."""
    assert found(placed_at=(NOW + case["now"]).isoformat()) == []
