"""What a check found, and how it is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

NAMED = 5
"""So many offenders are named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check: how many things it looked at, whether all were well, and the first that were not. `wrong`:
    how many were not."""

    check: str
    count: int
    good: bool
    detail: str
    wrong: int = 0


@dataclass(slots=True)
class Look:
    """A check in the making. `what` names the things it counts, in the plural."""

    check: str
    what: str
    count: int = 0
    offenders: dict[str, str] = field(default_factory=dict)  # text -> order it is about, in the order found
    notes: list[str] = field(default_factory=list)

    def wrong(self, text: str, order_id: str = "") -> None:
        """Something violates the check. The text names it and the event that caused it; where only the order is known,
        `order_id` lets the audit look up the last event of its custodians."""
        self.offenders.setdefault(text, order_id)

    def note(self, text: str) -> None:
        """Worth telling, but no violation."""
        self.notes.append(text)

    def excuse(self, reasons: Mapping[str, str]) -> None:
        """Offenders of orders that somebody took an event of are accounted for: told with the reason, no violation."""
        excused = {text: order for text, order in self.offenders.items() if order in reasons}
        self.offenders = {text: order for text, order in self.offenders.items() if text not in excused}
        orders = list(dict.fromkeys(excused.values()))
        for order in orders[:NAMED]:
            self.note(f"{order} is not whole: {reasons[order]}")
        if len(orders) > NAMED:
            self.note(f"and {len(orders) - NAMED:,} more orders of which events were dropped")

    def still(self, earlier: Look) -> Look:
        """This look without the offenders an earlier one did not see: on a system in motion those were in flight."""
        return replace(self, offenders={t: o for t, o in self.offenders.items() if t in earlier.offenders})

    @property
    def named(self) -> dict[str, str]:
        """The offenders that are told by name."""
        return dict(list(self.offenders.items())[:NAMED])

    def finding(self, last_events: Mapping[str, str] | None = None) -> Finding:
        """The outcome. `last_events`: by order, what its custodians said last."""
        if not self.offenders:
            return Finding(self.check, self.count, True, "; ".join((f"{self.count:,} {self.what}", *self.notes)))
        causes = last_events or {}
        named = [f"{t} (last: {causes[o]})" if o in causes else t for t, o in self.named.items()]
        more = len(self.offenders) - len(named)
        told = "; ".join((*named, *([f"and {more:,} more"] if more else [])))
        detail = f"{len(self.offenders):,} wrong among {self.count:,} {self.what}: {told}"
        return Finding(self.check, self.count, False, detail, len(self.offenders))


def text(found: Sequence[Finding]) -> str:
    """One aligned line per check: whether it holds, its name, how much it looked at, what it found."""
    name = max((len(f.check) for f in found), default=0)
    number = max((len(f"{f.count:,}") for f in found), default=0)
    return "\n".join(f"{'✔' if f.good else '✖'} {f.check:<{name}}  {f.count:>{number},}  {f.detail}" for f in found)
