"""Rows that are nearly always new are inserted as such; what happens when one was there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from expedite_sample.store import MOVEMENTS, TALLIES, Tally
from expedite_sample.worlds import OnPostgres, on_postgres, tracked

from expedite_messaging import Tx
from expedite_messaging.session import Newness


@pytest.fixture
async def world(postgres_server: str) -> AsyncIterator[OnPostgres]:
    async with on_postgres() as made:
        yield made


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_row_that_was_there_undoes_its_transaction_and_the_next_ones_ask_first(world: OnPostgres) -> None:
    """A movement is written once, whoever says it again; nothing else of either transaction is lost or doubled."""
    clock = Clock()
    world.engine.newness = Newness(clock)
    await world.deliver(tracked("A", "one"), tracked("B", "one"))
    assert (world.engine.retries, world.engine.newness.expected) == (0, True)
    await world.deliver(tracked("A", "two"), tracked("A", "one"), tracked("C", "one"))
    assert (world.engine.retries, world.engine.newness.expected) == (1, False)
    await world.deliver(tracked("B", "one"))
    assert world.engine.retries == 1, "it asked first"
    clock.now += Newness.DOUBT_S
    await world.deliver(tracked("C", "one"))
    assert world.engine.retries == 2
    assert [await world.seen(order) for order in "ABC"] == [("one", "two", "one"), ("one", "one"), ("one", "one")]
    assert sorted((m.order_id, m.number) for m in await world.rows(MOVEMENTS)) == [
        ("A", "one"), ("A", "two"), ("B", "one"), ("C", "one"),
    ]  # fmt: skip
    assert len(await world.ledger()) == 7, "each event said what it had to, once"
    assert await world.engine.parked() == []


@pytest.mark.parametrize("doubted", [False, True])
async def test_an_effect_that_is_known_stays_as_it_is(world: OnPostgres, doubted: bool) -> None:
    """One subject, asked for by two events: performed once, whether in one transaction or in two."""
    if doubted:
        world.engine.newness.doubt()
    await world.deliver(tracked("A", "effect-1"), tracked("A", "effect-2"))
    await world.deliver(tracked("A", "effect-3"), tracked("B", "effect-1"))
    rows = await world.sql("SELECT subject, data::json ->> 'word' AS word FROM effect ORDER BY subject")
    assert [tuple(row) for row in rows] == [("A-call", "effect-1"), ("B-call", "effect-1")]
    await world.perform_all()
    assert len(world.world.performed) == 2
    assert (await world.seen("A"))[:3] == ("effect-1", "effect-2", "effect-3")


async def test_who_finds_no_row_does_not_write_over_one_that_came_meanwhile(world: OnPostgres) -> None:
    """Without a lock on the order nothing keeps another away between the look and the write: decided again, on what is there."""
    looks = 0

    async def work(tx: Tx) -> None:
        nonlocal looks
        looks += 1
        known = (await tx.load(TALLIES, ["X"]))["X"]
        if looks == 1:
            await world.deliver(tracked("X", "first"))
        (await tx.load(TALLIES, ["X"])).put(known.put(seen=(*known.seen, "mine"), count=known.count + 1))

    await world.engine.transact([], work)
    assert (looks, await world.seen("X")) == (2, ("first", "mine"))


async def test_a_document_nobody_looked_for_is_written_over(world: OnPostgres) -> None:
    """Derived rows are put without a look: no conflict, and nothing is doubted."""
    for count in (1, 2):

        async def work(tx: Tx, count: int = count) -> None:
            (await tx.load(TALLIES, ())).put(Tally(order_id="X", count=count))

        await world.engine.transact(["X"], work)
    assert (await world.tally("X")).count == 2
    assert (world.engine.retries, world.engine.newness.expected) == (0, True)
