"""The control tower's composition root: `python -m control_tower.main --role api|standard|express`."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

from control_tower.api import router
from control_tower.handlers import handlers
from control_tower.store import metadata
from expedite_chassis import ServiceSpec, run
from expedite_chassis.spec import Runtime

DIST = Path(__file__).parent / "static" / "dist"
NOT_BUILT = "<!doctype html><title>Expedite</title><p>The pages are not built yet: run <code>make ui</code>."


class Assets(StaticFiles):
    """As long as the pages are not built they have no files, which is no error of ours."""

    async def check_config(self) -> None:
        if not (DIST / "assets").is_dir():
            raise HTTPException(404)
        await super().check_config()


def configure(app: FastAPI, runtime: Runtime) -> None:
    """Serve the built pages. One page for every path of the board; scripts only from here, calls only to our services."""
    allowed = " ".join(dict.fromkeys(runtime.urls.values()))
    policy = (
        f"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self' {allowed}; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    )

    def index() -> Response:
        if not (DIST / "index.html").exists():
            return HTMLResponse(NOT_BUILT, 503)
        headers = {"content-security-policy": policy, "cache-control": "no-cache", "referrer-policy": "no-referrer"}
        return FileResponse(DIST / "index.html", headers=headers)

    for path in ("/", "/orders/{order_id}", "/needs-action"):
        app.add_api_route(path, index, methods=["GET"], include_in_schema=False)
    app.mount("/assets", Assets(directory=DIST / "assets", check_dir=False), name="assets")


spec = ServiceSpec(
    name="control-tower", handlers=handlers, metadata=metadata, router=router, migrations_module="control_tower",
    configure=configure,
)  # fmt: skip

if __name__ == "__main__":
    run(spec)
