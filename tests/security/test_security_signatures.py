"""Webhooks that are not what they say (checklist "Webhooks"; matrix 30). Each attack against every scheme; the genuine
message is taken in each test beside the false one, so that a door that is simply closed proves nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable

import pytest
from expedite_e2e import System
from expedite_security.parties import PARTIES
from expedite_security.schemes import (
    EASYPOST,
    NATIVE,
    SCHEMES,
    SHIPPO,
    SHOPIFY,
    WOO,
    Door,
    Headers,
    Scheme,
    shopify_order,
    standard,
)

each = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
received = pytest.mark.parametrize("scheme", [SHOPIFY, WOO, EASYPOST, NATIVE], ids=lambda scheme: scheme.name)


@pytest.fixture(scope="module")
def door(system: System) -> Door:
    return Door(system)


Change = Callable[[Scheme, Headers], str]
FALSE_SIGNATURES: dict[str, Change] = {
    "empty": lambda scheme, h: "",
    "blank": lambda scheme, h: "   ",
    "cut short": lambda scheme, h: h[scheme.signature][:-4],
    "one character more": lambda scheme, h: h[scheme.signature] + "A",
    "last character changed": lambda scheme, h: h[scheme.signature][:-3] + ("A" if h[scheme.signature][-3] != "A" else "B") + h[scheme.signature][-2:],
    "upper case": lambda scheme, h: h[scheme.signature].upper(),
    "letters of another script": lambda scheme, h: h[scheme.signature].replace("a", "\u0430").replace("A", "\u0410") + "\u0430",
    "null": lambda scheme, h: "null",
    "one and a half": lambda scheme, h: h[scheme.signature] + h[scheme.signature][:20],
}  # fmt: skip


@each
@pytest.mark.parametrize("change", FALSE_SIGNATURES.values(), ids=FALSE_SIGNATURES.keys())
def test_a_changed_signature_is_refused(door: Door, scheme: Scheme, change: Change) -> None:
    """I5 (checklist: every signature compared whole, in constant time; odd charsets)."""
    body = scheme.body()
    headers = scheme.signed(body)
    assert not door.takes(scheme, body, headers | {scheme.signature: change(scheme, headers)})
    assert door.takes(scheme, body, headers)


@each
def test_without_a_signature_nothing_is_taken(door: Door, scheme: Scheme) -> None:
    """I5: a missing header is simply not valid."""
    body = scheme.body()
    headers = scheme.signed(body)
    for name in headers:
        assert not door.takes(scheme, body, {n: v for n, v in headers.items() if n != name})


CHANGED_BODIES: dict[str, Callable[[bytes], bytes]] = {
    "one byte": lambda body: body[:-3] + bytes([body[-3] ^ 1]) + body[-2:],
    "cut short": lambda body: body[:-1],
    "empty": lambda body: b"",
    "written again": lambda body: json.dumps(json.loads(body), separators=(",", ":")).encode(),
    "a space more": lambda body: body + b" ",
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
}


@each
@pytest.mark.parametrize("change", CHANGED_BODIES.values(), ids=CHANGED_BODIES.keys())
def test_a_changed_body_is_refused(door: Door, scheme: Scheme, change: Callable[[bytes], bytes]) -> None:
    """I5 (checklist: over the raw bytes; forged, truncated)."""
    body = scheme.body()
    headers = scheme.signed(body)
    assert not door.takes(scheme, change(body), headers)
    assert door.takes(scheme, body, headers)


@each
def test_both_secrets_of_a_rotation_are_good_and_the_retired_one_is_not(door: Door, scheme: Scheme) -> None:
    """I5 (checklist: two active during rotation, every signature x every active secret)."""
    for secret in scheme.secrets:
        body = scheme.body()
        assert door.takes(scheme, body, scheme.signed(body, secret))
    body = scheme.body()
    for secret in (scheme.retired, scheme.secrets[0].swapcase(), "", "null"):
        assert not door.takes(scheme, body, scheme.sign(body, secret, int(time.time()), "m-1"))


@pytest.mark.parametrize("scheme", [NATIVE, SHIPPO], ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("late_s", [-100_000, -330, 330, 100_000])
def test_a_stale_or_early_message_is_refused(door: Door, scheme: Scheme, late_s: int) -> None:
    """I5 (checklist: 300 seconds on the attempt's time): genuine, but not of now."""
    body = scheme.body()
    assert not door.takes(scheme, body, scheme.signed(body, at=int(time.time()) + late_s))
    assert door.takes(scheme, body, scheme.signed(body, at=int(time.time()) - 200))


STAMPS = [
    "+{at}",
    " {at}",
    "{at} ",
    "0x6a",
    "1e9",
    "-1",
    "",
    "{at}.0",
    "{at}.",
    "\u0661\u0662\u0663",
    "{at}" + "0" * 400,
    "NaN",
]


@pytest.mark.parametrize("stamp", STAMPS, ids=range(len(STAMPS)))
def test_only_a_plain_number_is_a_time(door: Door, stamp: str) -> None:
    """I5 (`.` injection, odd charset in the timestamp): even when the sender signed exactly that text."""
    body, at, secret = NATIVE.body(), int(time.time()), NATIVE.secrets[0]
    text = stamp.format(at=at)
    signed = base64.b64encode(_mac(secret, f"m-1.{text}.".encode() + body)).decode()
    # A server that trims a header sees the plain number: then the signature must not fit.
    assert not door.takes(
        NATIVE, body, {"webhook-id": "m-1", "webhook-timestamp": text, "webhook-signature": f"v1,{signed}"}
    )
    pair = hmac.new(SHIPPO.secrets[0].encode(), f"{text}.".encode() + body, "sha256").hexdigest()
    assert not door.takes(SHIPPO, body, {"shippo-auth-signature": f"t={text},v1={pair}"})


def _mac(secret: str, text: bytes) -> bytes:
    return hmac.new(base64.b64decode(secret.removeprefix("whsec_")), text, hashlib.sha256).digest()


IDS = ["a.b", "a.", ".a", ".", "", " ", "a b", "\u0430bc", "a/b", "a\tb", "a" * 257, "{", "a%2e1"]


@pytest.mark.parametrize("message_id", IDS, ids=range(len(IDS)))
def test_an_id_that_could_shift_the_signed_text_is_refused(door: Door, message_id: str) -> None:
    """I5 (`.` injection in the id, id charset): even when the sender signed exactly that id."""
    body, at, secret = NATIVE.body(), int(time.time()), NATIVE.secrets[0]
    headers = standard(body, secret, at, message_id)
    assert not door.takes(NATIVE, body, headers)
    assert door.takes(NATIVE, body, standard(body, secret, at, "a-b_1"))


def test_the_signed_text_cannot_be_divided_otherwise(door: Door) -> None:
    """I5 (`.` injection): with a genuine signature, the dots between id, time and body are moved every way there is."""
    at, secret = int(time.time()), NATIVE.secrets[0]
    body = f"{at}.{at}.{{}}.1.2".encode()  # no JSON: it is kept as unreadable, once its signature is good
    genuine = standard(body, secret, at, "m1")
    text = b"m1." + str(at).encode() + b"." + body
    dots = [i for i in range(len(text)) if text[i : i + 1] == b"."]
    for first in dots:
        for second in (d for d in dots if d > first):
            parts = text[:first].decode(), text[first + 1 : second].decode(), text[second + 1 :]
            if parts == ("m1", str(at), body):
                continue
            shifted = genuine | {"webhook-id": parts[0], "webhook-timestamp": parts[1]}
            assert not door.takes(NATIVE, parts[2], shifted)
    # Nothing before the body: what is in the body now was id and time.
    assert not door.takes(NATIVE, text, genuine)
    assert door.takes(NATIVE, body, genuine)


def test_the_sender_does_not_choose_the_algorithm(door: Door) -> None:
    """I5 (checklist: unknown version ignored, the sender never picks the algorithm): weaker or none, named by the sender
    and made with the right secret."""
    body, at = NATIVE.body(), int(time.time())
    genuine = standard(body, NATIVE.secrets[0], at, "m1")
    value = genuine["webhook-signature"].removeprefix("v1,")
    key = base64.b64decode(NATIVE.secrets[0].removeprefix("whsec_"))
    text = f"m1.{at}.".encode() + body
    sha1 = base64.b64encode(hmac.new(key, text, "sha1").digest()).decode()
    plain = base64.b64encode(hashlib.sha256(text).digest()).decode()
    for said in (f"v0,{value}", f"v1a,{value}", f"v2,{value}", f"none,{value}", "none,", "v1,", value, f"V1,{value}",
                 f"v1={value}", f"v1,{sha1}", f"v1,{plain}", f"v1;alg=sha256,{value}"):  # fmt: skip
        assert not door.takes(NATIVE, body, genuine | {"webhook-signature": said}), said
    body = EASYPOST.body()
    secret = EASYPOST.secrets[1].encode()
    for name in ("sha1", "md5", "sha512"):
        said = f"hmac-{name}-hex={hmac.new(secret, body, name).hexdigest()}"
        assert not door.takes(EASYPOST, body, {"x-hmac-signature": said})
    assert not door.takes(EASYPOST, body, {"x-hmac-signature": hmac.new(secret, body, "sha256").hexdigest()})
    body = SHOPIFY.body()
    said = hmac.new(SHOPIFY.secrets[0].encode(), body, "sha256").hexdigest()  # right, but written as hexadecimal
    assert not door.takes(SHOPIFY, body, {SHOPIFY.signature: said})
    body = SHIPPO.body()
    stamped = SHIPPO.signed(body)["shippo-auth-signature"]
    for said in (stamped.replace("v1=", "v0="), stamped.replace("v1=", "v2="), stamped.replace("t=", "T=")):
        assert not door.takes(SHIPPO, body, {"shippo-auth-signature": said})


def test_one_good_signature_among_several_is_enough_but_not_among_thousands(door: Door) -> None:
    """I5 (checklist: every signature x every active secret): the second one counts; the number tried has an end."""
    body, at = NATIVE.body(), int(time.time())
    genuine = standard(body, NATIVE.secrets[1], at, "m1")
    good, bad = genuine["webhook-signature"], "v1," + "A" * 43 + "="
    for several in (f"{bad} {good}", f"v9,x {good}", f"{good} {bad}", f"v1a,{good[3:]} {bad} {good}"):
        assert door.takes(NATIVE, body, genuine | {"webhook-signature": several})
    assert not door.takes(NATIVE, body, genuine | {"webhook-signature": f"{bad} {bad}"})
    assert not door.takes(NATIVE, body, genuine | {"webhook-signature": f"{bad} " * 100 + good})
    body = SHIPPO.body()
    stamped = SHIPPO.signed(body)["shippo-auth-signature"]
    stamp, _, value = stamped.partition(",")
    assert door.takes(SHIPPO, body, {"shippo-auth-signature": f"{stamp},v1={'0' * 64},{value}"})
    assert not door.takes(SHIPPO, body, {"shippo-auth-signature": f"{stamp}," + f"v1={'0' * 64}," * 100 + value})


def test_a_secret_opens_its_own_endpoint_only(door: Door) -> None:
    """I5 (checklist: secret per carrier endpoint; the carrier comes from the URL): signed truly, but for another door."""
    body = shopify_order()
    other = SHOPIFY.sign(body, PARTIES.secrets["sec-shopify-2"][0], 0, "")
    assert not door.takes(SHOPIFY, body, other)
    body = NATIVE.body()
    assert not door.takes(NATIVE, body, standard(body, PARTIES.secrets["sec-native-2"][0], int(time.time()), "m1"))
    for path in ("/webhooks/native/nobody", "/webhooks/native/sec-shopify", "/webhooks/easypost/sec-native"):
        answer = door.send(Scheme("", "", standard, "sec-native", "shipping", path), body, NATIVE.signed(body))
        assert answer.status_code in (401, 404), path


@received
def test_a_replay_is_recognised(door: Door, scheme: Scheme) -> None:
    """I5, F3, A6 (checklist: dedup row in the effect's transaction; duplicates get 2xx): the same message, five times."""
    body = scheme.body()
    headers = scheme.signed(body)
    if scheme is SHOPIFY:
        headers |= {"x-shopify-webhook-id": "replayed-1"}
    answers = [door.send(scheme, body, headers) for _ in range(5)]
    assert {answer.status_code for answer in answers} <= {200, 202}
    told = [answer.json() for answer in answers]
    if scheme.service == "shipping":
        assert len({answer["delivery_id"] for answer in told}) == 1
        assert [answer["duplicate"] for answer in told] == [False, True, True, True, True]
    else:
        assert len({answer["order_id"] for answer in told}) == 1
        assert [answer["verdict"] for answer in told] == ["accepted", *["duplicate"] * 4]


def test_headers_nobody_signed_change_nothing_that_matters(door: Door, system: System) -> None:
    """I5, A6 (replayed): Shopify signs the body alone. A true order replayed under another delivery id, topic or shop
    neither ships a second time nor cancels what it ordered."""
    body = shopify_order()
    headers = SHOPIFY.signed(body)
    first = door.send(SHOPIFY, body, headers | {"x-shopify-webhook-id": "a"}).json()
    assert first["verdict"] == "accepted"
    again = door.send(SHOPIFY, body, headers | {"x-shopify-webhook-id": "b"}).json()
    assert (again["verdict"], again["order_id"]) == ("duplicate", first["order_id"])
    cancelled = door.send(SHOPIFY, body, headers | {"x-shopify-webhook-id": "c", "x-shopify-topic": "orders/cancelled"})
    assert cancelled.json()["verdict"] == "needs-mapping"
    elsewhere = door.send(
        SHOPIFY, body, headers | {"x-shopify-webhook-id": "d", "x-shopify-shop-domain": "evil.example"}
    )
    with system.client("order-intake") as intake:
        order = intake.get(f"/orders/{first['order_id']}").json()
        assert (order["state"] != "cancelled", order["cancels"]) == (True, [])
        other = elsewhere.json()["order_id"]
        if other != first["order_id"]:
            twin = intake.get(f"/orders/{other}").json()
            assert (twin["state"], twin["duplicate_of"]) == ("held", first["order_id"])


def test_forgeries_fill_no_disk(door: Door, system: System) -> None:
    """I5 (checklist: bad signature = 401; body cap and rate limit): beyond a ration they are refused without a row."""

    def logged() -> int:
        with system.client("shipping") as shipping:
            found = shipping.get("/tracking-deliveries", params={"state": "bad_signature", "limit": 500})
            return len(found.raise_for_status().json()["items"])

    before = logged()
    for _ in range(200):
        body = NATIVE.body()
        assert not door.takes(NATIVE, body, NATIVE.signed(body, NATIVE.retired))
    assert logged() - before < 150


@pytest.mark.long
@each
@pytest.mark.parametrize("seed", range(3))
def test_no_signature_is_guessed(door: Door, scheme: Scheme, seed: int) -> None:
    """I5 (forged, the long form): hundreds of small changes to body, signature and time at random places; a failure names
    its seed."""
    chance = random.Random(f"{scheme.name} {seed}")
    body = scheme.body()
    headers = scheme.signed(body)
    for _ in range(150):
        changed, said = bytearray(body), dict(headers)
        name = chance.choice(list(said))
        if chance.random() < 0.5:
            place = chance.randrange(len(changed))
            changed[place] ^= 1 << chance.randrange(8)
        else:
            place = chance.randrange(len(said[name]))
            other = chance.choice("ABCDEFabcdef0123456789+/=,v.")
            if said[name][place] == other:
                continue
            said[name] = said[name][:place] + other + said[name][place + 1 :]
        assert not door.takes(scheme, bytes(changed), said), (bytes(changed), said)
