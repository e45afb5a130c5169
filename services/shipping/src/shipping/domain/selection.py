"""Which carrier and service takes a parcel, and why, in a sentence a person understands (F1)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

CHOICES_REMEMBERED = 4_096


class Offer(NamedTuple):
    """A price a carrier quoted. `arrives_at` is the truck it can still catch plus its transit time."""

    carrier_id: str
    service: str
    name: str
    price: Decimal
    currency: str
    leaves_at: datetime
    arrives_at: datetime
    quote_id: str | None = None
    insured: bool = False
    signature: bool = False
    reliability: float = 1.0  # share of its parcels on time, 0..1

    @property
    def expected_cost(self) -> Decimal:
        """The price per parcel that arrives as promised: an unreliable carrier has to be cheaper to win."""
        return _expected(self.price, self.reliability)


@lru_cache(maxsize=CHOICES_REMEMBERED)
def _expected(price: Decimal, reliability: float) -> Decimal:
    return price / Decimal(str(max(reliability, 0.05)))


class Choice(NamedTuple):
    """The offer taken, and the record of the decision."""

    offer: Offer
    because: str


@lru_cache(maxsize=CHOICES_REMEMBERED)  # thousands of parcels ask the same of the offers of one quote
def choose(offers: tuple[Offer, ...], *, promise_by: datetime, valuable: bool, preference: str | None) -> Choice | None:
    """The cheapest offer that keeps the promise, reliability weighed in; the earliest when none keeps it. Valuable goods
    go insured and signed for when anybody offers that. A preferred carrier wins among offers that keep the promise. None
    without offers."""
    pool, notes = offers, []
    if valuable:
        pool, note = _careful(pool)
        notes.append(note)
    on_time = tuple(o for o in pool if o.arrives_at <= promise_by)
    if not on_time and any(o.arrives_at <= promise_by for o in offers):
        # Care was asked for and costs the promise: the promise to the customer is the lesser good for valuables.
        notes.append("an uninsured service would be in time, but valuables do not go without cover")
    candidates = on_time or pool
    if preference is not None:
        preferred = tuple(o for o in candidates if o.carrier_id == preference)
        if preferred:
            candidates = preferred
            notes.append(f"{preference} as the order prefers")
        else:
            notes.append(f"{preference} was preferred but {'is too late' if on_time else 'made no offer'}")
    if not candidates:
        return None
    if on_time:
        best = min(candidates, key=lambda o: (o.expected_cost, o.arrives_at, o.carrier_id, o.service))
        rule = f"cheapest of {len(on_time)} service(s) that arrive by {_moment(promise_by)}"
    else:
        best = min(candidates, key=lambda o: (o.arrives_at, o.expected_cost, o.carrier_id, o.service))
        rule = f"none of {len(pool)} service(s) arrives by {_moment(promise_by)}; this one is the earliest"
    facts = (
        f"{best.carrier_id} {best.name}: {best.price.quantize(Decimal('0.01'))} {best.currency}, "
        f"arrives {_moment(best.arrives_at)}, {best.reliability:.0%} on time"
    )
    return Choice(offer=best, because="; ".join([f"{facts} ({rule})", *notes]))


def _careful(offers: tuple[Offer, ...]) -> tuple[tuple[Offer, ...], str]:
    """The offers with the best care available, and what was found."""
    both = tuple(o for o in offers if o.insured and o.signature)
    if both:
        return both, "valuable: insured and signed for"
    insured = tuple(o for o in offers if o.insured)
    if insured:
        return insured, "valuable: insured, nobody offers a signature"
    signed = tuple(o for o in offers if o.signature)
    if signed:
        return signed, "valuable: signed for, nobody offers insurance"
    return offers, "valuable, but nobody offers insurance or a signature"


_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _moment(at: datetime) -> str:
    """Day and time as people read them, without a year; not `strftime`, whose months depend on the machine's language."""
    return f"{at.day:02d} {_MONTHS[at.month]} {at.hour:02d}:{at.minute:02d}"
