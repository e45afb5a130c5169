"""Our own tracking webhook, for carriers that have no format of their own:

    {"id": "evt-1", "tracking_number": "CD000001", "status": "in_transit", "occurred_at": "2026-11-24T16:20:00Z",
     "location": "Krakow", "message": "arrived at hub", "expected_at": "2026-11-24T20:00:00Z", "signed_by": null}

`status` is one of the twelve normalised statuses, or `lost`, `destroyed` (nothing will arrive) or `returned` (back at the
sender). The last three fields are optional.
"""

from __future__ import annotations

from expedite_events import TrackingStatus
from shipping.domain.tracking import Fate, Update
from shipping.formats.common import OUR_STATUS, Message, moment, parse, required, text

_MORE = {
    "lost": (TrackingStatus.DELIVERY_FAILED, Fate.LOST),
    "destroyed": (TrackingStatus.DELIVERY_FAILED, Fate.LOST),
    "returned": (TrackingStatus.RETURN_TO_SENDER, Fate.BACK),
}


def read(carrier_id: str, body: bytes) -> Message | None:
    """The message of a webhook. Raises `Unreadable` with the field that is wrong."""
    event = parse(body)
    number = required(event.get("tracking_number"), "tracking_number")
    raw = required(event.get("status"), "status")
    status, fate = _MORE.get(raw, (OUR_STATUS.get(raw), None))
    eta = event.get("expected_at")
    update = Update(
        carrier_id=carrier_id, tracking_number=number, status=status or TrackingStatus.UNKNOWN, raw_status=raw,
        occurred_at=moment(event.get("occurred_at"), "occurred_at"), location=text(event.get("location")),
        message=text(event.get("message")), expected_at=moment(eta, "expected_at") if eta else None,
        signed_by=text(event.get("signed_by")), fate=fate,
    )  # fmt: skip
    return Message(text(event.get("id")), number, (update,), () if status else (raw,))
