"""For tests of services: their app over a MemoryEngine, reached without sockets."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fastapi import FastAPI

from expedite_chassis.app import create_app
from expedite_chassis.settings import Settings
from expedite_chassis.spec import Runtime, ServiceSpec
from expedite_messaging import Engine

BASE_URL = "http://testserver"
_PRIVATE = Ed25519PrivateKey.from_private_bytes(b"expedite test key, never deploy!")


def secrets_for(
    clients: Mapping[str, Iterable[str]], channels: Mapping[str, Iterable[str]] | None = None
) -> dict[str, Any]:
    """A secrets file's content: one key `key-of-<client>` per client with its scopes, and fixed signing secrets.
    `channels`: those that a client acts for, of clients that act for some only."""
    pem = _PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = _PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    standard = "whsec_" + base64.b64encode(b"a webhook secret for tests only!").decode()
    return {
        "api_keys": {
            name: {"key": key_of(name), "scopes": sorted(scopes)}
            | ({"channels": sorted(channels[name])} if channels and name in channels else {})
            for name, scopes in clients.items()
        },
        "webhooks": {
            "shopify": "test-secret", "woocommerce": "test-secret", "swift-post": standard, "parcel-one": standard,
            "channel": standard,
        },
        "jwt_private_pem": pem,
        "jwt_public_pem": public,
        "link_secret": "link secret for tests",
        "operator_password": "operator",
    }  # fmt: skip


def key_of(client_name: str) -> str:
    """The API key of a test client."""
    return f"key-of-{client_name}"


def runtime_for(
    spec: ServiceSpec,
    *,
    clients: Mapping[str, Iterable[str]] | None = None,
    secrets: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    **environment: Any,
) -> Runtime:
    """A runtime for tests; `secrets` replaces entries of `secrets_for`, `environment` sets fields of the settings. Clients
    have no pace to keep unless it is set: time decides no test."""
    environment = {"requests_per_s": 0, **environment}
    known = secrets_for(clients or {"test": ["*"]}) | dict(secrets or {})
    return Runtime.build(spec.name, settings or spec.settings(**environment), known)


def app(spec: ServiceSpec, engine: Engine, **options: Any) -> FastAPI:
    """The service's app; options are those of `runtime_for`."""
    return create_app(spec, engine, runtime_for(spec, **options))


def client(
    spec: ServiceSpec,
    engine: Engine,
    scopes: Iterable[str] = ("*",),
    *,
    name: str = "test",
    anonymous: bool = False,
    runtime: Runtime | None = None,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> httpx.AsyncClient:
    """A client of the service's app that holds a key with these scopes (none when `anonymous`). Use it with
    `async with`. Errors of the app are answered as in production, not raised."""
    runtime = runtime or runtime_for(spec, clients={name: list(scopes)}, **options)
    sent = dict(headers or {})
    if not anonymous:
        sent.setdefault("Authorization", f"Bearer {key_of(name)}")
    transport = httpx.ASGITransport(create_app(spec, engine, runtime))
    return httpx.AsyncClient(transport=transport, base_url=BASE_URL, headers=sent)
