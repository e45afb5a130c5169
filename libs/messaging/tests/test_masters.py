"""Master data in memory: what this process wrote is seen at once, what others wrote within two seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expedite_sample.store import TALLIES, Tally
from expedite_sample.worlds import InMemory

from expedite_messaging import Tx
from expedite_messaging.masters import Masters


async def test_what_was_written_here_is_read_from_its_commit_on() -> None:
    """D5: a fill that did not know a warehouse would leave those waiting who could be served from it."""
    engine = InMemory().engine

    async def looks(tx: Tx) -> tuple[Mapping[Any, Tally], Mapping[Any, Tally]]:
        return await tx.masters(TALLIES), await tx.glance(TALLIES, ["A"])

    async def writes(tx: Tx) -> None:
        book = await tx.load(TALLIES, ["A"])
        book.put(book["A"].put(count=book["A"].count + 1))

    await engine.transact(["A"], writes)
    for count in (1, 2):
        whole, row = await engine.read(looks)
        assert whole["A"].count == row["A"].count == count
        await engine.transact(["A"], writes)


def test_what_others_wrote_is_seen_after_a_while_and_a_missing_row_at_once() -> None:
    now = [0.0]
    masters = Masters(lambda: now[0])
    assert masters.whole("carrier") is None
    kept = masters.keep_whole("carrier", {"a": 1})
    assert masters.whole("carrier") is kept
    masters.rows("product")["b"] = 2
    now[0] = Masters.LASTS_S - 0.01
    assert masters.whole("carrier") is kept
    assert masters.rows("product") == {"b": 2}
    now[0] = Masters.LASTS_S
    assert masters.whole("carrier") is None
    assert masters.rows("product") == {}
    assert masters.keep_whole("carrier", {"a": 1}) is kept, "the same rows are the same object: what was derived lasts"
