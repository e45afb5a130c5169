"""Messages as they leave: every template in every language, over a real SMTP server."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from expedite_events.envelope import uuid7
from expedite_messaging import EffectCall, GaveUp
from notifier.effects import Mailer, compose, render
from notifier.settings import NotifierSettings

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
WHEN = NOW.isoformat()
FACTS = {
    "receipt": {"total": "9.90", "currency": "GBP"}, "needs_info": {"due_at": WHEN, "problems": "The postcode is missing."},
    "order_confirmation": {"promise_by": WHEN}, "backorder": {"estimated_at": WHEN, "quantity": "2", "goods": "Heart"},
    "shipped": {"carrier": "swift-post", "tracking_number": "SP1", "tracking_url": "http://127.0.0.1/t/SP1",
                "expected_at": WHEN, "quantity": "3"},
    "delayed": {"old_expected_at": WHEN, "new_expected_at": WHEN, "cause": "weather"}, "lost": {"cause": "lost in sorting"},
    "returned": {"cause": "refused"}, "delivered": {"delivered_at": WHEN, "signed_by": "A. Lee"},
    "cancel_refused": {"reason": "It has left."}, "cancelled": {"reason": "asked by the customer"},
    "closed": {"delivered": "3", "cancelled": "1"},
    "breach": {"stage": "prepare", "due_at": WHEN, "level": "1", "tier": "urgent", "subject": "o"},
    "hold": {"hold_kind": "needs_info", "due_at": WHEN, "problems": "/customer/name: missing"},
}  # fmt: skip


def data(kind: str, language: str = "en", to: str = "anna@example.com") -> dict:
    return {
        "message_id": f"o.{kind}.x.customer", "order_id": "20261123-EC-000001", "kind": kind, "occasion": "x",
        "audience": "customer", "language": language, "to": to, "name": "Anna <Lee>", "items": [["Heart", 3]],
        "promise_by": WHEN, "facts": FACTS[kind],
    }  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", sorted(FACTS))
def test_every_template_renders_in_every_language(kind: str, language: str) -> None:
    """G1: English and Chinese; the subject names the order, HTML escapes what people typed."""
    subject, text, html = render(data(kind, language), "http://127.0.0.1/s/x")
    assert "20261123-EC-000001" in subject
    assert text
    assert "{{" not in text + html
    assert "Anna <Lee>" in text
    assert "Anna &lt;Lee&gt;" in html


def test_every_template_is_tested() -> None:
    root = Path(render.__globals__["HERE"]) / "templates"
    for language in ("en", "zh"):
        assert {p.stem for p in (root / language).glob("*.txt")} == set(FACTS)


class Inbox:
    """A real SMTP server's handler that keeps what it took and can refuse."""

    def __init__(self) -> None:
        self.mails: list = []
        self.port = 0

    async def handle_RCPT(self, server, session, envelope, address, options):  # type: ignore[no-untyped-def]  # noqa: N802
        if address.startswith("nobody"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # type: ignore[no-untyped-def]  # noqa: N802
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def smtp():  # type: ignore[no-untyped-def]
    inbox = Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        inbox.port = free.getsockname()[1]
    controller = Controller(inbox, hostname="127.0.0.1", port=inbox.port)
    controller.start()
    yield inbox
    controller.stop()


def mailer(port: int) -> Mailer:
    return Mailer(NotifierSettings(smtp_port=port), lambda order_id: f"http://127.0.0.1/s/{order_id}", lambda: NOW)


def call(kind: str, **changes: str) -> EffectCall:
    return EffectCall(uuid7(), "email", "m", "20261123-EC-000001", data(kind, **changes))


async def test_a_real_server_receives_the_message(smtp) -> None:  # type: ignore[no-untyped-def]
    """G1, G5: the Message-ID is the message's identity, so that a repeated send is recognisable as the same."""
    send = mailer(smtp.port)
    await send(call("shipped"))
    await send(call("shipped", language="zh"))
    first, second = smtp.mails
    assert first["Message-ID"] == second["Message-ID"] == "<o.shipped.x.customer@expedite.example>"
    assert first["X-Expedite-Kind"] == "shipped"
    assert "SP1" in first.get_body(("plain",)).get_content()
    assert "已发货" in second["Subject"]


async def test_a_refused_recipient_is_given_up_and_an_absent_server_is_tried_again(smtp) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GaveUp, match="refused"):
        await mailer(smtp.port)(call("shipped", to="nobody@example.com"))
    with pytest.raises(Exception) as absent:
        await mailer(1)(call("shipped"))
    assert not isinstance(absent.value, GaveUp)


def test_header_injection_is_refused() -> None:
    """I5: a line break in a name or address never becomes a header."""
    evil = data("shipped") | {"name": "Anna\r\nBcc: all@example.com"}
    with pytest.raises(ValueError):
        compose(evil, "http://x", NotifierSettings(), NOW)
