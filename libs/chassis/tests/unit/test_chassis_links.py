"""Signed links (I5, G3)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expedite_chassis import links

SECRET = "a link secret"
ORDER = "20261122-EC-000001"


@given(subject=st.text(max_size=80), purpose=st.text(max_size=20))
def test_what_was_signed_is_read_back(subject: str, purpose: str) -> None:
    """G3: a customer's link names its order; it fits into a URL as it is."""
    subject = subject.encode("utf-8", "ignore").decode()
    purpose = purpose.encode("utf-8", "ignore").decode()
    token = links.sign(SECRET, purpose, subject)
    assert re.fullmatch(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{43}", token)
    assert links.verify(SECRET, purpose, token) == subject


def test_a_link_is_for_one_purpose_and_one_secret() -> None:
    """I5: a link to look does not confirm; another system's link opens nothing."""
    token = links.sign(SECRET, "status", ORDER)
    assert links.verify(SECRET, "confirm", token) is None
    assert links.verify("another", "status", token) is None
    assert links.verify("", "status", token) is None
    subject, mac = links.sign(SECRET, "stat", "us" + ORDER).split(".")[0], token.split(".")[1]
    assert links.verify(SECRET, "stat", f"{subject}.{mac}") is None  # "stat" + "us…" reads like "status" + "…"


@pytest.mark.parametrize("position", range(0, 60, 3))
def test_every_changed_character_breaks_it(position: int) -> None:
    """I5: no character of a token can be changed; there is one spelling of each token."""
    token = links.sign(SECRET, "status", ORDER)
    for char in "AQgwZ9_-.=":
        changed = token[:position] + char + token[position + 1 :]
        assert changed == token or links.verify(SECRET, "status", changed) is None


def test_the_last_character_has_one_spelling() -> None:
    """I5: base64's unused low bits do not make a second valid token."""
    token = links.sign(SECRET, "status", ORDER)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert [c for c in alphabet if links.verify(SECRET, "status", token[:-1] + c)] == [token[-1]]


@pytest.mark.parametrize("token", ["", ".", "a", "a.b.c", "ä.ö", "====.====", "A" * 5000, "." * 3, "\n", "AA==.AA=="])
def test_odd_text_is_refused_quietly(token: str) -> None:
    """I5: nothing but a genuine token is read, and nothing raises."""
    assert links.verify(SECRET, "status", token) is None


def test_an_empty_secret_signs_nothing() -> None:
    """I5: a forgotten secret is an error, not a key everybody knows."""
    with pytest.raises(ValueError, match="secret"):
        links.sign("", "status", ORDER)
