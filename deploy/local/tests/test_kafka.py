"""A real broker starts, answers, survives a kill and other ports; wrong jars are refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import threading
from pathlib import Path

import pytest

from expedite_local import jars
from expedite_local.errors import PortTaken
from expedite_local.jars import JarsError
from expedite_local.kafka import KafkaServer, answers_metadata


def test_the_broker_answers_a_metadata_request(kafka: KafkaServer) -> None:
    assert kafka.pid is not None
    assert answers_metadata("127.0.0.1", kafka.port)


def test_an_open_port_is_not_a_ready_broker() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        threading.Thread(target=lambda: silent.accept()[0].close(), daemon=True).start()
        assert not answers_metadata("127.0.0.1", silent.getsockname()[1], timeout=1.0)


async def test_data_survive_a_kill_and_other_ports(kafka: KafkaServer) -> None:
    assert kafka.pid is not None
    before = (kafka.folder / "data" / "meta.properties").read_text()
    os.kill(kafka.pid, 9)
    while kafka.pid is not None:
        pass
    kafka.port, kafka.controller_port = KafkaServer(kafka.folder).port, KafkaServer(kafka.folder).controller_port
    await kafka.start()
    assert answers_metadata("127.0.0.1", kafka.port)
    assert (kafka.folder / "data" / "meta.properties").read_text() == before


def test_properties_come_before_our_own(tmp_path: Path) -> None:
    broker = KafkaServer(
        tmp_path, properties={"num.io.threads": "3", "advertised.listeners": "PLAINTEXT://127.0.0.1:1"}
    )
    lines = broker._write_properties().read_text().splitlines()
    assert {"num.io.threads=3", "advertised.listeners=PLAINTEXT://127.0.0.1:1", "num.network.threads=2"} <= set(lines)
    assert len(lines) == len({line.split("=")[0] for line in lines})


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} for Kafka is in use"):
            await KafkaServer(tmp_path, port).start()


def test_every_jar_is_locked_once_with_a_sum() -> None:
    locked = jars.locked_jars()
    assert len(locked) == 46
    assert len({jar.file for jar in locked}) == 46
    assert all(len(jar.sha256) == 64 and jar.coordinate.count(":") == 2 for jar in locked)
    assert any(jar.file == f"kafka_2.13-{jars.KAFKA_VERSION}.jar" for jar in locked)
    assert any(jar.file.startswith("slf4j-simple-") for jar in locked)


@pytest.fixture
def small_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pretend jars in a folder named by EXPEDITE_KAFKA_JARS, and a lock that fits them; returns the folder."""
    folder = tmp_path / "provided"
    folder.mkdir()
    locked = []
    for name in ("one.jar", "two.jar"):
        (folder / name).write_bytes(name.encode())
        locked.append(jars.Jar(name, f"example:{name[:-4]}:1", hashlib.sha256(name.encode()).hexdigest()))
    monkeypatch.setattr(jars, "locked_jars", lambda: locked)
    monkeypatch.setenv("EXPEDITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EXPEDITE_KAFKA_JARS", str(folder))
    return folder


def test_jars_from_a_folder_are_checked_and_cached(small_lock: Path) -> None:
    class_path = jars.ensure_jars()
    assert [path.name for path in class_path] == ["one.jar", "two.jar"]
    shutil.rmtree(small_lock)
    assert jars.ensure_jars() == class_path  # from the cache


def test_a_jar_with_another_sum_never_reaches_the_cache(small_lock: Path) -> None:
    (small_lock / "two.jar").write_bytes(b"something else")
    with pytest.raises(JarsError, match=r"two\.jar has SHA-256 [0-9a-f]{64}, the lock file says"):
        jars.ensure_jars()
    assert not jars.jars_folder().exists()


def test_a_cached_jar_that_was_changed_is_refused_at_the_next_start(small_lock: Path) -> None:
    class_path = jars.ensure_jars()
    class_path[0].write_bytes(b"tampered with")
    with pytest.raises(JarsError, match=r"one\.jar has SHA-256") as refusal:
        jars.ensure_jars()
    assert "Delete that folder" in str(refusal.value)


def test_a_missing_jar_is_named(small_lock: Path) -> None:
    (small_lock / "one.jar").unlink()
    with pytest.raises(JarsError, match=r"one\.jar is missing"):
        jars.ensure_jars()
