"""Put on PYTHONPATH by test_up.py: two dummy services instead of the seven, and messaging without a schema.

What runs around them (PostgreSQL, Kafka, supervisor, command) is real.
"""

import json
import os
import sys
import types
from datetime import datetime
from pathlib import Path

import expedite_local.services as services

services.SERVICES = (
    services.Service("fake-one", "fake_one", 1),
    services.Service("fake-two", "fake_two", 80, depends_on=("fake-one",)),
)
services._BY_NAME = {service.name: service for service in services.SERVICES}


def note(*what: object) -> None:
    with Path(os.environ["FAKE_JOURNAL"]).open("a") as stream:
        stream.write(json.dumps(what, default=str) + "\n")


def upgrade(url: str, module: str) -> None:
    note("upgrade", module)


async def anchor(url: str, speed: float, business: datetime | None) -> None:
    note("anchor", url.rsplit("/", 1)[1], speed, business)


async def wait_ready(bootstrap: str, seconds: float) -> None:
    note("wait_ready")


async def ensure_topics(bootstrap: str) -> int:
    note("topics", bootstrap)
    return 3


for name, functions in {
    "migrate": {"upgrade": upgrade},
    "clock": {"anchor": anchor},
    "admin": {"wait_ready": wait_ready, "ensure_topics": ensure_topics},
}.items():
    module = types.ModuleType(f"expedite_messaging.{name}")
    vars(module).update(functions)
    sys.modules[module.__name__] = module
