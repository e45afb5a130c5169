"""What only a real broker shows: the wire, relays and their shards, restarts, oversized records, wake-ups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from expedite_sample.brokers import Broker, publish, until
from expedite_sample.handlers import World, make
from expedite_sample.worlds import OnPostgres, cancelled, on_postgres, tracked

from expedite_events import Lane, SLABreached
from expedite_events.envelope import decode
from expedite_messaging import Batch, Handlers, Received, Tx, runtime
from expedite_messaging.kafka import LaneConsumer
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.relay import SILENCE, Relay
from expedite_messaging.runtime import SlotGuard, SlotTaken, Worker
from expedite_messaging.testing import create_database, drop_database

OUT = ("SLABreached", "SLABreached.express")


@pytest.fixture
async def world(postgres_server: str, kafka: Broker) -> AsyncIterator[OnPostgres]:
    async with on_postgres() as made:
        yield made


async def on_topics(kafka: Broker, world: OnPostgres) -> dict[str, list[int]]:
    """Which of its key's emissions each of this world's events is, per key, in topic order, with duplicates."""
    rows = await world.sql(
        "SELECT event_id, sequence, row_number() OVER (PARTITION BY key ORDER BY sequence) FROM ledger"
    )
    mine = {UUID(str(event_id)): (sequence, place) for event_id, sequence, place in rows}
    found: dict[str, list[int]] = {}
    for record in await kafka.read(*OUT):
        if record.event_id in mine:
            sequence, place = mine[record.event_id]
            assert int(dict(record.headers)["ce_sequence"]) == sequence
            found.setdefault(record.lock_key, []).append(place)
    return found


async def empty(world: OnPostgres) -> bool:
    rows = await world.sql("SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM outbox_express)")
    return bool(rows[0][0] == 0)


def first_occurrences(numbers: list[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


async def test_a_worker_takes_events_in_decides_publishes_and_parks_what_nobody_understands(
    world: OnPostgres, kafka: Broker
) -> None:
    tag = world.url[-6:]
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    await producer.send("ShipmentTracked", b"{garbage", key=f"{tag}-bad".encode())
    await producer.stop()
    await publish(kafka, *(tracked(f"{tag}-{n % 20}", f"ok{n}") for n in range(200)))
    async with Worker(world.engine, kafka.bootstrap, Lane.STANDARD, 0) as worker:
        await until(lambda: _ready(worker))
        await until(lambda: _counts(world, tag, 200))
        await until(lambda: empty(world))
    sent = await on_topics(kafka, world)
    assert {k: v for k, v in sent.items() if k.startswith(tag)} == {f"{tag}-{n}": list(range(1, 11)) for n in range(20)}
    assert f"{tag}-bad" in [p.key for p in await world.engine.parked()]
    assert await world.seen(f"{tag}-3") == tuple(f"ok{n}" for n in range(3, 200, 20))


async def _ready(worker: Worker) -> bool:
    return worker.ready


async def _counts(world: OnPostgres, tag: str, wanted: int) -> bool:
    rows = await world.sql("SELECT coalesce(sum(count), 0) FROM tally WHERE order_id LIKE $1", f"{tag}-%")
    return bool(rows[0][0] == wanted)


async def test_a_restarted_consumer_goes_on_and_decides_nothing_twice(world: OnPostgres, kafka: Broker) -> None:
    tag = world.url[-6:]
    for part in range(3):
        await publish(kafka, *(tracked(f"{tag}-{n}", f"ok{part}") for n in range(30)))
        consumer = LaneConsumer(world.engine, kafka.bootstrap, Lane.STANDARD, 1)
        running = asyncio.create_task(consumer.run())
        await until(lambda part=part: _counts(world, tag, 30 * (part + 1)))  # type: ignore[misc]
        if part == 1:
            running.cancel()  # no commit, no leave
            await asyncio.gather(running, return_exceptions=True)
        else:
            await consumer.stop()
            await running
    assert await world.seen(f"{tag}-7") == ("ok0", "ok1", "ok2")


async def test_a_commit_in_one_process_wakes_the_express_relay_of_another(world: OnPostgres, kafka: Broker) -> None:
    """The api process commits; a process that listens is told by NOTIFY, without looking into any table."""
    other = PostgresEngine(make(World()), world.url)
    heard = other.wake.event("outbox.express")
    other.wake.listen()
    listening = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE '% listen' AND query LIKE 'LISTEN%'"
    try:
        await until(lambda: world.sql(listening))
        for n in range(3):
            heard.clear()
            await world.deliver(cancelled(f"X{n}", "ok"))
            await asyncio.wait_for(heard.wait(), 30)
        other.wake.forget("outbox.express")
        relay = Relay(other, kafka.bootstrap, Lane.EXPRESS)
        running = asyncio.create_task(relay.run())
        await until(lambda: empty(world))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    finally:
        await other.close()
    assert await on_topics(kafka, world) == {f"X{n}": [1] for n in range(3)}


async def _connected(relay: Relay) -> bool:
    return relay.connected and bool(relay.shards)


async def test_two_relays_share_the_shards_and_the_second_takes_over_when_the_first_dies(
    world: OnPostgres, kafka: Broker
) -> None:
    engines = [PostgresEngine(make(World()), world.url) for _ in range(2)]
    relays = [Relay(engine, kafka.bootstrap, Lane.STANDARD) for engine in engines]
    tasks = [asyncio.create_task(relay.run()) for relay in relays]

    async def shared() -> bool:
        return sorted(len(r.shards) for r in relays) == [8, 8] and not relays[0].shards & relays[1].shards

    async def taken_over() -> bool:
        return len(relays[1].shards) == 16

    try:
        await until(shared)
        for n in range(10):
            await world.deliver(*(tracked(f"S{k}", f"ok{n}") for k in range(40)))
        await until(lambda: empty(world))
        assert all(relay.published for relay in relays)
        tasks[0].cancel()
        await until(taken_over)
        await world.deliver(*(tracked(f"S{k}", "ok-last") for k in range(40)))
        await until(lambda: empty(world))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for engine in engines:
            await engine.close()
    sent = await on_topics(kafka, world)
    assert all(first_occurrences(numbers) == list(range(1, 12)) for numbers in sent.values())
    assert len(sent) == 40


async def test_a_relay_that_the_broker_keeps_waiting_is_heard_and_keeps_its_shards(
    world: OnPostgres, kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks for no work meanwhile, so it says a word for the server to hear; without it, its session would end."""
    monkeypatch.setitem(SILENCE, Lane.STANDARD, "1s")
    monkeypatch.setattr("expedite_messaging.relay.QUIET_S", 0.2)
    engine = PostgresEngine(make(World()), world.url)
    waits = asyncio.Event()

    class Waiting(Relay):
        async def _send(self, producer: AIOKafkaProducer, rows: Any) -> Any:
            if not waits.is_set():
                waits.set()
                await asyncio.sleep(2.5)
            return await super()._send(producer, rows)

    relay = Waiting(engine, kafka.bootstrap, Lane.STANDARD)
    running = asyncio.create_task(relay.run())
    try:
        await until(lambda: _connected(relay))
        await world.deliver(*(tracked(f"W{n}", "ok1") for n in range(5)))
        await asyncio.wait_for(waits.wait(), 30)
        await until(lambda: empty(world))
        assert relay.rebuilds == 0
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await engine.close()


async def test_a_zombie_relay_loses_its_shards_and_its_late_sends_are_known_to_every_inbox(
    world: OnPostgres, kafka: Broker
) -> None:
    """Fault 4: the owner's session ends while it is frozen; the next owner publishes; the frozen one wakes up."""
    frozen, fresh = PostgresEngine(make(World()), world.url), PostgresEngine(make(World()), world.url)
    held, go = asyncio.Event(), asyncio.Event()

    class Freezing(Relay):
        async def _send(self, producer: AIOKafkaProducer, rows: Any) -> Any:
            if not go.is_set():
                held.set()
                await go.wait()
            return await super()._send(producer, rows)

        async def _keep_alive(self, connection: Any, sql: asyncio.Lock) -> None:
            await go.wait()
            await super()._keep_alive(connection, sql)

    zombie, heir = Freezing(frozen, kafka.bootstrap, Lane.STANDARD), Relay(fresh, kafka.bootstrap, Lane.STANDARD)
    tasks = [asyncio.create_task(zombie.run())]
    try:
        await until(lambda: _connected(zombie))
        await world.deliver(*(tracked(f"Z{n}", "ok1") for n in range(20)))
        await asyncio.wait_for(held.wait(), 30)
        admin = await asyncpg.connect(world.url)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%relay%'"
        )
        await admin.close()
        tasks.append(asyncio.create_task(heir.run()))
        await until(lambda: empty(world))
        await world.deliver(*(tracked(f"Z{n}", "ok2") for n in range(20)))
        await until(lambda: empty(world))
        go.set()

        async def woke_up() -> bool:
            return zombie.rebuilds > 0

        await until(woke_up)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await frozen.close()
        await fresh.close()
    sent = await on_topics(kafka, world)
    assert all(first_occurrences(numbers) == [1, 2] for numbers in sent.values())
    assert any(len(numbers) > 2 for numbers in sent.values()), "the zombie must really have sent late"
    assert len(sent) == 20
    # Every record on the topic, duplicates included, is put before a consumer's inbox: each event is decided once.
    mine = {UUID(str(row[0])) for row in await world.sql("SELECT event_id FROM ledger")}
    records = [r for r in await kafka.read("SLABreached") if r.event_id in mine]
    handled: list[UUID] = []
    handlers = Handlers("notifier")

    @handlers.on(SLABreached)
    async def note(batch: Batch[Received[SLABreached]], _tx: Tx) -> None:
        handled.extend(received.id for received in batch)

    url = await create_database("expedite_sample")
    receiver = PostgresEngine(handlers, url)
    for record in records:
        await receiver.deliver([decode(record.topic, record.key, record.value, record.headers)])
    await receiver.close()
    await drop_database(url)
    assert len(records) > len(mine)
    assert sorted(handled) == sorted(mine)


async def test_an_oversized_record_rebuilds_the_producer_and_blocks_its_key_only(
    world: OnPostgres, kafka: Broker
) -> None:
    """P1: a record the broker refuses leaves a hole in the producer's numbers; the client's limit is lifted here so
    that it is the broker who refuses."""
    await world.deliver(*(tracked(f"O{n}", "ok1") for n in range(40)))
    await world.alter("O7", b"x" * 1_500_000)
    await world.deliver(*(tracked(f"O{n}", "ok2") for n in range(40)))
    assert any(len(b.events) > 1 and "O7" in {e.key for e in b.events} for b in await world.bundles())
    relay = Relay(world.engine, kafka.bootstrap, Lane.STANDARD)
    relay.producer_options = {"max_request_size": 8 * 1024 * 1024, "compression_type": None}
    running = asyncio.create_task(relay.run())

    async def others_sent() -> bool:
        return [e.key for b in await world.bundles("outbox") for e in b.events] == ["O7", "O7"]

    try:
        await until(others_sent)
        assert set(relay.blocked) == {"O7"}
        assert relay.rebuilds >= 1
        await world.deliver(*(tracked(f"O{n}", "ok3") for n in range(6)))
        await until(lambda: _left(world, 2))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    sent = await on_topics(kafka, world)
    assert "O7" not in sent
    assert all(first_occurrences(sent[f"O{n}"])[:2] == [1, 2] for n in range(40) if n != 7)


async def test_what_follows_a_refused_event_waits_also_when_it_goes_elsewhere(world: OnPostgres, kafka: Broker) -> None:
    """I5: the later events of its key stay, on every topic, however small the refused one is."""
    narrow = f"narrow-{world.url[-6:]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(narrow, 1, 1, topic_configs={"max.message.bytes": "1000"})])
    await admin.close()
    await world.deliver(*(tracked(f"O{n}", "ok1") for n in range(40)))
    await world.alter("O7", b"x" * 5000, narrow)
    relay = Relay(world.engine, kafka.bootstrap, Lane.STANDARD)
    relay.producer_options = {"compression_type": None}
    running = asyncio.create_task(relay.run())

    async def blocked() -> bool:
        return set(relay.blocked) == {"O7"} and await _left(world, 1)

    try:
        await until(blocked)
        await world.deliver(*(tracked(f"O{n}", "ok2") for n in range(40)))
        await until(lambda: _left(world, 2))
        await asyncio.sleep(1.0)  # time for what must not happen
        assert await _left(world, 2)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    sent = await on_topics(kafka, world)
    assert "O7" not in sent
    assert all(first_occurrences(sent[f"O{n}"]) == [1, 2] for n in range(40) if n != 7)


async def _left(world: OnPostgres, count: int) -> bool:
    rows = await world.sql("SELECT coalesce(sum(events), 0) FROM outbox")
    return bool(rows[0][0] == count)


async def test_a_second_process_in_the_same_slot_is_refused(world: OnPostgres, kafka: Broker) -> None:
    other = PostgresEngine(make(World()), world.url)
    first = Worker(world.engine, kafka.bootstrap, Lane.EXPRESS, 3)
    second = Worker(other, kafka.bootstrap, Lane.EXPRESS, 3)
    try:
        await first.slot.acquire()
        with pytest.raises(SlotTaken):
            await second.slot.acquire(within_s=0.0)
        first.slot.release()
        await second.slot.acquire()
    finally:
        second.slot.release()
        await other.close()


async def test_a_place_whose_holder_lives_is_refused_at_once_and_a_silent_one_is_waited_for(
    world: OnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(P10)"""
    monkeypatch.setattr(runtime, "SLOT_PING_S", 0.1)
    other = PostgresEngine(make(World()), world.url)
    first, second = SlotGuard(world.engine, Lane.STANDARD, 0), SlotGuard(other, Lane.STANDARD, 0)
    await first.acquire()
    try:
        waiting = asyncio.create_task(second.acquire(60.0))
        await asyncio.sleep(1.5)
        assert not waiting.done()  # the first says nothing: it may have died without a farewell
        living = asyncio.create_task(first.keep())
        with pytest.raises(SlotTaken):
            await asyncio.wait_for(waiting, 30.0)
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        waiting = asyncio.create_task(second.acquire(60.0))
        await asyncio.sleep(0.5)
        first.release()
        await asyncio.wait_for(waiting, 30.0)
    finally:
        first.release()
        second.release()
        await other.close()


async def test_too_much_poison_stops_the_consumer_and_its_offsets(world: OnPostgres, kafka: Broker) -> None:
    tag = world.url[-6:]
    await publish(kafka, *(tracked(f"{tag}-{n}", "bad") for n in range(10)))
    consumer = LaneConsumer(world.engine, kafka.bootstrap, Lane.STANDARD, 0, poison_limit=4)
    running = asyncio.create_task(consumer.run())

    async def poisoned() -> bool:
        return consumer.poisoned is not None

    await until(poisoned)
    assert not consumer.ready
    await consumer.stop()
    await running
    assert len({p.key for p in await world.engine.parked()}) == 4


async def test_events_decided_while_the_broker_is_down_go_out_when_it_is_back(world: OnPostgres, kafka: Broker) -> None:
    if kafka.server is None:
        pytest.skip("the external broker is not ours to stop")
    relay = Relay(world.engine, kafka.bootstrap, Lane.STANDARD)
    relay.producer_options = {"request_timeout_ms": 2_000}  # so that the outage outlasts it (P1)
    running = asyncio.create_task(relay.run())
    try:
        await until(lambda: _connected(relay))
        await world.deliver(*(tracked(f"D{n}", "ok1") for n in range(10)))
        await until(lambda: empty(world))
        await asyncio.to_thread(kafka.server.stop)
        await world.deliver(*(tracked(f"D{n}", "ok2") for n in range(10)))
        await world.deliver(*(tracked(f"D{n}", "ok3") for n in range(10)))
        await asyncio.sleep(6)  # longer than the request timeout
        await kafka.server.start()
        await until(lambda: empty(world), 90)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    sent = await on_topics(kafka, world)
    assert all(first_occurrences(numbers) == [1, 2, 3] for numbers in sent.values())
    assert len(sent) == 10
