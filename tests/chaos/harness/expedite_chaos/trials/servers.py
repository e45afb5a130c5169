"""Rows 9 to 11, 13 and 15: the servers die, stand still and come back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

import psutil

from expedite_chaos.field import Field
from expedite_chaos.trial import Bite, Trial

_WAITING = """
SELECT coalesce(sum(events), 0) FROM (SELECT events FROM outbox UNION ALL SELECT events FROM outbox_express) AS waiting
"""


def killed_broker(seconds: float) -> Callable[[Field], Awaitable[Bite]]:
    """Kafka is killed and started again `seconds` later. Intake goes on; what it takes in waits in the outbox."""

    async def run(on: Field) -> Bite:
        before, taken = on.restarts("kafka"), len(on.driver.book.ok)
        async with on.down("kafka"):
            await asyncio.sleep(seconds)
            bit = {"orders taken in meanwhile": len(on.driver.book.ok) - taken, "events waiting": await _waiting(on)}
        over_at = await on.started_again("kafka", before)
        return Bite(bit={"kafka restarts": on.restarts("kafka") - before, **bit}, over_at=over_at)

    return run


def paused_broker(seconds: float) -> Callable[[Field], Awaitable[Bite]]:
    """Kafka stands still. Intake must not notice."""

    async def run(on: Field) -> Bite:
        unknown, taken = on.driver.book.outcomes["unknown"], len(on.driver.book.ok)
        async with on.frozen([on.process("kafka").pid]):
            await asyncio.sleep(seconds)
            bit = {"orders taken in meanwhile": len(on.driver.book.ok) - taken, "events waiting": await _waiting(on)}
            missed = on.driver.book.outcomes["unknown"] - unknown
        problems = [f"intake missed {missed} calls while only Kafka stood still"] if missed else []
        return Bite(bit=bit, problems=problems)

    return run


async def _waiting(on: Field) -> int:
    return int((await on.rows("order-intake", _WAITING))[0][0])


async def coordinator(on: Field) -> Bite:
    """The broker is stopped in order and started again while all groups run: every one loses its coordinator."""
    before = on.restarts("kafka")
    os.kill(on.process("kafka").pid, signal.SIGTERM)
    over_at = await on.started_again("kafka", before)
    return Bite(bit={"kafka restarts": on.restarts("kafka") - before}, over_at=over_at)


async def postmaster(on: Field) -> Bite:
    """PostgreSQL's first process is killed: every service loses every session, and the log must bring all back."""
    before = on.restarts("postgres")
    killed_at = time.monotonic()
    os.kill(on.process("postgres").pid, signal.SIGKILL)
    await on.started_again("postgres", before)
    return Bite(bit={"postgres restarts": on.restarts("postgres") - before}, over_at=killed_at)


async def paused_database(on: Field) -> Bite:
    """PostgreSQL stands still with all its sessions. Who asks for an order is told to come back later, within a client's
    patience."""
    seconds = 20.0
    postmaster = psutil.Process(on.process("postgres").pid)
    pids = [postmaster.pid, *(child.pid for child in postmaster.children(recursive=True))]
    async with on.frozen(pids):
        await asyncio.sleep(seconds)
    hung = on.driver.book.answers["POST /orders ReadTimeout"]
    problems = [f"{hung} calls were left without an answer"] if hung else []
    return Bite(bit={"sessions frozen": len(pids) - 1}, problems=problems)


TRIALS = (
    Trial("9a", "Kafka killed for 1 s", "I4, I5", killed_broker(1.0), 5.0, short=True),
    Trial("9b", "Kafka killed for 15 s", "I4, I5", killed_broker(15.0), 5.0),
    Trial("9c", "Kafka killed for 60 s", "I4, I5", killed_broker(60.0), 5.0),
    Trial("10a", "Kafka paused 5 s", "I5", paused_broker(5.0), 5.0),
    Trial("10b", "Kafka paused 30 s", "I5", paused_broker(30.0), 5.0),
    Trial("11", "coordinator lost: broker restarted", "I4", coordinator, 15.0),
    Trial("13", "postmaster killed", "I1-I6", postmaster, 10.0, short=True),
    Trial("15", "PostgreSQL paused 20 s", "I6", paused_database, 2.0, ("503",)),
)  # fmt: skip
