"""EasyPost `tracker.updated` (formats 3.1 to 3.3, 5.4). A body carries the whole history of checkpoints, so a lost webhook
is healed by the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expedite_events import TrackingStatus
from shipping.domain.tracking import Fate, Update
from shipping.formats.common import Message, Unreadable, moment, parse, required, text

S = TrackingStatus

BY_STATUS: Mapping[str, TrackingStatus] = {
    "pre_transit": S.PENDING,
    "in_transit": S.IN_TRANSIT,
    "out_for_delivery": S.OUT_FOR_DELIVERY,
    "available_for_pickup": S.READY_FOR_PICKUP,
    "delivered": S.DELIVERED,
    "return_to_sender": S.RETURN_TO_SENDER,
    "failure": S.DELIVERY_FAILED,
    "cancelled": S.CANCELLED,
    "unknown": S.UNKNOWN,
    "error": S.UNKNOWN,
}

BY_DETAIL: Mapping[str, TrackingStatus] = {
    "delayed": S.DELIVERY_DELAYED,
    "held": S.ON_HOLD,
    "package_held": S.ON_HOLD,
}
"""The detail wins over the status, except over an end: a delivered parcel is delivered whatever else is said of it."""

FATES: Mapping[tuple[str, str], Fate] = {
    ("failure", "lost"): Fate.LOST,
    ("failure", "package_lost"): Fate.LOST,
    ("failure", "destroyed"): Fate.LOST,
    ("failure", "package_destroyed"): Fate.LOST,
    ("return_to_sender", "returned"): Fate.BACK,
    ("return_to_sender", "arrived_at_sender"): Fate.BACK,
}
_ENDS = ("delivered", "return_to_sender")


def read(carrier_id: str, body: bytes) -> Message | None:
    """The message of a webhook; None for events that are not about tracking. Raises `Unreadable`."""
    event = parse(body)
    if event.get("description") not in ("tracker.updated", "tracker.created"):
        return None
    tracker = event.get("result")
    if not isinstance(tracker, dict):
        raise Unreadable("result is missing")
    number = required(tracker.get("tracking_code"), "result.tracking_code")
    details = tracker.get("tracking_details") or []
    if not isinstance(details, list) or not all(isinstance(d, dict) for d in details):
        raise Unreadable("result.tracking_details must be a list of objects")
    steps = list(details)
    if not steps or _words(steps[-1]) != _words(tracker):
        # The tracker may know more than its last checkpoint, for instance that a parcel is lost.
        steps.append({**tracker, "datetime": tracker.get("updated_at") or event.get("created_at"), "message": None})
    updates: list[Update] = []
    unmapped: list[str] = []
    moving = False
    for index, step in enumerate(steps):
        status, detail = _words(step)
        mapped = _status(status, detail)
        if mapped is None:
            unmapped.append(f"{status}:{detail}")
        if mapped is S.IN_TRANSIT and not moving:
            mapped = S.PICKED_UP  # the first scan in transit is the pick-up
        moving = moving or status == "in_transit"
        last = index == len(steps) - 1
        eta = tracker.get("est_delivery_date")
        updates.append(
            Update(
                carrier_id=carrier_id, tracking_number=number, status=mapped or S.UNKNOWN,
                raw_status=f"{status}:{detail}" if detail else status,
                occurred_at=moment(step.get("datetime"), f"result.tracking_details[{index}].datetime"),
                location=_place(step.get("tracking_location")), message=text(step.get("message")),
                expected_at=moment(eta, "result.est_delivery_date") if last and eta else None,
                signed_by=text(tracker.get("signed_by")) if status == "delivered" else None,
                fate=FATES.get((status, detail)),
            )
        )  # fmt: skip
    return Message(text(event.get("id")), number, tuple(updates), tuple(unmapped))


def _words(step: Mapping[str, Any]) -> tuple[str, str]:
    return (text(step.get("status")) or "", text(step.get("status_detail")) or "")


def _status(status: str, detail: str) -> TrackingStatus | None:
    if status not in _ENDS and detail in BY_DETAIL:
        return BY_DETAIL[detail]
    return BY_STATUS.get(status)


def _place(location: object) -> str | None:
    if not isinstance(location, dict):
        return None
    parts = [text(location.get(name)) for name in ("city", "state", "country")]
    return ", ".join(p for p in parts if p) or None
