"""The business clock's master copy: append-only anchors (real time, business time, speed) of one home.

Promises and deadlines run on business time, which may run faster than real time. Each anchor says "at this
real time it was this business time, and from here it runs at this speed". They are copied into every
service's database at start.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from expedite_local.home import read_json, write_private_json


def now() -> datetime:
    """Real time, in UTC."""
    return datetime.now(UTC)


def monday_morning(real: datetime) -> datetime:
    """The Monday 09:00 UTC of this week: when the demo opens."""
    monday = real - timedelta(days=real.weekday())
    return monday.replace(hour=9, minute=0, second=0, microsecond=0)


@dataclass(frozen=True)
class Anchor:
    """From `real` on, business time is `business` plus the real time passed times `speed` (0 = frozen)."""

    real: datetime
    business: datetime
    speed: float

    def at(self, real: datetime) -> datetime:
        """Business time at a real time not before the anchor."""
        return self.business + (real - self.real) * self.speed


@dataclass
class BusinessClock:
    """The anchors of a home, kept in `path`; `seen` is the last real time at which the system was known to run."""

    path: Path
    anchors: list[Anchor] = field(default_factory=list)
    seen: datetime | None = None

    @classmethod
    def load(cls, path: Path) -> BusinessClock:
        """The clock stored at `path`; one without anchors when there is none."""
        stored = read_json(path) or {"anchors": [], "seen": None}
        anchors = [
            Anchor(datetime.fromisoformat(a["real"]), datetime.fromisoformat(a["business"]), a["speed"])
            for a in stored["anchors"]
        ]
        return cls(path, anchors, datetime.fromisoformat(stored["seen"]) if stored["seen"] else None)

    def _store(self) -> None:
        anchors = [
            {"real": a.real.isoformat(), "business": a.business.isoformat(), "speed": a.speed} for a in self.anchors
        ]
        write_private_json(self.path, {"anchors": anchors, "seen": self.seen.isoformat() if self.seen else None})

    @property
    def speed(self) -> float:
        """The speed of the last anchor; 1 before the first."""
        return self.anchors[-1].speed if self.anchors else 1.0

    def business(self, real: datetime) -> datetime:
        """Business time at a real time; equal to it before the first anchor."""
        return self.anchors[-1].at(real) if self.anchors else real

    def resume(self, speed: float, real: datetime, start: datetime | None = None) -> Anchor:
        """Anchor the clock for a run that begins now at `speed` and return the anchor.

        start: the business time to begin at; ignored unless the clock has never run, so that a restart does
        not jump. A clock left running at another speed than 1 (its system was killed) counts as frozen when
        it was last seen: nothing breaches while nobody works.
        """
        if not self.anchors:
            anchor = Anchor(real, start or real, speed)
        elif self.speed not in (0.0, 1.0) and self.seen is not None:
            anchor = Anchor(real, self.anchors[-1].at(max(self.seen, self.anchors[-1].real)), speed)
        else:
            anchor = Anchor(real, self.business(real), speed)
        self.anchors.append(anchor)
        self.touch(real)
        return anchor

    def freeze(self, real: datetime) -> Anchor | None:
        """Stop the clock unless it runs at real time's speed (then promises keep running); the anchor, if one was set."""
        if self.speed in (0.0, 1.0):
            return None
        anchor = Anchor(real, self.business(real), 0.0)
        self.anchors.append(anchor)
        self.touch(real)
        return anchor

    def touch(self, real: datetime) -> None:
        """Note that the system runs; called every few seconds."""
        self.seen = real
        self._store()


async def copy_anchor(clock: BusinessClock, urls: dict[str, str]) -> None:
    """Append the clock's last anchor to every database, all at once.

    Each database notes its own real time, so each is given the business time of the moment it is asked:
    what differs between two of them is the duration of one statement.
    """
    from expedite_messaging.clock import anchor

    speed = clock.speed
    await asyncio.gather(*(anchor(url, speed, clock.business(now())) for url in urls.values()))
