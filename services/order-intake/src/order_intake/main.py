"""Composition root: `python -m order_intake.main --role api|standard|express`."""

from __future__ import annotations

from typing import cast

from fastapi import FastAPI

from expedite_chassis import Runtime, ServiceSpec, run
from expedite_messaging import Engine
from order_intake.api import router
from order_intake.api.bulk import BULK_LIMIT
from order_intake.api.orders import products_loaded
from order_intake.handlers import handlers
from order_intake.settings import IntakeSettings
from order_intake.store import metadata


def configure(app: FastAPI, runtime: Runtime) -> None:
    """Let the readiness check reach the engine."""
    runtime.shared("engine", lambda: cast(Engine, app.state.engine))


async def ready(runtime: Runtime) -> dict[str, bool]:
    """The api is ready once products are loaded: before, every SKU would look unknown. Workers bring the products in,
    so they do not wait for them."""
    engine: Engine | None = runtime.shared("engine", lambda: None)
    return {} if engine is None else {"products": await products_loaded(runtime, engine)}


spec = ServiceSpec(
    name="order-intake",
    handlers=handlers,
    metadata=metadata,
    router=router,
    migrations_module="order_intake",
    body_limits={"/orders/bulk": BULK_LIMIT},
    configure=configure,
    ready=ready,
    settings=IntakeSettings,
)

if __name__ == "__main__":
    run(spec)
