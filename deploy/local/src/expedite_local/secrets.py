"""Generated keys of one home: created once, kept in a file only its owner can read."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from expedite_local.home import Home, read_json, write_private_json


@dataclass(frozen=True)
class SecretsSpec:
    """What a system needs secrets for.

    api_keys: scopes of each API client. webhooks: names of parties that sign webhooks. standard_webhooks: those of them that
    follow Standard Webhooks, whose secrets are written `whsec_<base64>`. channels: the sales channels of those clients that
    act for these alone.
    """

    api_keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    webhooks: Sequence[str] = ()
    standard_webhooks: Sequence[str] = ()
    channels: Mapping[str, Sequence[str]] = field(default_factory=dict)


def load_or_create(home: Home, spec: SecretsSpec) -> dict[str, Any]:
    """The secrets of this home; what the spec names and the file lacks is generated and stored (0600).

    Existing keys are kept for ever (running clients hold them); only the scopes and channels of a client follow the spec.
    Keys of the result: `api_keys` {client: {"key", "scopes"}} and "channels" of some, `webhooks` {party: secret}, `jwt_private_pem`
    and `jwt_public_pem` (one Ed25519 pair), `link_secret`, `operator_password`.
    """
    stored: dict[str, Any] = read_json(home.secrets_file) or {}
    api_keys: dict[str, dict[str, Any]] = dict(stored.get("api_keys", {}))
    for client, scopes in spec.api_keys.items():
        key = api_keys.get(client, {}).get("key") or f"exp_{secrets.token_urlsafe(24)}"
        api_keys[client] = {"key": key, "scopes": sorted(scopes)}
        if client in spec.channels:
            api_keys[client]["channels"] = sorted(spec.channels[client])
    webhooks: dict[str, str] = dict(stored.get("webhooks", {}))
    for party in (*spec.webhooks, *spec.standard_webhooks):
        if party not in webhooks:
            webhooks[party] = _webhook_secret(standard=party in spec.standard_webhooks)
    updated = {
        "api_keys": api_keys,
        "webhooks": webhooks,
        "link_secret": stored.get("link_secret") or secrets.token_urlsafe(32),
        "operator_password": stored.get("operator_password") or secrets.token_urlsafe(9),
        **_signing_keys(stored),
    }
    if updated != stored:
        write_private_json(home.secrets_file, updated)
    return updated


def _webhook_secret(*, standard: bool) -> str:
    if standard:
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(32)


def _signing_keys(stored: Mapping[str, Any]) -> dict[str, str]:
    if stored.get("jwt_private_pem") and stored.get("jwt_public_pem"):
        return {"jwt_private_pem": stored["jwt_private_pem"], "jwt_public_pem": stored["jwt_public_pem"]}
    private = Ed25519PrivateKey.generate()
    return {
        "jwt_private_pem": private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "jwt_public_pem": private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    }


LOCAL_SPEC = SecretsSpec(
    api_keys={
        "operator": ("*",),
        "shop": ("orders:write", "orders:read"),
        "dealer": ("orders:write", "orders:read"),
        "crew": ("floor:work", "read"),
        "planner": ("master:write", "stock:write", "floor:work", "read"),
        "carriers": ("read",),
        "auditor": ("read", "ops"),
    },
    channels={"shop": ("web", "dealer", "daigou", "store"), "dealer": ("dealer",)},
    webhooks=("shopify", "woocommerce", "swift-post"),
    standard_webhooks=("city-dash", "channel"),
)
"""The parties of a local system."""
