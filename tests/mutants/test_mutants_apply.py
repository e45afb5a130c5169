"""The list of faults keeps up with the code: each still applies, and the page that tells of them knows them all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from expedite_mutants import MUTANTS, DoesNotApply, Mutant
from expedite_mutants.copy import Copy
from expedite_mutants.mutant import ROOT
from expedite_mutants.report import Report
from expedite_mutants.run import Broken, judged
from expedite_mutants.suite import kind_of, simulation, stages_of


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_to_the_code_of_today(mutant: Mutant) -> None:
    """Its old text stands there once and what becomes of the file is Python (design 1, rules the build enforces)."""
    mutant.check(ROOT)


def test_there_are_enough_of_them_everywhere() -> None:
    """At least 60, of every service, each under its own name, and each with tests that can notice it."""
    assert len(MUTANTS) >= 60
    assert [name for name, n in Counter(m.name for m in MUTANTS).items() if n > 1] == []
    homes = Counter("/".join(m.file.split("/")[:2]) for m in MUTANTS)
    services = {f"services/{folder.name}" for folder in (ROOT / "services").iterdir() if (folder / "src").is_dir()}
    assert {home for home, n in homes.items() if n >= 3} >= {*services, "libs/messaging"}
    for mutant in MUTANTS:
        stages = stages_of(mutant)
        ours = simulation()
        assert stages[0].arguments[: len(ours)] == ours or (mutant.unseen and stages[-1].servers), mutant.name
        for stage in stages:
            missing = [
                a for a in stage.arguments if a.startswith(("libs", "services", "tests")) and not (ROOT / a).exists()
            ]
            assert missing == [], mutant.name


def test_a_mutant_that_no_longer_fits_says_so(tmp_path: Path) -> None:
    """Text that is gone, text that stands there twice, and what is no Python afterwards."""
    (tmp_path / "a.py").write_text("x = 1\ny = 2\ny = 2\n")
    for old, new, why in (
        ("z", "1", "occurs 0 times"),
        ("y = 2", "1", "occurs 2 times"),
        ("x = 1", "x = (", "compile"),
    ):
        mutant = Mutant(name="m", wrong="w", attacks="I1", file="a.py", old=old, new=new)
        with pytest.raises(DoesNotApply, match=why):
            mutant.check(tmp_path)
    with pytest.raises(DoesNotApply, match="there is no"):
        Mutant(name="m", wrong="w", attacks="I1", file="b.py", old="x", new="y").check(tmp_path)


def test_a_fault_is_put_into_a_copy_and_taken_out_again(tmp_path: Path) -> None:
    """The working tree stays as it is; the copy's packages are the ones that are imported."""
    copy, mutant = Copy(tmp_path), MUTANTS[0]
    sound = (ROOT / mutant.file).read_text()
    stale = (tmp_path / mutant.file).parent / "__pycache__" / f"{Path(mutant.file).stem}.cpython-311.pyc"
    stale.parent.mkdir(exist_ok=True)
    stale.write_bytes(b"compiled before")
    with copy.with_fault(mutant):
        assert (tmp_path / mutant.file).read_text() == mutant.applied(sound)
        assert (ROOT / mutant.file).read_text() == sound
        assert not stale.exists()
    assert (tmp_path / mutant.file).read_text() == sound
    assert str(tmp_path / "libs/messaging/src") in copy.environment()["PYTHONPATH"].split(":")


def test_what_pytest_says_is_read_right() -> None:
    """A failure names its test; a run that says nothing about the code judges nobody."""
    assert judged(0, "3 passed", 1.0).test == ""
    failed = judged(1, "FAILED a/test_b.py::test_c[x] - AssertionError: I3 twice\n1 failed", 1.0)
    assert (failed.test, failed.said) == ("a/test_b.py::test_c[x]", "AssertionError: I3 twice")
    assert judged(2, "ERROR a/test_b.py - NameError: x\n", 1.0).test == "a/test_b.py"
    hung = judged(
        1, "E Failed: Timeout (>240.0s) from pytest-timeout.\nFAILED a.py::t - Failed: Timeout (>240.0s)", 1.0
    )
    assert hung.said.startswith("hang")
    for code in (3, 4, 5):
        with pytest.raises(Broken):
            judged(code, "no tests ran", 1.0)


@pytest.mark.parametrize(
    ("test", "kind"),
    [
        ("tests/saga/test_saga_random.py::test_a[0]", "sagas"),
        ("tests/saga/test_saga_stock.py::test_a", "scenarios"),
        ("services/inventory/tests/unit/test_a.py::test_a", "unit"),
        ("services/inventory/tests/store/test_a.py::test_a", "postgres"),
        ("libs/messaging/tests/test_behaviour.py::test_a[memory]", "unit"),
        ("libs/messaging/tests/test_behaviour.py::test_a[postgres]", "postgres"),
        ("libs/messaging/tests/test_messaging_store.py::test_a", "postgres"),
        ("libs/messaging/tests/test_messaging_sessions.py::test_a", "postgres"),
        ("libs/messaging/tests/test_messaging_kafka.py::test_a", "kafka"),
    ],
)
def test_the_kind_of_a_test_is_known_by_where_it_stands(test: str, kind: str) -> None:
    assert kind_of(test) == kind


def test_the_page_is_that_of_the_last_measurement() -> None:
    """docs/mutations.md says of every mutant of today what was measured, or that it was not."""
    report = Report.read(ROOT / "tests/mutants/measured.json")
    assert (ROOT / "docs/mutations.md").read_text() == report.page(MUTANTS)
