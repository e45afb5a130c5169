"""No request hangs: who waits for a database that stands still is told to come back."""

from __future__ import annotations

import asyncio

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from expedite_chassis.errors import describe
from expedite_chassis.middleware import send_problem
from expedite_chassis.problems import unavailable

DEADLINE_S = 12.0
"""Longer than the engine tries again by itself, shorter than a client waits."""
log = structlog.get_logger("expedite.http")


class Deadline:
    """Answers 503 with Retry-After when an app has not begun to answer `seconds` after it last heard of its client. The
    app is not cancelled: what it does ends as it ends (P39), and a client that asks again with the same key hears how."""

    def __init__(self, app: ASGIApp, seconds: float = DEADLINE_S) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        answered = False
        telling: asyncio.Task[None] | None = None

        def give_up() -> None:
            nonlocal telling
            if not answered:
                telling = loop.create_task(send_problem(unavailable(), scope, receive, send))

        timer = loop.call_later(self.seconds, give_up)

        async def hearing() -> Message:
            nonlocal timer
            timer.cancel()  # a slow client is not our delay
            message = await receive()
            if not answered and telling is None:
                timer = loop.call_later(self.seconds, give_up)
            return message

        async def saying(message: Message) -> None:
            nonlocal answered
            if telling is None:
                answered = True
                timer.cancel()
                await send(message)

        try:
            await self.app(scope, hearing, saying)
        except Exception as error:
            if telling is None:
                raise
            log.error("request failed after its client was told to come back", **describe(error))
        finally:
            timer.cancel()
            if telling is not None:
                await telling
