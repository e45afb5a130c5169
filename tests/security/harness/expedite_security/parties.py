"""Parties that sign webhooks with secrets that are being rotated, added to the secrets of a home before it starts."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expedite_local.home import Home, write_private_json
from expedite_local.secrets import LOCAL_SPEC, load_or_create


def _standard(seed: bytes) -> str:
    return "whsec_" + base64.b64encode(seed.ljust(32, b".")).decode()


@dataclass(frozen=True)
class Parties:
    """Secrets by party: the new and the old one, both active. `retired`: one that was active before them. `channels`: the
    shops among them, as they are set up."""

    secrets: dict[str, tuple[str, str]]
    retired: dict[str, str]
    channels: dict[str, dict[str, Any]] = field(default_factory=dict)


PARTIES = Parties(
    secrets={
        "sec-shopify": ("shopify-new-secret-0123456789", "shopify-old-secret-0123456789"),
        "sec-shopify-2": ("other-shop-new-secret-01234567", "other-shop-old-secret-01234567"),
        "sec-woo": ("woo-new-&amp;-secret-0123456789", "woo-old-secret-0123456789"),
        "sec-easypost": ("easypost-new-\u2167-secret-012345", "easypost-old-secret-0123456789"),
        "sec-native": (_standard(b"native new"), _standard(b"native old")),
        "sec-native-2": (_standard(b"second new"), _standard(b"second old")),
    },
    retired={
        "sec-shopify": "shopify-retired-secret-01234567", "sec-woo": "woo-retired-secret-0123456789",
        "sec-easypost": "easypost-retired-secret-01234", "sec-native": _standard(b"native retired"),
    },
    channels={
        "sec-shopify": {"code": "XS", "format": "shopify", "owner": "lena"},
        "sec-shopify-2": {"code": "XT", "format": "shopify", "owner": "lena"},
        "sec-woo": {"code": "XW", "format": "woocommerce", "owner": "lena"},
    },
)  # fmt: skip


def write_secrets(home: Path) -> None:
    """Make the secrets of a home, with the parties' among them."""
    place = Home(home)
    place.create()
    secrets = load_or_create(place, LOCAL_SPEC)
    secrets["webhooks"] |= {party: list(active) for party, active in PARTIES.secrets.items()}
    write_private_json(place.secrets_file, json.loads(json.dumps(secrets)))
