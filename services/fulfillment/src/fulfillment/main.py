"""The composition root of fulfillment: `python -m fulfillment.main --role api|standard|express`."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from expedite_chassis import ServiceSpec, run
from expedite_chassis.spec import Runtime
from fulfillment.api import router
from fulfillment.handlers import handlers
from fulfillment.store import metadata


def configure(app: FastAPI, runtime: Runtime) -> None:
    """Serve the scanner page's style and script."""
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")


spec = ServiceSpec(
    name="fulfillment", handlers=handlers, metadata=metadata, router=router, migrations_module="fulfillment",
    configure=configure,
)  # fmt: skip

if __name__ == "__main__":
    run(spec)
