"""Is it alive, is it ready, what does it count, what do its problems mean."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from expedite_chassis.errors import describe
from expedite_chassis.metrics import CONTENT_TYPE_LATEST
from expedite_chassis.problem_types import ProblemType, problem_type, problem_types
from expedite_chassis.problems import Problem
from expedite_chassis.spec import Ready, Runtime
from expedite_messaging import Engine, Tx

log = structlog.get_logger("expedite.health")
CHECK_S = 2.0


async def checks(engine: Engine, runtime: Runtime, ready: Ready | None) -> dict[str, bool]:
    """Named readiness checks: a draining process is never ready; the database must answer within 2 real seconds."""
    found = {"serving": not runtime.draining, "worker": runtime.worker_ready(), "database": await _reachable(engine)}
    if ready is not None:
        try:
            found |= dict(await asyncio.wait_for(ready(runtime), CHECK_S))
        except Exception as error:
            log.warning("a readiness check failed", **describe(error))
            found["service"] = False
    return found


async def _reachable(engine: Engine) -> bool:
    async def nothing(tx: Tx) -> bool:
        return tx.now is not None

    try:
        return await asyncio.wait_for(engine.read(nothing), CHECK_S)
    except Exception as error:
        log.warning("the database does not answer", **describe(error))
        return False


def _forwarded(request: Request) -> bool:
    return any(name in request.headers for name in ("x-forwarded-for", "x-forwarded-host", "forwarded"))


def router(engine: Engine, runtime: Runtime, ready: Ready | None) -> APIRouter:
    """/livez, /readyz and /metrics. They are for the machine beside the process: what came through a proxy gets 404."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/livez")
    async def livez() -> Mapping[str, str]:
        """The event loop turns."""
        return {"status": "alive"}

    async def checked() -> dict[str, bool]:
        found = await checks(engine, runtime, ready)
        runtime.metrics.ready.labels(runtime.metrics.service).set(int(all(found.values())))
        return found

    @routes.get("/readyz")
    async def readyz() -> Response:
        """Whether traffic or work should come here."""
        found = await checked()
        good = all(found.values())
        return JSONResponse({"status": "ready" if good else "not ready", "checks": found}, 200 if good else 503)

    @routes.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Prometheus' text format."""
        if _forwarded(request):
            raise Problem(404, "not-found")
        await checked()  # perhaps nobody else asks: an alert must not live on an answer of the start
        return Response(runtime.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return routes


def problem_pages() -> APIRouter:
    """What each `type` URI leads to: JSON, or a page for those who ask with a browser."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/problems")
    async def listed(request: Request) -> Response:
        """All problems of this service."""
        return _shown(request, "Problems", list(problem_types()))

    @routes.get("/problems/{code}")
    async def explained(code: str, request: Request) -> Response:
        """One problem."""
        known = problem_type(code)
        if known is None:
            raise Problem(404, "not-found")
        return _shown(request, known.title, [known], single=True)

    return routes


def _shown(request: Request, title: str, types: list[ProblemType], *, single: bool = False) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        items: list[dict[str, Any]] = [
            {"type": f"/problems/{t.code}", "code": t.code, "status": t.status, "title": t.title,
             "meaning": t.meaning, "remedy": t.remedy}
            for t in types
        ]  # fmt: skip
        return JSONResponse(items[0] if single else {"items": items, "next": None})
    rows = "".join(
        f"<h2><a href='/problems/{t.code}'>{html.escape(t.title)}</a></h2><p><code>{t.status} {t.code}</code></p>"
        f"<p>{html.escape(t.meaning)}</p><p><b>What to do:</b> {html.escape(t.remedy)}</p>"
        for t in types
    )
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title><body>{rows}</body></html>"
    return HTMLResponse(page)
