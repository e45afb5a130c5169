"""How end-to-end tests use a running system: the `expedite` command and HTTP, as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PATIENCE_S = 200.0  # below the time limit of a test, so that a failure says what was awaited


@dataclass(frozen=True)
class System:
    """A running system: its home, addresses, keys and login."""

    home: Path
    state: dict[str, Any]

    @property
    def urls(self) -> dict[str, str]:
        return self.state["urls"]

    @property
    def login(self) -> dict[str, str]:
        return self.state["login"]

    @property
    def secrets(self) -> dict[str, Any]:
        return json.loads((self.home / "secrets.json").read_text())

    def client(self, service: str, key: str = "operator") -> httpx.Client:
        """An HTTP client of one service with the key of one party."""
        headers = {"authorization": f"Bearer {self.state['api_keys'][key]}"}
        return httpx.Client(base_url=self.urls[service], headers=headers, timeout=30.0)

    def expedite(self, *arguments: str, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        return expedite(self.home, *arguments, timeout=timeout)


def expedite(home: Path, *arguments: str, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
    """Run the `expedite` command in a home."""
    return subprocess.run(
        [sys.executable, "-m", "expedite_local", *arguments],
        env={**os.environ, "EXPEDITE_HOME": str(home)}, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def eventually(look: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """The first true value of `look`; a failure says what was awaited and what was seen last."""
    deadline = time.monotonic() + patience_s
    seen: Any = None
    while time.monotonic() < deadline:
        seen = look()
        if seen:
            return seen
        time.sleep(0.3)
    raise AssertionError(f"{what} did not happen within {patience_s:.0f} s; seen last: {seen!r}")


SKU, OTHER = "85123A", "71053"


def order(**changes: Any) -> dict[str, Any]:
    """A native order of a customer nobody ordered for before."""
    token = uuid.uuid4().hex[:10]
    return {
        "channel": "web", "reference": f"e2e-{token}", "currency": "GBP",
        "customer": {"name": f"Maya Osei {token}", "email": f"maya.{token}@example.com", "language": "en",
                     "ship_to": {"line1": "1 High Street", "city": "London", "postcode": "SW1A 1AA", "country": "GB"}},
        "lines": [{"sku": SKU, "quantity": 2, "unit_price": "2.55"}, {"sku": OTHER, "quantity": 1, "unit_price": "3.39"}],
    } | changes  # fmt: skip


def post(http: httpx.Client, body: dict[str, Any], key: str | None = None) -> httpx.Response:
    return http.post("/orders", json=body, headers={"idempotency-key": key or f"e2e-{uuid.uuid4().hex}"})
