"""The watch on a real broker: a clean stream is clean, and each planted violation is named exactly (I1, I2, I3, I4, I9)."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import typer
from aiokafka import AIOKafkaProducer
from prometheus_client import generate_latest
from typer.testing import CliRunner

from expedite_events import (
    NO_UNITS,
    Delivered,
    Event,
    HoldKind,
    HoldSummary,
    Lane,
    OrderClosed,
    OrderHeld,
    StockLevelChanged,
    Units,
    row_of,
)
from expedite_events.envelope import Envelope, decode, event_id_for
from expedite_events.ids import uuid7
from expedite_local import audit, state, warden
from expedite_local.audit.invariants import Invariant
from expedite_local.audit.watch import Figures, Options, Violation, watch
from expedite_local.audit.watch.story import Seen, Story, settled, tell
from expedite_local.home import HOME_VARIABLE
from expedite_local.kafka import KafkaServer
from expedite_local.ports import free_port
from expedite_messaging import RawRecord
from expedite_messaging.admin import ensure_topics
from expedite_messaging.records import record_of

pytestmark = pytest.mark.timeout(900)  # seven databases are filled first; timing decides nothing here
NUMBER = 1_000_000_000
"""An emission number above all that the house gave."""


@dataclass
class Stage:
    """A broker with the house's records, and one watch that is stopped and goes on: each test plants behind the last."""

    house: Any
    server: KafkaServer
    folder: Path
    figures: Figures = field(default_factory=Figures)
    told: list[str] = field(default_factory=list)

    def options(self, name: str = "watch", **changes: Any) -> Options:
        databases = changes.pop("databases", self.house.state.databases)
        return Options(
            self.server.bootstrap, databases, self.folder / f"{name}.sqlite", settle_s=0.2, beat_s=0.2, **changes
        )

    async def publish(self, *records: RawRecord) -> list[tuple[str, int, int]]:
        """Where each came to lie."""
        producer = AIOKafkaProducer(bootstrap_servers=self.server.bootstrap)
        await producer.start()
        try:
            sent = [await producer.send(r.topic, r.value, r.key, headers=list(r.headers)) for r in records]
            return [(done.topic, done.partition, done.offset) for done in [await one for one in sent]]
        finally:
            await producer.stop()

    async def caught_up(self, name: str = "watch", **changes: Any) -> list[Violation]:
        """What a watch finds until it has read and settled all there is."""
        found: list[Violation] = []
        options = self.options(name, caught_up=True, keep_going=True, **changes)
        async with asyncio.timeout(120):
            await watch(options, asyncio.Event(), told=self.told.append, named=found.append, figures=self.figures)
        return found

    def last(self, kind: type[Event], key: str) -> Envelope:
        """The last event of a kind and key that the house said."""
        envelopes = [decode(r.topic, r.key, r.value, r.headers) for r in self.house.records]
        return next(e for e in reversed(envelopes) if type(e.event) is kind and e.key == key)


@pytest.fixture(scope="module")
def stage(house: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    server = KafkaServer(tmp_path_factory.mktemp("watched"))
    asyncio.run(server.start())
    made = Stage(house, server, tmp_path_factory.mktemp("memory"))

    async def publish() -> None:
        await ensure_topics(server.bootstrap)
        await made.publish(*house.records)

    asyncio.run(publish())
    yield made
    server.stop()
    server.wipe()


def said(like: Envelope, event: Event, **changes: Any) -> RawRecord:
    """An event as its service would say it, by another cause: its id is right, but no ledger knows it."""
    cause = uuid7()
    made = msgspec.structs.replace(
        like, id=event_id_for(cause, like.service, event, like.lane), event=event, causation_id=cause, raw=None,
        sequence=NUMBER, key=row_of(event).key_of(event), **changes,
    )  # fmt: skip
    return record_of(made)


def exact(found: list[Violation], place: tuple[str, int, int], record: RawRecord) -> Mapping[str, str]:
    """All that was found is about this one record; what was expected, by invariant."""
    assert {(v.topic, v.partition, v.offset) for v in found} == {place}, found
    assert {v.event_id for v in found} == {dict(record.headers)["ce_id"].decode()}
    assert {v.key for v in found} == {(record.key or b"").decode()}
    return {v.invariant: v.expected for v in found}


async def test_a_clean_stream_is_clean_also_when_all_of_it_comes_twice(stage: Stage) -> None:
    """I3, I4: redeliveries are known by their ids; every event is counted once."""
    assert await stage.caught_up() == [], stage.told
    await stage.publish(*stage.house.records[::3])
    assert await stage.caught_up() == []
    assert f"{len(stage.house.records):,} events, lag 0, 0 keys to settle, 0 violations" in stage.told


async def test_an_event_published_twice_under_a_new_id(stage: Stage) -> None:
    """I3: its cause and content give another id, and no ledger knows this one (I4)."""
    original = stage.last(Delivered, stage.house.orders["closed"])
    twice = record_of(msgspec.structs.replace(original, id=uuid7()))
    (place,) = await stage.publish(twice)
    found = await stage.caught_up()
    wrong = exact(found, place, twice)
    assert set(wrong) == {Invariant.ONCE, Invariant.NOTHING_LOST}
    assert str(original.id) in wrong[Invariant.ONCE]
    assert "it is in no ledger of shipping" in wrong[Invariant.NOTHING_LOST]
    assert found[0].invariant == Invariant.ONCE, "what it breaks is named before where it came from"
    assert await stage.caught_up() == [], "named once"


async def test_a_stock_level_that_jumps(stage: Stage) -> None:
    """I1: seven pieces from nowhere; what the movements lead to is named."""
    like = stage.last(StockLevelChanged, "MUG|LON")
    assert isinstance(like.event, StockLevelChanged)
    event = like.event.put(free=like.event.free + 7, on_hand=like.event.on_hand + 7, revision=like.event.revision + 1)
    jump = said(like, event)
    (place,) = await stage.publish(jump)
    wrong = exact(await stage.caught_up(), place, jump)
    assert set(wrong) == {Invariant.STOCK, Invariant.NOTHING_LOST}
    assert f"MUG|LON is said to be at {event.on_hand} on_hand" in wrong[Invariant.STOCK]
    assert f"expected {like.event.on_hand} on_hand, {like.event.free} free" in wrong[Invariant.STOCK]


async def test_a_level_no_shelf_can_have(stage: Stage) -> None:
    """I1: seen in the event alone, without any database."""
    like = stage.last(StockLevelChanged, "LAMP|LON")
    assert isinstance(like.event, StockLevelChanged)
    odd = said(like, like.event.put(free=-1, on_hand=0, revision=like.event.revision + 1))
    (place,) = await stage.publish(odd)
    found = await stage.caught_up("alone", databases={})
    assert any("LAMP|LON has -1 free; expected none below 0" in v.expected for v in found)
    assert (place, "LAMP|LON") in {((v.topic, v.partition, v.offset), v.key) for v in found}
    assert Invariant.NOTHING_LOST not in {v.invariant for v in found}
    await stage.caught_up()


async def test_a_transition_after_the_end(stage: Stage) -> None:
    """I2: an order that is closed is held again."""
    end = stage.last(OrderClosed, stage.house.orders["closed"])
    event = OrderHeld(
        order_id=end.key, hold_id=f"{end.key}-H9", kind=HoldKind.REVIEW, owner="lena", held_at=end.time, due_at=end.time,
        received_at=end.time, summary=HoldSummary(channel="web"),
    )  # fmt: skip
    held = said(end, event, row=row_of(OrderHeld), lane=Lane.EXPRESS)
    (place,) = await stage.publish(held)
    wrong = exact(await stage.caught_up(), place, held)
    assert set(wrong) == {Invariant.STATE, Invariant.NOTHING_LOST}
    assert f"the order was closed at {end.topic}[" in wrong[Invariant.STATE]
    assert f"(event {end.id}); expected nothing after it" in wrong[Invariant.STATE]


async def test_an_end_that_does_not_add_up(stage: Stage) -> None:
    """I9: closed with units nobody delivered; told when all that was there was read."""
    packed = stage.house.orders["packed"]
    like = stage.last(OrderClosed, stage.house.orders["closed"])
    event = OrderClosed(
        order_id=packed, delivered=Units.quantity(1, 1), cancelled=NO_UNITS, confirmed_by="clock", closed_at=like.time
    )
    closed = said(like, event)
    (place,) = await stage.publish(closed)
    found = await stage.caught_up()
    assert {(v.topic, v.partition, v.offset) for v in found} == {place}
    texts = [v.expected for v in found if v.invariant == Invariant.CLOSURE]
    assert any(f"{packed} is closed but Units(1:2) are neither delivered nor cancelled" in text for text in texts)
    assert any("it ends with Units(1:1) delivered; expected Units()" in text for text in texts)


async def test_what_is_no_event_of_ours(stage: Stage) -> None:
    """I4: a stranger's record, and one that its contract does not allow."""
    like = record_of(stage.last(Delivered, stage.house.orders["closed"]))
    stranger = replace(like, headers=(("ce_id", str(uuid7()).encode()),))
    broken = replace(like, value=b"{not json", headers=tuple((n, str(uuid7()).encode() if n == "ce_id" else v) for n, v in like.headers))  # fmt: skip
    places = await stage.publish(stranger, broken)
    found = await stage.caught_up()
    assert [(v.topic, v.partition, v.offset) for v in found] == places
    assert {v.invariant for v in found} == {Invariant.NOTHING_LOST}


async def test_an_event_that_never_reached_its_topic(stage: Stage, damaged: Callable[..., Any]) -> None:
    """I4: in the ledger for longer than the relay may take, and nowhere else."""
    event_id = uuid7()
    url = await damaged(
        "shipping",
        f"INSERT INTO ledger (event_id, key, topic, sequence, at) VALUES ('{event_id}', 'k', 'Shipped', 7, now() - interval '2 min')",
    )
    found = await stage.caught_up("lost", databases={"shipping": url})
    lost = [v for v in found if v.event_id == str(event_id)]
    assert [(v.invariant, v.topic, v.offset, v.key) for v in lost] == [(Invariant.NOTHING_LOST, "Shipped", -1, "k")]
    assert "Shipped (nowhere), key k" in lost[0].text


@pytest.fixture
async def watching(stage: Stage) -> AsyncIterator[list[Violation]]:
    """A watch that runs beside the test, and what it names."""
    found: list[Violation] = []
    stop = asyncio.Event()
    running = asyncio.create_task(
        watch(stage.options(keep_going=True), stop, told=stage.told.append, named=found.append, figures=stage.figures)
    )
    yield found
    stop.set()
    assert await asyncio.wait_for(running, 90) == len(found)


async def test_the_watch_goes_on_after_the_broker_was_away(stage: Stage, watching: list[Violation]) -> None:
    """I4: what came before is known, what comes after is seen; the heartbeat says how far it is."""

    async def until(what: Callable[[], bool]) -> None:
        async with asyncio.timeout(200):
            while not what():  # noqa: ASYNC110 - the watch tells, it does not signal
                await asyncio.sleep(0.05)

    stage.told.clear()
    await until(lambda: any("lag 0" in line for line in stage.told))
    await asyncio.to_thread(stage.server.stop)
    await stage.server.start()
    await ensure_topics(stage.server.bootstrap)
    assert watching == []
    twice = record_of(msgspec.structs.replace(stage.last(Delivered, stage.house.orders["closed"]), id=uuid7()))
    (place,) = await stage.publish(twice)
    await until(lambda: len(watching) == 2)
    exact(watching, place, twice)
    stage.told.clear()
    await until(lambda: any("lag 0" in line for line in stage.told))
    figures = generate_latest(stage.figures.registry).decode()
    assert "expedite_audit_lag_events 0.0" in figures
    assert f'expedite_audit_violations{{invariant="{Invariant.ONCE.value}"}}' in figures
    assert "expedite_audit_heartbeat_seconds 1." in figures


async def test_what_a_watch_knows_is_told_again_after_its_restart(stage: Stage) -> None:
    """An alert on violations must not end because the watch was started again."""
    named = await stage.caught_up("told-again")
    assert named
    figures, again = Figures(), list[Violation]()
    options = stage.options("told-again", caught_up=True, keep_going=True)
    assert await watch(options, asyncio.Event(), told=stage.told.append, named=again.append, figures=figures) == 0
    told = {s.labels["invariant"]: s.value for m in figures.registry.collect() for s in m.samples if s.labels}
    assert {name: n for name, n in told.items() if n} == Counter(one.invariant for one in named)


def test_the_command_ends_with_1_at_the_first_violation(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 5.4: named on a line and in a file for machines; 0 while all is well; the lowest priority."""
    lowered: list[int] = []
    monkeypatch.setattr(os, "setpriority", lambda which, who, nice: lowered.append(nice))
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    pid = os.getpid()
    running = replace(stage.house.state, kafka_bootstrap=stage.server.bootstrap, databases={}, supervisor_pid=pid)
    state.save(stage.house.home, running)
    home = replace(stage.house.home, root=tmp_path)
    state.save(home, replace(running, supervisor_started=warden.started_at(pid) or 0.0))
    app = typer.Typer()
    app.command()(audit.command)
    port = free_port()
    bad = CliRunner().invoke(app, ["--watch", "--json", str(tmp_path / "found"), "--metrics-port", str(port)])
    assert bad.exit_code == 1, bad.output
    assert f"✖ {Invariant.ONCE.value}: " in bad.output
    first = json.loads((tmp_path / "found").read_text().split("\n")[0])
    assert first["invariant"] in set(Invariant)
    assert lowered == [19]
    assert 'expedite_audit_violations{invariant="I1' in httpx.get(f"http://127.0.0.1:{port}/metrics").text
    CliRunner().invoke(app, ["--watch", "--keep-going", "--until-caught-up"])
    again = CliRunner().invoke(app, ["--watch", "--until-caught-up"])
    assert again.exit_code == 0, again.output
    state.remove(stage.house.home)


def test_stories_do_not_depend_on_which_topic_was_read_first(house: Any) -> None:
    """I5: topics have no common order; whatever the interleaving, a sound stream is sound."""
    envelopes = [(r, decode(r.topic, r.key, r.value, r.headers)) for r in house.records]
    for seed in range(20):
        rnd, queues = random.Random(seed), {}
        for record, envelope in envelopes:
            queues.setdefault(record.topic, []).append((record, envelope))
        stories: dict[str, Story] = {}
        while queues:
            topic = rnd.choice(sorted(queues))
            record, envelope = queues[topic].pop(0)
            if not queues[topic]:
                del queues[topic]
            story = stories.setdefault(envelope.key, Story())
            seen = Seen(record.topic, 0, record.offset, str(envelope.id), envelope.sequence)
            assert tell(story, envelope, seen, 1) == [], f"seed {seed}"
        for key, story in stories.items():
            assert settled(story, key, 1, whole=True) == [], f"seed {seed}"
