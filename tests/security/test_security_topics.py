"""What comes over Kafka is not trusted, and who comes to Kafka has a login (checklist "Kafka": auto-create off, `ce_source`
against the topic's owner, SASL on loopback so that the path exists)."""

from __future__ import annotations

import ast
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from expedite_e2e import System, eventually, expedite
from expedite_security.broker import EXPEDITE, STRANGER, SaslBroker

from expedite_events.ids import uuid7
from expedite_messaging.access import KafkaAccessError, client_options
from expedite_messaging.admin import KafkaAway, ensure_topics, read_topics, wait_ready

ROOT = Path(__file__).parents[2]
EXAMPLE = json.loads((ROOT / "contracts" / "examples" / "StockReserved.json").read_text(encoding="utf-8"))


@pytest.fixture
async def producer(system: System) -> AsyncIterator[AIOKafkaProducer]:
    found = AIOKafkaProducer(bootstrap_servers=system.state["kafka_bootstrap"], request_timeout_ms=5_000)
    await found.start()
    yield found
    await found.stop()


def record(order_id: str, **headers: str | None) -> dict[str, Any]:
    """A `StockReserved` for an order that does not exist, as Kafka takes it; headers replaced, None: left out."""
    text = json.dumps(EXAMPLE["value"]).replace(EXAMPLE["key"], order_id)
    said = {**EXAMPLE["headers"], "ce_id": str(uuid7()), "ce_subject": order_id, **headers}
    pairs = [(name, value.encode()) for name, value in said.items() if value is not None]
    return {"topic": "StockReserved", "key": order_id.encode(), "value": text.encode(), "headers": pairs}


FORGED: dict[str, dict[str, str | None]] = {
    "another service's name": {"ce_source": "/expedite/notifier", "ce_type": "expedite.notifier.StockReserved.v1"},
    "a stranger's name": {"ce_source": "/evil/inventory"},
    "no source": {"ce_source": None},
    "another type": {"ce_type": "expedite.inventory.StockReleased.v1"},
    "an id that is none": {"ce_id": "not-an-id"},
    "an id that anybody could guess": {"ce_id": str(uuid.UUID(int=7, version=4))},
    "a time that is none": {"ce_time": "yesterday"},
}


async def test_events_of_others_are_parked_not_believed(system: System, producer: AIOKafkaProducer) -> None:
    """I4, I5 (checklist: consumers do not trust topics): a false source, type, id or time, a body that is none, too deep or of
    another shape: the key waits for repair, with a reason, and nothing is picked. A true event beside them is."""
    keys = {f"20200101-ZZ-{n:06d}": name for n, name in enumerate(FORGED, 1)}
    for order_id, name in keys.items():
        await producer.send_and_wait(**record(order_id, **FORGED[name]))
    bodies = [b"", b"null", b"[" * 100_000, b"\xff\xfe", b'{"order_id": 7}', b"<xml/>"]
    for n, body in enumerate(bodies, 101):
        keys[f"20200101-ZZ-{n:06d}"] = repr(body[:10])
        await producer.send_and_wait(**{**record(f"20200101-ZZ-{n:06d}"), "value": body})
    true = "20200101-ZZ-000999"
    await producer.send_and_wait(**record(true))
    with system.client("fulfillment") as floor:
        eventually(lambda: floor.get(f"/orders/{true}/fulfilment").status_code == 200, "the true event's work")

        def parked() -> dict[str, str]:
            items = floor.get("/admin/parked", params={"limit": 1000}).json()["items"]
            return {item["key"]: item["reason"] or "" for item in items}

        found = eventually(lambda: (p := parked()).keys() >= keys.keys() and p, "the forged events parked")
        for order_id in keys:
            assert floor.get(f"/orders/{order_id}/fulfilment").status_code == 404
            assert found[order_id].startswith("Undecodable"), keys[order_id]
        assert true not in found


async def test_a_topic_nobody_made_is_an_error(system: System, producer: AIOKafkaProducer) -> None:
    """I5 (checklist: auto-create off; max.message.bytes = client limit)."""
    name = f"Misspelt-{uuid.uuid4().hex}"
    with pytest.raises(KafkaError):
        await producer.send_and_wait(name, b"x")
    consumer = AIOKafkaConsumer(bootstrap_servers=system.state["kafka_bootstrap"])
    await consumer.start()
    assert name not in await consumer.topics()
    await consumer.stop()
    with pytest.raises(KafkaError):
        await producer.send_and_wait("StockReserved", b"x" * 1_100_000)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SaslBroker]:
    import asyncio

    found = SaslBroker(tmp_path_factory.mktemp("sasl"))
    asyncio.run(found.start())
    yield found
    found.stop()


def login(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in ("SECURITY_PROTOCOL", "SASL_MECHANISM", "SASL_USERNAME", "SASL_PASSWORD", "SSL_CAFILE"):
        monkeypatch.delenv(f"KAFKA_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


async def test_nobody_comes_to_kafka_without_a_login(broker: SaslBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5 (checklist: SASL): no login, a wrong password, an unknown name, a weaker mechanism: refused. With a login and no
    rights, nothing is read, written or made."""
    for environment in (
        {},
        broker.environment(EXPEDITE, KAFKA_SASL_PASSWORD="wrong"),
        broker.environment(EXPEDITE, KAFKA_SASL_USERNAME="nobody"),
        broker.environment(EXPEDITE, KAFKA_SASL_MECHANISM="PLAIN"),
    ):
        login(monkeypatch, environment)
        with pytest.raises((KafkaAway, KafkaError)):
            await wait_ready(broker.bootstrap, 3.0)
    login(monkeypatch, broker.environment(EXPEDITE))
    await wait_ready(broker.bootstrap, 60.0)
    await ensure_topics(broker.bootstrap)
    login(monkeypatch, broker.environment(STRANGER))
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, **client_options(), request_timeout_ms=5_000)
    await producer.start()
    with pytest.raises(KafkaError):
        await producer.send_and_wait("ProductChanged", b"{}", key=b"x")
    await producer.stop()
    assert [found async for found in _read(broker)] == []


async def _read(broker: SaslBroker) -> AsyncIterator[Any]:
    try:
        async for found in read_topics(broker.bootstrap, ["ProductChanged"]):
            yield found
    except KafkaError:
        return


def test_a_service_runs_against_a_broker_with_logins(
    broker: SaslBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """I1, I5 (checklist: SASL on loopback, so that the path exists): a real service consumes and publishes, and the password
    is in no log."""
    import asyncio

    login(monkeypatch, broker.environment(EXPEDITE))
    monkeypatch.setenv("KAFKA_BOOTSTRAP", broker.bootstrap)
    home = tmp_path / "home"
    started = expedite(home, "up", "--detach", "--only", "inventory", "--port-base", "0")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        found = System(home, json.loads(expedite(home, "status", "--json").stdout))
        with found.client("inventory") as inventory:
            inventory.put("/products/SASL-1", json={"name": "Behind a login"}).raise_for_status()

        async def announced() -> set[bytes | None]:
            return {r.key async for r in read_topics(broker.bootstrap, ["ProductChanged"])}

        eventually(lambda: b"SASL-1" in asyncio.run(announced()), "the product on the topic")
    finally:
        assert expedite(home, "down").returncode == 0
    logs = "".join(path.read_text(errors="replace") for path in (home / "logs").iterdir())
    assert broker.passwords[EXPEDITE] not in logs


@pytest.mark.parametrize(
    ("environment", "named"),
    [({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL"),
     ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM"),
     ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_PASSWORD": "hidden"}, "KAFKA_SASL_USERNAME"),
     ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_USERNAME": "x"}, "KAFKA_SASL_PASSWORD"),
     ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": "nowhere.pem"}, "KAFKA_SSL_CAFILE")],
)  # fmt: skip
def test_a_login_that_cannot_be_used_is_named(environment: dict[str, str], named: str) -> None:
    """I2, I5: the variable, never its value; nothing falls back to no login at all."""
    with pytest.raises(KafkaAccessError, match=named) as refused:
        client_options(environment)
    assert "hidden" not in str(refused.value)


def test_with_tls_the_broker_must_prove_who_it_is() -> None:
    """I5: certificates are checked, names too."""
    options = client_options(
        {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": "p"}
    )
    assert options["ssl_context"].check_hostname and options["ssl_context"].verify_mode.name == "CERT_REQUIRED"
    assert client_options({}) == {}


def test_every_client_of_kafka_logs_in() -> None:
    """I5: no client of the product can be made past the settings."""
    bare, seen = [], 0
    for path in [
        *ROOT.glob("libs/*/src/**/*.py"),
        *ROOT.glob("services/*/src/**/*.py"),
        *ROOT.glob("deploy/local/src/**/*.py"),
    ]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            text = ast.unparse(function)
            if any(f"{name}(" in text for name in ("AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient")):
                seen += 1
                if "client_options()" not in text:
                    bare.append(f"{path.name}: {function.name}")
    assert seen >= 6 and bare == []
