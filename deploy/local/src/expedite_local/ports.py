"""Which port everything listens on: fixed offsets from one base, or a free block."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from expedite_local.errors import PortTaken
from expedite_local.services import SERVICES

DEFAULT_BASE = 8000
CARRIERS_OFFSET = 10
SMTP_OFFSET = 25
POSTGRES_OFFSET = 32
KAFKA_OFFSET = 92
KAFKA_CONTROLLER_OFFSET = 93
WORKERS_OFFSET = 100
WORKERS_END = 200

# Below the range from which kernels take client ports: a listening port picked here cannot be
# taken by somebody's outgoing connection between our look and our bind. Above 10080, which browsers refuse to open.
_FIRST, _LAST = 10_200, 30_000
_BLOCKS = range(_FIRST, _LAST, WORKERS_END)


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True when a server could listen on this port now (a port in TIME_WAIT counts as free)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port() -> int:
    """One free port, below the range kernels use for client connections."""
    for _ in range(200):
        port = random.randrange(_FIRST, _LAST)
        if port_is_free(port):
            return port
    raise PortTaken(f"no free port found between {_FIRST} and {_LAST}")


def _offsets() -> dict[str, int]:
    fixed = {service.name: service.port_offset for service in SERVICES}
    return fixed | {
        "carriers": CARRIERS_OFFSET,
        "smtp": SMTP_OFFSET,
        "postgres": POSTGRES_OFFSET,
        "kafka": KAFKA_OFFSET,
        "kafka-controller": KAFKA_CONTROLLER_OFFSET,
    }


@dataclass(frozen=True)
class PortPlan:
    """The ports of one system.

    `fixed` maps a name (service, carriers, smtp, postgres, kafka, kafka-controller) to its port;
    workers take theirs from `workers()`.
    """

    base: int
    fixed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def at(cls, base: int) -> PortPlan:
        """The plan for one base; `base` 0 picks a block in which every fixed port is free now."""
        if base:
            return cls(base, {name: base + offset for name, offset in _offsets().items()})
        blocks = list(_BLOCKS)
        random.shuffle(blocks)  # two systems started together should not race for one block
        for block in blocks:
            plan = cls.at(block)
            if not plan.taken(plan.fixed):
                return plan
        raise PortTaken("no block of free ports found; name one with --port-base")

    def taken(self, names: Iterable[str]) -> dict[str, int]:
        """Those of the named fixed ports that are in use now."""
        return {name: self.fixed[name] for name in names if not port_is_free(self.fixed[name])}

    def workers(self) -> Iterator[int]:
        """Free ports for health endpoints of workers, in rising order; raises PortTaken when used up."""
        for port in range(self.base + WORKERS_OFFSET, self.base + WORKERS_END):
            if port_is_free(port):
                yield port
        raise PortTaken(f"no free port left from {self.base + WORKERS_OFFSET} to {self.base + WORKERS_END - 1}")
