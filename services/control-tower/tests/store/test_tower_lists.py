"""The board's lists, search, counts and live feed, in memory and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tower_kit import UNITS, Story, Tower, at

from control_tower.feed import LIMIT, Feed
from control_tower.handlers import handlers
from control_tower.store import CARDS, CHANGES
from expedite_events import (
    Lane,
    OrderClosed,
    PersonChanged,
    ProductChanged,
    Stage,
    StockLevelChanged,
    Tier,
    Units,
)
from expedite_messaging.migrate import drift
from expedite_messaging.testing import create_database, drop_database, postgres_engine


@pytest.fixture(params=["memory", "postgres"])
async def tower(request: pytest.FixtureRequest) -> AsyncIterator[Tower]:
    if request.param == "memory":
        yield Tower()
        return
    async with postgres_engine(handlers, "control_tower") as engine:
        yield Tower(engine)


def number(n: int) -> str:
    return f"20261123-EC-{n:06}"


async def a_day(tower: Tower) -> None:
    """Orders 1-6 open in different places, 7 closed, 8 cancelled."""
    stories = [
        Story(number(1), name="Mia Jansen", tier=Tier.LOW, promise=100),
        Story(number(2), name="Liam Smith", tags=("gift wrap",), tier=Tier.URGENT, promise=300),
        Story(number(3), name="王小明", channel="shopify", promise=200),
        Story(number(4), name="Ann Smith", tier=Tier.HIGH),
        Story(number(5), name="Tom Smithson"),
        Story(number(6), name="Eva van Dam", channel="shopify"),
        Story(number(7), name="Old Smith"),
        Story(number(8), name="Gone Girl"),
    ]
    reach = [3, 4, 6, 7, 10, 1, 11, 1]
    for story, length in zip(stories, reach, strict=True):
        await tower.hears(*story.whole()[:length])
    await tower.hears(stories[7].cancelled())


async def test_lists_are_filtered_and_sorted(tower: Tower) -> None:
    """H1: the most urgent first; ended orders, the last to end first, only when asked for."""
    await a_day(tower)
    assert await tower.ids() == [number(n) for n in (2, 4, 3, 5, 6, 1)]
    assert await tower.ids(sort="promise") == [number(n) for n in (1, 3, 2, 4, 5, 6)]
    assert await tower.ids(sort="newest") == [number(n) for n in (6, 5, 4, 3, 2, 1)]
    assert await tower.ids(stage="prepare") == [number(2)]
    assert await tower.ids(tier="regular") == [number(n) for n in (3, 5)]  # 6 has no tier yet
    assert await tower.ids(channel="shopify") == [number(n) for n in (3, 6)]
    assert await tower.ids(light="green") == [number(5)]
    assert await tower.ids(stage="closed") == [number(7)]
    later = OrderClosed(
        order_id=number(1), delivered=UNITS, cancelled=Units(), confirmed_by="clock", closed_at=at(900), customer=None
    )
    await tower.hears(later)
    assert await tower.ids(stage="closed") == [number(1), number(7)]
    assert await tower.ids(stage="cancelled", tier="urgent") == []
    first = await tower.asks("/board", limit=4)
    assert first["next"] == 4 and await tower.ids(limit=4, after=4) == [number(6)]
    stages = {s["stage"]: s for s in (await tower.asks("/summary"))["stages"]}
    assert stages["stock_lock"] == {"stage": "stock_lock", "green": 0, "yellow": 1, "red": 0}
    kpi = (await tower.asks("/summary"))["kpi"]
    assert (kpi["open"], kpi["red"], kpi["closed"], kpi["cancelled"]) == (5, 0, 2, 1)


async def test_search_finds_the_beginning_of_a_number_a_name_a_tag_a_tracking_number(tower: Tower) -> None:
    """H1: whoever asks for an order finds it, ended or not; open ones come first."""
    await a_day(tower)
    assert await tower.ids(q="smith") == [number(n) for n in (2, 4, 5, 7)]
    assert await tower.ids(q=" Liam  SMITH ") == [number(2)]
    assert await tower.ids(q="liam sm") == [number(2)]
    assert await tower.ids(q="小") == [number(3)]
    assert await tower.ids(q="wrap") == [number(2)]
    assert await tower.ids(q="sp000005") == [number(5)]
    assert await tower.ids(q="sp00000") == [number(n) for n in (4, 5, 7)]  # shipped ones
    assert await tower.ids(q="20261123-ec-00000", sort="newest") == [number(n) for n in range(8, 0, -1)]
    assert await tower.ids(q="smith", stage="closed") == [number(7)]
    assert await tower.ids(q="smith", channel="shopify") == []
    assert await tower.ids(q="nobody") == []
    page = await tower.asks("/board", q="smith", limit=3)
    assert page["next"] == 3 and await tower.ids(q="smith", limit=3, after=3) == [number(7)]


async def test_the_feed_sends_each_change_once_and_resumes(tower: Tower) -> None:
    """H1: rows as they change, whole, with their revision; a page that missed much loads again."""
    feed = Feed(tower.engine)
    began = datetime.now(UTC)
    await tower.hears(*Story(number(1)).whole()[:3], *Story(number(2)).whole()[:1])
    frame, read = await feed.changed_since(began - timedelta(seconds=1))
    assert {(r["order_id"], r["revision"], r["stage"]) for r in frame.rows} == {
        (number(1), 1, "stock_lock"), (number(2), 1, "stock_lock")
    }  # fmt: skip
    again, _ = await feed.changed_since(began - timedelta(seconds=1), told=read)
    assert not again.rows and not again.reset and again.cursor == frame.cursor
    await tower.hears(*Story(number(2)).whole()[1:4], lane=Lane.EXPRESS)
    later, _ = await feed.changed_since(began - timedelta(seconds=1), told=read)
    assert [(r["order_id"], r["revision"], r["stage"]) for r in later.rows] == [(number(2), 2, "prepare")]
    assert later.cursor > frame.cursor
    listener = feed.listen(frame.cursor)
    first = await anext(listener)
    assert first is not None and number(2) in {r["order_id"] for r in first.rows}
    await tower.hears(*Story(number(3)).whole()[:1])
    found: set[str] = set()
    async with asyncio.timeout(10):
        while number(3) not in found:
            frame_ = await anext(listener)
            found |= {r["order_id"] for r in frame_.rows} if frame_ else set()
    await listener.aclose()


async def test_a_feed_that_missed_too_much_says_so(tower: Tower) -> None:
    """H1: more than a page can take at once is loaded as a list."""
    feed, began = Feed(tower.engine), datetime.now(UTC)
    for start in range(0, LIMIT + 1, 500):
        await tower.hears(*(Story(number(n)).received() for n in range(start, min(start + 500, LIMIT + 1))))
    frame, _ = await feed.changed_since(began - timedelta(seconds=1))
    assert frame.reset and not frame.rows
    assert await tower.engine.read(lambda tx: tx.count(CHANGES)) == 3
    assert await tower.engine.read(lambda tx: tx.count(CARDS)) == LIMIT + 1


async def test_master_data_is_learnt_by_revision(tower: Tower) -> None:
    """H1: many snapshots of one entity in one poll leave the newest."""

    def level(revision: int, free: int) -> StockLevelChanged:
        return StockLevelChanged(
            sku="mug", warehouse_id="LON", on_hand=free, free=free, allocated=0, in_count=0, quality_check=0,
            backordered=0, revision=revision, at=datetime.now(UTC),
        )  # fmt: skip

    await tower.hears(level(2, 20), level(3, 30), level(1, 10), ProductChanged(sku="mug", name="Mug"))
    await tower.hears(level(2, 21), ProductChanged(sku="mug", name="Cup"), ProductChanged(sku="jar", name="Jar"))
    assert [(i["revision"], i["free"]) for i in (await tower.asks("/stock"))["items"]] == [(3, 30)]
    tom = PersonChanged(
        person_id="tom", name="Tom", email="tom@example.com", roles=("picker",), stages=(Stage.PREPARE,)
    )
    await tower.hears(tom, *Story(number(1)).whole()[:4])
    (row,) = (await tower.asks("/board"))["items"]
    assert row["owner"] == "Tom"
    assert {m["stage"]: m["by"] for m in row["marks"]}["prepare"] == "Tom"


async def test_the_database_has_what_the_metadata_declares() -> None:
    """I6: migrations and declarations agree."""
    url = await create_database("control_tower")
    try:
        assert await asyncio.to_thread(drift, url, "control_tower") == []
    finally:
        await drop_database(url)
