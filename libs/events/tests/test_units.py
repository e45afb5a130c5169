"""The algebra of numbered units behaves like sets of (line, number)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from expedite_events import NO_UNITS, Units, Value, from_json, to_json

spans = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(0, 5)).map(lambda t: (t[0], t[1], t[1] + t[2])),
    max_size=6,
)
sets = spans.map(Units)


@given(sets, sets)
def test_operators_are_those_of_sets(a: Units, b: Units) -> None:
    x, y = set(a.each()), set(b.each())
    assert set((a | b).each()) == x | y
    assert set((a & b).each()) == x & y
    assert set((a - b).each()) == x - y
    assert len(a) == len(x)
    assert (a <= b) == (x <= y)
    assert bool(a) == bool(x)


@given(sets, sets)
def test_equal_sets_are_equal_objects_whatever_path_led_there(a: Units, b: Units) -> None:
    assert (a | b) - b == a - b
    assert hash((a - b) | (a & b)) == hash(a)
    assert (a - b) | (a & b) == a


@given(sets, st.integers(0, 20))
def test_first_and_last_take_from_the_ends(a: Units, n: int) -> None:
    ordered = sorted(a.each())
    assert sorted(a.first_n(n).each()) == ordered[:n]
    assert sorted(a.last_n(n).each()) == (ordered[-n:] if n else [])


@given(sets)
def test_survives_json(a: Units) -> None:
    class Holder(BaseModel):
        units: Units

    assert Holder.model_validate_json(Holder(units=a).model_dump_json()).units == a


@given(sets)
def test_its_text_is_its_json(a: Units) -> None:
    class Holder(Value):
        units: Units

    assert json.loads(a.json) == a.to_json()
    assert from_json(Holder, to_json(Holder(units=a))) == Holder(units=a)


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="ends before it starts"):
        Units.of(1, 5, 4)


def test_lines_and_quantities() -> None:
    units = Units.quantity(1, 3) | Units.of(2, 4, 4)
    assert units.lines == (1, 2)
    assert units.on_line(2) == Units.of(2, 4, 4)
    assert (1, 3) in units
    assert (1, 4) not in units
    assert Units.quantity(1, 0) == NO_UNITS


def test_what_was_read_before_changes_nothing_of_what_is_read_after() -> None:
    first = Units.read([{"line": 1, "first": 1, "last": 2}])
    assert Units.read([{"line": 1, "first": 1, "last": 2, "new": "field"}]) is first
    assert Units.read([{"line": True, "first": 1.0, "last": 2}]).to_json() == first.to_json()
    for wrong in ([{"line": 1, "first": 1}], [{"line": 1, "first": 2, "last": 1}], [None], [[1, 1, 2]], 7, {"line": 1}):
        with pytest.raises(ValueError):
            Units.read(wrong)
