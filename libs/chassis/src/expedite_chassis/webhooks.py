"""Signatures of webhooks, checked over the raw bytes of a body.

Every check takes all secrets that are active (two during a rotation), compares in constant time and never stops early;
a missing header is simply not valid. The endpoint chooses the scheme and the secrets, never the sender.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Sequence

TOLERANCE_S = 300
_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_STAMP = re.compile(r"[0-9]{1,12}")
_MAX_SIGNATURES = 16


def secrets_of(configured: str | Sequence[str] | None) -> tuple[str, ...]:
    """The active secrets of a party as its entry in the secrets file names them: one text or a list."""
    if configured is None:
        return ()
    return (configured,) if isinstance(configured, str) else tuple(configured)


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _any_same(wanted: Iterable[str], got: Sequence[str]) -> bool:
    results = [hmac.compare_digest(w.encode(), g.encode("utf-8", "replace")) for w in wanted for g in got]
    return any(results)


def _fresh(stamp: str | None, now: float, tolerance_s: int) -> bool:
    # ASCII digits only: other digits and dots would shift the text that is signed.
    return stamp is not None and bool(_STAMP.fullmatch(stamp)) and abs(now - int(stamp)) <= tolerance_s


def sign_base64(body: bytes, secret: str) -> str:
    """Base64 of the HMAC-SHA256: Shopify, WooCommerce, AfterShip."""
    return base64.b64encode(_mac(secret.encode(), body)).decode()


def verify_base64(body: bytes, header: str | None, secrets: Sequence[str]) -> bool:
    """`X-Shopify-Hmac-Sha256`, `aftership-hmac-sha256`."""
    return bool(header) and _any_same([sign_base64(body, s) for s in secrets], [header or ""])


_WORDPRESS = re.compile(r"&(?:#0*39;|#x0*27;|#0*34;|#x0*22;|quot;|#0*60;|lt;|#0*62;|gt;|#0*38;|#x0*26;|amp;)", re.I)
_ENTITIES = {"quot": '"', "lt": "<", "gt": ">", "amp": "&"}


def wordpress_decoded(secret: str) -> str:
    """The secret as WordPress uses it (`wp_specialchars_decode` with ENT_QUOTES): entities decoded once."""

    def char(match: re.Match[str]) -> str:
        name = match.group()[1:-1].lower()
        if not name.startswith("#"):
            return _ENTITIES[name]
        return chr(int(name[2:], 16) if name.startswith("#x") else int(name[1:]))

    return _WORDPRESS.sub(char, secret)


def sign_woocommerce(body: bytes, secret: str) -> str:
    """`X-WC-Webhook-Signature` as WooCommerce makes it."""
    return sign_base64(body, wordpress_decoded(secret))


def verify_woocommerce(body: bytes, header: str | None, secrets: Sequence[str]) -> bool:
    """`X-WC-Webhook-Signature`. WooCommerce decodes HTML entities of the secret before it signs."""
    return verify_base64(body, header, [wordpress_decoded(s) for s in secrets])


def sign_easypost(body: bytes, secret: str) -> str:
    """`X-Hmac-Signature` of EasyPost: the secret in NFKD form."""
    return "hmac-sha256-hex=" + _mac(unicodedata.normalize("NFKD", secret).encode(), body).hex()


def verify_easypost(body: bytes, header: str | None, secrets: Sequence[str]) -> bool:
    """`X-Hmac-Signature` of EasyPost (v1)."""
    return bool(header) and _any_same([sign_easypost(body, s) for s in secrets], [header or ""])


def sign_track17(body: bytes, api_key: str) -> str:
    """`sign` of 17TRACK v2: a plain hash over body, slash and key."""
    return hashlib.sha256(body + b"/" + api_key.encode()).hexdigest()


def verify_track17(body: bytes, header: str | None, secrets: Sequence[str]) -> bool:
    """`sign` of 17TRACK v2."""
    return bool(header) and _any_same([sign_track17(body, s) for s in secrets], [header or ""])


def sign_timestamped(body: bytes, secret: str, at: int) -> str:
    """`t=…,v1=…` over time, dot and body: Shippo and Stripe."""
    return f"t={at},v1={_mac(secret.encode(), f'{at}.'.encode() + body).hex()}"


def verify_timestamped(
    body: bytes, header: str | None, secrets: Sequence[str], now: float, tolerance_s: int = TOLERANCE_S
) -> bool:
    """`t=…,v1=…` not older or newer than the tolerance (real seconds)."""
    pairs = [part.strip().partition("=")[::2] for part in (header or "").split(",")]
    stamp = next((value for name, value in pairs if name == "t"), None)
    if stamp is None or not _fresh(stamp, now, tolerance_s):
        return False
    got = [value for name, value in pairs if name == "v1"][:_MAX_SIGNATURES]
    return _any_same([_mac(s.encode(), f"{stamp}.".encode() + body).hex() for s in secrets], got)


def _standard_key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("a Standard Webhooks secret must be whsec_ and base64") from None


def _standard_signature(body: bytes, message_id: str, stamp: str, secret: str) -> str:
    signed = f"{message_id}.{stamp}.".encode() + body
    return "v1," + base64.b64encode(_mac(_standard_key(secret), signed)).decode()


def sign_standard(body: bytes, message_id: str, at: int, secret: str) -> dict[str, str]:
    """The three headers of Standard Webhooks for one attempt at `at` (real seconds). Raises ValueError for an id outside
    [A-Za-z0-9_-]: a dot in it would shift the signed text."""
    if not _ID.fullmatch(message_id):
        raise ValueError("a webhook id holds letters, digits, hyphen and underscore only")
    signature = _standard_signature(body, message_id, str(at), secret)
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}


def verify_standard(
    body: bytes,
    message_id: str | None,
    stamp: str | None,
    header: str | None,
    secrets: Sequence[str],
    now: float,
    tolerance_s: int = TOLERANCE_S,
) -> bool:
    """Standard Webhooks: any of the signatures in the header by any active secret, on an attempt not older or newer than
    the tolerance. Versions other than `v1` are ignored."""
    if not header or message_id is None or not _ID.fullmatch(message_id):
        return False
    if stamp is None or not _fresh(stamp, now, tolerance_s):
        return False
    got = [s for s in header.split(" ") if s.startswith("v1,")][:_MAX_SIGNATURES]
    return _any_same([_standard_signature(body, message_id, stamp, s) for s in secrets], got)
