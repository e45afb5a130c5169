"""The notifier's composition root: `python -m notifier.main --role api|standard|express`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from expedite_chassis import ServiceSpec, run
from expedite_chassis.spec import Runtime
from notifier.api import link_to, router
from notifier.domain.telling import EMAIL
from notifier.effects import Mailer
from notifier.handlers import handlers
from notifier.settings import settings
from notifier.store import metadata


def bind(runtime: Runtime) -> None:
    """Give the mailer its links and its clock (mail dates are real time)."""
    secret = str(runtime.secrets.get("link_secret", ""))
    base = runtime.urls.get("notifier", "")
    mailer = Mailer(
        settings, status_link=lambda order_id: link_to(base, secret, order_id), now=lambda: datetime.now(UTC)
    )
    handlers.performs_batch(EMAIL, mailer, limit=settings.at_once)


def configure(app: FastAPI, runtime: Runtime) -> None:
    """Serve the status page's style and script."""
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")


spec = ServiceSpec(
    name="notifier", handlers=handlers, metadata=metadata, router=router, migrations_module="notifier", bind=bind,
    configure=configure,
)  # fmt: skip

if __name__ == "__main__":
    run(spec)
