"""Bundles of the outbox: nothing of an event is changed, left out or reordered by being bound together."""

from __future__ import annotations

import pytest
from expedite_sample.worlds import tracked

from expedite_events import Lane
from expedite_events.envelope import Envelope, decode
from expedite_messaging.bundles import MAX_BUNDLE_BYTES, Bundle, TooLarge, bundled, packed, singles, unpacked
from expedite_messaging.records import SHARDS, shard_of, wire_headers


def read(bundle: Bundle) -> list[Envelope]:
    """The events as a consumer reads them."""
    return [
        decode(e.topic, e.key.encode(), e.value, wire_headers(e.headers, bundle.number + e.place))
        for e in bundle.events
    ]


def again(bundle: Bundle) -> Bundle:
    """The bundle after it was a row."""
    return unpacked(bundle.number, bundle.shard, packed(bundle))


@pytest.mark.parametrize("keys", [1, 3, 40, 400])
def test_what_is_bound_together_comes_apart_as_it_was(keys: int) -> None:
    """I4, I5: every event once, under its number, the events of a key in their order."""
    emitted = [tracked(f"O{n % keys}", f"word{n}") for n in range(400)]
    found = [event for _, bundle in bundled(emitted) for event in read(again(bundle))]
    assert sorted(e.sequence for e in found) == list(range(400))
    for event in found:
        said = emitted[event.sequence]
        assert (event.id, event.key, event.event, event.time) == (said.id, said.key, said.event, said.time)
        assert (event.correlation_id, event.causation_id) == (said.correlation_id, said.causation_id)
    for key in {e.key for e in emitted}:
        numbers = [e.sequence for e in found if e.key == key]
        assert numbers == sorted(numbers)


def test_a_bundle_is_of_one_shard_and_lane() -> None:
    """P25: whoever owns a shard sends all of a key, and urgent events wait for no others."""
    found = bundled([tracked(f"O{n}", "word", Lane.STANDARD if n % 3 else Lane.EXPRESS) for n in range(200)])
    assert len({(lane, bundle.shard) for lane, bundle in found}) == len(found) == 2 * SHARDS
    for lane, bundle in found:
        assert {e.lane for e in read(again(bundle))} == {lane}
        assert {shard_of(e.key) for e in bundle.events} == {bundle.shard}


def test_a_bundle_of_many_events_is_small_and_a_large_one_is_cut() -> None:
    """P1: none is larger than what a batch of the broker's holds."""
    (_, bundle), *others = bundled([tracked("O1", "word") for _ in range(60)])
    assert not others
    assert len(packed(bundle)) < sum(len(e.value) + len(e.headers) for e in bundle.events) / 3
    assert again(bundle).size >= sum(len(e.value) + len(e.headers) for e in bundle.events)
    many = bundled([tracked("O1", "x" * 10_000) for _ in range(60)])
    assert len(many) > 5
    assert max(again(bundle).size for _, bundle in many) < MAX_BUNDLE_BYTES + 20_000


def test_an_event_that_no_topic_takes_is_refused() -> None:
    """P34"""
    with pytest.raises(TooLarge, match=r"O2 has 3\d\d,\d\d\d bytes; less than 262,144"):
        bundled([tracked("O1", "ok"), tracked("O2", "x" * 300_000)])


def test_singles_keep_number_and_shard() -> None:
    """I5: taken apart, the events are where they were."""
    ((_, bundle),) = bundled([tracked("O1", f"word{n}") for n in range(5)])
    apart = singles(again(Bundle(7_000, bundle.shard, bundle.events)))
    assert [b.number for b in apart] == [7_000, 7_001, 7_002, 7_003, 7_004]
    assert [e.sequence for b in apart for e in read(again(b))] == [b.number for b in apart]
    assert {b.shard for b in apart} == {bundle.shard}
