"""Messages as they leave: every template in every language, over a real SMTP server."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from email import message_from_bytes, policy

import pytest
from aiosmtpd.controller import Controller

from expedite_events.ids import uuid7
from expedite_messaging import EffectCall, GaveUp
from notifier.effects import BURST_S, Mailer, Pace, compose
from notifier.settings import NotifierSettings
from notifier.wording import HERE, linked, local_date, render

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
ORDER = "20261123-EC-000001"
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
        "kind": kind, "occasion": "x", "audience": "customer", "language": language, "to": to, "name": "Anna <Lee>",
        "items": [["Heart", 3]], "promise_by": WHEN, "facts": FACTS[kind],
    }  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", sorted(FACTS))
def test_every_template_renders_in_every_language(kind: str, language: str) -> None:
    """G1: English and Chinese; the subject names the order, HTML escapes what people typed."""
    subject, text, html = render(ORDER, data(kind, language), "http://127.0.0.1/s/x")
    assert ORDER in subject
    assert text
    assert "{{" not in text + html
    assert "Anna <Lee>" in text
    assert "Anna &lt;Lee&gt;" in html


def test_every_template_is_tested() -> None:
    root = HERE / "templates"
    for language in ("en", "zh"):
        assert {p.stem for p in (root / language).glob("*.txt")} == set(FACTS)


def test_dates_are_said_in_words_and_utc() -> None:
    """G1: the weekday and the zone are part of a date."""
    assert local_date("2026-11-23T09:05:59+00:00", "en") == "Monday 23 November, 09:05 UTC"
    assert local_date("2026-11-23T09:05:59+08:00", "zh") == "11月23日星期一 01:05 UTC"
    assert local_date("", "en") == "—"


def test_addresses_in_a_text_are_links_and_nothing_else_is_html() -> None:
    """I5: what people typed is escaped, inside an address too."""
    found = linked('<b>see</b> http://x.test/a?b=1&c="2", (https://y.test/z).')
    assert found == (
        '&lt;b&gt;see&lt;/b&gt; <a href="http://x.test/a?b=1&amp;c=&#34;2&#34" rel="noopener">'
        'http://x.test/a?b=1&amp;c=&#34;2&#34</a>;, (<a href="https://y.test/z" rel="noopener">https://y.test/z</a>).'
    )


class Inbox:
    """A real SMTP server's handler that keeps what it took, refuses some and hangs up when told to."""

    def __init__(self) -> None:
        self.mails: list = []
        self.recipients: list[str] = []
        self.port = 0
        self.sessions: set = set()
        self.hang_up_after: int | None = None

    async def handle_RCPT(self, server, session, envelope, address, options):  # type: ignore[no-untyped-def]  # noqa: N802
        if address.startswith("nobody"):
            return "550 no such mailbox"
        if address.startswith("later"):
            return "451 greylisted"
        envelope.rcpt_tos.append(address)
        self.recipients.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # type: ignore[no-untyped-def]  # noqa: N802
        self.sessions.add(id(session))
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        if self.hang_up_after == len(self.mails):
            server.transport.close()
        return "250 OK"


@pytest.fixture
def smtp():  # type: ignore[no-untyped-def]
    inbox = Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        inbox.port = free.getsockname()[1]
    controller = Controller(inbox, hostname="127.0.0.1", port=inbox.port, enable_SMTPUTF8=True)
    controller.start()
    yield inbox
    controller.stop()


def mailer(port: int, **settings: float) -> Mailer:
    return Mailer(
        NotifierSettings(smtp_port=port, **settings), lambda order_id: f"http://127.0.0.1/s/{order_id}", lambda: NOW
    )


def call(kind: str, **changes: str) -> EffectCall:
    return EffectCall(uuid7(), "email", f"o.{kind}.x.customer", ORDER, data(kind) | changes)


async def test_a_real_server_receives_the_message(smtp) -> None:  # type: ignore[no-untyped-def]
    """G1, G5: the Message-ID is the message's identity, so that a repeated send is recognisable as the same."""
    send = mailer(smtp.port)
    answers = await send([call("shipped"), call("shipped", language="zh")])
    assert answers == [{"message_id": "o.shipped.x.customer"}] * 2
    first, second = smtp.mails
    assert first["Message-ID"] == second["Message-ID"] == "<o.shipped.x.customer@expedite.example>"
    assert first["X-Expedite-Kind"] == "shipped"
    assert "SP1" in first.get_body(("plain",)).get_content()
    assert "已发货" in second["Subject"]


async def test_a_refused_recipient_is_given_up_and_the_others_get_theirs(smtp) -> None:  # type: ignore[no-untyped-def]
    """G5: for good means given up, for now means tried again; neither stops anybody else's message."""
    people = ["a@example.com", "nobody@example.com", "later@example.com", "x y@example.com", "b@example.com"]
    answers = await mailer(smtp.port)([call("shipped", to=to) for to in people])
    sent, refused, later, unusable, last = answers
    assert sent == last == {"message_id": "o.shipped.x.customer"}
    assert isinstance(refused, GaveUp)
    assert "550" in str(refused)
    assert isinstance(later, Exception)
    assert not isinstance(later, GaveUp)
    assert isinstance(unusable, GaveUp)
    assert [mail["To"].addresses[0].addr_spec for mail in smtp.mails] == ["a@example.com", "b@example.com"]


async def test_an_absent_server_is_tried_again() -> None:
    """G5: nothing is lost while the mail server is away."""
    for answer in await mailer(1)([call("shipped"), call("receipt")]):
        assert isinstance(answer, Exception)
        assert not isinstance(answer, GaveUp)


async def test_one_connection_is_kept_and_made_anew_when_it_was_lost(smtp) -> None:  # type: ignore[no-untyped-def]
    """G5: what was given to a server that hung up is tried again later, everything else is sent at once."""
    send = mailer(smtp.port)
    await send([call("shipped")])
    await send([call("receipt")])
    assert len(smtp.sessions) == 1
    smtp.hang_up_after = 4
    answers = await send([call(kind) for kind in ("closed", "delayed", "lost", "returned")])
    assert len([a for a in answers if isinstance(a, Exception)]) <= 1  # the reply may have been on its way
    assert [mail["X-Expedite-Kind"] for mail in smtp.mails[2:]] == ["closed", "delayed", "lost", "returned"]
    assert len(smtp.sessions) == 2


async def test_a_template_that_fails_stops_no_other_message(smtp) -> None:  # type: ignore[no-untyped-def]
    broken = call("shipped")
    del broken.data["facts"]  # type: ignore[attr-defined]
    failed, sent = await mailer(smtp.port)([broken, call("shipped")])
    assert isinstance(failed, KeyError)
    assert sent == {"message_id": "o.shipped.x.customer"}


async def test_an_international_address_is_written_as_it_is(smtp) -> None:  # type: ignore[no-untyped-def]
    """G1: RFC 6531, where the server knows it."""
    assert await mailer(smtp.port)([call("shipped", to="张@例子.example")]) == [{"message_id": "o.shipped.x.customer"}]
    assert smtp.recipients == ["张@例子.example"]
    assert "Anna" in str(smtp.mails[0]["To"])


def test_header_injection_is_refused() -> None:
    """I5: a line break in a name or address never becomes a header."""
    for evil in ({"name": "Anna\r\nBcc: all@example.com"}, {"to": "anna@example.com\r\nBcc: all@example.com"}):
        with pytest.raises(ValueError):
            compose(call("shipped", **evil), "http://x", NotifierSettings(), NOW)


async def test_the_pace_lets_a_burst_through_and_then_so_many_a_second() -> None:
    """G5: a relay's limit delays, it loses nothing; at low volume nothing waits."""
    now = 0.0
    pace = Pace(10, clock=lambda: now)
    assert pace.take(int(10 * BURST_S)) == 0
    assert pace.take(20) == pytest.approx(2.0)
    now = 2.0
    assert pace.take(1) == pytest.approx(0.1)
    now = 100.0
    assert pace.take(int(10 * BURST_S)) == 0
    assert Pace(0).take(1_000_000) == 0


def test_messages_of_a_second_are_taken_at_once() -> None:
    assert NotifierSettings(mails_per_s=50).at_once == 50
    assert NotifierSettings(mails_per_s=0).at_once == 200
    assert NotifierSettings(mails_per_s=0.2).at_once == 1
