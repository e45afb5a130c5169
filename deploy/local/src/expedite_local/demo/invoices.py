"""Real invoices as orders of the demo world, and more orders drawn from them.

The invoices of Online Retail (DATA.md) come first, as they were: SKUs, quantities, prices, the country of the customer;
their cancellations become cancellations. Whatever is asked for beyond them is drawn from their distribution of lines,
SKUs and quantities. Customers, contacts and addresses are made up: the data has none.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.resources import files

NOT_PRODUCTS = {"POST", "D", "C2", "M", "DOT", "BANK CHARGES", "AMAZONFEE"}
COUNTRIES = {"United Kingdom": "GB", "France": "FR", "Australia": "AU", "Netherlands": "NL", "Germany": "DE"}


@dataclass(frozen=True)
class Line:
    sku: str
    name: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True)
class Invoice:
    """One invoice: `lines` have positive quantities; a cancellation names what is taken back."""

    number: str
    customer: str
    country: str
    lines: tuple[Line, ...]
    cancellation: bool = False

    @property
    def total(self) -> Decimal:
        return sum((line.unit_price * line.quantity for line in self.lines), Decimal(0))


@dataclass(frozen=True)
class Person:
    """A made-up customer."""

    name: str
    email: str
    language: str
    level: str | None
    line1: str
    city: str
    region: str | None
    postcode: str
    country: str


@dataclass(frozen=True)
class PlannedOrder:
    """One order the feeders will post, and what its customer will do about it."""

    reference: str
    channel: str
    format: str  # native, shopify, woocommerce
    person: Person
    lines: tuple[Line, ...]
    urgent: bool = False
    custom: bool = False
    partial_shipment: bool = True
    paid: bool = True
    missing: str | None = None  # a field that is left out, so that the order is held: postcode, contact, sku
    cancel: str | None = None  # whole, partial, repeated, late
    cancel_lines: tuple[tuple[int, int], ...] = field(default=())  # line, quantity
    confirms: bool = False  # the customer confirms receipt instead of leaving it to the clock

    @property
    def total(self) -> Decimal:
        return sum((line.unit_price * line.quantity for line in self.lines), Decimal(0))


def read_invoices() -> list[Invoice]:
    """Invoices of the data file in their order, without what is not a product; several rows of a SKU stay several lines."""
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    text = files("expedite_local.demo").joinpath("online_retail.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        rows[row["InvoiceNo"]].append(row)
    invoices = []
    for number, items in rows.items():
        lines = tuple(
            Line(
                sku,
                " ".join(item["Description"].split()).title() or sku,
                abs(int(item["Quantity"])),
                Decimal(item["UnitPrice"]),
            )
            for item in items
            if (sku := item["StockCode"].strip().upper()) not in NOT_PRODUCTS and int(item["Quantity"]) != 0
        )
        if lines:
            customer = items[0]["CustomerID"] or f"guest-{number}"
            invoices.append(
                Invoice(number, customer, COUNTRIES.get(items[0]["Country"], "GB"), lines, number.startswith("C"))
            )
    return invoices


_FIRST = (
    "Anna", "Oliver", "Maya", "Noah", "Isla", "Leo", "Freya", "Arthur", "Zoe", "Hugo", "Elena", "Omar", "Ruth", "Kai",
    "Ines", "Milan", "Nora", "Felix", "Amara", "Jonas",
)  # fmt: skip
_LAST = (
    "Hartley", "Osei", "Lindqvist", "Moreau", "Nakamura", "Patel", "Whitcombe", "Okafor", "Ferreira", "Novak", "Byrne",
    "Castellano", "Haddad", "Kowalska", "Sørensen", "Dubois", "Ngata", "Van Dijk", "Brandt", "Quinn",
)  # fmt: skip
_CHINESE = ("王芳", "李伟", "张敏", "刘洋", "陈静", "杨磊", "赵婷", "黄强")
_STREETS = {
    "GB": ("High Street", "Station Road", "Church Lane", "Mill Road", "Victoria Terrace"),
    "FR": ("Rue de la République", "Avenue Jean Jaurès", "Rue Victor Hugo"),
    "AU": ("George Street", "Beach Road", "Railway Parade"),
    "NL": ("Kerkstraat", "Dorpsstraat", "Stationsweg"),
    "DE": ("Hauptstraße", "Bahnhofstraße", "Gartenweg"),
}
_TOWNS: dict[str, tuple[tuple[str, str | None, str], ...]] = {
    "GB": (("London", None, "SW1A 1AA"), ("Manchester", None, "M1 1AE"), ("Leeds", None, "LS1 4DY"),
           ("Bristol", None, "BS1 5TR"), ("Glasgow", None, "G1 1XW")),
    "FR": (("Paris", None, "75011"), ("Lyon", None, "69003"), ("Nantes", None, "44000")),
    "AU": (("Sydney", "NSW", "2000"), ("Melbourne", "VIC", "3000"), ("Brisbane", "QLD", "4000")),
    "NL": (("Amsterdam", None, "1017 AB"), ("Utrecht", None, "3511 CE")),
    "DE": (("Berlin", None, "10115"), ("Hamburg", None, "20095")),
}  # fmt: skip


def person_of(customer: str, country: str) -> Person:
    """The made-up person behind a customer number: always the same for the same number."""
    rnd = random.Random(f"person {customer} {country}")
    chinese = rnd.random() < 0.15
    name = rnd.choice(_CHINESE) if chinese else f"{rnd.choice(_FIRST)} {rnd.choice(_LAST)}"
    city, region, postcode = rnd.choice(_TOWNS[country])
    number, street = rnd.randint(1, 180), rnd.choice(_STREETS[country])
    mailbox = "".join(c for c in customer.lower() if c.isalnum())
    return Person(
        name=name, email=f"customer.{mailbox}@example.com", language="zh" if chinese else "en",
        level="diamond" if rnd.random() < 0.08 else None,
        line1=f"{number} {street}" if country in ("GB", "FR", "AU") else f"{street} {number}",
        city=city, region=region, postcode=postcode, country=country,
    )  # fmt: skip


class Drawer:
    """Draws invoices from the distribution of the real ones: how many lines, which SKUs, how many of each."""

    def __init__(self, invoices: list[Invoice], rnd: random.Random) -> None:
        sales = [i for i in invoices if not i.cancellation]
        self._rnd = rnd
        self._line_counts = [min(len(i.lines), 12) for i in sales]
        self._lines = [line for i in sales for line in i.lines]
        self._countries = [i.country for i in sales]
        self._serial = 0

    def draw(self) -> Invoice:
        self._serial += 1
        chosen: dict[str, Line] = {}
        for _ in range(self._rnd.choice(self._line_counts)):
            line = self._rnd.choice(self._lines)
            chosen.setdefault(line.sku, line)
        country = self._rnd.choice([*self._countries, "FR", "AU", "NL", "DE"])
        customer = str(20000 + self._rnd.randrange(4000))
        return Invoice(f"D{self._serial:06d}", customer, country, tuple(chosen.values()))


def _behaviour(rnd: random.Random, serial: int, count: int) -> dict[str, object]:
    """What is special about an order. Every eighth-or-so order has something; the first of each kind come early, so that
    a short run shows all of them."""
    early = {3: "whole", 5: "partial", 7: "late", 9: "repeated"}
    cancel = early.get(serial) or (
        rnd.choice(("whole", "partial", "late", "repeated")) if rnd.random() < 0.06 else None
    )
    missing = {4: "postcode", 12: "contact"}.get(serial) or (
        rnd.choice(("postcode", "contact", "sku")) if cancel is None and rnd.random() < 0.04 else None
    )
    return {
        "cancel": cancel,
        "missing": missing if cancel is None else None,
        "urgent": serial % 10 == 2 or rnd.random() < 0.08,
        "custom": serial == 14 or rnd.random() < 0.02,
        "paid": serial != 16 and rnd.random() > 0.02,
        "partial_shipment": rnd.random() > 0.25,
        "confirms": rnd.random() < 0.4,
    }


def plan(count: int, seed: int = 1) -> Iterator[PlannedOrder]:
    """`count` orders: the real invoices first, then drawn ones. Deterministic for (count, seed)."""
    rnd = random.Random(f"plan {seed}")
    invoices = read_invoices()
    sales = [i for i in invoices if not i.cancellation]
    taken_back: dict[str, dict[str, int]] = {}
    for invoice in (i for i in invoices if i.cancellation):
        # The data's cancellations name no invoice: they take back from the same customer's sale, else from a sale of
        # the same SKU, as a clerk would look for it.
        for line in invoice.lines:
            mine = [s for s in sales if line.sku in {x.sku for x in s.lines}]
            target = next((s for s in mine if s.customer == invoice.customer), mine[-1] if mine else None)
            if target:
                taken = taken_back.setdefault(target.number, {})
                taken[line.sku] = taken.get(line.sku, 0) + line.quantity
    drawer = Drawer(invoices, random.Random(f"draw {seed}"))
    for serial in range(1, count + 1):
        invoice = sales[serial - 1] if serial <= len(sales) else drawer.draw()
        special = _behaviour(rnd, serial, count)
        back = taken_back.get(invoice.number, {})
        cancel_lines = tuple((n, back[line.sku]) for n, line in enumerate(invoice.lines, 1) if line.sku in back)
        if cancel_lines:
            special |= {"cancel": "partial", "missing": None}
        elif special["cancel"] in ("partial", "repeated"):
            line_number = rnd.randint(1, len(invoice.lines))
            cancel_lines = ((line_number, rnd.randint(1, invoice.lines[line_number - 1].quantity)),)
        form = ("native", "shopify", "woocommerce")[serial % 3]
        channel = {"native": rnd.choice(("web", "dealer", "daigou", "store")), "shopify": "shopify-demo",
                   "woocommerce": "woo-demo"}[form]  # fmt: skip
        yield PlannedOrder(
            reference=f"{invoice.number}-{seed}", channel=channel, format=form,
            person=person_of(invoice.customer, invoice.country), lines=invoice.lines, cancel_lines=cancel_lines,
            **special,  # type: ignore[arg-type]
        )  # fmt: skip
