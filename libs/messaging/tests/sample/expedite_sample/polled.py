"""Records as a consumer polls them, and a clock that stands still, for tests of what is gathered."""

from __future__ import annotations

from dataclasses import dataclass

from expedite_messaging.gathering import Place


@dataclass(frozen=True)
class Record:
    topic: str
    offset: int
    key: bytes | None
    partition: int = 0

    @property
    def place(self) -> Place:
        return self.topic, self.partition


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now
