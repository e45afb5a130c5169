"""Links to PostgreSQL that carry nothing any more are noticed within seconds, and slow statements are left alone (P38, P39)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from expedite_chaos.packets import Packets, unavailable
from expedite_chaos.proxy import HOST, Direction, Link
from expedite_chaos.wires import Commits

from expedite_messaging import Tx
from expedite_messaging.handlers import Handlers
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.testing import create_database, drop_database

KEY = "order-1"
NOTICED_S = 6.0  # of the matrix, row 17
SLACK_S = 12.0  # for a machine that is busy with other tests


class Ground:
    """A service's engine behind a link, and one that is not."""

    def __init__(self, url: str, link: Link, commits: Commits) -> None:
        port = url.rpartition(":")[2].split("/")[0]
        handlers = Handlers("order-intake")
        self.link, self.commits = link, commits
        self.linked = PostgresEngine(handlers, url.replace(f":{port}/", f":{link.port}/"), application="linked")
        self.direct = PostgresEngine(handlers, url, application="direct")
        self.linked.patience_s = self.direct.patience_s = 60.0  # what is measured is measured here

    async def works(self, engine: PostgresEngine) -> None:
        async def nothing(tx: Tx) -> None: ...

        await engine.transact([KEY], nothing)

    async def seconds(self, engine: PostgresEngine) -> float:
        began = time.monotonic()
        await self.works(engine)
        return time.monotonic() - began


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    url = await create_database("order_intake")
    commits = Commits()
    port = int(url.rpartition(":")[2].split("/")[0])
    async with Link("postgres", (HOST, port), commits.wire) as link:
        made = Ground(url, link, commits)
        yield made
        await made.linked.close()
        await made.direct.close()
    await drop_database(url)


@pytest.mark.parametrize("directions", [("up", "down"), ("up",), ("down",)])
async def test_a_half_open_link_costs_seconds_whatever_number_of_connections_went_with_it(
    ground: Ground, directions: tuple[Direction, ...]
) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(5):  # the whole pool
            group.create_task(ground.linked.connections.fetch("SELECT pg_sleep(0.2)"))
    assert ground.link.half_open(directions) == 5
    assert await ground.seconds(ground.linked) < NOTICED_S + SLACK_S
    assert ground.link.did["swallowed"] >= 1
    assert await ground.seconds(ground.linked) < 2.0  # the others were made anew with the first
    assert ground.linked.connections.silence.cut >= 1


async def test_a_session_that_says_good_bye_while_we_ask_about_it_was_cut_all_the_same(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what we say is lost: the server's last word, that its session was ended, is here before what it says of it."""
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(ground.linked.connections.fetch("SELECT pg_sleep(0.2)"))
    silence = ground.linked.connections.silence
    asked = silence._unheard

    async def late(*about: Any) -> set[int]:
        found = await asked(*about)
        await asyncio.sleep(0.5)
        return found

    monkeypatch.setattr(silence, "_unheard", late)
    assert ground.link.half_open(("up",)) == 5
    assert await ground.seconds(ground.linked) < NOTICED_S + SLACK_S
    await asyncio.sleep(1.0)
    assert silence.cut >= 1
    assert await ground.seconds(ground.linked) < 2.0


async def test_what_a_lost_session_had_locked_is_free_for_others(ground: Ground) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def work(tx: Tx) -> None:
        inside.set()
        await go_on.wait()
        await tx.lock(["order-2"])

    writing = asyncio.create_task(ground.linked.transact([KEY], work))
    await inside.wait()
    ground.link.half_open()
    go_on.set()
    assert await ground.seconds(ground.direct) < NOTICED_S + SLACK_S
    await writing


async def test_a_commit_whose_answer_is_swallowed_is_found_out(ground: Ground) -> None:
    async def work(tx: Tx) -> None:
        await tx.lock(["order-2"])
        ground.link.half_open(["down"])

    began, before = time.monotonic(), ground.linked.retries
    await ground.linked.transact([KEY], work)
    assert time.monotonic() - began < NOTICED_S + SLACK_S
    assert ground.linked.retries >= before


async def test_a_statement_that_takes_long_is_left_alone(ground: Ground) -> None:
    """Only the server's word counts: it works on it."""
    rows = await ground.linked.connections.fetch("SELECT pg_sleep(5), 1")
    assert rows[0][1] == 1
    assert ground.linked.connections.silence.cut == 0


async def test_a_process_that_was_frozen_cuts_nothing(ground: Ground) -> None:
    """The answer has been there all the while; we had not looked."""
    waiting = asyncio.create_task(ground.linked.connections.fetch("SELECT pg_sleep(0.1), 1"))
    await asyncio.sleep(0.05)
    time.sleep(4.0)  # noqa: ASYNC251 - the whole process stands still
    assert (await waiting)[0][1] == 1
    await asyncio.sleep(1.0)
    assert ground.linked.connections.silence.cut == 0


async def test_the_end_of_a_link_that_acknowledges_nothing_is_noticed_by_the_kernel(ground: Ground) -> None:
    """On both sides: the server frees the locks of a session that nobody can hear from any more."""
    if why := unavailable():
        pytest.skip(why)
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def work(tx: Tx) -> None:
        inside.set()
        await go_on.wait()
        await tx.lock(["order-2"])

    writing = asyncio.create_task(ground.direct.transact([KEY], work))
    await inside.wait()
    await ground.direct.connections.silence.end()  # it would be faster
    port = int(ground.direct.connections.url.rpartition(":")[2].split("/")[0])
    with Packets() as packets:
        assert packets.drop_now(port) >= 1
        go_on.set()
        assert await ground.seconds(ground.linked) < NOTICED_S + SLACK_S
        await writing
        assert packets.lost > 0
