"""Webhook bodies in the words of their senders."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from expedite_events import TrackingStatus as S
from expedite_events import from_json, to_json
from shipping.domain.tracking import Fate
from shipping.formats import easypost, native
from shipping.formats.common import Unreadable

EXAMPLE = (Path(__file__).parent / "easypost_tracker_updated.json").read_bytes()


def test_the_easypost_example() -> None:
    """F3: number, status, ETA and four checkpoints, the first without location (formats 5.4)."""
    message = easypost.read("usps", EXAMPLE)
    assert message is not None
    assert (message.event_id, message.tracking_number) == ("evt_6f0c2b7a91d34e5f8a20b7c4d9e1f365", "EZ3000000003")
    assert [u.status for u in message.updates] == [S.PENDING, S.PICKED_UP, S.IN_TRANSIT, S.OUT_FOR_DELIVERY]
    assert message.updates[0].location is None and message.updates[3].location == "SEATTLE, WA, US"
    assert message.updates[3].expected_at == datetime(2026, 11, 24, 20, tzinfo=UTC)
    assert message.unmapped == ()


def tracker(status: str, detail: str = "", **more: Any) -> bytes:
    event = json.loads(EXAMPLE)
    event["result"] |= {"status": status, "status_detail": detail, "tracking_details": []} | more
    return json.dumps(event).encode()


@pytest.mark.parametrize(
    ("status", "detail", "ours", "fate"),
    [
        ("pre_transit", "", S.PENDING, None),
        ("in_transit", "", S.PICKED_UP, None),  # the first scan in transit is the pick-up
        ("in_transit", "delayed", S.DELIVERY_DELAYED, None),
        ("in_transit", "held", S.ON_HOLD, None),
        ("out_for_delivery", "", S.OUT_FOR_DELIVERY, None),
        ("available_for_pickup", "", S.READY_FOR_PICKUP, None),
        ("delivered", "", S.DELIVERED, None),
        ("delivered", "delayed", S.DELIVERED, None),  # an end stays an end
        ("failure", "", S.DELIVERY_FAILED, None),
        ("failure", "lost", S.DELIVERY_FAILED, Fate.LOST),
        ("return_to_sender", "return", S.RETURN_TO_SENDER, None),
        ("return_to_sender", "returned", S.RETURN_TO_SENDER, Fate.BACK),
        ("cancelled", "", S.CANCELLED, None),
        ("unknown", "", S.UNKNOWN, None),
        ("error", "", S.UNKNOWN, None),
    ],
)
def test_easypost_words(status: str, detail: str, ours: S, fate: Fate | None) -> None:
    """F3: (status, detail) first, then status alone (formats 3.3)."""
    message = easypost.read("usps", tracker(status, detail))
    assert message is not None
    assert (message.updates[-1].status, message.updates[-1].fate) == (ours, fate)


def test_an_unmapped_status_is_kept_and_counted() -> None:
    """F3: never dropped."""
    message = easypost.read("usps", tracker("teleported", "sideways"))
    assert message is not None
    assert (message.updates[-1].status, message.unmapped) == (S.UNKNOWN, ("teleported:sideways",))


def test_events_about_other_things_are_not_ours() -> None:
    """F3: EasyPost sends batches, refunds and more to the same address."""
    assert easypost.read("usps", b'{"description": "batch.created", "result": {}}') is None


@pytest.mark.parametrize("raw", [s.value for s in S])
def test_native_words(raw: str) -> None:
    """F3: the twelve statuses as they are."""
    body = {"id": "e", "tracking_number": "CD1", "status": raw, "occurred_at": "2026-11-24T16:20:00+01:00"}
    message = native.read("city-dash", json.dumps(body).encode())
    assert message is not None and message.updates[0].status.value == raw


@pytest.mark.parametrize(("raw", "fate"), [("lost", Fate.LOST), ("destroyed", Fate.LOST), ("returned", Fate.BACK)])
def test_native_fates(raw: str, fate: Fate) -> None:
    """F4: what the vocabulary of twelve cannot say."""
    body = {"tracking_number": "CD1", "status": raw, "occurred_at": "2026-11-24T16:20:00Z"}
    message = native.read("city-dash", json.dumps(body).encode())
    assert message is not None and message.updates[0].fate is fate


@pytest.mark.parametrize(
    "body",
    [
        b"", b"nonsense", b"[]", b"{}", b'{"tracking_number": 1}', b"\xff\xfe{}", b"[" * 100_000,
        '{"tracking_number": "x", "status": "lost"}'.encode("utf-16"),
        b'{"tracking_number": "x", "status": "lost", "occurred_at": "yesterday"}',
        b'{"tracking_number": "x", "status": "lost", "occurred_at": "9999-12-31T23:59:59Z"}',
        b'{"description": "tracker.updated", "result": {"tracking_code": "x", "tracking_details": [1]}}',
        b'{"description": "tracker.updated", "result": []}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_so(body: bytes) -> None:
    """F3: a signed body that makes no sense is kept with the reason, and never breaks anything."""
    for read in (easypost.read, native.read):
        try:
            assert read("c", body) is None
        except Unreadable as error:
            assert str(error)


def test_an_offset_with_seconds_keeps_the_moment() -> None:
    """F3: what JSON cannot say is said in UTC."""
    body = {"tracking_number": "x", "status": "lost", "occurred_at": "2026-11-24T00:00:00-23:59:59"}
    message = native.read("c", json.dumps(body).encode())
    assert message is not None
    at = message.updates[0].occurred_at
    assert from_json(datetime, to_json(at)) == at == datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC)


def test_text_that_cannot_be_stored_is_cleaned() -> None:
    """F3: NUL and lone surrogates in a carrier's message must not stop its delivery."""
    body = (
        b'{"tracking_number": "x", "status": "in_transit", "occurred_at": "2026-11-24T16:20:00",'
        b' "message": "a\\u0000b\\ud800"}'
    )
    message = native.read("c", body)
    assert message is not None
    assert message.updates[0].message == "ab?"
    assert message.updates[0].occurred_at.tzinfo is not None  # no offset counts as UTC
    assert message.updates[0].key
