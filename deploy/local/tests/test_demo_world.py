"""The demo world: real invoices become orders, really signed; behaviour is repeatable."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime
from importlib.resources import files

import pytest
import yaml

from expedite_chassis import webhooks
from expedite_local import seeding
from expedite_local.demo.crews import chance
from expedite_local.demo.invoices import NOT_PRODUCTS, plan, read_invoices
from expedite_local.demo.shops import cancellation, posting, signed

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
SECRETS = {"shopify": "test-secret", "woocommerce": "test-secret"}


def test_every_row_of_the_data_is_an_order_line_or_not_a_product() -> None:
    """The invoices are played as they were: no row is lost, none made up."""
    text = files("expedite_local.demo").joinpath("online_retail.csv").read_text(encoding="utf-8")
    rows = [r for r in csv.DictReader(text.splitlines()) if r["StockCode"].upper() not in NOT_PRODUCTS]
    lines = [line for invoice in read_invoices() for line in invoice.lines]
    assert len(lines) == len(rows)
    assert sum(line.quantity for line in lines) == sum(abs(int(r["Quantity"])) for r in rows)


def test_cancellations_of_the_data_become_cancellations() -> None:
    """Invoices with a C take back units of orders that were placed."""
    invoices = read_invoices()
    sold = {line.sku for i in invoices if not i.cancellation for line in i.lines}
    taken_back = [line for i in invoices if i.cancellation for line in i.lines if line.sku in sold]
    planned = [order for order in plan(62) if order.cancel_lines and order.cancel == "partial"]
    asked = Counter({
        order.lines[number - 1].sku: quantity for order in planned for number, quantity in order.cancel_lines
    })  # fmt: skip
    assert taken_back
    assert all(asked[line.sku] >= 1 for line in taken_back)


def test_the_plan_is_repeatable_and_every_kind_of_trouble_comes_early() -> None:
    """Any longer run shows whole, partial, late and repeated cancels, missing facts, urgent and unpaid orders."""
    first, again = list(plan(30)), list(plan(30))
    assert first == again
    assert list(plan(30, seed=2))[-1] != first[-1] or list(plan(90, seed=2))[-1] != list(plan(90))[-1]
    assert {o.cancel for o in first} >= {"whole", "partial", "late", "repeated"}
    assert {o.missing for o in first} >= {"postcode", "contact"}
    assert any(o.urgent for o in first)
    assert any(not o.paid for o in first)
    assert {o.format for o in first} == {"native", "shopify", "woocommerce"}
    assert len({o.reference for o in plan(500)}) == 500


def test_drawn_orders_use_only_products_of_the_seed() -> None:
    """Beyond the real invoices, SKUs come from their distribution."""
    known = {product["sku"] for product in seeding.read("products")}
    assert {line.sku for order in plan(300) for line in order.lines} <= known


@pytest.mark.parametrize("order", list(plan(9)), ids=lambda o: f"{o.format}-{o.reference}")
def test_shops_sign_what_they_send(order) -> None:  # type: ignore[no-untyped-def]
    """A1: the signature is over the exact bytes; a changed byte breaks it."""
    said = posting(order, NOW, "key", SECRETS)
    if order.format == "native":
        assert said.headers["authorization"] == "Bearer key"
        return
    header = {"shopify": "x-shopify-hmac-sha256", "woocommerce": "x-wc-webhook-signature"}[order.format]
    assert webhooks.verify_base64(said.body, said.headers[header], ["test-secret"])
    assert not webhooks.verify_base64(said.body + b" ", said.headers[header], ["test-secret"])
    resigned = signed(said, order.format, "another")
    assert not webhooks.verify_base64(said.body, resigned.headers[header], ["test-secret"])
    assert cancellation(order, NOW, SECRETS) is not None


def test_seed_files_are_what_people_meant() -> None:
    """YAML reads the country code NO as false unless it is quoted."""
    for name in ("products", "warehouses", "carriers", "people", "channels"):
        for row in seeding.read(name):
            for value in row.values():
                if isinstance(value, list):
                    assert not any(isinstance(item, bool) for item in value), (name, row)
    products = seeding.read("products")
    barcodes = [code for product in products for code in product["barcodes"]]
    assert len(set(barcodes)) == len(barcodes)
    for code in barcodes:
        digits = [int(c) for c in code]
        assert sum(d * (3 if i % 2 else 1) for i, d in enumerate(digits)) % 10 == 0, "EAN-13 check digit"
    superiors = {p["person_id"]: p.get("superior") for p in seeding.read("people")}
    assert all(s is None or s in superiors for s in superiors.values())
    assert yaml.safe_load("[NO]") == [False]


def test_opening_stock_leaves_something_short() -> None:
    """Transfers and backorders happen because the stock is as uneven as in life."""
    demand: Counter[str] = Counter()
    for order in plan(100):
        demand.update({line.sku: line.quantity for line in order.lines})
    lines = seeding.opening_stock(dict(demand), 1)
    total: Counter[str] = Counter()
    for line in lines:
        total[line["sku"]] += line["quantity"]
    short = [sku for sku, wanted in demand.items() if total[sku] < wanted]
    assert 0 < len(short) < len(demand) / 4


def test_a_coin_is_repeatable_and_fair() -> None:
    assert [chance(f"x{i}", 0.3) for i in range(50)] == [chance(f"x{i}", 0.3) for i in range(50)]
    assert 200 < sum(chance(f"y{i}", 0.3) for i in range(1000)) < 400
