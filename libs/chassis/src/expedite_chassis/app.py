"""The web face of a service: its router inside the same shell as every other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from expedite_chassis import admin, health, openapi, problems
from expedite_chassis.deadline import Deadline
from expedite_chassis.deps import every_request
from expedite_chassis.idempotency import HEADER as IDEMPOTENCY_HEADER
from expedite_chassis.idempotency import REPLAYED
from expedite_chassis.middleware import Envelop, Limits, Shield
from expedite_chassis.spec import Runtime, ServiceSpec
from expedite_messaging import Engine

API_VERSION = "1"


def create_app(spec: ServiceSpec, engine: Engine, runtime: Runtime) -> FastAPI:
    """The app of a service over an engine. There is no Swagger page, because it would load scripts from elsewhere:
    /openapi.json is what tools and the docs are made from."""
    app = _shell(spec, engine, runtime)
    app.include_router(health.problem_pages())
    app.include_router(admin.router, dependencies=[Depends(every_request)])
    app.include_router(spec.router, dependencies=[Depends(every_request)])
    if spec.configure is not None:
        spec.configure(app, runtime)
    return app


def create_health_app(spec: ServiceSpec, engine: Engine, runtime: Runtime) -> FastAPI:
    """What a worker serves: /livez, /readyz, /metrics and nothing else."""
    return _shell(spec, engine, runtime, worker=True)


def _shell(spec: ServiceSpec, engine: Engine, runtime: Runtime, *, worker: bool = False) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if worker or spec.lifespan is None:
            yield
        else:
            async with spec.lifespan(runtime):
                yield

    app = FastAPI(
        title=f"Expedite {spec.name}",
        version=API_VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None if worker else "/openapi.json",
        lifespan=lifespan,
        generate_unique_id_function=openapi.operation_id,
        redirect_slashes=False,  # a redirected POST loses its body or its key
    )
    app.state.engine, app.state.runtime, app.state.spec = engine, runtime, spec
    problems.install(app, lambda path: openapi.methods_of(app, path))
    app.include_router(health.router(engine, runtime, spec.ready))
    # Added last is outermost: logs cover all, CORS also marks refusals and errors, limits come before any reading.
    settings = runtime.settings
    app.add_middleware(Deadline)
    app.add_middleware(Limits, body_limit=settings.max_body_bytes, body_limits=spec.body_limits, body_s=settings.body_s)
    app.add_middleware(Shield)
    if settings.origins and not worker:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", IDEMPOTENCY_HEADER, "traceparent", "X-Request-Id"],
            expose_headers=["Location", "Retry-After", REPLAYED, "X-Request-Id", "traceparent"],
            max_age=600,
        )
    app.add_middleware(Envelop, metrics=runtime.metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = openapi.describe(app)
    return app.openapi_schema
