"""The prioritizer's processes: `python -m prioritizer.main --role api|standard|express`."""

from __future__ import annotations

from expedite_chassis import ServiceSpec, run
from prioritizer.api import router
from prioritizer.handlers import handlers
from prioritizer.store import metadata

spec = ServiceSpec(
    name="prioritizer", handlers=handlers, metadata=metadata, router=router, migrations_module="prioritizer"
)  # fmt: skip

if __name__ == "__main__":
    run(spec)
