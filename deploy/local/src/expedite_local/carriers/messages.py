"""Webhooks as they leave: the body in the carrier's format and the headers that sign it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from expedite_chassis.webhooks import sign_easypost, sign_standard
from expedite_local.carriers.rates import Profile
from expedite_local.carriers.script import Step


def native(number: str, step: Step, event_id: str) -> bytes:
    """Our own format."""
    body: dict[str, Any] = {
        "id": event_id,
        "tracking_number": number,
        "status": step.native,
        "occurred_at": _iso(step.at),
        "location": step.location,
        "message": step.message,
        "expected_at": _iso(step.expected_at) if step.expected_at else None,
        "signed_by": step.signed_by,
    }
    return json.dumps(body).encode()


def easypost(
    profile: Profile, number: str, steps: tuple[Step, ...], event_id: str, expected_at: datetime | None
) -> bytes:
    """EasyPost's `tracker.updated`: the history up to the last of these checkpoints."""
    last = steps[-1]
    created = _iso(steps[0].at)
    eta = next((s.expected_at for s in reversed(steps) if s.expected_at), expected_at)
    tracker = {
        "object": "Tracker", "id": f"trk_{number}", "mode": "test", "tracking_code": number, "carrier": profile.name,
        "status": last.status, "status_detail": last.detail, "created_at": created, "updated_at": _iso(last.at),
        "signed_by": last.signed_by, "weight": None,
        "est_delivery_date": _iso(eta) if eta else None,
        "tracking_details": [_detail(profile, step) for step in steps], "is_return": last.status == "return_to_sender",
        "finalized": last.native in ("delivered", "lost", "returned"), "fees": [],
    }  # fmt: skip
    before = {"status": steps[-2].status} if len(steps) > 1 else {}
    event = {
        "object": "Event", "id": event_id, "mode": "test", "description": "tracker.updated",
        "previous_attributes": before, "created_at": _iso(last.at), "updated_at": _iso(last.at), "status": "pending",
        "pending_urls": [], "completed_urls": [], "result": tracker,
    }  # fmt: skip
    return json.dumps(event).encode()


def _detail(profile: Profile, step: Step) -> dict[str, Any]:
    place = {"object": "TrackingLocation", "city": step.location, "state": None, "country": None, "zip": None}
    return {
        "object": "TrackingDetail", "status": step.status, "status_detail": step.detail, "message": step.message,
        "description": "", "datetime": _iso(step.at), "source": profile.name, "carrier_code": "",
        "tracking_location": place,
    }  # fmt: skip


def signed(profile: Profile, body: bytes, event_id: str, secret: str) -> Mapping[str, str]:
    """The headers of one attempt. Signatures use real time, whatever the business clock says."""
    kind = {"Content-Type": "application/json"}
    if profile.webhook_format == "easypost":
        return kind | {"X-Hmac-Signature": sign_easypost(body, secret)}
    return kind | sign_standard(body, event_id, int(time.time()), secret)


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
