"""The composition root of inventory: `python -m inventory.main --role api|standard|express`."""

from __future__ import annotations

from expedite_chassis import ServiceSpec, run
from inventory.api import router
from inventory.handlers import handlers
from inventory.store import metadata

MIB = 1024 * 1024

spec = ServiceSpec(
    name="inventory",
    handlers=handlers,
    metadata=metadata,
    router=router,
    migrations_module="inventory",
    body_limits={"/products": 16 * MIB, "/stock/opening": 4 * MIB},
)

if __name__ == "__main__":
    run(spec)
