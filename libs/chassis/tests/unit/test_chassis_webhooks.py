"""Webhook signatures: the published vectors, and every way to get past them that must fail (I5, A1)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expedite_chassis import webhooks as w

BODY = b'{"id":1001,"event":"x"}'
SECRET = "test-secret"
STANDARD = "whsec_dGVzdC1zZWNyZXQ="
AT = 1_700_000_000
BASE64 = "nqFyEqyp4tqaZQs9Ldq8ook/siUomHfLrD9cAzgPM/o="

Verify = Callable[[bytes, str | None, list[str], float], bool]

SCHEMES: dict[str, tuple[Verify, str, str]] = {
    "shopify": (lambda b, h, s, now: w.verify_base64(b, h, s), BASE64, SECRET),
    "woocommerce": (lambda b, h, s, now: w.verify_woocommerce(b, h, s), BASE64, SECRET),
    "easypost": (
        lambda b, h, s, now: w.verify_easypost(b, h, s),
        "hmac-sha256-hex=9ea17212aca9e2da9a650b3d2ddabca2893fb225289877cbac3f5c03380f33fa",
        SECRET,
    ),
    "17track": (
        lambda b, h, s, now: w.verify_track17(b, h, s),
        "6ccfdaa5d271d4430205d5392304b318343dbde7fdb4ca04fa2720a3469b7378",
        SECRET,
    ),
    "shippo": (
        lambda b, h, s, now: w.verify_timestamped(b, h, s, now),
        "t=1700000000,v1=7c6959c108158903b5338d34f5f035b9f0ebf30c0ede2d31954da46594bb4080",
        SECRET,
    ),
    "standard": (
        lambda b, h, s, now: w.verify_standard(b, "msg_1", str(AT), h, s, now),
        "v1,FKlYg99UYK878bfhgNtJWgXuJxDiPtX+l/mRfe7VX6Y=",
        STANDARD,
    ),
}
each_scheme = pytest.mark.parametrize(("verify", "header", "secret"), SCHEMES.values(), ids=SCHEMES.keys())


def other(secret: str) -> str:
    return "whsec_" + base64.b64encode(b"another secret").decode() if secret.startswith("whsec_") else "another"


@each_scheme
def test_the_published_vector_is_accepted(verify: Verify, header: str, secret: str) -> None:
    """A1: deliveries signed as their vendors document are accepted."""
    assert len(BODY) == 23
    assert verify(BODY, header, [secret], AT)


@each_scheme
@pytest.mark.parametrize("position", [0, 10, 22])
def test_one_changed_byte_is_refused(verify: Verify, header: str, secret: str, position: int) -> None:
    """I5: a body changed in one byte is refused."""
    changed = bytearray(BODY)
    changed[position] ^= 1
    assert not verify(bytes(changed), header, [secret], AT)


@each_scheme
def test_a_body_serialised_again_is_refused(verify: Verify, header: str, secret: str) -> None:
    """I5: equal JSON in other bytes is not what was signed."""
    again = json.dumps(json.loads(BODY)).encode()
    assert again != BODY
    assert not verify(again, header, [secret], AT)


@each_scheme
def test_a_wrong_secret_or_none_is_refused(verify: Verify, header: str, secret: str) -> None:
    """I5: no secret and another secret open nothing."""
    assert not verify(BODY, header, [other(secret)], AT)
    assert not verify(BODY, header, [], AT)


@each_scheme
@pytest.mark.parametrize("header_sent", [None, "", " ", "v1,", "v1", "t=,v1=", ",", "=" * 40, "ä" * 44, "\x00"])
def test_an_absent_empty_or_odd_header_is_refused(
    verify: Verify, header: str, secret: str, header_sent: str | None
) -> None:
    """I5: nothing in a header but the right signature is accepted, and nothing in it raises."""
    assert not verify(BODY, header_sent, [secret], AT)


@each_scheme
@given(sent=st.text(max_size=80))
def test_no_text_is_accepted_by_chance(verify: Verify, header: str, secret: str, sent: str) -> None:
    """I5: arbitrary header text neither passes nor raises."""
    assert sent == header or not verify(BODY, sent, [secret], AT)


@each_scheme
def test_both_secrets_are_active_during_a_rotation(verify: Verify, header: str, secret: str) -> None:
    """I5: a secret can be changed without losing a delivery."""
    assert verify(BODY, header, [other(secret), secret], AT)
    assert verify(BODY, header, [secret, other(secret)], AT)


@pytest.mark.parametrize("name", ["shippo", "standard"])
def test_the_time_of_the_attempt_must_be_near(name: str) -> None:
    """I5: a recorded delivery cannot be sent again later, nor one be made for the future."""
    verify, header, secret = SCHEMES[name]
    for now in (AT - 300, AT, AT + 300):
        assert verify(BODY, header, [secret], now)
    for now in (AT - 301, AT + 301, 0, AT * 10):
        assert not verify(BODY, header, [secret], now)


def test_standard_accepts_the_second_of_several_signatures() -> None:
    """I5: during the sender's rotation the right signature may stand anywhere in the list; other versions are ignored."""
    right = SCHEMES["standard"][1]
    wrong = "v1," + base64.b64encode(b"x" * 32).decode()
    for header in (f"{wrong} {right}", f"{right} {wrong}", f"v1a,zzz {wrong} {right}"):
        assert w.verify_standard(BODY, "msg_1", str(AT), header, [STANDARD], AT)
    for header in (wrong, f"{wrong} {wrong}", right.replace("v1,", "v2,"), right.replace("v1,", "v1 "), right + "x"):
        assert not w.verify_standard(BODY, "msg_1", str(AT), header, [STANDARD], AT)


@pytest.mark.parametrize("message_id", [None, "", "msg_1.1700000000", "msg 1", "msg_1\n", "m" * 257, "msg_١"])
def test_standard_refuses_ids_that_could_shift_the_signed_text(message_id: str | None) -> None:
    """I5: a dot in the id must not let one signature fit two messages (pitfall P46)."""
    signed = {"id": message_id or ""}
    body = b"tail" + BODY
    key = base64.b64decode(STANDARD.removeprefix("whsec_"))
    forged = "v1," + base64.b64encode(w._mac(key, f"{signed['id']}.{AT}.".encode() + body)).decode()
    assert not w.verify_standard(body, message_id, str(AT), forged, [STANDARD], AT)


@pytest.mark.parametrize(
    "stamp", [None, "", "1700000000.5", "-1700000000", "+1700000000", " 1700000000", "١٧٠٠٠٠٠٠٠٠", "9" * 5000]
)
def test_timestamps_are_plain_digits(stamp: str | None) -> None:
    """I5: what is not ASCII digits is refused before it is computed with."""
    key = base64.b64decode(STANDARD.removeprefix("whsec_"))
    forged = "v1," + base64.b64encode(w._mac(key, f"msg_1.{stamp}.".encode() + BODY)).decode()
    assert not w.verify_standard(BODY, "msg_1", stamp, forged, [STANDARD], AT)
    assert not w.verify_timestamped(BODY, f"t={stamp},v1=00", [SECRET], AT)


def test_what_we_sign_we_verify() -> None:
    """G1: our own webhooks follow Standard Webhooks, so receivers' verifiers work."""
    headers = w.sign_standard(BODY, "msg_1", AT, STANDARD)
    assert headers["webhook-signature"] == SCHEMES["standard"][1]
    assert w.sign_timestamped(BODY, SECRET, AT) == SCHEMES["shippo"][1]
    with pytest.raises(ValueError, match="letters, digits"):
        w.sign_standard(BODY, "a.b", AT, STANDARD)


def test_a_secret_that_is_no_base64_is_named_as_a_mistake_of_configuration() -> None:
    """I5: a broken secret must not look like a bad signature, and its text is not repeated."""
    with pytest.raises(ValueError, match="whsec_") as raised:
        w.verify_standard(BODY, "msg_1", str(AT), "v1,x", ["whsec_%%%"], AT)
    assert "%%%" not in str(raised.value)


@pytest.mark.parametrize(
    ("configured", "used"),
    [
        ("a&amp;b", "a&b"),
        ("&quot;x&#039;", "\"x'"),
        ("&lt;&#62;&#x26;", "<>&"),
        ("&amp;lt;", "&lt;"),
        ("plain", "plain"),
    ],
)
def test_woocommerce_signs_with_the_decoded_secret(configured: str, used: str) -> None:
    """A1: a shop whose secret holds entities verifies only in the form WordPress decodes it to, once (trap 3)."""
    assert w.wordpress_decoded(configured) == used
    assert w.verify_woocommerce(BODY, w.sign_base64(BODY, used), [configured])
    if used != configured:
        assert not w.verify_woocommerce(BODY, w.sign_base64(BODY, configured), [configured])


def test_easypost_uses_the_nfkd_form_of_the_secret() -> None:
    """A1: composed and decomposed spellings of a secret are one secret."""
    assert w.verify_easypost(BODY, w.sign_easypost(BODY, "e\u0301"), ["\u00e9"])


def test_secrets_are_one_text_or_a_list() -> None:
    """I5: the secrets file may name two secrets of a party during a rotation."""
    assert w.secrets_of(None) == ()
    assert w.secrets_of("a") == ("a",)
    assert w.secrets_of(["a", "b"]) == ("a", "b")
