"""What one client asked for, and what it knows of the answer: ok, refused or unknown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx
import orjson

HEADER = "Idempotency-Key"
AWAY = (429, 502, 503, 504)


class Outcome(StrEnum):
    """What a client knows after a call. An `unknown` one may have happened or not; only asking again under the same key
    tells."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass
class Call:
    """One order as its client sees it. `mark` is in the customer's e-mail address, so that the order is recognised whatever
    became of keys and references. `answer`: the first success, byte for byte."""

    mark: str
    order: dict[str, Any]
    bulk: bool = False
    outcome: Outcome = Outcome.UNKNOWN
    attempts: int = 0
    order_id: str = ""
    answer: bytes = b""
    status: int = 0


@dataclass
class Book:
    """All calls of a trial, and every answer counted. `wrong`: answers that break a promise."""

    calls: dict[str, Call] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    @property
    def ok(self) -> list[Call]:
        return [call for call in self.calls.values() if call.outcome is Outcome.OK]

    @property
    def open(self) -> list[Call]:
        """Calls nobody knows the outcome of, or that never came through."""
        return [call for call in self.calls.values() if call.outcome is not Outcome.OK]

    def answered(self, what: str, response: httpx.Response, seconds: float, said: bytes | None = None) -> Outcome:
        """Note an answer. "503" says: later, the outcome is unknown or none; it must say when. `said`: the body, where it
        was read as a stream."""
        status = response.status_code
        self.answers[f"{what} {status}"] += 1
        self.slowest_s = max(self.slowest_s, seconds)
        if status == 503 and "retry-after" not in response.headers:
            self.wrong.append(f"{what}: 503 without Retry-After")
        if status >= 500 and status not in AWAY:
            self.wrong.append(f"{what}: {status} {(response.content if said is None else said)[:200]!r}")
        outcome = Outcome.OK if response.is_success else Outcome.UNKNOWN if status in AWAY else Outcome.REFUSED
        self.outcomes[outcome] += 1
        return outcome

    def failed(self, what: str, error: httpx.TransportError) -> Outcome:
        """Note a call without an answer: refused when nothing was sent, else unknown."""
        refused = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        outcome = Outcome.REFUSED if refused else Outcome.UNKNOWN
        self.answers[f"{what} {type(error).__name__}"] += 1
        self.outcomes[outcome] += 1
        return outcome

    def accepted(self, call: Call, order_id: str, answer: bytes = b"") -> None:
        """A success. Two successes of one key are the same order and the same bytes (I6)."""
        if call.order_id and call.order_id != order_id:
            self.wrong.append(f"{call.mark} became {call.order_id}, then {order_id}")
        if call.answer and answer and call.answer != answer:
            self.wrong.append(f"{call.mark} was answered {call.answer[:200]!r}, then {answer[:200]!r}")
        call.order_id, call.outcome = order_id, Outcome.OK
        call.answer = call.answer or answer


def verdicts(body: bytes) -> list[dict[str, Any]]:
    """The complete lines of a bulk answer, which may have been cut off."""
    found = []
    for line in body.split(b"\n"):
        try:
            found.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
    return [row for row in found if "line" in row]
