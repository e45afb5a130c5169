"""The audit on a real broker: waiting for rest, reading everything, the command."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from typer.testing import CliRunner

from expedite_local import audit, state, warden
from expedite_local.audit import run
from expedite_local.audit.topics import heard_topics
from expedite_local.errors import LocalError
from expedite_local.home import HOME_VARIABLE
from expedite_local.kafka import KafkaServer
from expedite_messaging.admin import end_offsets, ensure_topics


@pytest.fixture(scope="module")
def published(house: Any, kafka: KafkaServer) -> Any:
    """The house with its records on a broker. Nobody has consumed them yet."""

    async def publish() -> None:
        await ensure_topics(kafka.bootstrap)
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
        await producer.start()
        for record in house.records:
            await producer.send(record.topic, record.value, record.key, headers=list(record.headers))
        await producer.stop()

    asyncio.run(publish())
    pid = os.getpid()
    running = replace(house.state, kafka_bootstrap=kafka.bootstrap, supervisor_pid=pid)
    return replace(house, state=replace(running, supervisor_started=warden.started_at(pid) or 0.0))


async def consume(bootstrap: str, services: Any) -> None:
    """Commit, for every group, where its topics end."""
    ends = await end_offsets(bootstrap)
    for service in services:
        heard = heard_topics(service)
        for group in set(heard.values()):
            consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
            await consumer.start()
            mine = {TopicPartition(*place): end for place, end in ends.items() if heard.get(place[0]) == group}
            consumer.assign(list(mine))
            await consumer.commit(mine)
            await consumer.stop()


async def test_a_system_that_does_not_rest_is_looked_at_twice_then_rests(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lag is named; with it the orders that are to have ended are a fault, what is in flight is not. Once consumed,
    everything rests and holds."""
    monkeypatch.setattr(run, "AGAIN_S", 0.0)
    told: list[str] = []
    moving = await audit.settled(published.state, {}, published.home, ended=True, patience_s=0.0, told=told.append)
    assert {f.check for f in moving if not f.good} == {"at rest", "orders"}
    assert "order-intake: " in moving[0].detail
    assert "to consume" in moving[0].detail
    assert any("no rest after 0 s" in words for words in told)
    assert told[-1] == "checking a second time"
    calm = await audit.settled(published.state, {}, published.home, ended=False, patience_s=0.0)
    assert calm[0].good, "a system at work is no fault by itself"
    await consume(published.state.kafka_bootstrap, published.state.databases)
    rested = await audit.settled(published.state, {}, published.home, ended=False, patience_s=60.0)
    assert all(f.good for f in rested), audit.text(rested)
    assert rested[0].detail == "7 services, nothing moves"
    count = next(f.count for f in rested if f.check == "events")
    assert count == len(published.records) == len([e async for e in audit.every_event(published.state)])
    assert await audit.parked_events(published.state) == 0


def test_the_command_prints_each_check_and_fails_on_a_violation(
    published: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 3.8: each check with its count; exit 1 on a violation; a file for machines."""
    asyncio.run(consume(published.state.kafka_bootstrap, published.state.databases))
    monkeypatch.setenv(HOME_VARIABLE, str(published.home.root))
    state.save(published.home, published.state)
    app = typer.Typer()
    app.command()(audit.command)
    good = CliRunner().invoke(app, ["--json", str(tmp_path / "audit.json")])
    assert good.exit_code == 0, good.output
    assert "✔ orders" in good.output
    assert {row["check"]: row["good"] for row in json.loads((tmp_path / "audit.json").read_text())}["stock"] is True
    bad = CliRunner().invoke(app, ["--ended"])
    assert bad.exit_code == 1
    assert "✖ orders" in bad.output
    state.remove(published.home)
    assert isinstance(CliRunner().invoke(app, []).exception, LocalError)
