"""Working time: hours that a place is open, in its own time zone (C2).

All arithmetic happens on UTC instants; the wall clock only says where a window begins and ends. So a day on which the
clocks change has the working time its wall clock shows, and adding hours never lands in a closed one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec.structs import force_setattr

from expedite_events import Value, WarehouseChanged

Interval = tuple[datetime, datetime]
_DAY = timedelta(days=1)
_ENDS = 1000  # how many answers a calendar keeps
_WINDOWS = 8  # how many are worked out at once: more than any budget but the longest asks for


class WorkCalendar(Value, dict=True):
    """When a place works. `closes` at or before `opens` means the window ends on the next day (a night shift; equal
    times: open around the clock on that day). A night window belongs to the day it begins on. Without any working day
    the calendar counts every hour, as the alternative is a deadline that never comes."""

    time_zone: str
    opens: str = "00:00"
    closes: str = "00:00"
    working_days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    holidays: tuple[date, ...] = ()

    @cached_property
    def ahead(self) -> dict[date, tuple[Interval, ...]]:
        """By day (of UTC): the next windows that end after its beginning, kept because every order asks for them."""
        return {}

    @cached_property
    def ends(self) -> dict[tuple[datetime, timedelta], datetime]:
        """Ends of budgets by start: an order asks for the same one several times, and so do orders that came together."""
        return {}

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{self.time_zone!r} is not an IANA time zone") from error
        for text in (self.opens, self.closes):
            if _clock(text) > _DAY:
                raise ValueError(f"{text} is not a time of day (00:00 to 24:00)")
        if any(not 0 <= day <= 6 for day in self.working_days):
            raise ValueError("working days are 0 (Monday) to 6 (Sunday)")
        # Equal calendars are equal values, in whatever order their days came.
        force_setattr(self, "working_days", tuple(sorted(set(self.working_days))))

    @classmethod
    def of(cls, warehouse: WarehouseChanged) -> WorkCalendar:
        """The calendar a warehouse announces; ValueError when its zone, hours or holidays are not real ones."""
        return cls(
            time_zone=warehouse.time_zone,
            opens=warehouse.opens,
            closes=warehouse.closes,
            working_days=warehouse.working_days,
            holidays=tuple(date.fromisoformat(day) for day in warehouse.holidays),
        )


def add_working_time(calendar: WorkCalendar | None, start: datetime, budget: timedelta) -> datetime:
    """The first instant at which `budget` of working time has passed since `start`, in UTC. `calendar=None` counts real
    time. A zero budget from a closed hour ends when the place opens; a positive one may end exactly at closing time."""
    at = start.astimezone(UTC)
    if calendar is None or not calendar.working_days:
        return at + budget
    known = calendar.ends
    end = known.get((at, budget))
    if end is None:
        if len(known) >= _ENDS:
            known.clear()
        end = known[at, budget] = _end(calendar, at, budget)
    return end


def _end(calendar: WorkCalendar, at: datetime, budget: timedelta) -> datetime:
    left = max(budget, timedelta())
    for opens, closes in _windows(calendar, at):
        begin = max(opens, at)
        if left < closes - begin or (left and left == closes - begin):
            return begin + left
        left -= closes - begin
    raise AssertionError("windows never end")


def working_time_between(calendar: WorkCalendar | None, start: datetime, end: datetime) -> timedelta:
    """Working time that passes from `start` to `end`; zero when `end` is not later."""
    since, until = start.astimezone(UTC), end.astimezone(UTC)
    if until <= since:
        return timedelta()
    if calendar is None or not calendar.working_days:
        return until - since
    total = timedelta()
    for opens, closes in _windows(calendar, since):
        if opens >= until:
            return total
        total += min(closes, until) - max(opens, since)
    raise AssertionError("windows never end")


def is_open(calendar: WorkCalendar | None, at: datetime) -> bool:
    """Whether work is done at this instant (closing time itself is closed)."""
    if calendar is None or not calendar.working_days:
        return True
    opens, _ = next(_windows(calendar, at.astimezone(UTC)))
    return opens <= at


def due_at(
    calendar: WorkCalendar | None, start: datetime, budget: timedelta, pauses: Sequence[Interval] = ()
) -> datetime:
    """When a budget ends whose clock stands still during `pauses` (merged, in order)."""
    if not pauses:
        return add_working_time(calendar, start, budget)
    at, left = start.astimezone(UTC), budget
    for begin, end in pauses:
        if end <= at:
            continue
        passed = working_time_between(calendar, at, begin)
        if passed >= left:
            break
        left -= passed
        at = end.astimezone(UTC)
    return add_working_time(calendar, at, left)


def merged(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """The union of intervals, in order: held twice at the same time is held once."""
    out: list[Interval] = []
    for begin, end in sorted(i for i in intervals if i[0] < i[1]):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((begin, end))
    return tuple(out)


def _windows(calendar: WorkCalendar, at: datetime) -> Iterator[Interval]:
    """The open windows that end after `at`, in order, for ever."""
    known = calendar.ahead
    while True:
        day = at.date()
        windows = known.get(day)
        if windows is None:
            midnight = datetime.combine(day, time(), UTC)
            windows = known[day] = tuple(islice(_walk(calendar, midnight), _WINDOWS))
        for window in windows:
            if window[1] > at:
                yield window
        at = windows[-1][1]


def _walk(calendar: WorkCalendar, at: datetime) -> Iterator[Interval]:
    """The open windows that end after `at`, day by day."""
    zone, hours = calendar.time_zone, (_clock(calendar.opens), _clock(calendar.closes))
    days, holidays = calendar.working_days, calendar.holidays
    # A night window of the day before may still be open.
    day = at.astimezone(ZoneInfo(zone)).date() - _DAY
    while True:
        if day.weekday() in days and day not in holidays:
            opens, closes = _window(zone, hours[0], hours[1], day)
            if closes > at and closes > opens:
                yield opens, closes
        day += _DAY


def _window(zone: str, opens: timedelta, closes: timedelta, day: date) -> Interval:
    midnight = datetime.combine(day, time())
    end = closes if closes > opens else closes + _DAY
    return _instant(zone, midnight + opens), _instant(zone, midnight + end)


def _instant(zone: str, wall: datetime) -> datetime:
    """The instant of a wall-clock time. A time that a clock change skips is the instant of the change: only so do
    windows keep their order and never overlap."""
    info = ZoneInfo(zone)
    late = wall.replace(tzinfo=info).astimezone(UTC)
    if late.astimezone(info).replace(tzinfo=None) == wall:
        return late
    early = wall.replace(tzinfo=info, fold=1).astimezone(UTC)
    before = early.astimezone(info).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) / 2
        early, late = (middle, late) if middle.astimezone(info).utcoffset() == before else (early, middle)
    return late.replace(microsecond=0)


def _clock(text: str) -> timedelta:
    hours, minutes = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))
