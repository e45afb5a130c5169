"""A message as it goes over the wire, written without the standard library's `EmailMessage`: that costs three times what
all else about a mail costs. What is written here is read back with it in the tests.

Headers: RFC 5322, other than plain ASCII as encoded words (RFC 2047), no line longer than 78 characters, no control
characters (they could begin a header). Bodies: quoted-printable, or base64 when that is shorter (Chinese)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import parseaddr

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PLAIN = re.compile(r"[ -~]*")
_WORDS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")  # a phrase that needs no quotes
# Dots between atoms, and letters of any script (RFC 6531); `checked` keeps control characters out.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\xa1-\U0010ffff-]+"
_LABEL = r"[A-Za-z0-9\xa1-\U0010ffff-]+"
_ADDRESS = re.compile(rf"(?!.*\s){_ATOM}(\.{_ATOM})*@{_LABEL}(\.{_LABEL})*")
_SHORT = 60  # what fits beside a header's name into a line of 78
_LONGEST_ADDRESS = 320
_WORD_BYTES = 42  # of UTF-8, so that an encoded word stays within 75 characters
# An underscore after an equals sign is in no quoted-printable or base64 text, whatever anybody writes.
BOUNDARY = "=_expedite"


@dataclass(frozen=True, slots=True)
class Mail:
    """One message to one recipient. `content` has CRLF line ends; `utf8`: the address needs SMTPUTF8 (RFC 6531)."""

    sender: str
    recipient: str
    content: bytes
    utf8: bool = False


def checked(text: str) -> str:
    """Text that may stand in a header. ValueError when it could break out of it."""
    if _CONTROL.search(text):
        raise ValueError("a header must not hold control characters")
    return text


def encoded(text: str) -> str:
    """Text as encoded words, one a line."""
    words, part = [], b""
    for char in text:
        raw = char.encode()
        if len(part) + len(raw) > _WORD_BYTES:
            words.append(part)
            part = b""
        part += raw
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in (*words, part))


def unstructured(text: str) -> str:
    """The value of a header that is only text."""
    checked(text)
    if len(text) <= _SHORT and _PLAIN.fullmatch(text) and "=?" not in text and text == text.strip():
        return text
    return encoded(text)


def address(to: str) -> str:
    """The bare address. ValueError when it is none."""
    if len(checked(to)) > _LONGEST_ADDRESS:
        raise ValueError("the address is too long")
    if _ADDRESS.fullmatch(to):
        return to
    try:
        return str(Address(addr_spec=parseaddr(to)[1]).addr_spec)  # with a quoted local part, or a name
    except (IndexError, MessageError) as error:  # what the parser raises besides for what it cannot read
        raise ValueError(f"it is no address: {error}") from error


def mailbox(name: str, addr_spec: str) -> str:
    """The value of From or To."""
    checked(name)
    if not name.strip():
        return f"<{addr_spec}>"
    if len(name) > _SHORT or not _PLAIN.fullmatch(name) or "=?" in name:
        return f"{encoded(name)}\r\n <{addr_spec}>"
    if not _WORDS.fullmatch(name):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name}\r\n <{addr_spec}>"


def _part(kind: str, text: str) -> bytes:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").replace("\n", "\r\n") + "\r\n"
    raw = lines.encode()
    how, body = b"quoted-printable", binascii.b2a_qp(raw)
    if len(body) * 3 > len(raw) * 4:
        how, body = b"base64", base64.encodebytes(raw).replace(b"\n", b"\r\n")
    return (
        b"--" + BOUNDARY.encode() + b"\r\nContent-Type: text/" + kind.encode() + b'; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: " + how + b"\r\n\r\n" + body + b"\r\n"
    )  # fmt: skip


def alternative(headers: Iterable[tuple[str, str]], text: str, html: str) -> bytes:
    """A message that says the same as plain text and as HTML. The values of headers are as they go over the wire."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return (
        head.encode()
        + b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative;\r\n boundary=\"" + BOUNDARY.encode() + b'"\r\n\r\n'
        + _part("plain", text)
        + _part("html", html)
        + b"--" + BOUNDARY.encode() + b"--\r\n"
    )  # fmt: skip
