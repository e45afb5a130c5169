"""Composition root: ``python -m shipping.main --role api|standard|express``."""

from __future__ import annotations

from expedite_chassis import Runtime, ServiceSpec, run
from shipping import effects
from shipping.api import router
from shipping.handlers import handlers
from shipping.quotes import KEPT
from shipping.settings import ShippingSettings
from shipping.store import metadata

WEBHOOK_LIMIT = 256 * 1024  # a parcel's whole history is a tenth of it


def bind(runtime: Runtime) -> None:
    """Give the effects their HTTP client and keys; say how long quotes are valid."""
    effects.bind(handlers, runtime)
    if isinstance(runtime.settings, ShippingSettings):
        KEPT.valid_s = runtime.settings.quote_valid_s


spec = ServiceSpec(
    name="shipping",
    handlers=handlers,
    metadata=metadata,
    router=router,
    migrations_module="shipping",
    bind=bind,
    body_limits={"/webhooks": WEBHOOK_LIMIT},
    settings=ShippingSettings,
)

if __name__ == "__main__":
    run(spec)
