"""Where the saga's world ends: the network between services and carriers, the carriers' clock, and the mail that leaves."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from typing import Any

import httpx

from expedite_local.carriers import world as carriers_world
from expedite_messaging import EffectCall
from expedite_messaging.memory import MemoryClock
from notifier.api import link_to
from notifier.effects import compose
from notifier.settings import settings as mail_settings


class CarrierClock(carriers_world.Clock):
    """The carriers' clock is the saga's own."""

    def __init__(self, clock: MemoryClock) -> None:
        super().__init__(speed=1.0, real=lambda: 0.0)
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now

    def set(self, business: datetime) -> None:
        """Shipping tells the time it is anyway."""


class Router(httpx.AsyncBaseTransport):
    """Sends a request to the app that answers at its host: the network between services and the outside."""

    def __init__(self, apps: Mapping[str, Any]) -> None:
        self._transports = {httpx.URL(url).host: httpx.ASGITransport(app) for url, app in apps.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._transports[request.url.host].handle_async_request(request)


class PostBag(Router):
    """The carriers' way out. While it is `closed` webhooks stay in the bag until somebody delivers them: late, again, in
    any order. A carrier drops none before it was accepted."""

    def __init__(self, apps: Mapping[str, Any]) -> None:
        super().__init__(apps)
        self.closed = False
        self.bag: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.closed and request.method == "POST" and request.url.path.startswith("/webhooks/"):
            await request.aread()
            self.bag.append(request)
            return httpx.Response(202, json={"state": "in the carrier's bag"}, request=request)
        return await super().handle_async_request(request)


def webhook_name(request: httpx.Request) -> str:
    """Names a webhook by what it says."""
    return f"{request.url.path} {zlib.crc32(request.content):08x}"


class Mailbox:
    """Where SMTP would take a message: composed as it goes over the wire, then kept. `short`: without its text, which
    takes longer to write than to decide."""

    def __init__(self, clock: MemoryClock, url: str, link_secret: str, *, short: bool) -> None:
        self._clock, self._url, self._secret, self._short = clock, url, link_secret, short
        self.mails: list[EmailMessage] = []

    async def __call__(self, call: EffectCall) -> dict[str, Any]:
        if self._short:
            self.mails.append(_envelope(call))
        else:
            link = link_to(self._url, self._secret, call.key)
            self.mails.append(compose(call, link, mail_settings, self._clock.now))
        return {"message_id": call.subject}

    def of(self, order_id: str, audience: str = "customer") -> list[str]:
        """The kinds of messages about an order, one per Message-ID, in the order they first left."""
        seen: dict[str, str] = {}
        for mail in self.mails:
            to_staff = mail["To"].addresses[0].domain == "expedite.example"
            if mail["X-Expedite-Order"] == order_id and to_staff == (audience == "staff"):
                seen.setdefault(mail["Message-ID"], mail["X-Expedite-Kind"])
        return list(seen.values())


def _envelope(call: EffectCall) -> EmailMessage:
    """A message without text."""
    mail = EmailMessage()
    mail["To"], mail["Message-ID"] = call.data["to"], f"<{call.subject}@expedite.example>"
    mail["X-Expedite-Order"], mail["X-Expedite-Kind"] = call.key, call.data["kind"]
    mail["X-Expedite-Occasion"] = call.data["occasion"]
    return mail
