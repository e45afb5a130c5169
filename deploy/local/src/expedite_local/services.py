"""The seven services as data: the one list everything local is built from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from expedite_local.errors import LocalError

ROLES = ("api", "standard", "express")


@dataclass(frozen=True)
class Service:
    """One deployable: its name, its Python module, where its API listens and what must be ready before it.

    `depends_on` orders the start only (a page is of little use before what it shows): at run time no
    service calls another. `started_when` is the path that answers 200 once the API counts as started: order-intake
    takes orders only when it knows products, which are loaded through the running system. `standard` is how many standard
    workers it has unless somebody scales it.
    """

    name: str
    module: str
    port_offset: int
    depends_on: tuple[str, ...] = ()
    started_when: str = "/readyz"
    standard: int = 1

    @property
    def database(self) -> str:
        """The name of its database and of the role that owns it."""
        return self.module


SERVICES: tuple[Service, ...] = (
    Service("order-intake", "order_intake", 1, started_when="/livez"),
    Service("prioritizer", "prioritizer", 2),
    Service("inventory", "inventory", 3),
    Service("fulfillment", "fulfillment", 4),
    Service("shipping", "shipping", 5),
    Service("notifier", "notifier", 6),
    # Two, because the tower comes last after a burst, and one worker and its database take turns then.
    Service("control-tower", "control_tower", 80, depends_on=("order-intake",), standard=2),
)

_BY_NAME = {service.name: service for service in SERVICES}


def find(name: str) -> Service:
    """The service of this name (`order-intake` or `order_intake`); raises LocalError naming the choices."""
    service = _BY_NAME.get(name.strip().replace("_", "-"))
    if service is None:
        raise LocalError(f"there is no service {name!r}; the services are {', '.join(_BY_NAME)}")
    return service


def select(names: Iterable[str]) -> tuple[Service, ...]:
    """The named services in the order of SERVICES; all of them when no name is given."""
    wanted = {find(name).name for name in names}
    return tuple(service for service in SERVICES if not wanted or service.name in wanted)
