"""The built pages, and what is said as long as there are none."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from control_tower import main


@pytest.mark.parametrize("built", [False, True])
async def test_a_file_that_is_not_there_is_not_found_before_and_after_the_pages_are_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, built: bool
) -> None:
    """I5: a wheel without pages, a path that climbs out of them: 404, never an error of ours."""
    monkeypatch.setattr(main, "DIST", tmp_path / "dist")
    (tmp_path / "secret.js").write_text("secret")
    if built:
        (tmp_path / "dist" / "assets").mkdir(parents=True)
        (tmp_path / "dist" / "assets" / "app.js").write_text("app")
    app = FastAPI()
    app.mount("/assets", main.Assets(directory=main.DIST / "assets", check_dir=False))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tower") as http:
        found = [
            (await http.get(f"/assets/{path}")).status_code for path in ("app.js", "no.js", "%2e%2e/%2e%2e/secret.js")
        ]
    assert found == [200 if built else 404, 404, 404]
