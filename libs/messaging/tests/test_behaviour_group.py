"""What a group promises the requests that share a transaction, proved in memory and on real PostgreSQL by the same tests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from expedite_sample.store import TALLIES
from expedite_sample.worlds import BehaviourWorld, tracked

from expedite_messaging import Crowded, Group, KeyParked, Tx

Any_ = BehaviourWorld[Any]


def _group(world: Any_, calls: list[int], **options: Any) -> Group[str, str]:
    async def work(tx: Tx, requests: Any) -> list[str]:
        calls.append(len(requests))
        book = await tx.load(TALLIES, [r.partition(":")[0] for r in requests])
        for request in requests:
            key, _, word = request.partition(":")
            if word == "bad":
                raise ValueError("a bad request")
            book.put(book[key].put(seen=(*book[key].seen, word), count=book[key].count + 1))
        return [f"{r} ok" for r in requests]

    return Group(world.engine, lambda r: [r.partition(":")[0]], work, **options)


async def test_requests_that_come_together_share_a_transaction_and_each_gets_its_own_answer(world: Any_) -> None:
    calls: list[int] = []
    group = _group(world, calls)
    answers = await asyncio.gather(*(group.submit(f"K{n % 7}:w{n}") for n in range(60)))
    assert answers == [f"K{n % 7}:w{n} ok" for n in range(60)]
    assert len(calls) < 10
    assert sum(calls) == 60


async def test_one_bad_request_fails_alone(world: Any_) -> None:
    await world.deliver(tracked("P", "bad"))
    group = _group(world, [])
    requests = [f"K{n}:w" for n in range(10)] + ["K3:bad", "P:w"]
    answers = await asyncio.gather(*(group.submit(r) for r in requests), return_exceptions=True)
    assert [a for a in answers if isinstance(a, str)] == [f"K{n}:w ok" for n in range(10)]
    assert isinstance(answers[10], ValueError)
    assert isinstance(answers[11], KeyParked)
    assert len(await world.seen("K3")) == 1


async def test_a_queue_that_is_full_takes_what_is_urgent_and_nothing_else(world: Any_) -> None:
    """I5: what does not fit is refused at once and untouched, and may come again when the queue is shorter."""
    group = _group(world, [], depth=10)
    waiting = [asyncio.create_task(group.submit(f"K{n}:w")) for n in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(Crowded):
        await group.submit("late:w")
    urgent = [asyncio.create_task(group.submit(f"U{n}:w", urgent=True)) for n in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(Crowded):
        await group.submit("U10:w", urgent=True)
    assert len(await asyncio.gather(*waiting, *urgent)) == 20
    assert await world.seen("late") == ()
    assert await group.submit("late:w") == "late:w ok"


async def test_a_client_that_goes_away_does_not_cancel_the_group(world: Any_) -> None:
    group = _group(world, [])
    leaving = asyncio.create_task(group.submit("A:w1"))
    staying = asyncio.create_task(group.submit("B:w1"))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == "B:w1 ok"
    assert await world.seen("A") == ("w1",)
