"""The one table of time budgets (C1): how long each stage may take per tier, and how fast a breach climbs.

Change a row here and every order assigned afterwards follows; running clocks follow with their next event.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from functools import cached_property

from expedite_events import Tier, Value

BUDGETS_VERSION = 1


class Span(StrEnum):
    """What a budget limits: the six stages, and the clocks beside them."""

    AUDIT = "audit"  # received → verified
    STOCK_LOCK = "stock_lock"  # in the pool → reserved
    TRANSFER = "transfer"  # transfer requested → units at the shipping warehouse; extends stock_lock for its units
    PREPARE = "prepare"  # reserved → packed
    SHIP = "ship"  # packed → with the carrier
    DELIVERY = "delivery"  # ship deadline → promise at the door, when the channel asked for no date
    TOLD = "told"  # shipped → the customer knows
    TRACK = "track"  # shipped → signed
    CONFIRM = "confirm"  # all delivered → closed
    ESCALATE = "escalate"  # one person told → the next one told


class Hours(StrEnum):
    """Which hours a budget counts."""

    REAL = "real"
    WORKING = "working"  # of the warehouse concerned, else of the one nearest to the customer


class Budget(Value, dict=True):
    """A row of the table: `minutes` of `hours` for `span` of orders of `tier`."""

    span: Span
    tier: Tier
    minutes: int
    hours: Hours

    @cached_property
    def time(self) -> timedelta:
        return timedelta(minutes=self.minutes)


def _rows() -> tuple[Budget, ...]:
    h = 60
    # Urgent work counts real hours: a 24-hour promise does not wait for the morning.
    table: dict[Span, tuple[tuple[int, int, int, int], Hours, Hours]] = {
        #                urgent    high  regular    low   urgent counts others count
        Span.AUDIT:      ((1 * h,   1 * h,   1 * h,   1 * h), Hours.REAL, Hours.WORKING),
        Span.STOCK_LOCK: ((    15,      30,   1 * h,   4 * h), Hours.REAL, Hours.WORKING),
        Span.TRANSFER:   ((24 * h,  24 * h,  24 * h,  24 * h), Hours.WORKING, Hours.WORKING),
        Span.PREPARE:    ((2 * h,   3 * h,   4 * h,   8 * h), Hours.REAL, Hours.WORKING),
        Span.SHIP:       ((4 * h,   6 * h,   8 * h,  16 * h), Hours.REAL, Hours.WORKING),
        Span.DELIVERY:   ((24 * h,  48 * h,  96 * h, 168 * h), Hours.REAL, Hours.REAL),
        Span.TOLD:       ((1 * h,   1 * h,   1 * h,   1 * h), Hours.REAL, Hours.REAL),
        Span.TRACK:      ((48 * h,  48 * h,  48 * h,  48 * h), Hours.REAL, Hours.REAL),
        Span.CONFIRM:    ((336 * h, 336 * h, 336 * h, 336 * h), Hours.REAL, Hours.REAL),
        Span.ESCALATE:   ((    30,   1 * h,   2 * h,   4 * h), Hours.REAL, Hours.WORKING),
    }  # fmt: skip
    return tuple(
        Budget(span=span, tier=tier, minutes=minutes, hours=urgent if tier is Tier.URGENT else others)
        for span, (row, urgent, others) in table.items()
        for tier, minutes in zip(Tier, row, strict=True)
    )


BUDGETS = _rows()
MAX_LEVELS = 3  # the owner, the superior, and theirs (C3)

_BY_KEY = {(row.span, row.tier): row for row in BUDGETS}


def budget_of(span: Span, tier: Tier) -> Budget:
    """The row of a span and tier; the table has one for each."""
    return _BY_KEY[span, tier]
