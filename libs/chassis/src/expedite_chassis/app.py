"""The web face of a service: its router inside the same shell as every other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

from expedite_chassis import admin, health, problems
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
        redirect_slashes=False,  # a redirected POST loses its body or its key
    )
    app.state.engine, app.state.runtime, app.state.spec = engine, runtime, spec
    problems.install(app)
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
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        app.openapi_schema = _with_problems(schema)
    return app.openapi_schema


def _with_problems(schema: dict[str, Any]) -> dict[str, Any]:
    """Describe errors as they are answered, and how to authenticate."""
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Problem"] = _PROBLEM
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a person's token"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    schema["security"] = [{"bearer": []}, {"apiKey": []}]
    answer = {
        "description": "Problem (RFC 9457)",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path in schema.get("paths", {}).values():
        for operation in path.values():
            responses = operation.setdefault("responses", {})
            if "422" in responses:
                responses["422"] = answer
            responses["default"] = answer
    return schema


_PROBLEM = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "trace_id": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body"},
                    "parameter": {"type": "string"},
                    "location": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
