"""Every bench in its short form on one real system: that it works, never how fast it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from expedite_bench import peers
from expedite_bench.bench import look_up
from expedite_bench.catalogue import BENCHES
from expedite_bench.ground import UNPACED, Ground, opened

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
async def ground() -> AsyncIterator[Ground]:
    """One fresh system for all of them."""
    async with opened(extra=UNPACED) as found:
        yield found


async def measured(ground: Ground, name: str) -> dict[str, Any]:
    """The figures of a bench's short form, every goal's figure among them, and a clean audit."""
    bench = BENCHES[name]
    async with asyncio.timeout(300):
        figures = await bench.run(ground, bench.quick)
        audit = await ground.audited()
    for goal in bench.goals:
        if not goal.figure.startswith("peers."):
            assert isinstance(look_up(figures, goal.figure), int | float), goal
    assert audit["clean"]
    return figures


async def test_saga(ground: Ground) -> None:
    figures = await measured(ground, "saga")
    assert figures["orders"] == BENCHES["saga"].quick["orders"]
    assert figures["crew"] == {"packed": figures["orders"], "handed over": figures["orders"]}
    assert set(figures["seconds"]) >= {"accepted", "prioritised", "reserved", "packed", "shipped", "on the board"}
    assert {"bench", "crew", "postgres", "kafka", "inventory-standard"} <= set(
        figures["cpu"]["ms_per_order_by_process"]
    )


async def test_hot_sku(ground: Ground) -> None:
    pieces = (await measured(ground, "hot-sku"))["pieces"]
    assert 0 < pieces["sold"] == pieces["in_stock"] < pieces["wanted"]


async def test_intake(ground: Ground) -> None:
    figures = await measured(ground, "intake")
    assert figures["single"]["statuses"] == {"202": figures["single"]["sent"]}
    assert figures["bulk"]["orders"] == BENCHES["intake"].quick["bulk"]


async def test_webhooks(ground: Ground) -> None:
    figures = await measured(ground, "webhooks")
    assert figures["different"] == 4 * figures["parcels_delivered"]
    assert figures["repeated"] * 4 == figures["different"]
    assert figures["sent"] == figures["different"] + figures["repeated"]


async def test_express(ground: Ground) -> None:
    figures = await measured(ground, "express")
    for part in (figures["idle"], figures["backlog"]):
        assert part["queue_ms"]["n"] == part["reserved_ms"]["n"] == BENCHES["express"].quick["urgent"]
        assert part["queue_order_checked"] > 0


async def test_overtake(ground: Ground) -> None:
    figures = await measured(ground, "overtake")
    assert len(figures["ahead_ms"]) == 3
    assert {found["n"] for found in figures["ahead_ms"].values()} == {BENCHES["overtake"].quick["each"]}


async def test_timers() -> None:
    """On a system of its own, as in full: elsewhere copied orders that run out of time would be heard of."""
    bench = BENCHES["timers"]
    async with opened(bench.services, extra=UNPACED) as ground:
        figures = await measured(ground, "timers")
    assert figures["open"] == bench.quick["open"]
    assert figures["due"] == figures["fired_once"] == figures["late_ms"]["n"] == bench.quick["due"]


async def test_scale() -> None:
    """On a system of its own: with two copies, each of which has taken its share."""
    bench = BENCHES["scale"]
    async with opened(bench.services, extra=UNPACED, scale={"inventory": 2}) as ground:
        figures = await measured(ground, "scale")
    assert set(figures["events_by_copy"]) == {"inventory-standard-0", "inventory-standard-1"}
    assert sum(figures["events_by_copy"].values()) == bench.quick["orders"]
    assert min(figures["events_by_copy"].values()) > 0
    assert figures["times_frozen"] > 0


async def test_growth(ground: Ground) -> None:
    figures = await measured(ground, "growth")
    assert figures["board_ms"]["by_query"]["one order"]["n"] == BENCHES["growth"].quick["queries"]
    left = await ground.books.value("control-tower", "SELECT count(*) FROM card WHERE order_id LIKE '%-ZZ-%'")
    assert left == 0


async def test_footprint(ground: Ground) -> None:
    figures = await measured(ground, "footprint")
    assert figures["events_per_order_by_topic"]["OrderReceived"] == 1
    assert {"inventory-standard", "shipping-api"} <= set(figures["memory_mb"]["by_process"])
    assert figures["database_bytes_per_order"].keys() == ground.snapshot.databases.keys()


async def test_zz_peers_on_the_same_servers(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Last: it stops our services."""
    monkeypatch.setattr(peers, "JOINED_S", 1.0)  # who joins late finds everything: only figures need them to be there
    await peers.alone(ground)
    assert await peers.ceiling(ground, 200) > 0
    if peers.faststream_installed():
        assert await peers.faststream(ground, 50) > 0
    assert (await peers.lane_probe(ground, 100, 10)).keys() == {"idle_p99_ms", "backlog_p99_ms"}
