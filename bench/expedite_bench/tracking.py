"""Signed tracking webhooks as the demo carriers send them, ready to go over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from expedite_bench.ground import Ground
from expedite_bench.wire import request
from expedite_local.carriers import messages
from expedite_local.carriers.app import EASYPOST_WORDS
from expedite_local.carriers.chance import short_hash
from expedite_local.carriers.rates import Profile, profiles
from expedite_local.carriers.script import Step
from expedite_local.home import read_json

WAY = ("picked_up", "in_transit", "out_for_delivery", "delivered")
"""The checkpoints of a parcel that arrives."""


def webhooks(ground: Ground, parcels: Sequence[Any]) -> list[list[bytes]]:
    """Per parcel (rows with carrier_id and tracking_number), one request for each checkpoint of its way."""
    secrets = (read_json(ground.system.home.secrets_file) or {})["webhooks"]
    url = ground.snapshot.urls["shipping"]
    return [_way(url, profiles()[row["carrier_id"]], row["tracking_number"], secrets) for row in parcels]


def _way(url: str, carrier: Profile, number: str, secrets: dict[str, str]) -> list[bytes]:
    began = datetime.now(UTC) - timedelta(minutes=len(WAY))
    steps = tuple(
        Step(began + timedelta(minutes=n), *EASYPOST_WORDS[status], status, status) for n, status in enumerate(WAY)
    )
    return [_webhook(url, carrier, number, steps[: n + 1], secrets[carrier.carrier_id]) for n in range(len(WAY))]


def _webhook(url: str, carrier: Profile, number: str, steps: tuple[Step, ...], secret: str) -> bytes:
    event_id = "evt_" + short_hash(carrier.carrier_id, number, steps[-1].native)
    if carrier.webhook_format == "easypost":
        body = messages.easypost(carrier, number, steps, event_id, None)
    else:
        body = messages.native(number, steps[-1], event_id)
    path = f"/webhooks/{carrier.webhook_format}/{carrier.carrier_id}"
    return request("POST", url, path, body=body, headers=messages.signed(carrier, body, event_id, secret))
