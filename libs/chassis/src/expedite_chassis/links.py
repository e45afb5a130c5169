"""Signed links: whoever holds the token may see one thing, for one purpose, without logging in."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_SEPARATOR = b"."
MAX_TOKEN = 1024


def _mac(secret: str, purpose: str, subject: bytes) -> bytes:
    # The purpose's length stands in front, so that no shift between purpose and subject signs the same bytes.
    named = purpose.encode()
    return hmac.new(secret.encode(), len(named).to_bytes(4, "big") + named + subject, hashlib.sha256).digest()


def _text(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _raw(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def sign(secret: str, purpose: str, subject: str) -> str:
    """A URL-safe token (no padding) for `subject`, valid for `purpose` only. Deterministic: the same link each time.
    Raises ValueError for an empty secret."""
    if not secret:
        raise ValueError("links need a secret")
    raw = subject.encode()
    return (_text(raw) + _SEPARATOR + _text(_mac(secret, purpose, raw))).decode()


def verify(secret: str, purpose: str, token: str) -> str | None:
    """The subject of a token signed for this purpose; None for anything else, without saying what was wrong."""
    if not secret or len(token) > MAX_TOKEN:
        return None
    try:
        subject_text, mac_text = token.encode("ascii").split(_SEPARATOR)
        subject, mac = _raw(subject_text), _raw(mac_text)
        # One spelling per token: base64 tolerates stray low bits, and a second spelling would be a second link.
        canonical = _text(subject) == subject_text and _text(mac) == mac_text
        genuine = hmac.compare_digest(_mac(secret, purpose, subject), mac)
        return subject.decode() if genuine and canonical else None
    except (ValueError, binascii.Error):
        return None
