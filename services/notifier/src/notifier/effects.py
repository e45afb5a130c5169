"""Composing and sending messages: the only place of the notifier that touches the outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from functools import lru_cache
from typing import Any

from expedite_messaging import EffectCall, GaveUp
from notifier.mime import Mail, address, alternative, mailbox, unstructured
from notifier.settings import NotifierSettings
from notifier.smtp import Connection, ConnectionLost, Refused
from notifier.wording import render

PATIENCE_S = 20.0  # for all messages of one call; what is left then is tried again
BURST_S = 4.0  # so much unused pace is kept: at low volume nothing waits


@lru_cache(maxsize=16)
def _sender(setting: str) -> tuple[str, str]:
    """The value of From, and the bare address."""
    name, addr_spec = parseaddr(setting)
    return mailbox(name, addr_spec), addr_spec


def wire(call: EffectCall, status_url: str, settings: NotifierSettings, sent_at: datetime) -> Mail:
    """The message as it goes over the wire. The Message-ID is the message's identity: a repeated send after a crash is
    recognisable as the same message. ValueError when the recipient cannot be written to."""
    data = call.data
    subject, text, html = render(call.key, data, status_url)
    sender_shown, sender = _sender(settings.sender)
    recipient = address(data["to"])
    headers = (
        ("Subject", unstructured(subject)),
        ("From", sender_shown),
        ("To", mailbox(data["name"], recipient)),
        ("Message-ID", f"<{call.subject}@{settings.message_domain}>"),
        ("Date", format_datetime(sent_at)),
        ("X-Expedite-Order", unstructured(call.key)),
        ("X-Expedite-Kind", unstructured(data["kind"])),
        ("X-Expedite-Occasion", unstructured(data["occasion"])),
        ("Auto-Submitted", "auto-generated"),
    )
    return Mail(sender, recipient, alternative(headers, text, html), utf8=not recipient.isascii())


def compose(call: EffectCall, status_url: str, settings: NotifierSettings, sent_at: datetime) -> EmailMessage:
    """The message as the standard library reads it, for whoever wants to look into one."""
    return message_from_bytes(wire(call, status_url, settings, sent_at).content, policy=policy.default)


class Pace:
    """So many a second and no more, on average: what was not used of the last seconds may be used at once."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s, self._clock = per_s, clock
        self._left, self._at = per_s * BURST_S, clock()

    def take(self, n: int) -> float:
        """Take the right to `n`; after so many seconds it may be used."""
        if self.per_s <= 0:
            return 0.0
        now = self._clock()
        self._left = min(self.per_s * BURST_S, self._left + (now - self._at) * self.per_s) - n
        self._at = now
        return max(0.0, -self._left / self.per_s)


class Mailer:
    """Sends messages over one connection, not faster than the pace. A refused recipient is given up, everything else is
    tried again."""

    def __init__(
        self, settings: NotifierSettings, status_link: Callable[[str], str], now: Callable[[], datetime]
    ) -> None:
        self._settings, self._status_link, self._now = settings, status_link, now
        self._connection = Connection(settings)
        self._pace = Pace(settings.mails_per_s)
        self._sending = asyncio.Lock()

    async def __call__(self, calls: Sequence[EffectCall]) -> list[dict[str, Any] | Exception]:
        sent_at = self._now()
        answers: list[dict[str, Any] | Exception] = [{"message_id": call.subject} for call in calls]
        mails: dict[int, Mail] = {}
        for number, call in enumerate(calls):
            try:
                mails[number] = wire(call, self._status_link(call.key), self._settings, sent_at)
            except ValueError as error:
                answers[number] = GaveUp(f"the address cannot be used: {error}")
            except Exception as error:  # of a template, say: it stops no other message
                answers[number] = error
        # Waiting before sending, not in between: who is stopped while waiting has sent nothing that nobody knows of.
        await asyncio.sleep(self._pace.take(len(mails)))
        for number, outcome in zip(mails, await self._send(list(mails.values())), strict=True):
            if isinstance(outcome, Refused) and outcome.final:
                answers[number] = GaveUp(f"refused for good: {outcome}")
            elif outcome is not None:
                answers[number] = outcome
        return answers

    async def _send(self, mails: Sequence[Mail]) -> list[Exception | None]:
        """What became of each message. A connection that was lost is made anew, once for each message it took."""
        outcomes: list[Exception | None] = []
        async with self._sending:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while len(outcomes) < len(mails):
                        await self._send_some(mails, outcomes)
            except (Refused, ConnectionLost, OSError) as error:
                outcomes += [error] * (len(mails) - len(outcomes))
        return outcomes

    async def _send_some(self, mails: Sequence[Mail], outcomes: list[Exception | None]) -> None:
        before, fresh = len(outcomes), not self._connection.open
        if fresh:
            await self._connection.connect()
        try:
            await self._connection.send(mails[before:], outcomes)
        except ConnectionLost as lost:
            if lost.begun:
                outcomes.append(lost)  # it may have arrived: under its Message-ID it may come again, but not at once
            elif fresh and len(outcomes) == before:
                raise
