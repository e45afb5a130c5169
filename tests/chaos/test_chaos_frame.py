"""The frame itself: what a client knows of its calls, which trials are chosen, what the table says (I6)."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import httpx
import pytest
from expedite_chaos import Result, runner, table
from expedite_chaos.calls import Book, Call, Outcome, verdicts
from expedite_chaos.field import Field
from expedite_chaos.trial import SHARED, Bite, Trial, perform
from expedite_chaos.trials import TRIALS, chosen
from expedite_chaos.trials.grounds import DOUBLED

from expedite_messaging.kafka import LaneConsumer
from expedite_messaging.postgres import PostgresEngine
from expedite_messaging.relay import Relay

SHORT_ROWS = {1, 2, 3, 4, 5, 9, 12, 13, 18, 26, 28, 31, 32}


@pytest.mark.parametrize(
    ("status", "headers", "outcome", "wrong"),
    [
        (202, {}, Outcome.OK, 0),
        (422, {}, Outcome.REFUSED, 0),
        (503, {"retry-after": "1"}, Outcome.UNKNOWN, 0),
        (503, {}, Outcome.UNKNOWN, 1),
        (500, {}, Outcome.REFUSED, 1),
    ],
)
def test_what_a_client_knows_after_an_answer(
    status: int, headers: dict[str, str], outcome: Outcome, wrong: int
) -> None:
    book = Book()
    assert book.answered("POST /orders", httpx.Response(status, headers=headers), 0.1) is outcome
    assert len(book.wrong) == wrong
    assert book.outcomes == {outcome: 1}


def test_only_what_was_never_sent_is_refused() -> None:
    book = Book()
    assert book.failed("POST", httpx.ConnectError("nobody listens")) is Outcome.REFUSED
    assert book.failed("POST", httpx.ReadTimeout("no answer")) is Outcome.UNKNOWN
    assert book.failed("POST", httpx.RemoteProtocolError("cut off")) is Outcome.UNKNOWN


def test_one_key_has_one_order_and_one_answer() -> None:
    book, call = Book(), Call("r1-1", {})
    book.accepted(call, "EC-1", b"the answer")
    book.accepted(call, "EC-1", b"the answer")
    assert not book.wrong
    book.accepted(call, "EC-1", b"another answer")
    book.accepted(call, "EC-2", b"the answer")
    assert len(book.wrong) == 2


def test_a_bulk_answer_that_was_cut_off_tells_what_it_told() -> None:
    said = b'{"line":1,"status":202,"order_id":"EC-1"}\n{"line":2,"status":503}\n{"line":3,"sta'
    assert [row["line"] for row in verdicts(said)] == [1, 2]
    assert verdicts(b'{"summary":{"lines":0}}\n') == []


def test_rows_are_named_once_and_the_short_form_has_only_those_of_every_test_run() -> None:
    rows = [trial.row for trial in TRIALS]
    assert len(set(rows)) == len(rows)
    assert {trial.number for trial in TRIALS if trial.short} <= SHORT_ROWS
    assert {trial.row for trial in chosen("9, 13")} == {"9a", "9b", "9c", "13"}
    assert [trial.row for trial in chosen("9b")] == ["9b"]
    with pytest.raises(ValueError, match=r"no such row: 99, 9z; --list names them"):
        chosen("9, 99, 9z")
    assert [trial.row for trial in chosen("7", short=True)] == ["7"]


def test_short_runs_put_ordinary_trials_on_the_system_that_runs_anyway() -> None:
    trials = chosen("4,13")
    assert [ground for ground, _ in runner.grouped(trials, short=True)] == [DOUBLED]
    assert [ground for ground, _ in runner.grouped(trials, short=False)] == [DOUBLED, SHARED]


def test_failpoints_stand_around_what_they_are_named_after() -> None:
    """They wrap methods of the product by name and arguments: a change there must be followed here, or a point would do
    something else than its name says."""
    wrapped = {
        LaneConsumer._deliver: "records, generation",
        PostgresEngine._commit: "raw, session",
        Relay._send: "producer, bundles",
    }
    for method, arguments in wrapped.items():
        assert ", ".join(list(inspect.signature(method).parameters)[1:]) == arguments, method.__qualname__
    assert inspect.signature(LaneConsumer._deliver).return_annotation == "bool"


def test_the_table_tells_late_from_broken() -> None:
    good = Result("9a", "Kafka killed", "I4", 5.0, recovery_s=2.8, bit={"restarts": 1})
    late = Result("12", "a backend killed", "I6", 5.0, recovery_s=9.0, bit={"sessions": 3})
    too_late = Result("13", "postmaster killed", "I1", 5.0, recovery_s=20.0, bit={"restarts": 1})
    broken = Result("14", "sessions ended", "I10", 2.0, lost=1, problems=["lost: r14-7: EC-9"])
    assert [r.verdict for r in (good, late, too_late, broken)] == ["holds", "holds, late", "TOO LATE", "BROKEN"]
    assert [r.failed for r in (good, late, too_late, broken)] == [False, False, True, True]
    said = table.text([good, late, too_late, broken], [table.Impossible("23", "disk full", "no root")])
    assert "2.8 s (≤ 5 s)" in said
    assert "row 14: lost: r14-7: EC-9" in said
    assert "row 23 (disk full) cannot be done here: no root" in said
    assert "3 hold (2 recovered late), 1 broken" in said
    assert table.markdown([good], []).splitlines()[2].startswith("| 9a | Kafka killed | I4 |")


def test_a_run_that_is_ended_early_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an hour of trials is not thrown away for the last of them."""
    first = Result("9a", "Kafka killed", "I4", 5.0, bit={"restarts": 1})

    async def ended(*_: Any, into: list[Result], **__: Any) -> None:
        into.append(first)
        raise asyncio.CancelledError

    monkeypatch.setattr(runner, "run", ended)
    found: list[Result] = []
    assert not runner.performed(chosen("9,10"), found, short=True, seed=1)
    assert found == [first]


class Quiet:
    """A field on which nothing happens, and its driver."""

    short, began_at = True, 0.0

    def __init__(self) -> None:
        self.driver, self.book, self.problems = self, Book(), list[str]()

    def say(self, text: str) -> None: ...

    def begin(self, of: object) -> Any:
        return asyncio.sleep(0) if isinstance(of, str) else None

    async def open_orders(self) -> list[str]:
        return []

    async def nothing(self) -> None: ...

    close = end = healed = nothing

    async def settle(self, _: float) -> list[str]:
        return []

    async def tally(self) -> dict[str, float]:
        return {}

    taken = Field.taken


async def test_what_is_found_after_the_audit_counts_for_its_own_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """`later` looks at what the audit waited for: what it finds wrong must not be told of the next trial, or of none."""
    monkeypatch.setattr("expedite_chaos.trial.SHORT_LEAD_S", 0.0)
    on = Quiet()

    async def fault(_: Any) -> Bite:
        async def later() -> dict[str, float]:
            on.problems.append("a parcel went backwards")
            return {"webhooks": 3}

        return Bite(bit={"times": 1}, later=later)

    result = await perform(Trial("30", "abuse", "I8", fault), on)  # type: ignore[arg-type]
    assert result.problems == ["a parcel went backwards"]
    assert (result.bit, result.failed, on.taken()) == ({"times": 1, "webhooks": 3}, True, [])
