"""The tools of chaos trials beside links: what is replayed, poisoned, altered and toggled is what their names say."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import expedite_altered as altered
import pytest
from expedite_chaos.ground import HARNESS
from expedite_chaos.groups import Double, Toggler
from expedite_chaos.linked import Gateway
from expedite_chaos.poison import KINDS, LARGE, kept_under, partition_of, poisoned
from expedite_chaos.proxy import HOST, Link, partition
from expedite_chaos.replay import Order, arranged, made_at, producer, publish, replay
from expedite_chaos.routes import Routes
from expedite_chaos.wires import BrokerWire

from expedite_events import CATALOGUE, Lane, TrackingStatus
from expedite_events.base import OrderBrief
from expedite_events.envelope import Envelope, encode
from expedite_events.ids import uuid7
from expedite_events.shipping import ShipmentTracked
from expedite_local.child import ProcessSpec
from expedite_local.clock import now
from expedite_local.kafka import KafkaServer
from expedite_messaging.admin import ensure_topics, read_topics
from expedite_messaging.bundles import Bundle
from expedite_messaging.cause import RawRecord
from expedite_messaging.kafka import _decoded

TOPIC = "ShipmentTracked"


def tracked(key: str, place: str) -> RawRecord:
    row = next(row for row in CATALOGUE if row.event is ShipmentTracked)
    event = ShipmentTracked(
        order_id=key, parcel_id=f"{key}-P1", tracking_number="t", status=TrackingStatus.IN_TRANSIT, raw_status=place,
        occurred_at=now(),
    )  # fmt: skip
    cause = uuid7()
    made = Envelope(
        id=uuid7(), service="shipping", row=row, key=key, lane=Lane.STANDARD, event=event, time=now(),
        correlation_id=cause, causation_id=cause,
    )  # fmt: skip
    topic, record_key, value, headers = encode(made)
    return RawRecord(topic, record_key, value, tuple(headers), partition_of(topic, record_key))


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    """A broker of our own with the topics of the catalogue."""
    server = KafkaServer(Path(tempfile.mkdtemp(prefix="expedite-kafka-")))
    asyncio.run(server.start())
    asyncio.run(ensure_topics(server.bootstrap))
    yield server.bootstrap
    server.stop()
    server.wipe()


# --- replay -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["as it was", "keys shuffled", "shuffled"])
def test_a_replay_holds_everything_once_in_the_order_that_was_asked(order: Order) -> None:
    records = [replace(tracked(f"order-{n % 5}", str(n)), offset=n) for n in range(60)]
    found = arranged(records, order, random.Random(1))
    assert Counter(found) == Counter(records)
    assert (found == records) == (order == "as it was")
    per_key = defaultdict(list)
    for record in found:
        per_key[record.key].append(record.offset)
    assert all(offsets == sorted(offsets) for offsets in per_key.values()) == (order != "shuffled")


async def test_what_is_on_the_topics_is_there_twice_after_a_replay(kafka: str) -> None:
    records = [tracked(f"order-{n % 7}", str(n)) for n in range(40)]
    places = await publish(kafka, records)
    assert len({place[:2] for place in places}) > 1
    assert await replay(kafka, topics=[TOPIC], older_than_s=600) == 0
    assert await replay(kafka, topics=[TOPIC], order="keys shuffled") == 40
    seen = Counter([dict(r.headers)["ce_id"] async for r in read_topics(kafka, [TOPIC])])
    assert set(seen.values()) == {2}
    assert set(seen) == {dict(r.headers)["ce_id"] for r in records}
    assert made_at(replace(records[0], headers=())) == float("inf")


# --- poison -------------------------------------------------------------------------------------------------------------


REASONS = {
    "bad JSON": "DecodeError",
    "no JSON object": "ValidationError",
    "empty": "DecodeError",
    "wrong shape": "ValidationError",
    "unknown type": "unknown type",
    "wrong version": "unknown type",
    "large": "ValidationError",
    "no headers": "KeyError: 'ce_source'",
    "no id": "KeyError: 'ce_id'",
    "id of version 4": "neither version 7 nor 8",
    "foreign source": "does not own",
    "source of another topic": "does not own",
    "key of another": "its key is",
    "bad time": "ValueError",
    "NUL in the key": "its key is",
    "no key": "its key is",
    "key that is no text": "its key is",
}


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_understands_poison_and_it_is_kept_under_a_key_of_its_own(kind: str) -> None:
    """(D10)"""
    (record,) = poisoned(tracked("order-1", "x"), [kind])
    ((envelope, raw, reason),) = list(_decoded("fulfillment", [_seen(record)]))
    assert envelope is None
    assert raw is not None
    assert reason.startswith("Undecodable: ")
    assert REASONS[kind] in reason
    key, event_id = kept_under(raw)
    assert key != "order-1"
    assert event_id.version in (7, 8)
    assert (len(record.value or b"") > LARGE) == (kind == "large")


class _Polled:
    """A record as the consumer has it."""

    def __init__(self, record: RawRecord) -> None:
        self.topic, self.key, self.value = record.topic, record.key, record.value
        self.headers, self.partition, self.offset = record.headers, record.partition, 7


def _seen(record: RawRecord) -> _Polled:
    return _Polled(record)


# --- links and groups on a broker ---------------------------------------------------------------------------------------


async def test_clients_of_a_linked_broker_keep_to_the_link(kafka: str) -> None:
    host, _, port = kafka.rpartition(":")
    async with Link("kafka", (host, int(port)), BrokerWire) as link:
        async with producer(f"{HOST}:{link.port}") as sending:
            await sending.send_and_wait(TOPIC, b"{}", key=b"linked", partition=0)
            assert {broker.port for broker in sending.client.cluster.brokers()} == {link.port}
        assert link.did["connections"] >= 2
        seen = [record.key async for record in read_topics(f"{HOST}:{link.port}", [TOPIC])]
        assert b"linked" in seen
        before = link.did["connections"]
        async with producer(f"{HOST}:{link.port}") as sending:
            sending_on = asyncio.create_task(sending.send_and_wait(TOPIC, b"{}", key=b"cut", partition=0))
            await asyncio.sleep(0)
            link.cut()
            await asyncio.wait_for(sending_on, 30)
        assert link.did["connections"] > before + 2  # it came back the same way


async def test_a_toggled_member_makes_the_group_begin_anew_each_time(kafka: str) -> None:
    toggler = Toggler(kafka, "somebody", [TOPIC], period_s=0.1)
    while toggler.did["joined"] < 2:  # a new broker needs a moment for its first group
        await toggler.run(0.3)
    assert toggler.did["joined"] == toggler.did["left"]
    assert len(toggler.generations) == toggler.did["joined"]


# --- processes ----------------------------------------------------------------------------------------------------------


async def test_a_routed_process_reaches_its_servers_through_links_and_others_do_not() -> None:
    routes = Routes(postgres=["inventory-*"], kafka=["inventory-standard"], altered={"inventory-standard": ["twice"]})
    env = {"DATABASE_URL": "postgresql://inventory:secret@127.0.0.1:5/inventory", "KAFKA_BOOTSTRAP": "127.0.0.1:9"}
    spec = ProcessSpec("inventory-standard", ("python", "-m", "inventory.main", "--role", "standard"), env)
    await routes.open()
    found = routes.adapt(spec)
    postgres, kafka = routes["postgres", "inventory-*"], routes["kafka", "inventory-standard"]
    assert found.env["DATABASE_URL"] == f"postgresql://inventory:secret@127.0.0.1:{postgres.port}/inventory"
    assert found.env["KAFKA_BOOTSTRAP"] == f"127.0.0.1:{kafka.port}"
    assert list(routes.targets.values()) == [("127.0.0.1", 5), ("127.0.0.1", 9)]
    assert found.argv[1:] == ("-m", "expedite_altered", "twice", "inventory.main", "--role", "standard")
    other = replace(spec, name="shipping-standard")
    assert routes.adapt(other) == other
    with pytest.raises(OSError):  # it leads to where nobody listens
        reader, _ = await asyncio.open_connection(HOST, postgres.port)
        await asyncio.wait_for(reader.readexactly(1), 20)
    assert (await postgres.did())["refused"] == 1
    await routes.close()


async def test_a_link_in_the_gateway_does_what_it_is_told() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    gateway = Gateway()
    await gateway.open()
    async with server:
        link = await gateway.link("echo", "plain")
        await link.aim(HOST, server.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection(HOST, link.port)
        writer.write(b"one")
        assert await asyncio.wait_for(reader.readexactly(3), 20) == b"one"
        await link.turn(partition("up"))
        writer.write(b"two")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(3), 0.3)
        await link.turn()
        assert await asyncio.wait_for(reader.readexactly(3), 20) == b"two"
        assert await link.half_open(["down"]) == 1
        assert await link.cut() == 1
        await link.commits("after", every=3)
        assert (await link.did())["held"] >= 1
        with pytest.raises(RuntimeError, match="a link cannot fly"):
            await gateway.ask("echo", "fly")
        writer.close()
    await gateway.close()


async def test_a_double_is_heard_to_its_end(tmp_path: Path) -> None:
    """What it says and its exit status; it listens elsewhere."""
    program = "import os, sys; print('port', os.environ['PORT']); sys.exit(3)"
    double = Double(ProcessSpec("x", (sys.executable, "-c", program), {"PORT": "1"}, port=1))
    await double.start()
    assert await double.ended(30) == 3
    assert double.output == f"port {double.spec.port}\n".encode()
    assert double.spec.port != 1
    await double.stop()


async def test_a_double_that_lives_answers(tmp_path: Path) -> None:
    """A fight begins when both are there; one that ends before is not waited for."""
    program = """
import http.server, os
class Alive(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Alive).serve_forever()
"""
    double = Double(ProcessSpec("x", (sys.executable, "-c", program), {"PORT": "1"}, port=1))
    await double.start()
    await double.lives(30)
    await double.stop()
    with pytest.raises(TimeoutError):
        await double.lives(0.3)


def in_next_version(code: str) -> str:
    """Run code in an interpreter that has the next version; what it prints."""
    path = os.pathsep.join((str(HARNESS), *filter(None, (os.environ.get("PYTHONPATH"),))))
    before = "from expedite_altered import next_version; next_version()\n"
    done = subprocess.run(
        [sys.executable, "-c", before + code],
        check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_next_version_says_one_thing_more_and_this_one_reads_it() -> None:
    """(additive changes only)"""
    code = """
from expedite_events.base import Address, Customer, OrderBrief
from expedite_events.value import to_json
from expedite_local.clock import now
import order_intake.domain.order
customer = Customer(name="M", ship_to=Address(line1="1", city="L", postcode="1", country="GB"))
print(to_json(OrderBrief(channel="web", placed_at=now(), customer=customer, gift_note="with love")).decode())
"""
    from expedite_events.value import from_json, to_json

    said = in_next_version(code)
    assert f'"{altered.FIELD}":"{altered.SAID}"' in said
    assert altered.FIELD not in OrderBrief.__struct_fields__
    assert altered.FIELD not in to_json(from_json(OrderBrief, said)).decode()  # this version leaves it behind


def test_a_shuffled_relay_keeps_the_order_of_each_key() -> None:
    bundles = [Bundle(n, n % 4, []) for n in range(40)]
    found = altered.mixed(bundles, random.Random(1))
    assert found != bundles
    assert sorted(b.number for b in found) == list(range(40))
    for shard in range(4):
        numbers = [b.number for b in found if b.shard == shard]
        assert numbers == sorted(numbers)


def test_alterations_replace_what_they_name() -> None:
    """A name that the product no longer has would make a trial that tries nothing."""
    code = """
import expedite_altered as altered
from expedite_messaging.relay import Relay
from expedite_messaging.runtime import SlotGuard
before = Relay._send, SlotGuard.acquire, SlotGuard.keep
altered.twice(); once = Relay._send; altered.shuffled(); altered.unguarded()
after = Relay._send, SlotGuard.acquire, SlotGuard.keep
print(all(a is not b for a, b in zip(before, after)) and once is not Relay._send)
"""
    assert in_next_version(code) == "True"
