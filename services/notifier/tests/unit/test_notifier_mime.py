"""What we write, the standard library reads back as it was meant."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.mime import address, alternative, encoded, mailbox, unstructured

# What a header cannot hold is refused; lone surrogates are no text.
TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), max_size=300)


def read(*headers: tuple[str, str], text: str = "x", html: str = "x"):  # type: ignore[no-untyped-def]
    raw = alternative(headers, text, html)
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998  # RFC 5322: must; it should be 78
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\r" not in raw.replace(b"\r\n", b"")
    return message_from_bytes(raw, policy=policy.default)


@given(TEXT)
def test_a_subject_is_read_back(subject: str) -> None:
    """G1: any language, any length."""
    mail = read(("Subject", unstructured(subject)))
    assert mail["Subject"] == subject
    assert not mail["Subject"].defects
    assert mail.keys() == ["Subject", "MIME-Version", "Content-Type"]


@given(TEXT)
def test_a_name_is_read_back_and_the_address_stays_the_only_one(name: str) -> None:
    """G1, I5: quotes, commas, angle brackets and Chinese in a name."""
    mail = read(("To", mailbox(name, "anna@example.com")))
    assert [found.addr_spec for found in mail["To"].addresses] == ["anna@example.com"]
    # Read by `email.header`: the newer parser keeps the white space between two encoded words (RFC 2047, 6.2).
    value = mailbox(name, "anna@example.com").replace("\r\n", "")
    shown = str(make_header(decode_header(value))).removesuffix("<anna@example.com>").strip()
    if value.startswith('"'):
        shown = shown[1:-1].replace('\\"', '"').replace("\\\\", "\\").strip()
    assert shown == name.strip()


@pytest.mark.parametrize(
    "name", ["Anna Lee", "Lee, Anna", 'Anna "A" Lee', "a\\b", "张伟", "Zoë", "=?utf-8?q?x?=", "", "J. R."]
)
def test_names_of_every_form(name: str) -> None:
    mail = read(("To", mailbox(name, "anna@example.com")))
    assert mail["To"].addresses[0].display_name == name
    assert not mail["To"].defects


@pytest.mark.parametrize("evil", ["a\r\nBcc: b", "a\nb", "a\rb", "a\x00b", "a\x85b", "a\u2028b"])
def test_control_characters_are_refused_everywhere(evil: str) -> None:
    """I5: header injection."""
    with pytest.raises(ValueError):
        unstructured(evil)
    with pytest.raises(ValueError):
        mailbox(evil, "anna@example.com")
    with pytest.raises(ValueError):
        address(f"{evil}@example.com")


@pytest.mark.parametrize(
    "wrong", ["", "anna", "anna@", "@example.com", "a b@example.com", "a@b@c", "<>", "a" * 400 + "@b.c"]
)
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        address(wrong)


def test_addresses_of_every_form() -> None:
    assert address("anna+x@example.com") == "anna+x@example.com"
    assert address("Anna <anna@example.com>") == "anna@example.com"
    assert address('"a b"@example.com') == '"a b"@example.com'
    assert address("zoë@example.com") == "zoë@example.com"


@given(st.text(st.characters(blacklist_categories=("Cs",)), max_size=2000), TEXT)
def test_bodies_are_read_back(text: str, html: str) -> None:
    """G1: whatever people typed; line ends are lines, dots and "From " and boundaries are text."""
    mail = read(text=text, html=html)
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"
    assert mail.get_body(("plain",)).get_content().replace("\r\n", "\n") == lines
    assert mail.get_body(("html",)).get_content().replace("\r\n", "\n") == html.rstrip("\n") + "\n"


@pytest.mark.parametrize(
    "text", ["." * 3, "a\n.\nb", "From me\nto you", "--=_expedite--", "x" * 5000, "  \n\t \n", "中文" * 500]
)
def test_awkward_bodies(text: str) -> None:
    mail = read(text=text, html=text)
    assert mail.get_body(("plain",)).get_content().replace("\r\n", "\n") == text.rstrip("\n") + "\n"


@given(TEXT)
def test_an_encoded_word_is_short_and_whole(text: str) -> None:
    """RFC 2047: at most 75 characters, and no character is divided between two."""
    for word in encoded(text).split("\r\n "):
        assert len(word) <= 75
