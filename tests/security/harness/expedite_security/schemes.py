"""Every signature scheme Expedite knows, behind one face: sign a body, send it, was it taken? Four are attacked over HTTP;
those whose formats have no route yet are attacked at their verifier, so that the first route finds them sound."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from expedite_e2e import System

from expedite_chassis import webhooks
from expedite_security.parties import PARTIES

Headers = dict[str, str]
Sign = Callable[[bytes, str, int, str], Headers]
"""(body, secret, unix time of the attempt, message id) -> headers of the signature."""


@dataclass(frozen=True)
class Scheme:
    """`signature`: the header that holds the signature. `stamped`: the time is signed. `service` and `path`: where it is
    received, or `verify` (body, headers, secrets, now) for a scheme without a route."""

    name: str
    signature: str
    sign: Sign
    party: str = ""
    service: str = ""
    path: str = ""
    body: Callable[[], bytes] = lambda: json.dumps({"id": uuid.uuid4().hex}).encode()
    headers: Headers | None = None
    stamped: bool = False
    verify: Callable[[bytes, Headers, Sequence[str], float], bool] | None = None

    @property
    def secrets(self) -> tuple[str, str]:
        return PARTIES.secrets[self.party] if self.party else ("new-secret-012345678901", "old-secret-012345678901")

    @property
    def retired(self) -> str:
        return PARTIES.retired.get(self.party, "retired-secret-0123456789")

    def signed(self, body: bytes, secret: str | None = None, at: int | None = None, message_id: str = "") -> Headers:
        """The headers of a true sender."""
        moment = int(time.time()) if at is None else at
        return self.sign(body, secret or self.secrets[0], moment, message_id or f"msg-{uuid.uuid4().hex}")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status_code: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Door:
    """Sends to where a scheme is received."""

    def __init__(self, system: System) -> None:
        self._urls = {name: urlsplit(url) for name, url in system.urls.items()}

    def send(self, scheme: Scheme, body: bytes, headers: Headers) -> Answer:
        """Send the headers byte for byte: an HTTP library with manners would refuse some of them."""
        where = self._urls[scheme.service]
        assert where.hostname
        http = HTTPConnection(where.hostname, where.port, timeout=60.0)
        try:
            http.putrequest("POST", scheme.path)
            sent = {
                "content-type": "application/json",
                "content-length": str(len(body)),
                **(scheme.headers or {}),
                **headers,
            }
            for name, value in sent.items():
                http.putheader(name, value.encode())
            http.endheaders(body)
            answer = http.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            http.close()

    def takes(self, scheme: Scheme, body: bytes, headers: Headers) -> bool:
        """Whether the message passes for genuine. Anything but a clear yes or a clear 401 without detail is an error."""
        if scheme.verify is not None:
            return scheme.verify(body, headers, scheme.secrets, time.time())
        answer = self.send(scheme, body, headers)
        if answer.status_code == 401:
            told = answer.json()
            assert told["type"] == "/problems/bad-signature"
            assert "detail" not in told and "errors" not in told  # nothing to try the next guess by
            return False
        assert answer.status_code in (200, 202), (scheme.name, answer.status_code, answer.body)
        return True


def _mac(secret: bytes, text: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret, text, algorithm).digest()


def shopify_order(**changes: Any) -> bytes:
    """A bare Shopify order of a customer nobody ordered for before."""
    number = uuid.uuid4().int % 10**13
    who = {
        "name": f"Ola {number}",
        "address1": "1 High Street",
        "city": "London",
        "zip": "SW1A 1AA",
        "country_code": "GB",
    }
    order = {
        "id": number, "name": f"#{number}", "created_at": "2026-11-23T10:00:00Z", "currency": "GBP",
        "total_price": "2.55", "financial_status": "paid", "email": f"ola{number}@example.com", "cancelled_at": None,
        "shipping_address": who, "line_items": [{"sku": "85123A", "name": "T-light", "quantity": 1, "price": "2.55"}],
    }  # fmt: skip
    return json.dumps(order | changes).encode()


def woo_order(**changes: Any) -> bytes:
    """A WooCommerce order of a customer nobody ordered for before."""
    number = uuid.uuid4().int % 10**13
    who = {"first_name": "Ola", "last_name": str(number), "address_1": "1 High Street", "city": "London",
           "postcode": "SW1A 1AA", "country": "GB", "email": f"ola{number}@example.com"}  # fmt: skip
    order = {
        "id": number, "number": str(number), "status": "processing", "currency": "GBP", "total": "2.55",
        "date_created_gmt": "2026-11-23T10:00:00", "billing": who, "shipping": who,
        "line_items": [{"id": 1, "name": "T-light", "sku": "85123A", "quantity": 1, "total": "2.55"}],
    }  # fmt: skip
    return json.dumps(order | changes).encode()


def easypost_event() -> bytes:
    token = uuid.uuid4().hex
    tracker = {"tracking_code": f"SEC{token}", "status": "in_transit", "updated_at": "2026-11-23T10:00:00Z"}
    return json.dumps({"id": f"evt_{token}", "description": "tracker.updated", "result": tracker}).encode()


def native_event() -> bytes:
    token = uuid.uuid4().hex
    return json.dumps(
        {
            "id": f"evt-{token}",
            "tracking_number": f"SEC{token}",
            "status": "in_transit",
            "occurred_at": "2026-11-23T10:00:00Z",
        }
    ).encode()


def _base64(header: str) -> Sign:
    return lambda body, secret, at, mid: {header: base64.b64encode(_mac(secret.encode(), body)).decode()}


def _woo(body: bytes, secret: str, at: int, mid: str) -> Headers:
    return {"x-wc-webhook-signature": base64.b64encode(_mac(secret.replace("&amp;", "&").encode(), body)).decode()}


def _easypost(body: bytes, secret: str, at: int, mid: str) -> Headers:
    folded = secret.replace("\u2167", "VIII")  # NFKD, written out so that the test has its own idea of it
    return {"x-hmac-signature": f"hmac-sha256-hex={_mac(folded.encode(), body).hex()}"}


def standard(body: bytes, secret: str, at: int, mid: str) -> Headers:
    """The headers of Standard Webhooks, made here by hand."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    value = base64.b64encode(_mac(key, f"{mid}.{at}.".encode() + body)).decode()
    return {"webhook-id": mid, "webhook-timestamp": str(at), "webhook-signature": f"v1,{value}"}


def _track17(body: bytes, secret: str, at: int, mid: str) -> Headers:
    return {"sign": hashlib.sha256(body + b"/" + secret.encode()).hexdigest()}


def _shippo(body: bytes, secret: str, at: int, mid: str) -> Headers:
    return {"shippo-auth-signature": f"t={at},v1={_mac(secret.encode(), f'{at}.'.encode() + body).hex()}"}


SHOPIFY = Scheme(
    "shopify", "x-shopify-hmac-sha256", _base64("x-shopify-hmac-sha256"), "sec-shopify", "order-intake",
    "/webhooks/shopify/sec-shopify", shopify_order,
    {"x-shopify-topic": "orders/create", "x-shopify-shop-domain": "sec.myshopify.com"},
)  # fmt: skip
WOO = Scheme(
    "woocommerce", "x-wc-webhook-signature", _woo, "sec-woo", "order-intake", "/webhooks/woocommerce/sec-woo", woo_order,
    {"x-wc-webhook-topic": "order.created", "x-wc-webhook-source": "https://sec.example.com"},
)  # fmt: skip
EASYPOST = Scheme(
    "easypost", "x-hmac-signature", _easypost, "sec-easypost", "shipping", "/webhooks/easypost/sec-easypost",
    easypost_event,
)  # fmt: skip
NATIVE = Scheme(
    "standard-webhooks", "webhook-signature", standard, "sec-native", "shipping", "/webhooks/native/sec-native",
    native_event, stamped=True,
)  # fmt: skip
AFTERSHIP = Scheme(
    "aftership", "aftership-hmac-sha256", _base64("aftership-hmac-sha256"),
    verify=lambda body, h, secrets, now: webhooks.verify_base64(body, h.get("aftership-hmac-sha256"), secrets),
)  # fmt: skip
TRACK17 = Scheme(
    "17track",
    "sign",
    _track17,
    verify=lambda body, h, secrets, now: webhooks.verify_track17(body, h.get("sign"), secrets),
)
SHIPPO = Scheme(
    "shippo", "shippo-auth-signature", _shippo, stamped=True,
    verify=lambda body, h, secrets, now: webhooks.verify_timestamped(
        body, h.get("shippo-auth-signature"), secrets, now
    ),
)  # fmt: skip
SCHEMES = (SHOPIFY, WOO, EASYPOST, NATIVE, AFTERSHIP, TRACK17, SHIPPO)
