"""A real Kafka broker that lets nobody in without a login (SCRAM on loopback) and knows what each may do."""

from __future__ import annotations

import asyncio
import base64
import socket
import subprocess
import time
import uuid
from pathlib import Path

from expedite_local.errors import ServerFailed
from expedite_local.kafka import HOST, KafkaServer
from expedite_local.process import tail

MECHANISM = "SCRAM-SHA-512"
BROKER, EXPEDITE, STRANGER = "broker", "expedite", "stranger"
"""Logins. The stranger has one and no rights."""


class SaslBroker(KafkaServer):
    """As `KafkaServer`, with logins; `passwords` by name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.passwords = {name: f"{name}-{uuid.uuid4().hex}" for name in (BROKER, EXPEDITE, STRANGER)}

    def environment(self, name: str, **changes: str) -> dict[str, str]:
        """What a process that logs in as `name` is told."""
        return {
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM": MECHANISM,
            "KAFKA_SASL_USERNAME": name, "KAFKA_SASL_PASSWORD": self.passwords[name], **changes,
        }  # fmt: skip

    def _write_properties(self) -> Path:
        path = super()._write_properties()
        jaas = (
            "org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{BROKER}" password="{self.passwords[BROKER]}";'
        )
        more = {
            "listeners": f"SASL_PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": f"SASL_PLAINTEXT://{HOST}:{self.port}",
            "listener.security.protocol.map": "SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "SASL_PLAINTEXT",
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            "sasl.enabled.mechanisms": MECHANISM,
            "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": jaas,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # ANONYMOUS is the broker itself at its controller's listener, which has no logins.
            "super.users": f"User:{BROKER};User:{EXPEDITE};User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "false",
        }
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in more.items())
        return path

    def _format(self, java: list[str | Path], configuration: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        command = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", configuration]
        for name, password in self.passwords.items():
            command += ["--add-scram", f"{MECHANISM}=[name={name},password={password}]"]
        done = subprocess.run(
            [str(part) for part in command], check=False, capture_output=True, text=True, cwd=self.folder
        )
        if done.returncode != 0:
            raise ServerFailed(f"Kafka could not format its storage:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    async def _wait(self, within_s: float) -> None:
        """Until the port is open: whoever asks more needs a login."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and self.pid is not None:
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
                return
            except OSError:
                await asyncio.sleep(0.1)
        self.stop()
        raise ServerFailed(f"Kafka did not start within {within_s:.0f} s:\n{tail(self.log)}")
