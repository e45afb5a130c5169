"""An HTTP client as good integrations are: it keeps trying while a service is away, never gives up on a 503, and repeats
only what is safe to repeat."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

RETRIED = {429, 502, 503, 504}
PATIENCE_S = 60.0


@dataclass
class Api:
    """One party's view of the services: their addresses, the party's key, and a count of every answer it got."""

    urls: dict[str, str]
    key: str
    answers: Counter[str] = field(default_factory=Counter)
    http: httpx.AsyncClient = field(
        default_factory=lambda: httpx.AsyncClient(
            timeout=30.0, limits=httpx.Limits(max_connections=32, max_keepalive_connections=32)
        )
    )

    async def send(
        self,
        method: str,
        service: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        params: dict[str, Any] | None = None,
    ) -> httpx.Response:
        """The answer to a request; tried again while the service cannot be reached or asks for time. Every write of the
        demo is idempotent, so a repeated one is safe. Raises httpx.TransportError when a minute was not enough."""
        sent = {"authorization": f"Bearer {self.key}"} | (headers or {})
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        pause = 0.1
        while True:
            try:
                response = await self.http.request(
                    method, self.urls[service] + path, json=json, content=content, headers=sent, params=params
                )
                if response.status_code not in RETRIED:
                    self.answers[f"{service} {response.status_code}"] += 1
                    return response
            except httpx.TransportError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            if asyncio.get_running_loop().time() > deadline:
                return response
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    async def get(self, service: str, path: str, **params: Any) -> Any:
        """The JSON of a GET; raises RuntimeError with the problem when it is not a success."""
        return _json(await self.send("GET", service, path, params=params))

    async def post(self, service: str, path: str, body: Any) -> httpx.Response:
        return await self.send("POST", service, path, json=body)

    async def put(self, service: str, path: str, body: Any) -> Any:
        """The JSON of a PUT; raises RuntimeError with the problem when it is not a success."""
        return _json(await self.send("PUT", service, path, json=body))

    async def items(self, service: str, path: str, **params: Any) -> list[Any]:
        """The items of a list."""
        found = await self.get(service, path, **params)
        return list(found["items"])

    async def close(self) -> None:
        await self.http.aclose()


def _json(response: httpx.Response) -> Any:
    if response.is_success:
        return response.json()
    raise RuntimeError(
        f"{response.request.method} {response.request.url} → {response.status_code}: {response.text[:500]}"
    )
