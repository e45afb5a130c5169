"""A request whose work stands still is answered in time; its work goes on (I6, P39)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from expedite_chassis import deadline
from expedite_chassis.deadline import Deadline

SCOPE: Scope = {"type": "http", "method": "POST", "path": "/orders", "headers": [], "query_string": b""}


async def asked(app: ASGIApp, receive: Callable[[], Coroutine[Any, Any, Message]] | None = None) -> list[Message]:
    """What a client is sent."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def nothing() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app(SCOPE, receive or nothing, send)
    return sent


def working(release: asyncio.Event, done: list[str], error: Exception | None = None) -> ASGIApp:
    """An app whose database stands still until it is released."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await release.wait()
        done.append("committed")
        if error is not None:
            raise error
        await PlainTextResponse("taken in")(scope, receive, send)

    return app


@pytest.mark.parametrize("error", [None, RuntimeError("broken")])
async def test_a_client_is_told_to_come_back_and_the_work_ends(error: Exception | None) -> None:
    release, done = asyncio.Event(), list[str]()
    loop = asyncio.get_running_loop()
    loop.call_later(0.3, release.set)
    sent = await asked(Deadline(working(release, done, error), 0.05))
    assert [m["status"] for m in sent if m["type"] == "http.response.start"] == [503]
    assert dict(sent[0]["headers"])[b"retry-after"] == b"1"
    assert b"/problems/unavailable" in sent[1]["body"]
    assert len(sent) == 2
    assert done == ["committed"]


async def test_an_answer_in_time_is_the_answer() -> None:
    release = asyncio.Event()
    release.set()
    sent = await asked(Deadline(working(release, []), 5.0))
    assert [m.get("status") for m in sent] == [200, None]
    assert sent[1]["body"] == b"taken in"


async def test_an_error_in_time_stays_an_error() -> None:
    release = asyncio.Event()
    release.set()
    with pytest.raises(RuntimeError, match="broken"):
        await asked(Deadline(working(release, [], RuntimeError("broken")), 5.0))


async def test_what_a_client_takes_to_send_is_not_our_delay() -> None:
    release = asyncio.Event()
    release.set()
    parts = iter((b"a", b"b", b""))

    async def slowly() -> Message:
        await asyncio.sleep(0.1)
        part = next(parts)
        return {"type": "http.request", "body": part, "more_body": bool(part)}

    sent = await asked(Deadline(working(release, []), 0.09), slowly)
    assert sent[0]["status"] == 200


async def test_a_long_answer_is_never_cut() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(4):
            await asyncio.sleep(0.05)
            await send({"type": "http.response.body", "body": b".", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    sent = await asked(Deadline(app, 0.05))
    assert b"".join(m.get("body", b"") for m in sent) == b"...."


def test_the_deadline_is_beyond_the_engines_patience() -> None:
    from expedite_messaging import Engine

    assert Engine.patience_s < deadline.DEADLINE_S
