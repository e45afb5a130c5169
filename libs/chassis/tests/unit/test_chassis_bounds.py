"""What strangers can set off is bounded; cells of tables are text (I5)."""

from __future__ import annotations

import pytest

from expedite_chassis.cells import cell
from expedite_chassis.ration import Pace, Ration


def test_a_ration_ends_and_grows_again() -> None:
    """I5: so many at once, then so many a minute, whatever comes."""
    now = 1000.0
    ration = Ration(60, lambda: now)
    assert [ration.take() for _ in range(100)].count(True) == 60
    now += 5.0
    assert [ration.take() for _ in range(100)].count(True) == 5
    now += 3600.0
    assert [ration.take() for _ in range(100)].count(True) == 60


def test_a_client_that_runs_wild_is_slowed_and_the_others_are_not() -> None:
    """I5: two seconds' worth at once, then its rate; what is refused costs nothing; each client has its own share."""
    now = 1000.0
    pace = Pace(50, lambda: now)
    waits = [pace.wait_s("wild") for _ in range(300)]
    assert waits[:100] == [0.0] * 100
    assert waits[100:] == [pytest.approx(1 / 50)] * 200
    assert pace.wait_s("calm") == 0.0
    now += 0.5
    assert [pace.wait_s("wild") for _ in range(100)].count(0.0) == 25
    assert [pace.wait_s("favoured", 500) for _ in range(2000)].count(0.0) == 1000
    assert not any(pace.wait_s("no limit", 0) for _ in range(10_000))
    assert not any(Pace(0).wait_s("nobody has one") for _ in range(10_000))


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1+1",
        "\r=1+1",
        "\n=1",
        "=cmd|' /C calc'!A0",
        "-",
        "+",
        "--1",
        "-1.2.3",
        "\uff1d1+1",
    ],
)
def test_a_formula_becomes_text(text: str) -> None:
    """H5, I5 (CSV formula injection): an apostrophe in front; nothing is lost."""
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "text"), [("Ada", "Ada"), (-3, "-3"), ("-3.50", "-3.50"), (None, ""), ("a=b", "a=b"), (7.5, "7.5")]
)
def test_what_is_no_formula_is_left_alone(value: object, text: str) -> None:
    """H5: names, amounts and figures are not changed."""
    assert cell(value) == text
