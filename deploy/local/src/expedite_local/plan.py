"""From services to processes: which run, in how many copies, with which ports and environment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from expedite_local.child import Liveness, ProcessSpec
from expedite_local.errors import LocalError
from expedite_local.home import HOME_VARIABLE, Home
from expedite_local.ports import PortPlan
from expedite_local.services import Service, find

HOST = "127.0.0.1"
_OUTGOING = "EXPEDITE_OUTGOING_HOSTS"
API_NICE = 10
STATION_NICE = {
    "shipping": 11,
    "fulfillment": 11,
    "inventory": 13,
    "prioritizer": 15,
    "order-intake": 15,
    "notifier": 18,
    "control-tower": 19,
}
"""Standard lanes yield the processor to everything that carries urgent orders: express lanes, the APIs where orders come in
and are raised, and the servers, in which whoever holds what an urgent order needs must get on. Among them the nearer the dock
the sooner: what is begun is finished before more is begun, so an order's stations follow each other closely, and whoever
hears of several of them hears them together, at less cost each. Who only tells and shows comes last: the notifier's one worker
has more to do than each of the tower's two, and one place before them it ends when they do."""
OTHER_NICE = 14
"""A service that is no station of an order's way."""
ENTRANCE = ("order-intake", "prioritizer")
"""Where urgent orders come in, and where orders are raised."""
SERVICE_STOP_SECONDS = 4
"""What a service may take for its worker, and again for open requests, before the supervisor's ten seconds end."""


@dataclass(frozen=True)
class Substance:
    """What processes connect to: Kafka's bootstrap server and each service's database URL."""

    kafka_bootstrap: str
    databases: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What to run: services, copies of their workers, ports, and the world around them (mail, carriers).

    `extra` is added to every process's environment. speed: business seconds per real second. seed: of the
    demo carriers' exceptions.
    """

    home: Home
    services: Sequence[Service]
    ports: PortPlan
    scale: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    speed: float = 1.0
    seed: int = 1

    def urls(self) -> dict[str, str]:
        """The public URL of every service that runs."""
        return {service.name: f"http://{HOST}:{self.ports.fixed[service.name]}" for service in self.services}

    def processes(self, substance: Substance) -> list[ProcessSpec]:
        """One API process per service, and a standard and an express worker per copy; who is not scaled has one express worker
        and as many standard ones as the service says."""
        specs: list[ProcessSpec] = []
        running = {service.name for service in self.services}
        worker_ports = self.ports.workers()
        for service in self.services:
            before = tuple(f"{name}-api" for name in service.depends_on if name in running)
            api_port = self.ports.fixed[service.name]
            specs.append(self._process(service, "api", 0, api_port, f"{service.name}-api", before, substance))
            for role, usual in (("express", 1), ("standard", service.standard)):
                copies = self.scale.get(service.name, usual)
                for slot in range(copies):
                    name = f"{service.name}-{role}" + (f"-{slot}" if copies > 1 else "")
                    after = (f"{service.name}-api",)
                    specs.append(self._process(service, role, slot, next(worker_ports), name, after, substance))
        return [*specs, *self._world()]

    def _world(self) -> list[ProcessSpec]:
        """What stands at the borders we do not own: a mail server (unless one is named) and the demo carriers."""
        specs: list[ProcessSpec] = []
        if "NOTIFIER_SMTP_HOST" not in os.environ:
            port = self.ports.fixed["smtp"]
            serve = (sys.executable, "-m", "expedite_local.mail", "--port", str(port), "--folder", str(self.home.mail))
            specs.append(ProcessSpec(name="mail", argv=serve, service="mail", role="server", port=port))
        if any(service.name == "shipping" for service in self.services):
            port = self.ports.fixed["carriers"]
            argv = (
                sys.executable, "-m", "expedite_local.carriers", "--port", str(port),
                "--shipping-url", self.urls()["shipping"], "--secrets", str(self.home.secrets_file),
                "--speed", str(self.speed), "--seed", str(self.seed),
            )  # fmt: skip
            specs.append(ProcessSpec(name="carriers", argv=argv, service="carriers", role="server", port=port))
        return specs

    @property
    def carriers_url(self) -> str:
        """Where shipping finds the demo carriers."""
        return f"http://{HOST}:{self.ports.fixed['carriers']}"

    def _defaults(self) -> dict[str, str]:
        """Settings that suit one machine and that the person's own environment overrides."""
        defaults = {
            "EXPEDITE_LOG_FORMAT": "console",
            "EXPEDITE_STOP_S": str(SERVICE_STOP_SECONDS),
            "NOTIFIER_SMTP_PORT": str(self.ports.fixed["smtp"]),
        }
        return {name: value for name, value in defaults.items() if name not in os.environ}

    def _outgoing(self, service: Service) -> dict[str, str]:
        """Shipping may call the demo carriers, which stand on this machine, and nobody else."""
        if service.name != "shipping" or _OUTGOING in os.environ or _OUTGOING in self.extra:
            return {}
        return {_OUTGOING: json.dumps([f"{HOST}:{self.ports.fixed['carriers']}"])}

    def _process(
        self,
        service: Service,
        role: str,
        slot: int,
        port: int,
        name: str,
        depends_on: tuple[str, ...],
        substance: Substance,
    ) -> ProcessSpec:
        base = f"http://{HOST}:{port}"
        return ProcessSpec(
            name=name,
            argv=(sys.executable, "-m", f"{service.module}.main", "--role", role),
            env={
                **self._defaults(),
                **self.extra,
                **self._outgoing(service),
                "DATABASE_URL": substance.databases[service.name],
                "KAFKA_BOOTSTRAP": substance.kafka_bootstrap,
                "PORT": str(port),
                "EXPEDITE_SLOT": str(slot),
                HOME_VARIABLE: str(self.home.root),
                "EXPEDITE_SECRETS": str(self.home.secrets_file),
                "EXPEDITE_URLS": json.dumps(self.urls()),
                "PYTHONUNBUFFERED": "1",  # a line in the log when it happened, not when a buffer filled
            },
            depends_on=depends_on,
            ready_url=base + (service.started_when if role == "api" else "/readyz"),
            liveness=Liveness(f"{base}/livez"),
            nice=0 if _urgent(service.name, role) else _niceness(service.name, role),
            urgent=_urgent(service.name, role),
            service=service.name,
            role=role,
            slot=slot,
            port=port,
        )


def _urgent(service: str, role: str) -> bool:
    return role == "express" or (role == "api" and service in ENTRANCE)


def _niceness(service: str, role: str) -> int:
    return API_NICE if role == "api" else STATION_NICE.get(service, OTHER_NICE)


def parse_scale(options: Sequence[str]) -> dict[str, int]:
    """`["inventory=2"]` as {"inventory": 2}; raises LocalError for anything else."""
    scale: dict[str, int] = {}
    for option in options:
        name, _, count = option.partition("=")
        if not count.isdecimal() or not 1 <= int(count) <= 16:
            raise LocalError(f"--scale takes SERVICE=COPIES with 1 to 16 copies, as in inventory=2, not {option!r}")
        scale[find(name).name] = int(count)
    return scale
