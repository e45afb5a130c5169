"""Working time (C2)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expedite_events import Unreadable, checked
from prioritizer.domain.worktime import (
    WorkCalendar,
    add_working_time,
    due_at,
    is_open,
    merged,
    working_time_between,
)

ZONES = ["UTC", "Europe/London", "Europe/Warsaw", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe",
         "Africa/Cairo", "America/St_Johns"]  # fmt: skip
clock = st.builds(lambda h, m: f"{h:02}:{m:02}", st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
calendars = st.builds(
    WorkCalendar,
    time_zone=st.sampled_from(ZONES),
    opens=clock,
    closes=st.one_of(clock, st.just("24:00")),
    working_days=st.sets(st.integers(0, 6), min_size=1).map(tuple),
    holidays=st.sets(st.dates(date(2026, 1, 1), date(2026, 12, 31)), max_size=8).map(tuple),
)
# Around both clock changes of a year, in every zone above.
instants = st.datetimes(datetime(2026, 3, 1), datetime(2026, 11, 30), timezones=st.just(UTC))  # noqa: DTZ001
budgets = st.timedeltas(timedelta(minutes=1), timedelta(hours=60))


@given(calendars, instants, budgets)
def test_no_deadline_falls_into_closed_hours(calendar: WorkCalendar, start: datetime, budget: timedelta) -> None:
    """C2: a deadline is an open instant or exactly closing time."""
    end = add_working_time(calendar, start, budget)
    assert is_open(calendar, end - timedelta(microseconds=1))
    assert end > start


@given(calendars, instants, budgets, st.timedeltas(timedelta(), timedelta(hours=30)))
def test_later_starts_and_larger_budgets_never_end_earlier(
    calendar: WorkCalendar, start: datetime, budget: timedelta, more: timedelta
) -> None:
    """C2: monotone in the start and in the budget."""
    end = add_working_time(calendar, start, budget)
    assert add_working_time(calendar, start + more, budget) >= end
    assert add_working_time(calendar, start, budget + more) >= end


@given(calendars, instants, budgets, budgets)
def test_budgets_add_up(calendar: WorkCalendar, start: datetime, one: timedelta, two: timedelta) -> None:
    """C2: two budgets in a row end when their sum ends."""
    assert add_working_time(calendar, add_working_time(calendar, start, one), two) == add_working_time(
        calendar, start, one + two
    )


@given(calendars, instants, budgets)
def test_adding_and_measuring_agree(calendar: WorkCalendar, start: datetime, budget: timedelta) -> None:
    """C2: between a start and its deadline exactly the budget passes."""
    assert working_time_between(calendar, start, add_working_time(calendar, start, budget)) == budget


@given(
    calendars,
    instants,
    budgets,
    st.lists(st.tuples(instants, st.timedeltas(timedelta(0), timedelta(days=3))), max_size=5),
)
def test_a_pause_costs_no_working_time(
    calendar: WorkCalendar, start: datetime, budget: timedelta, spans: list[tuple[datetime, timedelta]]
) -> None:
    """C2: between start and deadline, outside the pauses, exactly the budget passes."""
    pauses = merged([(begin, begin + length) for begin, length in spans])
    end = due_at(calendar, start, budget, pauses)
    inside = sum(
        (working_time_between(calendar, max(a, start), min(b, end)) for a, b in pauses if b > start and a < end),
        timedelta(),
    )
    assert working_time_between(calendar, start, end) - inside == budget


def test_the_night_the_clocks_go_forward_is_an_hour_shorter() -> None:
    """C2: a night shift over the change of 29 March 2026 has seven hours of work, not eight."""
    calendar = WorkCalendar(time_zone="Europe/Warsaw", opens="22:00", closes="06:00")
    start = datetime(2026, 3, 28, 21, 0, tzinfo=UTC)  # 22:00 in Warsaw
    assert working_time_between(calendar, start, start + timedelta(hours=12)) == timedelta(hours=7)
    assert add_working_time(calendar, start, timedelta(hours=8)) == datetime(2026, 3, 29, 21, 0, tzinfo=UTC)


def test_a_window_that_opens_in_the_skipped_hour_opens_at_the_change() -> None:
    """C2: 02:30 does not exist on 29 March 2026 in Warsaw; work begins at 03:00, which is 01:00 UTC."""
    calendar = WorkCalendar(time_zone="Europe/Warsaw", opens="02:30", closes="03:15")
    night = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
    assert add_working_time(calendar, night, timedelta()) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert working_time_between(calendar, night, night + timedelta(hours=6)) == timedelta(minutes=15)


def test_weekends_and_holidays_are_skipped() -> None:
    """C2: four hours from Thursday 16:00 before a Friday holiday end on Monday at 10:00."""
    calendar = WorkCalendar(
        time_zone="Europe/London",
        opens="08:00",
        closes="18:00",
        working_days=(0, 1, 2, 3, 4),
        holidays=(date(2026, 12, 25),),
    )
    thursday = datetime(2026, 12, 24, 16, 0, tzinfo=UTC)
    assert add_working_time(calendar, thursday, timedelta(hours=4)) == datetime(2026, 12, 28, 10, 0, tzinfo=UTC)


def test_without_a_calendar_or_working_days_every_hour_counts() -> None:
    """C2: urgent work counts real hours."""
    start = datetime(2026, 12, 24, 23, 0, tzinfo=UTC)
    never = WorkCalendar(time_zone="UTC", working_days=())
    for calendar in (None, never):
        assert add_working_time(calendar, start, timedelta(hours=2)) == start + timedelta(hours=2)


@pytest.mark.parametrize(
    "wrong", [{"time_zone": "Mars/Base"}, {"opens": "25:00"}, {"working_days": (7,)}, {"time_zone": "../etc/passwd"}]
)
def test_a_calendar_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    """C2: bad master data is refused where it comes in, not when a deadline is computed."""
    given: dict[str, Any] = {"time_zone": "UTC"} | wrong
    with pytest.raises(Unreadable):
        checked(WorkCalendar, given)
    with pytest.raises(ValueError, match=r"time zone|time of day|working days"):
        WorkCalendar(**given)
