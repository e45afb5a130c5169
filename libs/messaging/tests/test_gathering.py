"""What a consumer that falls behind decides together."""

from __future__ import annotations

from expedite_sample.polled import Clock, Record
from hypothesis import given
from hypothesis import strategies as st

from expedite_messaging.gathering import LONGEST_S, Gathering, Place

A, B = ("a", 0), ("b", 0)


def test_who_keeps_up_takes_everything_at_once() -> None:
    gathering = Gathering(100)
    records = [Record("a", n, b"k%d" % (n % 3)) for n in range(7)]
    gathering.add({A: records})
    assert sorted(gathering.take(10), key=lambda r: r.offset) == records
    assert len(gathering) == 0
    assert gathering.decided(records) == {A: 7}


def test_behind_the_keys_with_most_news_go_first_and_whole_and_offsets_wait_for_the_rest() -> None:
    gathering = Gathering(100)
    gathering.add({A: [Record("a", 0, b"one"), Record("a", 1, b"two")], B: [Record("b", 0, b"two")]})
    taken = gathering.take(2)
    assert taken == [Record("a", 1, b"two"), Record("b", 0, b"two")]
    assert gathering.decided(taken) == {B: 1}, "a's first record is still here"
    rest = gathering.take(2)
    assert gathering.decided(rest) == {A: 2}


def test_what_waited_long_goes_before_all_others() -> None:
    clock = Clock()
    gathering = Gathering(100, clock=clock)
    gathering.add({A: [Record("a", 0, b"old")]})
    clock.now = LONGEST_S + 1
    gathering.add({A: [Record("a", n, b"new") for n in range(1, 5)]})
    assert gathering.take(1) == [Record("a", 0, b"old")]


def test_records_without_a_key_are_like_no_other() -> None:
    gathering = Gathering(10)
    gathering.add({A: [Record("a", 0, None), Record("a", 1, None)]})
    assert len(gathering.take(1)) == 1


def test_forgetting_leaves_nothing() -> None:
    gathering = Gathering(10)
    gathering.add({A: [Record("a", 0, b"k")]})
    gathering.clear()
    assert (len(gathering), gathering.room("a"), gathering.take(5)) == (0, 10, [])


def test_each_topic_has_room_of_its_own() -> None:
    gathering = Gathering(2)
    gathering.add({A: [Record("a", 0, b"k"), Record("a", 1, b"l")]})
    assert (gathering.room("a"), gathering.room("b")) == (0, 2)
    gathering.take(2)
    assert gathering.room("a") == 2


@given(
    st.lists(st.lists(st.tuples(st.sampled_from([A, B]), st.sampled_from([b"x", b"y", b"z"])), max_size=6), max_size=6),
    st.integers(1, 4),
)
def test_every_record_is_taken_once_in_its_keys_order_and_no_offset_is_committed_early(
    polls: list[list[tuple[Place, bytes]]], limit: int
) -> None:
    gathering, offsets = Gathering(1000), {A: 0, B: 0}
    added: list[Record] = []
    decided: list[Record] = []
    committed: dict[Place, int] = {}

    def decide() -> None:
        taken = gathering.take(limit)
        decided.extend(taken)
        committed.update(gathering.decided(taken))
        for place, offset in committed.items():
            assert all(r in decided for r in added if r.place == place and r.offset < offset)

    for poll in polls:
        polled: dict[Place, list[Record]] = {}
        for place, key in poll:
            polled.setdefault(place, []).append(Record(place[0], offsets[place], key))
            offsets[place] += 1
        gathering.add(polled)
        added += [r for records in polled.values() for r in records]
        decide()
    while len(gathering):
        decide()
    assert sorted(decided, key=lambda r: (r.place, r.offset)) == sorted(added, key=lambda r: (r.place, r.offset))
    for place in (A, B):
        for key in (b"x", b"y", b"z"):
            mine = [r.offset for r in decided if (r.place, r.key) == (place, key)]
            assert mine == sorted(mine)
    assert committed == {place: offset for place, offset in offsets.items() if offset}
