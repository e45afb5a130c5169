"""The wire: CloudEvents binary mode, deterministic ids."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from msgspec.structs import replace

from expedite_events import Lane, RaiseRequested, Units, UnitsCancelled, ids, row_of
from expedite_events.envelope import Envelope, Undecodable, decode, encode, event_id_for
from expedite_events.ids import is_ours, millis, uuid7, uuid8

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
RAISED = RaiseRequested(order_id="20261123-EC-000001", requested_by="p1", requested_at=NOW, reason="clinic")


def envelope() -> Envelope:
    cause = uuid7()
    return Envelope(
        id=event_id_for(cause, "prioritizer", RAISED, Lane.EXPRESS), service="prioritizer", row=row_of(RAISED),
        key=RAISED.order_id, lane=Lane.EXPRESS, event=RAISED, time=NOW, correlation_id=cause, causation_id=cause,
        sequence=3, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )  # fmt: skip


def test_an_envelope_survives_the_wire() -> None:
    sent = envelope()
    came = decode(*encode(sent))
    assert came == sent and came != replace(sent, sequence=4)
    assert came.raw and not sent.raw and repr(came) == repr(sent)  # what it came with is neither compared nor shown


@pytest.mark.parametrize(
    ("topic", "edit", "says"),
    [
        ("Nonsense", {}, "not in the catalogue"),
        ("RaiseRequested.express", {"ce_source": b"/expedite/shipping"}, "does not own"),
        ("RaiseRequested.express", {"ce_type": b"expedite.prioritizer.RaiseRequested.v9"}, "unknown type"),
        ("RaiseRequested.express", {"ce_id": b"not-a-uuid"}, "ValueError"),
        ("RaiseRequested.express", {"ce_time": None}, "KeyError"),
    ],
)
def test_what_is_not_ours_is_undecodable_and_says_why(topic: str, edit: dict, says: str) -> None:
    """I4: a bad record is parked with its reason."""
    _, key, value, headers = encode(envelope())
    pairs = {**dict(headers), **edit}
    with pytest.raises(Undecodable, match=says):
        decode(topic, key, value, [(n, v) for n, v in pairs.items() if v is not None])


@pytest.mark.parametrize("value", [b"", b"{", b"{}", None, b"[1]"])
def test_a_broken_value_is_undecodable(value: bytes | None) -> None:
    topic, key, _, headers = encode(envelope())
    with pytest.raises(Undecodable):
        decode(topic, key, value, headers)


def test_unknown_fields_are_ignored() -> None:
    topic, key, value, headers = encode(envelope())
    assert decode(topic, key, value[:-1] + b',"added_later":1}', headers).event == RAISED


def test_ids_are_time_ordered_and_deterministic() -> None:
    cause = uuid7()
    answer = UnitsCancelled(order_id="o", request_id="o-C1", units=Units.of(1, 1, 2), answered_by="inventory", at=NOW)
    other = answer.put(units=Units.of(1, 3, 3))
    first = event_id_for(cause, "inventory", answer, Lane.EXPRESS)
    assert first == event_id_for(cause, "inventory", answer, Lane.EXPRESS)
    assert first != event_id_for(cause, "inventory", other, Lane.EXPRESS)
    assert first != event_id_for(uuid7(), "inventory", answer, Lane.EXPRESS)
    assert first.version == 8
    assert first.variant == "specified in RFC 4122"
    assert millis(first) == millis(cause)
    assert uuid8(1, "a") < uuid8(2, "a")
    assert uuid7().version == 7


def test_ids_are_the_same_with_and_without_the_drivers_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of our topics need not have a database driver; one that has it is faster, nothing else."""
    text = b"0191b2c3-d4e5-7a6b-8c7d-0123456789ab"
    driver = [ids.parsed(text), uuid8(1, "a")]
    monkeypatch.setattr(ids, "_of", ids._slowly)
    plain = [ids.parsed(text), uuid8(1, "a")]
    assert {type(found) for found in plain} == {UUID} != {type(found) for found in driver}
    assert plain == driver
    assert driver == plain
    assert [*map(hash, plain)] == [*map(hash, driver)]
    assert [*map(str, plain)] == [*map(str, driver)]
    assert str(plain[0]).encode() == text


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("text", [b"", b"0191b2c3", b"0191b2c3-d4e5-7a6b-8c7d-0123456789zz", b"\xff" * 36, b"_" * 36])
def test_what_is_no_id_is_refused(text: bytes, slowly: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if slowly:
        monkeypatch.setattr(ids, "_of", ids._slowly)
    with pytest.raises(ValueError):
        ids.parsed(text)


@pytest.mark.parametrize("version", [1, 3, 4, 5, 6, 7, 8])
def test_only_ids_of_versions_7_and_8_are_ours(version: int) -> None:
    """Partitions of inbox and ledger go by the time that an id begins with."""
    found = UUID(int=uuid7().int & ~(0xF << 76) | version << 76)
    assert found.version == version
    assert is_ours(found) is (version in (7, 8))
    assert not is_ours(UUID(int=found.int ^ (1 << 63))), "another variant has no version"


def test_a_key_that_is_not_that_of_its_event_is_refused() -> None:
    """A consumer locks the key and decides on the order the event names: they must be one."""
    topic, key, value, headers = encode(envelope())
    for other in (b"another", None, b"", key + b"\xff"):
        with pytest.raises(Undecodable, match="its key is"):
            decode(topic, other, value, headers)
