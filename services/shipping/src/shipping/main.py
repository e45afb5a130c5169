"""Composition root: ``python -m shipping.main --role api|standard|express``."""

from __future__ import annotations

from expedite_chassis import Runtime, ServiceSpec, run
from shipping import effects
from shipping.api import router
from shipping.handlers import handlers
from shipping.settings import Settings
from shipping.store import metadata


def bind(runtime: Runtime) -> None:
    """Give the effects their HTTP client and keys."""
    effects.bind(handlers, runtime)


spec = ServiceSpec(
    name="shipping",
    handlers=handlers,
    metadata=metadata,
    router=router,
    migrations_module="shipping",
    bind=bind,
    settings=Settings,
)

if __name__ == "__main__":
    run(spec)
